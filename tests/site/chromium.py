"""Where Debian's Chromium is, how it is started, and where the committed page lies."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

COMMITTED = Path(__file__).parents[2] / "leaderboard"
FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update", "--no-first-run",
    "--hide-scrollbars",
]  # fmt: skip


def chromium() -> str | None:
    """The browser: $ROBUSTSTACK_CHROMIUM, or Debian's."""
    names = [os.environ.get("ROBUSTSTACK_CHROMIUM", ""), "chromium", "chromium-browser"]
    return next((path for name in names if name and (path := shutil.which(name))), None)
