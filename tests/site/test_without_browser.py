"""Where there is no browser its tests are skipped with the reason, and in CI they fail."""

from __future__ import annotations

import pytest

import pages
from chromium import chromium


def test_the_reason_is_said_and_nothing_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CI", raising=False)
    with pytest.raises(pytest.skip.Exception, match="no Chromium"):
        pages.without_browser("no Chromium")


@pytest.mark.parametrize("value", ["true", "1"])
def test_in_ci_nothing_is_skipped(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("CI", value)
    with pytest.raises(pytest.fail.Exception, match="no Chromium; in CI the page is always tested"):
        pages.without_browser("no Chromium")


def test_chromium_is_looked_for_where_the_environment_says(monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("ROBUSTSTACK_CHROMIUM", "")
    assert chromium() is None
    (tmp_path / "mine").write_text("#!/bin/sh\n")
    (tmp_path / "mine").chmod(0o755)
    monkeypatch.setenv("ROBUSTSTACK_CHROMIUM", "mine")
    assert chromium() == str(tmp_path / "mine")
