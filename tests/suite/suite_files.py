"""Suite files as tests write and read them."""

from __future__ import annotations

from pathlib import Path

import pytest

from robuststack.errors import SuiteError
from robuststack.suite.loading import load_suite
from robuststack.suite.suite import Suite

BASE = "datasets: digits\narchitectures: resnet8\ndefenses: none\nattacks: fgsm\n"


def write(folder: Path, text: str, name: str = "mine.yaml") -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def error_of(path: Path, *overrides: str) -> str:
    """The message about a suite, without its folder."""
    with pytest.raises(SuiteError) as caught:
        load_suite(path, overrides)
    return str(caught.value).replace(f"{path.parent}/", "")


def dumped(suite: Suite) -> dict:
    return suite.model_dump(mode="json")
