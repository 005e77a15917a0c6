"""`robuststack evaluate`: one finished model through the same pipeline as a suite, without a suite."""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
from torch import nn

import robuststack as rs
from robuststack.cli import call
from robuststack.engine import models
from robuststack.leaderboard.board_file import read_board
from robuststack.plugin.registry import PluginSource, Registry, installed_sources
from robuststack.suite.single_model import point_of, single_suite

DATASET = "tradeoff images=60 test_images=30 size=8 classes=4"
COMMON = [
    "--dataset",
    DATASET,
    "--eps",
    "0.1",
    "--draws",
    "2",
    "--set",
    "measure.latency=false",
    "--set",
    "precision=float32",
]
LOADED = ["--load", "w.safetensors", "--architecture", "resnet8 width=4", "--defense", "float"]
SUITE = """
datasets: {name: tradeoff, options: {images: 60, test_images: 30, size: 8, classes: 4}}
architectures: {name: resnet8, options: {width: 4}}
threat: {eps: 0.1}
defenses: {name: float, model: {load: w.safetensors}, points: [{lambda_n: 0.2}, {lambda_n: 1, lambda_th: 0.5}]}
attacks: [{name: pgd, options: {steps: 2, draws: 2}}, {name: fgsm, options: {draws: 2}}]
evaluate: {draws: 2}
measure: {latency: false}
precision: float32
"""
CHOICES = ["--attack", "pgd steps=2 draws=2", "--attack", "fgsm draws=2", "--point", "lambda_n=0.2", "--point",
           "lambda_n=1 lambda_th=0.5"]  # fmt: skip


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory, with weights of FLOAT in it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    registry = Registry()
    architecture = registry.create("architecture", "resnet8", {"width": 4})
    model = models.build(registry.create("defense", "float"), architecture, (3, 8, 8), 4, 0)
    safetensors.torch.save_file(model.state_dict(), tmp_path / "w.safetensors")
    return tmp_path


@pytest.fixture
def evaluate(capsys: pytest.CaptureFixture[str]) -> Any:
    """Arguments -> (exit code, standard output, standard error)."""

    def go(*arguments: str) -> tuple[int, str, str]:
        capsys.readouterr()
        code = call(["evaluate", *arguments, "--device", "cpu"])
        return code, *capsys.readouterr()

    return go


def dumped(rows: list[rs.Row]) -> list[dict[str, Any]]:
    return [row.model_dump(mode="json") for row in rows]


def without_names(rows: list[dict[str, Any]]) -> str:
    return json.dumps(
        [{key: value for key, value in row.items() if key != "latency_ms"} for row in rows], sort_keys=True
    )


def test_its_rows_are_those_that_a_suite_would_have(evaluate, here):
    code, output, _ = evaluate(*LOADED, *COMMON, *CHOICES, "--json")
    assert code == 0
    (here / "suite.yaml").write_text(SUITE)
    result = rs.run(here / "suite.yaml", store=here / "other", leaderboard=None, device="cpu")
    assert without_names(json.loads(output)) == without_names(dumped(result.rows))


def test_it_shares_the_store_with_suites(evaluate, here):
    (here / "suite.yaml").write_text(SUITE)
    rs.run(here / "suite.yaml", leaderboard=None, device="cpu")
    code, output, _ = evaluate(*LOADED, *COMMON, *CHOICES)
    assert (code, output.splitlines()[0]) == (0, "w: all 12 jobs were done before")


def test_it_prints_the_table_and_writes_nothing_but_the_store(evaluate, here):
    code, output, errors = evaluate(*LOADED, *COMMON, *CHOICES, "--store", "mine")
    assert (code, errors) == (0, "")
    assert "tradeoff, resnet8, Linf eps 0.1" in output
    assert "RA PGD-2 %" in output
    assert "float model=w.safetensors  lambda_n=1 lambda_th=0.5" in output
    assert sorted(path.name for path in here.iterdir()) == ["mine", "w.safetensors"]


def test_a_leaderboard_is_written_where_it_is_wanted_and_says_what_was_asked(evaluate, here):
    code, output, _ = evaluate(*LOADED, *COMMON, *CHOICES, "--leaderboard", "board")
    assert code == 0
    assert output.endswith("wrote board/w.json\nwrote board/w.md\nwrote board/w.labels.safetensors\n")
    board = read_board(here / "board" / "w.json")
    assert board.complete
    assert board.description.startswith(f"robuststack evaluate --dataset '{DATASET}' --defense float ")
    assert board.description.endswith("--set measure.latency=false --set precision=float32")
    assert "--point 'lambda_n=1 lambda_th=0.5' --attack 'pgd steps=2 draws=2'" in board.description


def test_two_models_of_one_name_do_not_share_a_leaderboard(evaluate, here):
    arguments = [
        "--architecture",
        "resnet8 width=4",
        "--defense",
        "float",
        *COMMON,
        "--point",
        "lambda_n=0",
        "--attack",
        "fgsm",
    ]
    assert evaluate("--load", "w.safetensors", *arguments, "--leaderboard", "board")[0] == 0
    (here / "other").mkdir()
    (here / "w.safetensors").rename(here / "other" / "w.safetensors")
    code, _, errors = evaluate("--load", "other/w.safetensors", *arguments, "--leaderboard", "board")
    assert code == 2
    assert "is the leaderboard of ../w.safetensors, and ../other/w.safetensors is named 'w' too" in errors
    more = ["--leaderboard", "board", "--set", "name=other"]
    assert evaluate("--load", "other/w.safetensors", *arguments, *more)[0] == 0


def test_a_function_needs_no_more_than_data(evaluate, here):
    (here / "evaluated_nets.py").write_text(
        "from torch import nn\ndef make():\n    return nn.Sequential(nn.Flatten(), nn.Linear(192, 4))\n"
    )
    code, output, _ = evaluate("--python", "evaluated_nets:make", *COMMON)
    assert code == 0
    assert "tradeoff, own network, Linf eps 0.1" in output
    assert "none model=evaluated_nets:make" in output
    assert "RA PGD-20 %" in output


def test_rows_as_json_are_all_of_standard_output(evaluate):
    code, output, errors = evaluate(*LOADED, *COMMON, *CHOICES, "--json")
    assert code == 0
    assert [row["point"]["lambda_n"] for row in json.loads(output)] == [0.2, 1]
    assert errors.startswith("w: 12 jobs to run, 0 done before (cpu, float32)\n")


def test_what_is_not_given_is_the_datasets_and_the_defenses(evaluate):
    code, output, _ = evaluate(
        *LOADED,
        "--dataset",
        DATASET,
        "--attack",
        "fgsm draws=1",
        "--limit",
        "10",
        "--json",
        "--set",
        "measure.latency=false",
    )
    rows = json.loads(output)
    assert code == 0
    assert [row["point"]["lambda_n"] for row in rows] == [0, 0.2, 0.7, 1]
    assert {(row["threat"]["eps"], row["n"]) for row in rows} == {(8 / 255, 10)}
    assert {row["draws"] for row in rows if row["stochastic"]} == {20}


class Own(rs.Defense):
    """Brings its model."""

    trains = False

    def load(self, folder: Path, shape: tuple[int, int, int], num_classes: int) -> nn.Module:
        return nn.Sequential(nn.Flatten(), nn.Linear(192, num_classes))


class Plugin:
    @rs.hookimpl
    def register_defense(self, register: Any) -> None:
        register("own", f"{__name__}:Own")


def test_a_defense_that_brings_its_model_needs_nothing_else(here):
    registry = Registry([*installed_sources(), PluginSource("own", "own", "1", Plugin)])
    (row,) = rs.evaluate(dataset=DATASET, defense="own", attacks=["fgsm"], device="cpu", registry=registry).rows
    assert (row.defense, row.shown) == ("own", {})


def test_the_python_function_gives_the_same_as_the_command(evaluate, here):
    code, output, _ = evaluate(*LOADED, *COMMON, *CHOICES, "--json")
    result = rs.evaluate(
        load=here / "w.safetensors", architecture="resnet8 width=4", defense="float", dataset=DATASET, eps="0.1", draws=2,
        attacks=["pgd steps=2 draws=2", "fgsm draws=2"], points=["lambda_n=0.2", "lambda_n=1 lambda_th=0.5"],
        overrides=["measure.latency=false", "precision=float32"], store=here / "other", device="cpu",
    )  # fmt: skip
    assert code == 0
    assert [(row["ca"], row["ra"]) for row in json.loads(output)] == [
        (row["ca"], row["ra"]) for row in dumped(result.rows)
    ]
    assert result.files == []


# --- components in one argument


@pytest.mark.parametrize(
    ("text", "name", "options"),
    [
        ("pgd", "pgd", {}),
        ("  pgd   steps=5  restarts=2 ", "pgd", {"steps": 5, "restarts": 2}),
        ("oat lambdas=[0, 0.5, 1] dim=1", "oat", {"lambdas": [0, 0.5, 1], "dim": 1}),
        ("own file=/my data/a b.npz size=1e-3", "own", {"file": "/my data/a b.npz", "size": 1e-3}),
        ("own text='a=b c' flag=true", "own", {"text": "a=b c", "flag": True}),
        ("pgd step=2/255", "pgd", {"step": "2/255"}),
        ("own nothing= much=x", "own", {"nothing": None, "much": "x"}),
    ],
)
def test_a_component_is_a_name_and_yaml_values(text, name, options):
    (part,) = single_suite(dataset="digits", attacks=[text]).attacks
    assert (part.name, part.options) == (name, options)


def test_a_list_of_values_of_a_knob_is_a_grid():
    (part,) = single_suite(dataset="digits", points=["lambda_n=[0, 1] lambda_th=0.5", "lambda_n=0.2"]).defenses
    assert part.points == [{"lambda_n": [0, 1], "lambda_th": [0.5]}, {"lambda_n": [0.2]}]


@pytest.mark.parametrize(
    ("points", "whole"),
    [
        ({"lambda_n": [0, 1 / 3]}, [{"lambda_n": [0]}, {"lambda_n": [1 / 3]}]),
        ([{"lambda_n": 1 / 3}, {"lambda_th": 0.5}], [{"lambda_n": [1 / 3]}, {"lambda_th": [0.5]}]),
        ([{"lambda_n": np.array([0, 0.25])}], [{"lambda_n": [0]}, {"lambda_n": [0.25]}]),
        (["lambda_n=1", {"lambda_n": 1e-7}], [{"lambda_n": [1]}, {"lambda_n": [1e-7]}]),
        ("lambda_n=1", [{"lambda_n": [1]}]),
        (None, []),
        ([{}], [{}]),
    ],
)  # fmt: skip
def test_points_are_texts_or_the_very_values_of_their_knobs(points, whole):
    suite = single_suite(dataset="digits", points=points)
    assert suite.defenses[0].points == whole
    said = shlex.split(suite.description)
    again = [point_of(said[place + 1]) for place, word in enumerate(said) if word == "--point"]
    assert [{knob: [value] for knob, value in point.items()} for point in again] == whole, "it says another point"


@pytest.mark.parametrize("points", [3, [0.2], [None], {"lambda_n": []}])
def test_what_is_no_point_is_one_line(points):
    with pytest.raises(rs.RobustStackError, match=r"points: .*lambda_n"):
        single_suite(dataset="digits", points=points)


@pytest.mark.parametrize(
    ("model", "name"),
    [
        ({"load": "runs/a/best.epoch-3.pt", "architecture": "resnet8"}, "best.epoch-3"),
        ({"load": "_x.pt", "architecture": "resnet8"}, "x"),
        ({"load": "模型.pt", "architecture": "resnet8"}, "模型"),
        ({"python": "package.nets:make"}, "package.nets-make"),
        ({"defense": "own model=Wang2023 eps=0.5"}, "own-model-Wang2023-eps-0.5"),
    ],
)
def test_a_leaderboard_is_named_after_the_model(model, name):
    assert single_suite(dataset="digits", **model).name == name


# --- what it cannot use: one line that names the option


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--attack", "pdg"], "--attack pdg: unknown attack 'pdg': did you mean 'pgd'?"),
        (["--attack", "pgd stepz=3"],
         "--attack pgd stepz=3: attack 'pgd': unknown key 'stepz': did you mean 'step' or 'steps'?"),
        (["--attack", "fgsm", "--attack", "pgd steps=0"],
         "--attack pgd steps=0: attack 'pgd': steps: must be greater than"),
        (["--attack", "pgd steps"],
         "--attack pgd steps: write a name and its options, for example --attack \"NAME KEY=VALUE\""),
        (["--attack", "steps=3"],
         "--attack steps=3: write a name and its options, for example --attack \"NAME KEY=VALUE\""),
        (["--attack", ""], "--attack : write a name and its options"),
        (["--attack", "pgd steps=3 steps=4"], "--attack pgd steps=3 steps=4: key 'steps' is written twice"),
        (["--attack", "pgd steps=["], "--attack pgd steps=[: the value is not valid YAML: "),
        (["--attack", "pgd", "--attack", "pgd"],
         "--attack pgd: two attacks are labelled 'PGD-20'; give one of them another"),
        (["--dataset", "digitz"], "--dataset digitz: unknown dataset 'digitz': did you mean 'digits'?"),
        (["--dataset", "tradeoff size=9"], "--dataset tradeoff size=9: dataset 'tradeoff': size: must be a multiple of 4"),
        (["--architecture", "resnet9"], "--architecture resnet9: unknown architecture 'resnet9': did you mean 'resnet8'"),
        (["--defense", "flot"], "--defense flot: unknown defense 'flot': did you mean 'float'"),
        (["--point", "lambda_n=2"],
         "--point lambda_n=2: points of float: lambda_n: must be less than or equal to 1, not 2"),
        (["--point", "lambda=1"], "--point lambda=1: points of float: unknown key 'lambda': did you mean 'lambda_n'"),
        (["--point", "0.2"], "--point 0.2: write KEY=VALUE, several of them with spaces between"),
        (["--eps", "8"], "--eps 8: threat.eps: 8 is outside (0, 1], the range of a pixel (was 8/255 meant?)"),
        (["--eps", "small"], "--eps small: threat.eps: must be a number or a fraction such as 8/255, not 'small'"),
        (["--draws", "1"], "--draws 1: evaluate.draws: must be greater than or equal to 2, not 1"),
        (["--limit", "0"], "--limit 0: evaluate.limit: must be greater than or equal to 1, not 0"),
        (["--draws", "many"], "Invalid value for '--draws': 'many' is not a valid integer"),
        (["--set", "evaluate.split=train"], "--set evaluate.split=train: evaluate.split: must be 'test' or 'validation'"),
        (["--set", "extends=other.yaml"], "--set extends=other.yaml: a model that is evaluated by itself extends no suite"),
        (["--load", "gone.pt"], "--load gone.pt: gone.pt cannot be read: No such file or directory"),
        (["--python", "nets:make"],
         "--load w.safetensors: the model is either loaded or made by --python nets:make; leave one"),
        (["--architecture", "resnet8"],
         "{here}/w.safetensors does not fit resnet8 under float with 4 classes: stem.weight has shape"),
    ],
)  # fmt: skip
def test_what_it_cannot_use_is_one_line_that_names_the_option(evaluate, here, more, message):
    code, _, errors = evaluate(*LOADED, *COMMON, *more)
    assert code == 2
    (line,) = errors.splitlines()
    assert line.startswith(f"robuststack: error: {message.replace('{here}', str(here))}")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "Missing option '--dataset'"),
        (["--dataset", DATASET],
         "--defense none: 'none' has no model of its own; give it one with --load FILE or --python"),
        (["--dataset", DATASET, "--architecture", "resnet8"],
         "--defense none: 'none' has no model of its own; give it one"),
        (["--dataset", DATASET, "--load", "w.pt"],
         "--load w.pt: name the network that the weights are of with --architecture"),
        (["--dataset", DATASET, "--python", "a:b", "--architecture", "resnet8"],
         "--architecture resnet8: --python a:b brings its own network; leave one out"),
        (["--dataset", DATASET, "--python", "absent_nets:b"], "--python absent_nets:b: no module 'absent_nets' in "),
        (["--dataset", DATASET, "--python", "nets.py"],
         "--python nets.py: defenses.0.model.python: 'nets.py' names no function;"),
    ],
)  # fmt: skip
def test_a_model_must_be_named_once(evaluate, here, arguments, message):
    code, output, errors = evaluate(*arguments)
    assert (code, output) == (2, "")
    (line,) = errors.splitlines()
    assert line.startswith(f"robuststack: error: {message}")
    assert [path.name for path in here.iterdir()] == ["w.safetensors"]
