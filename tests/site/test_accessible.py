"""People with a screen reader, a keyboard or a phone can use the page: what axe-core checks, and where the focus goes."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pages import PHONE, arrived, go, overflow

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

VENDOR = Path(__file__).parent / "vendor"
ROW = "digits-resnet8-float-lambda_n=0.2-lambda_th=0"
COMPARED = f"#/float_vs_oat/compare/{ROW}/digits-resnet8-oat-lambda=0.2"
FOCUSABLE = "a[href], svg a, button, input, select, summary, [tabindex='0']"


def violations(page: Page) -> list[str]:
    """What axe-core finds wrong, with the first element that has it."""
    page.evaluate((VENDOR / "axe.min.js").read_text())
    found = page.evaluate("axe.run(document, { resultTypes: ['violations'], preload: false })")["violations"]
    return [f"{rule['id']}: {rule['nodes'][0]['html'][:200]}" for rule in found]


@pytest.mark.parametrize(
    ("theme", "size", "address"),
    [
        ("light", None, "#/"), ("light", None, "#/full"), ("light", None, f"#/full/{ROW}"), ("light", None, COMPARED),
        ("dark", None, "#/"), ("dark", None, "#/full"), ("light", PHONE, "#/"), ("light", PHONE, "#/full"),
    ],
)  # fmt: skip
def test_axe_finds_nothing(opened: Page, theme: str, size: dict[str, int] | None, address: str) -> None:
    if size:
        opened.set_viewport_size(size)  # type: ignore[arg-type]
    opened.evaluate("theme => { document.documentElement.dataset.theme = theme; }", theme)
    go(opened, address)
    opened.wait_for_load_state("load")
    assert violations(opened) == []
    assert overflow(opened) == 0


def test_axe_finds_what_is_wrong(browser: Browser, tmp_path: Path) -> None:
    (tmp_path / "bad.html").write_text(
        "<html lang='en'><title>x</title><main><h1>x</h1><img src='data:,'><button></button>"
        "<p style='color: #ccc; background: #fff'>faint</p></main></html>"
    )
    page = browser.new_page()
    page.goto((tmp_path / "bad.html").as_uri())
    assert {line.split(":")[0] for line in violations(page)} == {"image-alt", "button-name", "color-contrast"}
    page.close()


def test_axe_comes_with_its_licence_and_version() -> None:
    (version,) = re.findall(r"\| axe-core \| ([\d.]+) \|", (VENDOR / "README.md").read_text())
    assert f"axe v{version}" in (VENDOR / "axe.min.js").read_text()[:40]
    assert "Mozilla Public License" in (VENDOR / "axe.LICENSE").read_text()


@pytest.mark.parametrize("address", ["#/", "#/float_vs_oat"])
def test_the_keyboard_reaches_everything_in_its_order_and_shows_where_it_is(opened: Page, address: str) -> None:
    go(opened, address)
    opened.reload()  # The focus begins at the top.
    arrived(opened, address)
    opened.evaluate(
        """focusable => {

          window.stops = [...document.querySelectorAll(focusable)].filter((element) => {
            if (!element.checkVisibility({ visibilityProperty: true }) || element.closest('details:not([open]) > :not(summary)')) return false;
            return element.type !== 'radio' || element.checked;
          });
        }""",
        FOCUSABLE,
    )
    count = opened.evaluate("window.stops.length")
    places, unseen = [], []
    for _ in range(min(count, 40)):
        opened.keyboard.press("Tab")
        places.append(opened.evaluate("window.stops.indexOf(document.activeElement)"))
        unseen += opened.evaluate(
            """() => [document.activeElement, document.activeElement.nextElementSibling].some((element) =>
              element && getComputedStyle(element).outlineStyle !== 'none') || document.activeElement.closest('svg') ? [] : [document.activeElement.outerHTML]"""
        )
    assert places == list(range(len(places)))
    assert unseen == []
