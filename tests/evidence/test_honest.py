"""The campaign of the honest models: its suite, and what it writes."""

from __future__ import annotations

import defects
import honest
import pytest

import robuststack as rs
from robuststack.evidence.checks.stronger import ITERATIONS, Stronger
from robuststack.hardware import Hardware
from robuststack.plan.audit import subjects
from robuststack.plan.derived import DerivedJobs
from robuststack.plan.planner import make_plan
from robuststack.plugin.registry import Registry
from robuststack.running.store import Store
from robuststack.suite.loading import load_suite
from robuststack.suite.single_model import single_suite


def test_its_suite_has_the_models_the_seeds_and_the_strong_attacks():
    registry = Registry()
    plan = make_plan(load_suite(honest.SUITE), registry, Hardware("cpu", "float32"))
    assert {row.label.split("/")[2].split()[0] for row in plan.rows} == {
        "none", "pgd_at", "advprop", "float", "oat", "pni"
    }  # fmt: skip
    by_row = subjects(plan, DerivedJobs(plan, registry), plan.rows)
    assert {len(models) for models in by_row.values()} == {3}
    for models in by_row.values():
        assert models[0].main == ("PGD-20", "steps")
        assert models[0].attacks["AutoAttack-rand"].options.iterations == ITERATIONS
        assert Stronger().inapplicable(models[0]) == "the row has AutoAttack-rand already"


@pytest.fixture
def audited(tmp_path):
    suite = single_suite(
        dataset=defects.DATASET, python="layered:honest", attacks=["pgd steps=3"], eps=defects.EPS,
        overrides=["evaluate.block=60", "precision=float32"],
    )  # fmt: skip
    return rs.audit(
        suite, checks=["BOX", "STOCHASTIC"], images=30, store=tmp_path, leaderboard=None, device="cpu"
    ).audit


def test_what_it_writes_counts_verdicts_and_time(audited, tmp_path):
    text = honest.report(audited, Store(tmp_path))
    assert "**0 of 2 verdicts are `broken`, 0 `weak`.** 0 are `open`, 2 `holds`." in text
    assert "on 30 images of each row" in text
    assert "| H     | H            | 0.0       |" in text
    (row,) = audited.rows
    (probe,) = Store(tmp_path).finished("probe")
    assert honest.minutes(row, Store(tmp_path)) == pytest.approx(probe["seconds"] / 60)


def test_a_verdict_that_no_honest_model_may_have_is_told(audited, tmp_path):
    (row,) = audited.rows
    box = row.by_check["BOX"].model_copy(update={"verdict": "broken", "text": "left the ball"})
    broken = audited.model_copy(update={"rows": (row.model_copy(update={"verdicts": (box, *row.verdicts[1:])}),)})
    assert honest.faults(audited) == []
    assert [verdict.text for _, verdict in honest.faults(broken)] == ["left the ball"]
    text = honest.report(broken, Store(tmp_path))
    assert "**1 of 2 verdicts are `broken`" in text
    assert f"- {row.label}, BOX `broken`: left the ball" in text
