"""A plugin whose own code fails in the middle of a run: its jobs fail alone, in a line that names its file and line."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch

import robuststack as rs
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
        for component in (Dividing, Mismatched, Forgetful):
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
