"""One browser for all tests of the page, and a page of leaderboards with everything that a page can show."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from chromium import COMMITTED, FLAGS, chromium
from pages import Watched, audit_of, full_board, go, watched, without_browser
from robuststack.leaderboard import site
from robuststack.leaderboard.audit import audit_json
from robuststack.leaderboard.board import board_json

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    path = chromium()
    if path is None:
        without_browser("no Chromium: apt-get install chromium, or set ROBUSTSTACK_CHROMIUM")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """index.html of a committed leaderboard and the full one."""
    folder = tmp_path_factory.mktemp("boards") / "leaderboard"
    folder.mkdir()
    for suffix in (".json", ".labels.safetensors"):
        shutil.copy(COMMITTED / f"float_vs_oat{suffix}", folder)
    board = full_board()
    (folder / "full.json").write_text(board_json(board))
    (folder / "full.audit.json").write_text(audit_json(audit_of(board)))
    return site.build_page(folder, folder).index


@pytest.fixture(scope="session")
def seen(browser: Browser) -> Iterator[Watched]:
    """One page for all tests here: each opens what it needs."""
    context = browser.new_context(viewport={"width": 1280, "height": 900}, color_scheme="light")
    watched_page = watched(context)
    yield watched_page
    context.close()


@pytest.fixture
def opened(seen: Watched, built: Path) -> Iterator[Page]:
    """The page, afresh; afterwards nothing has gone wrong and nothing was asked of a network."""
    seen.errors.clear()
    seen.requests.clear()
    seen.page.set_viewport_size({"width": 1280, "height": 900})
    if seen.page.url.split("#")[0] != built.as_uri():
        seen.page.goto(built.as_uri())
    # What an earlier test chose stands in the address, so another address is a page afresh; but for the theme.
    seen.page.evaluate("() => { document.documentElement.dataset.theme = 'light'; }")
    for address in ("#/nothing", "#/float_vs_oat"):
        go(seen.page, address)
    yield seen.page
    assert seen.errors == []
    assert seen.elsewhere == []
