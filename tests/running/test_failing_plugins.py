"""A plugin whose own code fails in the middle of a run: its jobs fail alone, in a line that names its file and line."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch

import robuststack as rs
from robuststack.cli import call
from robuststack.errors import PluginError
from robuststack.plugin.registry import Registry

SUITE = {
    "datasets": {"name": "tradeoff", "options": {"images": 40, "test_images": 20, "size": 8, "classes": 3}},
    "architectures": {"name": "resnet8", "options": {"width": 4}},
    "threat": {"eps": 0.1},
    "train": {"epochs": 1, "batch_size": 20},
    "measure": {"latency": False},
    "precision": "float32",
    "device": "cpu",
}


class Dividing(rs.Attack):
    """Fails in a function of its own."""

    def perturb(self, model, x, y, threat, generator):
        return self._moved(x)

    def _moved(self, x):
        return x + 1 / 0


class Mismatched(rs.Attack):
    """Fails in torch, which it calls wrongly."""

    def perturb(self, model, x, y, threat, generator):
        return x @ torch.zeros(3, 3)


class Forgetful(rs.Defense):
    """Fails as it trains."""

    def build(self, architecture, shape, num_classes):
        return architecture.build(shape, num_classes)

    def training_step(self, step):
        raise KeyError("beta")


@pytest.fixture
def failed(tmp_path):
    """The failed jobs of a suite with these parts, and how many rows it has. Behind each is the error."""

    def ran(**parts):
        registry = Registry()
        for component in (Dividing, Mismatched, Forgetful, Unwritten, Empty):
            registry.add(component.__name__.lower(), component)
        result = rs.run(SUITE | parts, store=tmp_path / "store", leaderboard=None, registry=registry)
        assert all(isinstance(error.__cause__, Exception) for error in result.outcome.failed.values())
        return result.failed, len(result.rows)

    return ran


def line_of(code: str) -> int:
    """The first line of this file that holds some code."""
    lines = Path(__file__).read_text(encoding="utf-8").splitlines()
    return 1 + next(place for place, line in enumerate(lines) if code in line)


@pytest.mark.parametrize(
    ("attack", "reason", "code"),
    [("dividing", "ZeroDivisionError: division by zero", "1 / 0"), ("mismatched", "RuntimeError: .+", "x @ torch")],
)
def test_an_attack_fails_where_it_is_used(failed, attack, reason, code):
    reasons, _ = failed(defenses="none", attacks=["fgsm", attack])
    says = rf"attack '{attack}' fails: {reason} \({Path(__file__).name}, line {line_of(code)}\)"
    assert [bool(re.fullmatch(says, text)) for text in reasons.values()] == [True], reasons


def test_a_defense_fails_its_rows_and_no_others(failed):
    reasons, rows = failed(defenses=["none", "forgetful"], attacks="fgsm")
    assert rows == 1
    line = line_of("raise KeyError")
    assert f"defense 'forgetful' fails: KeyError: 'beta' ({Path(__file__).name}, line {line})" in reasons.values()


def test_what_fails_in_the_hosts_own_code_stays_an_error(failed, monkeypatch):
    def broken(*arguments, **options):
        raise ZeroDivisionError("ours")

    monkeypatch.setattr("robuststack.engine.blocks.attack_block", broken)
    with pytest.raises(ZeroDivisionError, match="ours"):
        failed(defenses="none", attacks="dividing")


class Unwritten(rs.Defense):
    """Has no training step."""


class Unlabelled(rs.Attack):
    """Fails as the suite is planned."""

    @property
    def label(self):
        return f"x{self.options.stepz}"


class Unsized(rs.Dataset):
    """Fails as the suite is checked."""

    shape, num_classes = (1, 8, 8), 4

    def size(self, split):
        return {"train": 60}[split]


class Empty(rs.Architecture):
    """Builds nothing."""

    def build(self, shape, num_classes):
        return None


def test_a_defense_without_a_training_step_is_told_so(failed):
    reasons, _ = failed(defenses="unwritten", attacks="fgsm")
    assert "defense 'unwritten' fails: it has no method `training_step`" in reasons.values()


def test_an_architecture_that_builds_nothing_is_told_so(failed):
    with pytest.raises(
        PluginError, match=r"defense 'none' on architecture 'empty' builds NoneType; valid: a torch\.nn\.Module"
    ):
        failed(defenses="none", attacks="fgsm", architectures="empty")


@pytest.mark.parametrize(
    ("parts", "message", "code"),
    [
        ("attacks: unlabelled\ndatasets: tradeoff", "attack 'unlabelled' fails: AttributeError: .*stepz.*", "stepz}"),
        ("attacks: fgsm\ndatasets: unsized", "dataset 'unsized' fails: KeyError: 'validation'", '{"train": 60}[split]'),
    ],
)
@pytest.mark.parametrize("command", ["check", "plan", "run"])
def test_what_fails_before_any_job_is_one_line_of_the_command(
    tmp_path, monkeypatch, capsys, command, parts, message, code
):
    class Extended(Registry):
        def __init__(self, *arguments):
            super().__init__(*arguments)
            for component in (Unlabelled, Unsized):
                self.add(component.__name__.lower(), component)

    monkeypatch.setattr("robuststack.cli.common.Registry", Extended)
    suite = tmp_path / "suite.yaml"
    suite.write_text(f"{parts}\ndefenses: none\narchitectures: resnet8\n")
    assert call([command, str(suite)]) == 2
    error = capsys.readouterr().err
    assert re.fullmatch(rf"robuststack: error: {message} \({Path(__file__).name}, line {line_of(code)}\)\n", error), (
        error
    )


def test_an_error_of_the_host_keeps_its_traceback(monkeypatch):
    monkeypatch.setattr("robuststack.cli.common.Registry", lambda: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        call(["list"])
