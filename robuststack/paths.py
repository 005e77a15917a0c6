"""The folders a run uses where the user names none."""

from __future__ import annotations

import os
from pathlib import Path

STORE = ".robuststack"
LEADERBOARD = "leaderboard"


def data_folder() -> Path:
    """Where downloaded data sets lie: $ROBUSTSTACK_DATA, or `robuststack/data` in the user's cache folder."""
    own = os.environ.get("ROBUSTSTACK_DATA")
    if own:
        return Path(own)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "robuststack" / "data"
