"""Take the picture of the page that README shows: `python tests/site/screenshot.py`, after `robuststack leaderboard build`."""

from __future__ import annotations

from playwright.sync_api import sync_playwright

from chromium import COMMITTED, FLAGS, chromium

if __name__ == "__main__":
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium(), args=FLAGS)
        page = browser.new_page(viewport={"width": 1240, "height": 960}, color_scheme="light")
        page.goto(f"{(COMMITTED / 'index.html').as_uri()}#/fashion")
        page.wait_for_selector(".tabulator-row")
        page.screenshot(path=COMMITTED / "page.png")
        browser.close()
