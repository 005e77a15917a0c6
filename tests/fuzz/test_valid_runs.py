"""Any suite that is planned runs to its end, whatever is combined in it; and what ran once is not run again."""

from __future__ import annotations

import io
import json
import shutil
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import annotated_types
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic.fields import FieldInfo

import robuststack as rs
from damage import ASKED, fuzzed, no_hang
from robuststack.cli import call
from robuststack.plugin.registry import Registry

REGISTRY = Registry()
FAMILIES = ("MODEL", "NAME", "D-K")
DEFENSES = [name for name in REGISTRY.names("defense") if not name.endswith(FAMILIES)]
ATTACKS = [name for name in REGISTRY.names("attack") if not name.endswith(FAMILIES)]
LIBRARIES = ["corruption:contrast", "corruption:jpeg", "torchattacks:PGD", "torchattacks:FGSM"]
TRAINING = ["pgd", "fgsm", "fgsm_rs", "n_fgsm", "free", "cw_inf"]
COSTLY = ("steps", "iterations", "queries", "replays", "ensemble")
"""Options that multiply forward passes; their defaults are for figures that are published."""


def option(field: FieldInfo) -> st.SearchStrategy[Any] | None:
    """A value that an option may have, and that costs little; None leaves the option out."""
    kind, bounds = field.annotation, {type(bound): bound for bound in field.metadata}
    if get_origin(kind) is Literal:
        return st.sampled_from(get_args(kind))
    if kind is bool:
        return st.booleans()
    low = bounds.get(annotated_types.Ge)
    if kind is int and low:
        return st.integers(low.ge, low.ge + 1)
    high = bounds.get(annotated_types.Le)
    ends = [*([low.ge] if low else []), *([high.le] if high else [])]
    return st.sampled_from([*ends, field.default]) if kind is float else None


def options(model: type[rs.Options]) -> st.SearchStrategy[dict[str, Any]]:
    """Values of some of a model's options, of those that cost time always."""
    known = {name: option(field) for name, field in model.model_fields.items()}
    values = {field.alias or name: known[name] for name, field in model.model_fields.items() if known[name] is not None}
    costly = {name: values.pop(name) for name in COSTLY if name in values}
    if "dim" in values:
        costly["dim"], _ = st.sampled_from([1, 4]), values.pop("dim")
    return st.fixed_dictionaries(costly, optional=values)


@st.composite
def components(draw: st.DrawFn, kind: str, names: list[str]) -> dict[str, Any]:
    """A component with some of its options."""
    name = draw(st.sampled_from(names))
    return {"name": name, "options": draw(options(REGISTRY.find(kind, name).load().Options))}


@st.composite
def defenses(draw: st.DrawFn) -> dict[str, Any]:
    """A defense with some of its options, at its own points or at some of others."""
    part = draw(components("defense", DEFENSES))
    knobs = REGISTRY.find("defense", part["name"]).load().Knobs
    if knobs.model_fields and draw(st.booleans()):
        part["points"] = draw(st.lists(options(knobs), min_size=1, max_size=2, unique_by=repr))
    return part


EVALUATE = st.fixed_dictionaries(
    {"draws": st.integers(8, 12)},
    optional={
        "split": st.sampled_from(["test", "validation"]),
        "limit": st.integers(3, 30),
        "limit_rule": st.sampled_from(["stratified", "first"]),
        "block": st.sampled_from([1, 5, 7, 100]),
        "readings": st.sampled_from(["expected", "majority 3", ["any 2", "majority 5"]]),
        "protocols": st.sampled_from(
            [["published"], ["adaptive", "surrogate"], ["off", "published"], ["frozen_known"]]
        ),
        "ladder": st.booleans(),
        "points": st.sampled_from(["all", "ends"]),
        "game": st.sampled_from([True, False, {"ca": 10}]),
        "keep_images": st.booleans(),
    },
)
RECIPES = st.fixed_dictionaries(
    {"epochs": st.integers(1, 2), "batch_size": st.sampled_from([12, 20]), "attack": components("attack", TRAINING)},
    optional={
        "optimizer": st.sampled_from(["sgd", "adamw"]),
        "schedule": st.sampled_from(["cosine", "steps", "constant"]),
        "checkpoint": st.sampled_from(["last", "best"]),
        "average": st.sampled_from(["none", "ema", "swa"]),
        "eps": st.sampled_from([0.05, "16/255"]),
    },
)
SUITES = st.fixed_dictionaries(
    {
        "datasets": st.fixed_dictionaries(
            {"name": st.just("tradeoff")},
            optional={"sweep": st.just({"noise": [0.1, 0.2]}), "train": st.just({"lr": 0.01})},
        ).map(lambda part: {**part, "options": {"images": 40, "test_images": 15, "size": 8, "classes": 4}}),
        "architectures": st.sampled_from([{"name": "resnet8", "options": {"width": 4}}, "wrn-10-1"]),
        "train": RECIPES,
        "defenses": st.lists(defenses(), min_size=1, max_size=2),
        "attacks": st.tuples(
            components("attack", ATTACKS), st.lists(st.sampled_from(LIBRARIES), max_size=2, unique=True)
        ).map(lambda attacks: [attacks[0], *attacks[1]]),
        "threat": st.fixed_dictionaries(
            {"norm": st.sampled_from(["linf", "l2"]), "eps": st.sampled_from([0.1, "8/255"])}
        ),
        "precision": st.just("float32"),
        "threads": st.just(1),
        "measure": st.sampled_from([{"latency": False}, {"repeats": 3, "warmup": 0, "batch_size": 2}]),
    },
    optional={"seeds": st.sampled_from([3, [0, 1], {"train": 0, "attack": [0, 1]}])},
)


def answer(*arguments: str) -> tuple[int, str, str]:
    """The exit code of a command, what it prints and what it says."""
    said, printed = io.StringIO(), io.StringIO()
    with no_hang(), redirect_stderr(said), redirect_stdout(printed):
        code = call([*arguments])
    return code, printed.getvalue(), said.getvalue()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("runs")


def ends_well(folder: Path, suite: dict[str, Any]) -> None:
    """A suite is refused, or runs to its end with figures that can be, and does not run again."""
    shutil.rmtree(folder)
    folder.mkdir()
    path, store, boards = folder / "suite.yaml", str(folder / "store"), folder / "boards"
    path.write_text(yaml.safe_dump(suite))
    places = (str(path), "--device", "cpu", "--store", store)
    code, plan, refused = answer("plan", *places, "--json")
    if code:
        assert (code, plan) == (2, ""), refused
        return
    planned = json.loads(plan)
    run = ("run", *places, "--leaderboard", str(boards))
    code, _, said = answer(*run)
    assert code == 0, said
    first = {file.name: file.read_bytes() for file in boards.iterdir()}
    board = rs.load_board(boards / "suite.json")
    assert len(board.rows) == len(planned["rows"])
    for row in board.rows:
        for score in row.scores.values():
            figures = [score.ca, *score.ra.values()]
            assert all(0 <= figure.low <= figure.value <= figure.high <= 100 for figure in figures), row.label
            assert all(score.worst.value <= score.ra[name].value for name in score.single_attacks)
    code, again, said = answer(*run)
    assert (code, " jobs to run" in again) == (0, False), said
    assert {file.name: file.read_bytes() for file in boards.iterdir()} == first


@pytest.mark.timeout(0)  # `no_hang` limits a case.
@settings(fuzzed, max_examples=int(ASKED or 24) // 4)  # A run takes seconds.
@given(SUITES)
def test_a_suite_that_is_planned_runs_to_its_end(folder: Path, suite: dict[str, Any]) -> None:
    ends_well(folder, suite)


def test_a_run_that_crashes_is_seen(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("robuststack_plugins.attacks.noise.Noise.perturb", lambda *arguments, **options: None)
    suite = {
        "datasets": {"name": "tradeoff", "options": {"images": 40, "test_images": 15, "size": 8, "classes": 4}},
        "architectures": {"name": "resnet8", "options": {"width": 4}},
        "train": {"epochs": 1, "batch_size": 20},
        "defenses": "none",
        "attacks": "noise",
        "precision": "float32",
        "measure": {"latency": False},
    }
    with pytest.raises(AssertionError, match=r"breaks its contract"):
        ends_well(folder, suite)
