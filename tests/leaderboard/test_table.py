"""Tables: every row and figure of a leaderboard, written as people read them."""

from __future__ import annotations

import re

import pytest
from made_rows import changed, with_row
from tabulate import tabulate_formats

import robuststack as rs
from robuststack.leaderboard.board import Board
from robuststack.leaderboard.board_file import read_board
from robuststack.leaderboard.markdown import markdown
from robuststack.leaderboard.method_text import recipe_text
from robuststack.leaderboard.row import Scores
from robuststack.leaderboard.table import tables
from robuststack.suite.recipe import PhaseRecipe


@pytest.fixture
def board(trained) -> Board:
    return read_board(trained.leaderboard / "small.json")


def body(table: str) -> list[list[str]]:
    """The cells of a Markdown table, without its header and rule."""
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()[2:]]


def header(table: str) -> list[str]:
    return [cell.strip() for cell in table.splitlines()[0].strip("|").split("|")]


def test_rows_of_one_setting_make_one_table(board):
    (heading, table), *_ = tables(board, "github")
    assert heading == "tradeoff, resnet8, Linf eps 0.1"
    assert len(body(table)) == len(board.rows) == 6


def test_the_columns_are_named(board):
    (_, table), *_ = tables(board, "github")
    assert header(table) == [
        "defense", "point", "CA %", "RA FGSM %", "RA PGD-5 %", "RA worst %", "parameters", "MACs", "ms, batch 1",
        "ms, batch 8", "train s/epoch",
    ]  # fmt: skip


def test_every_row_is_there_in_its_order_with_its_figures(board):
    (_, table), *_ = tables(board, "github")
    for cells, row in zip(body(table), board.rows, strict=True):
        assert cells[0].split()[0] == row.defense
        assert cells[1] == (" ".join(f"{key}={value:g}" for key, value in row.point.items()) or "-")
        assert cells[2] == row.ca.text
        assert cells[3:6] == [row.ra[name].text for name in ("FGSM", "PGD-5", "worst")]
        assert int(cells[6].replace(",", "")) == row.parameters
        assert int(cells[7].replace(",", "")) == row.macs
        assert cells[8].startswith(f"{row.latency_ms[1].median:.2f} (")


def test_options_that_matter_stand_beside_the_name(board):
    (_, table), *_ = tables(board, "github")
    assert {cells[0] for cells in body(table)} == {"none", "pgd_at", "float", "oat dim=4"}


def test_no_two_rows_look_alike(board):
    (_, table), *_ = tables(board, "github")
    named = [tuple(cells[:2]) for cells in body(table)]
    assert len(set(named)) == len(named)


def test_another_threat_is_another_table(board):
    other = tuple(changed(row, threat=changed(row.threat, eps=8 / 255)) for row in board.rows)
    board = changed(board, rows=board.rows + other)
    headings = [heading for heading, _ in tables(board, "github")][:2]
    assert headings == ["tradeoff, resnet8, Linf eps 0.1", "tradeoff, resnet8, Linf eps 8/255"]


def test_an_extra_column_of_a_plugin_is_shown(board):
    board = with_row(board, 1, extra={"carbon": "3 g"})
    (_, table), *_ = tables(board, "github")
    assert header(table)[-1] == "carbon"
    assert [cells[-1] for cells in body(table)] == ["-", "3 g", "-", "-", "-", "-"]


def test_what_was_not_measured_is_a_dash(board):
    ra = {label: figure for label, figure in board.rows[0].ra.items() if label != "FGSM"}
    board = with_row(board, 0, latency_ms={}, train_seconds_per_epoch=None, ra=ra)
    (_, table), *_ = tables(board, "github")
    first = body(table)[0]
    assert [first[3], *first[8:11]] == ["-", "-", "-", "-"]


@pytest.mark.parametrize("style", ["github", "simple", "tsv", "html", "latex"])
def test_every_style_of_tabulate_works(board, style):
    assert style in tabulate_formats
    (_, table), *_ = tables(board, style)
    assert all(f"{row.parameters:,}" in table for row in board.rows)


def test_a_heading_names_data_network_and_threat(board):
    row = board.rows[0]
    assert changed(row, threat=changed(row.threat, eps=4 / 255)).heading == "tradeoff, resnet8, Linf eps 4/255"


SWEPT = """
datasets:
  name: tradeoff
  options: {images: 60, test_images: 40, size: 8, classes: 4}
  sweep: {seed: [0, 1]}
architectures: {name: resnet8, sweep: {width: [2, 4]}}
train: {epochs: 1, batch_size: 20}
defenses: none
attacks: fgsm
measure: {latency: false}
precision: float32
"""


def test_variants_of_a_dataset_or_a_network_can_be_told_apart(tmp_path):
    (tmp_path / "swept.yaml").write_text(SWEPT)
    result = rs.run(tmp_path / "swept.yaml", store=tmp_path / "store", leaderboard=tmp_path / "boards", device="cpu")
    board = read_board(result.files[0])
    named = [(heading, *cells[:2]) for heading, table in tables(board, "github") for cells in body(table)]
    assert len(named) == 4
    assert len(set(named)) == 4


def test_the_markdown_file_holds_every_row_and_how_it_was_obtained(trained, board):
    text = (trained.leaderboard / "small.md").read_text()
    (heading, table), *_ = tables(board, "github")
    assert text.startswith("# small\n")
    assert f"## {heading}\n\n{table}\n" in text
    for part in ("200 test images", "4 draws", "training seeds 0", "FGSM, deterministic", "FGSM, randomised", "torch "):
        assert part in text
    assert "Partial" not in text


def test_the_result_prints_the_same_table(trained, board):
    (heading, table), *_ = tables(board, "github")
    assert trained.result.table("github").startswith(f"{heading}\n\n{table}\n\nEach defense as one entry\n\n")


def test_a_defense_that_is_tuned_is_one_entry_below(board):
    *_, (heading, table) = tables(board, "github")
    assert heading == "Each defense as one entry"
    assert header(table) == [
        "data, network", "defense", "models", "settings", "hypervolume %", "knee", "dominated settings",
    ]  # fmt: skip
    assert [cells[1] for cells in body(table)] == ["none", "pgd_at", "float", "oat dim=4"]


def test_other_protocols_and_zeros_are_columns_where_they_differ(board):
    row = board.rows[0]
    published = {"published": Scores(ca=row.ca, ra=row.ra, attacks=row.attacks)}
    (_, table), *_ = tables(with_row(board, 0, protocols=published, nonzero_parameters=10), "github")
    names = header(table)
    first, second, *_ = body(table)
    assert first[names.index("CA published %")] == row.ca.text
    assert first[names.index("RA worst published %")] == row.worst.text
    assert second[names.index("CA published %")] == "-"
    assert first[names.index("non-zero")] == "10"


def test_the_title_of_a_suite_stands_above_its_table(board):
    assert markdown(board, {}).startswith(f"# {board.suite}\n")
    assert markdown(changed(board, title="Two defenses"), {}).startswith("# Two defenses\n")


def test_a_training_of_several_phases_is_told_phase_by_phase(board):
    row = next(row for row in board.rows if row.recipe)
    phases = {
        "clean": PhaseRecipe(epochs=3, lr=0.02),
        "robust": PhaseRecipe(epochs=5, batch_size=64, average="ema", average_decay=0.9),
    }
    text = recipe_text(changed(row.recipe, phases=phases))
    assert text.startswith(
        "3 epochs of batches of 128, lr 0.02 (cosine), weight decay 0.0005 in phase `clean`, then"
        " 5 epochs of batches of 64, lr 0.1 (cosine), weight decay 0.0005, scored with averaged weights (ema, decay 0.9) in"
        " phase `robust`, training attack "
    )
    assert f"trained for {recipe_text(row.recipe)}." in markdown(board, {})
    assert "phase" not in recipe_text(row.recipe)


def test_a_partial_leaderboard_says_so(board):
    assert "**Partial:**" in markdown(changed(board, complete=False), {})
    assert "**Partial:**" not in markdown(board, {})


def test_overrides_are_printed(board):
    assert "Overrides: `--set train.epochs=1`" in markdown(changed(board, overrides=("train.epochs=1",)), {})


def test_what_attacks_were_is_told_by_protocol_and_by_defense_where_defenses_differ(board):
    last = board.rows[3]
    assert (last.defense, last.stochastic) == ("float", True)
    other = changed(last, defense="pni", label="pni")
    # FLOAT's headline is `published` here, with one draw a step; PNI has no such protocol.
    attacks = {label: {**options, "draws": 1} for label, options in last.attacks.items()}
    last = changed(last, attacks=attacks, protocol="published")
    text = markdown(changed(board, rows=(last, other)), {})
    assert "- Protocol `published` (float), `adaptive` (pni) (" in text
    assert re.search(r"^- FGSM, randomised points: .*\bdraws=1 ", text, re.MULTILINE)
    assert re.search(r"^- FGSM, protocol `adaptive`: .*\bdraws=20 ", text, re.MULTILINE)
    # Two defenses with one protocol, and attacks that differ.
    text = markdown(changed(board, rows=(last, changed(other, protocol="published"))), {})
    assert "- Protocol `published` (" in text
    assert re.search(r"^- FGSM, randomised points of float: .*\bdraws=1 ", text, re.MULTILINE)
    assert re.search(r"^- FGSM, randomised points of pni: .*\bdraws=20 ", text, re.MULTILINE)


def test_every_seed_stands_beside_the_mean(board):
    figure = changed(board.rows[0].ca, value=8.5, low=0.0, high=91.1, interval="t", lowest=2.0, highest=15.0)
    seeded = changed(figure, seeds={"0/0": 2.0, "1/0": 15.0})
    board = with_row(board, 0, ca=seeded, ra={**board.rows[0].ra, "worst": seeded})
    (_, table), (heading, by_seed), *_ = tables(board, "github")
    assert body(table)[0][2] == body(table)[0][5] == "8.5 [0.0, 91.1] (2.0-15.0)"
    assert heading == "Each seed"
    assert body(by_seed) == [["tradeoff, resnet8", "none", "-", "0/0: 2.0, 1/0: 15.0", "0/0: 2.0, 1/0: 15.0"]]


def test_noise_from_a_table_is_told_with_the_defenses_that_drew_it(board):
    assert "normal quantiles" not in markdown(board, {})
    last = board.rows[3]
    looked_up = changed(last, effort=changed(last.effort, table_draws=7))
    text = markdown(changed(board, rows=(board.rows[0], looked_up)), {})
    assert "table of 65,536 normal quantiles, none beyond 4.33 standard deviations (float)" in text
