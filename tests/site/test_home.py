"""The overview: who is ranked where, by which figure, and what is left out."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from chromium import COMMITTED
from pages import go
from robuststack.evidence.front import hypervolume

if TYPE_CHECKING:
    from playwright.sync_api import Page

BOARD = json.loads((COMMITTED / "float_vs_oat.json").read_text())
DIGITS = [row for row in BOARD["rows"] if row["dataset"] == "digits"]
HEADING = "digits, Linf eps 0.25"


def ranked(page: Page, heading: str = HEADING) -> list[list[str]]:
    """The cells of a leaderboard's rows."""
    return page.evaluate(
        """heading => [...document.querySelector(`[role=region][aria-label="${heading}"]`).querySelectorAll('tbody tr')]
          .map(row => [...row.cells].map(cell => cell.innerText))""",
        heading,
    )


def ranking(page: Page, key: str, change: str = "", limits: str = "{ca: 0, ms: Infinity}") -> list[dict[str, Any]]:
    """What the page's script ranks, of a copy of its boards that `change` has changed."""
    return page.evaluate(
        f"""() => {{
          const boards = structuredClone(robuststack.boards.filter((board) => board.name === 'float_vs_oat'));
          {change};
          return robuststack.leaderboards(boards, {key!r}, {limits}).map((board) => ({{
            heading: board.heading, cautions: board.cautions, unranked: board.unranked.map((item) => item.entry.defense),
            ranked: board.ranked.map(({{ entry, figure, first, last, also }}) => ({{
              defense: entry.defense, also: also.length, value: figure.value, low: figure.low, high: figure.high,
              counted: figure.counted, best: figure.best.row.label, first, last }})) }}));
        }}"""
    )


def test_each_data_set_and_threat_model_has_a_leaderboard_of_all_suites(opened: Page) -> None:
    go(opened, "#/?rank=hypervolume")
    assert opened.locator(".leaderboard h2").all_inner_texts() == [HEADING, "tradeoff, Linf eps 0.1"]
    entries = [entry for entry in BOARD["entries"] if entry["variant"][0] == "digits"]
    wanted = sorted(entries, key=lambda entry: -entry["hypervolume"])
    # The board that is there for the tests has other train jobs for FLOAT, so that FLOAT is another entry of it.
    rows = [cells for cells in ranked(opened) if BOARD["title"] in cells[9]]
    assert len(ranked(opened)) == len(wanted) + 1
    for cells, entry in zip(rows, wanted, strict=True):
        assert cells[1].startswith(entry["defense"])
        sure = entry["certainty"]
        assert cells[2] == f"{entry['hypervolume']:.1f} [{sure['low']:.1f}, {sure['high']:.1f}]"
    opened.get_by_role("link", name="vs first: digits/resnet8/oat lambda=0.7").click()
    opened.wait_for_selector("h1:has-text('Two rows compared')")


def test_it_begins_with_what_was_audited(opened: Page) -> None:
    go(opened, "#/")
    assert opened.get_by_role("radio", name="Audited trade-off").is_checked()
    assert ranking(opened, "hypervolume")[0]["heading"] == HEADING
    audited = "boards[0].rows.filter((row) => row.dataset === 'tradeoff').forEach((row) => { row.site.audit = {}; })"
    assert ranking(opened, "hypervolume", audited)[0]["heading"] == "tradeoff, Linf eps 0.1"


def test_below_the_rankings_stand_the_claims_of_all_suites(opened: Page) -> None:
    go(opened, "#/")
    section = opened.locator("section", has=opened.get_by_role("heading", name="Published claims"))
    claims = opened.evaluate("robuststack.boards.flatMap((board) => board.claims.map((claim) => claim.said))")
    counts = {
        word: sum(said.startswith(word) for said in claims)
        for word in ("confirmed", "refuted", "undecided", "not comparable")
    }
    assert sum(counts.values()) == len(claims) > 3
    assert counts["confirmed"] > 0
    told = ", ".join(f"{count} {word}" for word, count in counts.items() if count)
    assert f"Of {len(claims)} tests of comparisons that papers publish {told} on the data" in section.inner_text()
    tables = section.get_by_role("table")
    assert tables.first.locator("tbody tr").count() == counts["confirmed"] + counts["refuted"]
    section.get_by_text("not decided").click()
    assert tables.last.locator("tbody tr").count() == counts["undecided"] + counts["not comparable"]
    tables.first.get_by_role("link").first.click()
    opened.wait_for_selector("h2:has-text('Published comparisons beside ours')")


def test_the_scripts_hypervolume_is_that_of_the_evidence(opened: Page) -> None:
    draw = np.random.default_rng(0)
    fronts = [draw.uniform(0, 100, (int(size), 2)).round(int(places)).tolist()
              for size, places in zip(draw.integers(1, 9, 60), draw.integers(-1, 3, 60), strict=True)]  # fmt: skip
    found = opened.evaluate("fronts => fronts.map(robuststack.hypervolume)", fronts)
    assert found == pytest.approx([float(hypervolume(np.array(front))) for front in fronts])


def test_places_are_those_that_intervals_leave_open(opened: Page) -> None:
    for board in ranking(opened, "hypervolume"):
        for entry in board["ranked"]:
            assert entry["first"] == 1 + sum(other["low"] > entry["high"] for other in board["ranked"])
            assert entry["last"] == len(board["ranked"]) - sum(
                other["high"] < entry["low"] for other in board["ranked"]
            )
    assert [(entry["first"], entry["last"]) for entry in ranking(opened, "hypervolume")[0]["ranked"]] == [
        (1, 1),
        (2, 3),
        (2, 3),
    ]


def test_limits_leave_out_settings_and_the_address_keeps_them(opened: Page) -> None:
    go(opened, "#/")
    opened.get_by_role("group", name="Rank by").get_by_text("Robust accuracy").click()
    opened.get_by_role("spinbutton", name="Clean accuracy at least (%)").fill("98.3")
    opened.get_by_role("spinbutton", name="Latency at most (ms)").fill("1000")
    opened.get_by_role("combobox", name="Data and threat model").select_option(HEADING)
    assert opened.evaluate("location.hash") == "#/?rank=robust&data=digits%2C+Linf+eps+0.25&ca=98.3&ms=1000"
    before = ranked(opened)
    assert opened.locator(".leaderboard").count() == 1
    for defense in ("float", "pgd_at"):
        accurate = [row for row in DIGITS if row["defense"] == defense and row["ca"]["value"] >= 98.3]
        best = max(accurate, key=lambda row: row["ra"]["worst"]["value"])
        (cells,) = [row for row in before if row[1].startswith(defense) and BOARD["title"] in row[9]]
        assert cells[2].startswith(f"{best['ra']['worst']['value']:.1f} [{best['ra']['worst']['low']:.1f}")
        assert f"{len(accurate)} of" in cells[3] or len(accurate) == 8
    assert not any(cells[1].startswith("oat") for cells in before), "no setting of OAT is accurate enough"
    assert "1 defense without a place: no setting meets the limits" in opened.locator("main").inner_text()
    opened.reload()
    opened.wait_for_selector(".ranked")
    assert ranked(opened) == before
    opened.get_by_role("spinbutton", name="Latency at most (ms)").fill("0")
    opened.keyboard.press("Tab")
    assert "No defense has a place." in opened.locator("main").inner_text()


def test_a_limit_on_macs_ranks_at_equal_cost(opened: Page) -> None:
    of_oat = max(row["macs"] for row in DIGITS if row["defense"] == "oat")
    others = max(row["macs"] for row in DIGITS if row["defense"] != "oat")
    assert others < of_oat
    (board, _) = ranking(opened, "hypervolume", limits=f"{{macs: {others}}}")
    assert board["unranked"] == ["oat"]
    assert {entry["defense"] for entry in board["ranked"]} == {"float", "pgd_at"}
    go(opened, f"#/?rank=hypervolume&macs={others / 1e6}")
    assert opened.get_by_role("spinbutton", name="MACs at most (million)").input_value() == str(others / 1e6)
    assert not any(cells[1].startswith("oat") for cells in ranked(opened))
    (cells,) = [cells for cells in ranked(opened) if cells[1].startswith("pgd_at") and BOARD["title"] in cells[9]]
    assert cells[7].replace("\u202f", " ") == "1.67 M"


def test_the_audited_figure_counts_stronger_attacks_and_no_broken_setting(opened: Page) -> None:
    audit = "const audit = (value, broken) => ({ broken, grave: broken, badge: '', ra_worst: { value, low: value - 5, high: value + 5 } });"
    change = f"""{audit}
      const rows = boards[0].rows.filter((row) => row.dataset === 'digits' && row.defense === 'oat');
      rows.forEach((row, i) => {{ row.site.audit = audit(10 + i, i === 3); }})"""
    board = ranking(opened, "audited", change)[0]
    assert sorted(board["unranked"]) == ["float", "pgd_at"]
    rows = [row for row in DIGITS if row["defense"] == "oat"]
    (entry,) = board["ranked"]
    assert entry["counted"] == 3

    def volume(shift: float, limit: str) -> float:
        return float(hypervolume(np.array([[row["ca"][limit], 10 + i + shift] for i, row in enumerate(rows[:3])])))

    assert [entry[key] for key in ("value", "low")] == pytest.approx([volume(0, "value"), volume(-5, "low")])
    # What a broken setting is worth lies between nothing and its figure.
    most = float(hypervolume(np.array([[row["ca"]["high"], 15 + i] for i, row in enumerate(rows)])))
    assert volume(5, "high") < most
    assert entry["high"] == pytest.approx(most)


def test_smoke_runs_and_unranked_suites_have_no_place_and_a_model_of_two_suites_has_one(opened: Page) -> None:
    assert ranking(opened, "hypervolume", "boards[0].smoke = true") == []
    assert ranking(opened, "hypervolume", "boards[0].unranked = true") == []
    twice = ranking(opened, "hypervolume", "boards.push({ ...structuredClone(boards[0]), name: 'again' })")
    assert [[entry["also"] for entry in board["ranked"]] for board in twice] == [[1, 1, 1], [1, 1, 1]]


def test_an_entry_of_fewer_training_seeds_is_part_of_that_with_more(opened: Page) -> None:
    more = """const more = structuredClone(boards[0]); more.name = 'more'; boards.push(more);
      for (const row of more.rows) { row.jobs.scores = { [row.protocol]: { ca: { '0/0': `more ${row.label}` } } }; row.jobs.train = { ...row.jobs.train, 1: `more ${row.defense}` } }"""
    boards = ranking(opened, "hypervolume", more)
    assert [[entry["also"] for entry in board["ranked"]] for board in boards] == [[1, 1, 1], [1, 1, 1]]
    apart = f"{more}; more.attacks[0].text = 'another'"
    assert [len(board["ranked"]) for board in ranking(opened, "hypervolume", apart)] == [6, 6]


def test_more_seeds_of_fewer_settings_leave_an_entry_its_place(opened: Page) -> None:
    change = """const more = structuredClone(boards[0]); more.name = 'more'; boards.push(more);
      for (const row of more.rows) { row.jobs.scores = { [row.protocol]: { ca: { '0/0': `more ${row.label}` } } }; row.jobs.train = { ...row.jobs.train, 1: `more ${row.defense}` } }
      const known = new Set();
      more.rows = more.rows.filter((row) => !known.has(row.site.entry) && known.add(row.site.entry))"""
    assert [len(board["ranked"]) for board in ranking(opened, "hypervolume", change)] == [6, 6]


def test_an_entry_of_fewer_settings_is_part_of_that_with_more(opened: Page) -> None:
    fewer = """const fewer = structuredClone(boards[0]); fewer.name = 'fewer'; boards.push(fewer);
      const known = new Set();
      fewer.rows = fewer.rows.filter((row) => !known.has(row.site.entry) && known.add(row.site.entry))"""
    boards = ranking(opened, "hypervolume", fewer)
    assert [[entry["also"] for entry in board["ranked"]] for board in boards] == [[1, 1, 1], [1, 1, 1]]


def test_data_with_other_options_is_another_leaderboard_of_another_name(opened: Page) -> None:
    other = """const other = structuredClone(boards[0]); other.name = 'other'; boards.push(other);
      for (const row of other.rows) { row.jobs.scores = { [row.protocol]: { ca: { '0/0': `other ${row.label}` } } }; row.site.model.dataset += ' folds=2' }"""
    boards = ranking(opened, "hypervolume", other)
    assert [len(board["ranked"]) for board in boards] == [3, 3, 3, 3]
    assert [board["heading"] for board in boards[::2]] == [
        "digits channels=1, Linf eps 0.25, test",
        "digits channels=1 folds=2, Linf eps 0.25, test",
    ]


def test_what_is_less_comparable_than_it_looks_is_said(opened: Page) -> None:
    assert ranking(opened, "hypervolume")[0]["cautions"] == []
    other = """const other = structuredClone(boards[0]); other.name = 'other'; other.attacks.pop(); boards.push(other);
      for (const row of other.rows) { row.jobs.scores = { [row.protocol]: { ca: { '0/0': `other ${row.label}` } } }; row.n = 100; row.machine.device = 'another' }"""
    cautions = ranking(opened, "hypervolume", other, "{ca: 0, ms: 1000}")[0]["cautions"]
    assert [caution.split(".")[0] for caution in cautions] == [
        "The suites attack differently",
        "The suites judge different numbers of images",
        f"Latencies were measured on different machines: {DIGITS[0]['machine']['device']}; another",
    ]


def test_a_part_that_was_audited_stays_where_the_whole_was_not(opened: Page) -> None:
    """A suite with fewer settings of the same model may be the one that was audited."""
    larger = """boards.push({ ...structuredClone(boards[0]), name: 'larger' });
      const float = (board) => board.rows.filter((row) => row.defense === 'float' && row.dataset === 'digits');
      const jobs = float(boards[1])[0].jobs.scores.adaptive;
      jobs.more = structuredClone(jobs.ca);
      Object.keys(jobs.more).forEach((run) => { jobs.more[run] = 'judge-more'; });
      const audit = (board) => float(board).forEach((row) => { row.site.audit = { badge: '', ra_worst: row.ra.worst }; });"""
    usual = len(ranking(opened, "hypervolume", larger)[0]["ranked"])
    assert usual == len(ranking(opened, "hypervolume")[0]["ranked"]), "the part is not ranked beside the whole"

    def floats(change: str) -> int:
        boards = ranking(opened, "audited", larger + change)
        return sum(item["defense"] == "float" for item in boards[0]["ranked"])

    assert floats("audit(boards[0])") == 1
    assert floats("audit(boards[1])") == 1
    assert floats("audit(boards[0]); audit(boards[1])") == 1
    assert floats("") == 0


def test_another_protocol_has_a_leaderboard_of_its_own(opened: Page) -> None:
    off = "boards[0].rows.filter((row) => row.defense === 'oat').forEach((row) => { row.protocol = 'off'; row.jobs.scores.off = row.jobs.scores.adaptive; })"
    boards = {board["heading"]: board for board in ranking(opened, "hypervolume", off)}
    assert {item["defense"] for item in boards[f"{HEADING}, protocol off"]["ranked"]} == {"oat"}
    assert {item["defense"] for item in boards[HEADING]["ranked"]} == {"float", "pgd_at"}
