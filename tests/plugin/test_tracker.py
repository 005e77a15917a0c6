"""Runs that are tracked, and columns that plugins add: through the public hooks only."""

from __future__ import annotations

import csv
import importlib.util
import io
import json
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from made_rows import make_row

import robuststack as rs
from robuststack import hookimpl
from robuststack.cli import call
from robuststack.leaderboard.board_file import read_board
from robuststack.leaderboard.extra import check_extra
from robuststack.leaderboard.formats import FORMATS, written
from robuststack.plugin.registry import PluginSource, Registry, installed_sources

SUITE = """
name: tracked
datasets: {name: tradeoff, options: {images: 60, test_images: 20, size: 8, classes: 3}, threat: {eps: 0.1}}
architectures: {name: resnet8, options: {width: 4}}
train: {epochs: 2, batch_size: 20, attack: {name: pgd, options: {steps: 1}}}
defenses: {name: float, points: {lambda_n: [0, 1]}}
attacks: {name: pgd, options: {steps: 1, draws: 1}}
evaluate: {draws: 2, block: 10}
measure: {latency: false}
"""


class Columns:
    """A plugin that adds a column of each type a cell can have."""

    @hookimpl
    def rows_ready(self, rows):
        rows[0].extra["per M parameters"] = rows[0].worst.value / rows[0].parameters * 1e6
        rows[1].extra.update({"note": "checked", "images": np.int64(12345), "nothing": None})


def registry(*plugins: object) -> Registry:
    sources = [
        PluginSource(f"own{number}", "own", "1", lambda plugin=plugin: plugin) for number, plugin in enumerate(plugins)
    ]
    return Registry([*installed_sources(), *sources])


@pytest.fixture(scope="module")
def suite(tmp_path_factory):
    path = tmp_path_factory.mktemp("tracked") / "tracked.yaml"
    path.write_text(SUITE)
    return path


@pytest.fixture(scope="module")
def tracked(suite):
    """A run with a tracker and a plugin that adds columns."""
    folder = suite.parent
    rs.run(suite, store=folder / "store", leaderboard=folder / "boards", track=folder / "track", device="cpu",
           registry=registry(Columns()))  # fmt: skip
    return folder


def scalars(folder) -> dict[str, list[tuple[int, float]]]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder)).Reload()
    return {tag: [(event.step, event.value) for event in events.Scalars(tag)] for tag in events.Tags()["scalars"]}


def test_tensorboard_gets_epochs_accuracies_and_rows(tracked):
    runs = {str(path.parent.relative_to(tracked / "track")) for path in (tracked / "track").rglob("events*")}
    model, rows = "tracked/tradeoff/resnet8/float", "tracked/rows/tradeoff/resnet8/eps_0.1/float"
    assert runs == {model, rows}
    logged = scalars(tracked / "track" / model)
    assert [step for step, _ in logged["epoch/loss"]] == [1, 2]
    (accuracy,) = logged["accuracy/tradeoff_resnet8_float_lambda_n=1_lambda_th=0_PGD-1"]
    judged = logged["judging/ra tradeoff_resnet8_float_lambda_n=1_lambda_th=0_PGD-1"]
    assert [step for step, _ in judged] == [10, 20]
    assert judged[-1][1] == pytest.approx(accuracy[1])
    written_rows = read_board(tracked / "boards" / "tracked.json").rows
    logged = scalars(tracked / "track" / rows)
    for tag, key in (("row/CA", "ca"), ("row/RA worst", "worst")):
        values = [(row.ca if key == "ca" else row.ra[key]).value for row in written_rows]
        assert logged[tag] == [(step, pytest.approx(value)) for step, value in enumerate(values)]
    assert logged["row/images"] == [(1, 12345.0)], "the columns of other plugins are there by then"


def test_a_run_that_is_not_tracked_imports_no_tensorboard(suite, tracked, monkeypatch):
    for name in [
        module for module in sys.modules if module.startswith(("torch.utils.tensorboard", "robuststack_plugins.tr"))
    ]:
        monkeypatch.delitem(sys.modules, name)
    rs.run(suite, store=tracked / "store", leaderboard=None, device="cpu")
    assert "torch.utils.tensorboard" not in sys.modules
    assert "robuststack_plugins.tracking.board" not in sys.modules


def test_without_tensorboard_it_says_how_to_get_it_before_any_compute(suite, tmp_path, monkeypatch, capsys):
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "tensorboard" else find(name))
    assert call(["run", str(suite), "--store", str(tmp_path / "store"), "--track", str(tmp_path / "track")]) == 2
    message = "--track: no installed plugin tracks runs; python -m pip install 'robuststack[tracking]' adds TensorBoard"
    assert capsys.readouterr().err == f"robuststack: error: {message}\n"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("track", "message"),
    [
        ("wandb:mine", "--track wandb: the package wandb is not installed; python -m pip install 'robuststack[wandb]'"),
        ("wandb", "--track wandb: the package wandb is not installed; python -m pip install 'robuststack[wandb]'"),
        ("mlflow:", "--track mlflow: the package mlflow is not installed; python -m pip install 'robuststack[mlflow]'"),
        (
            "neptune:x",
            "--track neptune:x: no installed plugin tracks runs with 'neptune'; a folder is written ./neptune:x",
        ),
    ],
)
def test_a_tool_that_is_not_there_is_said_with_the_command_that_installs_it(
    suite, tmp_path, monkeypatch, capsys, track, message
):
    find = importlib.util.find_spec
    absent = ("wandb", "mlflow")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name in absent else find(name))
    monkeypatch.chdir(tmp_path)
    assert call(["run", str(suite), "--store", str(tmp_path / "store"), "--track", track]) == 2
    assert capsys.readouterr().err == f"robuststack: error: {message}\n"
    assert list(tmp_path.iterdir()) == []


def test_a_plugin_may_track_with_a_tool_of_its_own(suite, tracked):
    heard = []

    class Tracker:
        @hookimpl
        def run_finished(self):
            heard.append("end")

    def start_tracking_with(tool, place):
        heard.append((tool, place))
        return Tracker() if tool == "mine" else None

    own = registry(SimpleNamespace(start_tracking_with=hookimpl(start_tracking_with)))
    rs.run(suite, store=tracked / "store", leaderboard=None, track="mine:there", device="cpu", registry=own)
    assert heard == [("mine", "there"), "end"]
    assert not (tracked / "mine:there").exists()


def test_any_plugin_can_track_and_hears_of_the_end(suite, tracked, tmp_path):
    heard = []

    class Tracker:
        @hookimpl
        def rows_ready(self, rows):
            heard.append(len(rows))
            raise rs.PluginError("the disk is full")

        @hookimpl
        def run_finished(self):
            heard.append("end")

    plugin = SimpleNamespace(start_tracking=hookimpl(lambda folder: heard.append(folder.name) or Tracker()))
    own = registry(plugin)
    with pytest.raises(rs.PluginError, match="the disk is full"):
        rs.run(suite, store=tracked / "store", leaderboard=None, track=tmp_path / "t", device="cpu", registry=own)
    assert heard == ["t", 2, "end"]
    rs.run(suite, store=tracked / "store", leaderboard=None, device="cpu", registry=own)
    assert heard == ["t", 2, "end"], "a tracker is there for one run"


@pytest.mark.parametrize("style", FORMATS)
def test_the_columns_of_plugins_are_in_every_format(tracked, style):
    text = written(read_board(tracked / "boards" / "tracked.json"), style)
    assert all(column in text for column in ("per M parameters", "note", "images", "nothing", "checked"))


def test_cells_are_written_for_their_reader(tracked):
    board = read_board(tracked / "boards" / "tracked.json")
    rows = list(csv.DictReader(io.StringIO(written(board, "csv"))))
    exact = board.rows[0].extra["per M parameters"]
    assert float(rows[0]["per M parameters"]) == exact
    assert [(row["note"], row["images"], row["nothing"]) for row in rows] == [("", "", ""), ("checked", "12345", "")]
    table = (tracked / "boards" / "tracked.md").read_text()
    assert f" {exact:.4g} " in table
    assert " 12,345 " in table


@pytest.mark.parametrize(
    ("value", "problem"), [([1], "a list"), (float("nan"), "nan"), ({}, "a dict"), (np.zeros(2), "a ndarray")]
)
def test_what_fits_no_cell_is_refused_with_its_row_and_column(value, problem):
    message = f"a plugin's column 'odd' is {problem} in the row float; valid: a number, a text or None"
    with pytest.raises(rs.PluginError, match=message):
        check_extra([make_row(label="float").model_copy(update={"extra": {"odd": value}})])


def test_numbers_of_numpy_and_torch_become_plain_ones():
    import torch

    row = make_row()
    row.extra.update({"a": np.float32(0.5), "b": torch.tensor(2), "c": np.bool_(True)})
    check_extra([row])
    assert json.dumps(row.extra) == '{"a": 0.5, "b": 2, "c": true}'
