"""Time the page with 2,000 rows in Chromium: `python tests/site/speed.py [REPEATS]`. It opens from disk and sorts by a column."""

from __future__ import annotations

import statistics
import sys
import tempfile
from pathlib import Path

from many_rows import many_rows
from playwright.sync_api import Page, sync_playwright

from chromium import FLAGS, chromium
from robuststack.leaderboard import site
from robuststack.leaderboard.board import board_json

SHOWN = """() => new Promise((resolve) => {
  const seen = () => document.querySelector('.tabulator-row .tabulator-cell, .ranked tbody tr')
    ? requestAnimationFrame(() => setTimeout(() => resolve(performance.now()), 0)) : requestAnimationFrame(seen);
  seen();
})"""
"""Milliseconds from the beginning of the navigation until the first rows were painted."""
SORTED = """(column) => new Promise((resolve) => {
  const header = document.querySelector(`[tabulator-field="${column}"] .sort`);
  const begin = performance.now();
  header.click();
  requestAnimationFrame(() => setTimeout(() => resolve(performance.now() - begin), 0));
})"""
"""Milliseconds from a click on a header until the sorted rows were painted."""


def main(repeats: int) -> None:
    """Print the median and the quickest of each time."""
    with tempfile.TemporaryDirectory() as place, sync_playwright() as playwright:
        folder = Path(place)
        (folder / "many.json").write_text(board_json(many_rows()))
        index = site.build_page(folder, folder).index
        browser = playwright.chromium.launch(executable_path=chromium(), args=FLAGS)
        for name, address in (("home", "#/"), ("suite", "#/many")):
            report(f"{name} opens", [opened(browser.new_page(), f"{index.as_uri()}{address}") for _ in range(repeats)])
        page = browser.new_page()
        opened(page, f"{index.as_uri()}#/many")
        for column in ("ca", "ra worst", "setting"):
            report(f"sorts by {column}", [page.evaluate(SORTED, column) for _ in range(repeats)])
        browser.close()


def opened(page: Page, address: str) -> float:
    page.goto(address, wait_until="commit")
    return float(page.evaluate(SHOWN))


def report(what: str, times: list[float]) -> None:
    print(f"{what}: median {statistics.median(times):.0f} ms, quickest {min(times):.0f} ms, of {len(times)}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 5)
