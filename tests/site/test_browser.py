"""The page in a real browser, opened from disk: what people do with it, and nothing that goes wrong while they do."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from chromium import COMMITTED
from pages import PHONE, UNSAFE, arrived, column, go, overflow, values, watched

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

ROW = "digits-resnet8-float-lambda_n=0.2-lambda_th=0"


def test_the_overview_lists_every_leaderboard_and_opens_one(opened: Page) -> None:
    go(opened, "#/")
    title = json.loads((COMMITTED / "float_vs_oat.json").read_text())["title"]
    assert opened.locator(".card h3").all_inner_texts() == [title, "full"]
    opened.locator(".card").first.click()
    arrived(opened, "#/float_vs_oat")
    assert opened.locator("h1").inner_text() == title
    opened.get_by_role("combobox", name="Leaderboard").select_option("full")
    opened.wait_for_selector("h1:has-text('full')")


def test_a_header_sorts_each_group_and_says_so(opened: Page) -> None:
    before = values(column(opened, "ra worst"))
    header = opened.get_by_role("columnheader", name="RA worst %")
    assert before != sorted(before)
    header.get_by_role("button").click()
    assert values(column(opened, "ra worst")) == sorted(before, reverse=True)
    assert header.get_attribute("aria-sort") == "descending"
    header.get_by_role("button").focus()
    opened.keyboard.press("Enter")
    assert values(column(opened, "ra worst")) == sorted(before)
    assert header.get_attribute("aria-sort") == "ascending"
    assert values(column(opened, "ra worst", 1)) == sorted(values(column(opened, "ra worst", 1)))


def test_filters_narrow_the_table_and_the_planes(opened: Page) -> None:
    assert opened.locator(".plane").count() == 2
    opened.get_by_role("combobox", name="Dataset").select_option("digits")
    assert opened.locator(".plane figcaption").all_inner_texts() == ["digits, resnet8, Linf eps 0.25"]
    assert len(column(opened, "defense")) == 16
    assert column(opened, "defense", 1) == []
    opened.get_by_role("button", name="float", exact=True).click()
    assert {cell.split()[0] for cell in column(opened, "defense")} == {"oat", "pgd_at"}
    assert opened.get_by_role("status").inner_text() == "8 rows shown"
    opened.get_by_role("combobox", name="Architecture").select_option("resnet8")
    assert len(column(opened, "defense")) == 8


def test_an_attack_is_looked_at_alone(opened: Page) -> None:
    opened.get_by_role("combobox", name="Attack").select_option("FGSM")
    shown = opened.get_by_role("columnheader").all_inner_texts()
    assert [heading for heading in shown if heading.startswith("RA")] == ["RA FGSM %"]
    assert "Robust accuracy, FGSM (%)" in opened.locator(".plane").first.inner_text()
    opened.get_by_role("combobox", name="Attack").select_option("worst")
    assert opened.get_by_role("columnheader", name="RA worst %").is_visible()


def test_a_protocol_is_chosen(opened: Page) -> None:
    go(opened, "#/full")
    adaptive = column(opened, "ra worst")
    assert set(column(opened, "protocol")) == {"adaptive"}
    opened.get_by_role("group", name="Protocol").get_by_text("published", exact=True).click()
    assert set(column(opened, "protocol")) == {"published"}
    assert {cell.split()[0] for cell in column(opened, "defense")} == {"float"}
    assert column(opened, "ra worst") != adaptive
    opened.get_by_role("group", name="Protocol").get_by_text("all", exact=True).click()
    assert set(column(opened, "protocol")) == {"adaptive", "published"}


def test_columns_are_hidden_and_shown(opened: Page) -> None:
    opened.get_by_text("Columns", exact=True).click()
    for name, shown in (("MACs", True), ("Draws", False)):
        box = opened.get_by_role("group", name="Columns shown").get_by_label(name, exact=True)
        header = opened.get_by_role("columnheader", name=name)
        assert (header.count() == 1) is shown
        box.click()
        assert (header.count() == 1) is not shown
    opened.keyboard.press("Escape")
    assert not opened.get_by_role("group", name="Columns shown").is_visible()


def test_the_plane_has_a_mark_for_each_row_a_curve_for_each_tunable_defense_and_the_front(opened: Page) -> None:
    plane = opened.locator(".plane").first
    assert plane.locator("svg a").count() == 16
    assert plane.locator("[aria-label=line]").count() == 1 + 3, "the front, FLOAT at two thresholds, OAT; not PGD-AT"
    assert plane.locator("[aria-label=rule] line").count() == 32
    assert plane.locator(".front").count() == 1
    said = plane.locator("svg a").first.locator("path").get_attribute("aria-label")
    assert said is not None
    row = json.loads((COMMITTED / "float_vs_oat.json").read_text())["rows"][0]
    figures = ["{value:.1f} [{low:.1f}, {high:.1f}]".format_map(figure) for figure in (row["ca"], row["ra"]["worst"])]
    assert said.startswith(f"float lambda_n=0 lambda_th=0\nCA {figures[0]}\nRA worst {figures[1]}")
    for name in ("Latency, batch 1", "MACs", "Parameters"):
        opened.get_by_text(name, exact=True).first.click()
        assert opened.locator(".plane").first.locator("svg a").count() == 16
        assert opened.locator(".plane .front").count() == 0


def test_marks_and_cells_open_a_row(opened: Page) -> None:
    opened.locator(".plane svg a").first.focus()
    opened.keyboard.press("Enter")
    opened.wait_for_selector("h1:has-text('float lambda_n=0 lambda_th=0')")
    go(opened, "#/float_vs_oat")
    opened.get_by_role("link", name="Details of digits/resnet8/oat lambda=0.2").click()
    opened.wait_for_selector("h1:has-text('oat dim=128 lambda=0.2')")
    assert opened.evaluate("document.activeElement.id") == "main"


def test_a_row_says_how_it_was_obtained(opened: Page) -> None:
    go(opened, f"#/full/{ROW}")
    text = opened.locator("main").inner_text()
    for wanted in ("training seeds\n0, 1, 2", "Accuracy of each pair of seeds", "threat model\nLinf eps 0.25", "step=0.03125",
                   "alpha of each layer", "One line for each training seed", "Nothing that the host checks", "attack\npgd average=loss draws=1",
                   "robuststack run suites/cpu/full.yaml --set train.epochs=3 --set precision=float32 --device cpu --only 'digits/resnet8/float lambda_n=0.2 lambda_th=0'"):  # fmt: skip
        assert wanted in text or wanted in opened.locator("main").text_content(), wanted
    assert opened.title().startswith("digits/resnet8/float lambda_n=0.2 lambda_th=0")


def test_training_curves_order_of_layers_doubts_and_published_rows_are_shown(opened: Page) -> None:
    go(opened, "#/full")
    assert opened.get_by_text("partial: some rows of the suite are missing").is_visible()
    reference = opened.get_by_role("region", name="Published figures, not ours")
    assert reference.get_by_text("published", exact=True).is_visible()
    assert not any("theirs" in cell for group in (0, 1) for cell in column(opened, "defense", group))
    opened.locator(".tabulator a").first.click()
    opened.wait_for_selector("h2:has-text('Training curves')")
    curves = opened.locator("section", has=opened.get_by_role("heading", name="Training curves"))
    assert curves.locator("figcaption").all_inner_texts() == ["Training loss", "Accuracy on training batches (%)"]
    assert curves.locator("svg path[d]").count() >= 3 + 6
    assert "The weights kept are those of epoch 3." in curves.inner_text()
    assert opened.get_by_text("Suspicious:").is_visible()
    layers = opened.locator("figure", has_text="alpha of each layer, from the input").locator("text")
    assert layers.first.text_content() == "stem"


def test_what_the_audit_found_stands_in_the_table_and_opens_its_reason(opened: Page) -> None:
    go(opened, "#/full")
    assert column(opened, "audit")[:3] == ["weak: STRONGER", "holds", "–"]
    opened.locator(".tabulator a").first.click()
    audit = opened.locator("section", has=opened.get_by_role("heading", name="Audit", exact=True))
    assert "40.0" in audit.inner_text()
    audit.locator("summary").click()
    assert "judge-0\njudge-1" in audit.inner_text()
    assert opened.get_by_text("audit: weak: STRONGER").is_visible()


def test_a_game_shows_its_matrix_and_what_hiding_is_worth(opened: Page) -> None:
    go(opened, "#/full")
    game = opened.locator(".game")
    assert game.locator("svg [aria-label='cell'] rect").count() == 4 * 2
    assert "at most 42.0 [37.0, 47.0]" in game.inner_text()
    assert "Best mixture: lambda=0 25 %, lambda=1 75 %, with a clean accuracy of at least 90 %." in game.inner_text()
    assert "Another round could still lower it, so it is an upper bound." in game.inner_text()
    go(opened, "#/float_vs_oat")
    assert opened.locator(".game").count() == 0


def test_a_row_shows_how_its_draws_were_chosen(opened: Page) -> None:
    go(opened, "#/full")
    row = opened.evaluate("robuststack.boards.find((board) => board.name === 'full').rows[0].site.id")
    go(opened, f"#/full/{row}")
    draws = opened.locator(".draws")
    assert draws.locator("svg [aria-label='dot'] circle").count() == 2
    assert "2 draws, cap reached, on 500 images." in draws.inner_text()
    assert "2, chosen" in draws.inner_text()


def test_names_are_never_read_as_html(opened: Page) -> None:
    go(opened, "#/full")
    assert UNSAFE in opened.locator("main").inner_text()
    opened.get_by_role("link", name="Details of").nth(1).click()
    opened.wait_for_selector("h2:has-text('Training curves')")
    assert UNSAFE in opened.title()
    assert opened.locator("img").count() == 0


def test_the_theme_is_the_systems_until_it_is_chosen(opened: Page) -> None:
    def paper() -> str:
        return opened.evaluate("getComputedStyle(document.body).backgroundColor")

    light = paper()
    opened.emulate_media(color_scheme="dark")
    opened.wait_for_function("document.documentElement.dataset.theme === 'dark'")
    dark = paper()
    assert light != dark
    opened.get_by_role("button", name="Switch to the light theme").click()
    assert paper() == light
    opened.reload()
    assert paper() == light, "it is remembered"
    opened.evaluate("localStorage.clear()")
    opened.emulate_media(color_scheme="light")


@pytest.mark.parametrize("address", ["#/", "#/float_vs_oat", "#/full", f"#/full/{ROW}"])
def test_a_phone_never_scrolls_sideways(opened: Page, address: str) -> None:
    opened.set_viewport_size(PHONE)
    go(opened, address)
    opened.reload()
    arrived(opened, address)
    assert overflow(opened) == 0
    if address == "#/float_vs_oat":
        assert opened.locator(".tabulator").get_by_role("columnheader").all_inner_texts() == [
            "",
            "Setting",
            "CA %",
            "RA worst %",
        ]
        table = opened.locator(".tabulator-tableholder")
        assert table.evaluate("one => one.scrollWidth - one.clientWidth") <= 0, "the first columns fit"


def test_a_long_name_to_choose_stays_inside_the_page(opened: Page) -> None:
    go(opened, "#/")
    control = opened.get_by_role("combobox", name="Data and threat model")
    control.evaluate("control => control.add(new Option('tradeoff images=640 '.repeat(20)))")
    right = "element => element.getBoundingClientRect().right"
    assert control.evaluate(right) <= opened.locator(".filters").evaluate(right)


@pytest.mark.parametrize("address", ["#/", "#/float_vs_oat", "#/full", f"#/full/{ROW}"])
def test_no_value_is_shown_as_a_program_names_it(opened: Page, address: str) -> None:
    go(opened, address)
    text = opened.locator("body").inner_text()
    for word in ("[object", "undefined", "NaN"):
        assert word not in text, text[max(text.index(word) - 80, 0) : text.index(word) + 40]


def test_a_saturated_comparison_is_said_above_the_planes(opened: Page) -> None:
    assert "this comparison is saturated and cannot tell them apart" in opened.locator(".bad-note").first.inner_text()


def test_an_address_that_is_not_there_is_said_to_be_none(opened: Page) -> None:
    for address in ("float_vs_oat/nothing", "nothing", "%"):
        go(opened, f"#/{address}")
        assert f"There is no {address} in these leaderboards" in opened.locator("main").inner_text()


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_text_stands_out_from_what_is_behind_it(opened: Page, theme: str) -> None:
    """WCAG AA: 4.5 to 1 for text, 3 to 1 for the colours of defenses."""
    opened.evaluate("theme => { document.documentElement.dataset.theme = theme; }", theme)
    for name, least in {**dict.fromkeys(("ink", "quiet", "link"), 4.5), **{f"c{i}": 3.0 for i in range(10)}}.items():
        for behind in ("page", "panel"):
            assert contrast(opened, name, behind) >= least, (theme, name, behind)
    assert contrast(opened, "good", "good-back") >= 4.5
    assert contrast(opened, "bad", "bad-back") >= 4.5
    assert contrast(opened, "line", "page") < 3, "the measure can fail"


def contrast(page: Page, *names: str) -> float:
    def luminance(name: str) -> float:
        text = page.evaluate(
            "name => getComputedStyle(document.documentElement).getPropertyValue(name)", f"--{name}"
        ).strip()
        parts = [int(text[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    low, high = sorted(map(luminance, names))
    return (high + 0.05) / (low + 0.05)


def test_the_watch_sees_errors_requests_and_wide_pages(browser: Browser, tmp_path: Path) -> None:
    """What the tests above find absent, on a page that has it."""
    (tmp_path / "bad.html").write_text(
        "<div style='width: 900px'>wide</div><script>console.error('no'); undefined.x;</script>"
        "<img src='http://robuststack.invalid/a.png'>"
    )
    context = browser.new_context(viewport=PHONE)
    watched_page = watched(context)
    watched_page.page.goto((tmp_path / "bad.html").as_uri())
    assert any("no" in error for error in watched_page.errors)
    assert any("undefined" in error for error in watched_page.errors)
    assert watched_page.elsewhere == ["http://robuststack.invalid/a.png"]
    assert overflow(watched_page.page) > 0
    context.close()


def test_another_reading_changes_the_table_and_the_planes(opened: Page) -> None:
    assert opened.get_by_role("group", name="Reading").count() == 0  # Its suite asks for none.
    go(opened, "#/full")
    expected, macs = values(column(opened, "ra worst")), column(opened, "macs")
    floats = [cell.startswith("float") for cell in column(opened, "defense")]
    opened.get_by_role("group", name="Reading").get_by_text("majority 5", exact=True).click()
    vote = column(opened, "ra worst")
    assert values(vote) == pytest.approx(
        [min(value + 3, 100) for value, is_float in zip(expected, floats, strict=True) if is_float], abs=0.11
    )
    assert all("[" not in text for text in vote), "a reading without an interval"
    assert column(opened, "macs") != [text for text, is_float in zip(macs, floats, strict=True) if is_float]
    assert opened.locator(".plane").count() == 2
    opened.get_by_role("link", name="Details of").first.click()
    opened.wait_for_selector("text=adaptive, majority 5")
    assert "5 forward passes" in opened.locator("main").inner_text()
