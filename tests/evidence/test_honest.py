"""The campaign of the honest models: its suite, and what it writes."""

from __future__ import annotations

import re
from pathlib import Path

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

ROOT = Path(__file__).parents[2]


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


def test_the_documents_say_what_the_committed_table_says():
    table = (ROOT / "leaderboard" / "honest.md").read_text()
    broken, asked, weak, open_ = re.search(
        r"\*\*(\d+) of (\d+) verdicts are `broken`, (\d+) `weak`\.\*\* (\d+) are `open`", table
    ).groups()
    assert (broken, weak) == ("0", "0")
    said = " ".join((ROOT / "docs" / "audit.md").read_text().split())
    assert f"of {asked} verdicts {broken} are `broken`, {weak} `weak` and {open_} `open`, most of them STAT's" in said
    rows = re.findall(r"^\| (\w+/.*?) +\|(.*)\|$", table, re.MULTILINE)
    assert len(rows) == 10
    cells = [[cell.strip() for cell in row.split("|")] for _, row in rows]
    assert sum(row.count("O") for row in cells) == int(open_) < 2 * sum(row[-2] == "O" for row in cells)


@pytest.fixture
def audited(tmp_path):
    suite = single_suite(
        dataset=defects.DATASET, python="layered:honest", attacks=["pgd steps=3"], eps=defects.EPS,
        overrides=["evaluate.block=60", "precision=float32"],
    )  # fmt: skip
    return rs.audit(
        suite, checks=["BOX", "STOCHASTIC"], images=30, store=tmp_path, leaderboard=None, device="cpu"
    ).audit


def test_what_it_writes_counts_verdicts_and_time(audited):
    (row,) = audited.rows
    text = honest.report(audited, {row.label: 0.04})
    assert "**0 of 2 verdicts are `broken`, 0 `weak`.** 0 are `open`, 2 `holds`." in text
    assert "on 30 images of each row" in text
    assert "| H     | H            | 0.0       |" in text


def test_the_time_of_a_row_is_that_of_every_job_of_its_audit_for_each_seed(tmp_path, monkeypatch):
    suite = load_suite(honest.SUITE, ["defenses=[none]", "attacks=fgsm", "train.epochs=1", "seeds=[0, 1]"])
    plan = make_plan(suite, Registry(), Hardware("cpu", "float32"))
    asked = []
    monkeypatch.setattr(Store, "result", lambda store, job: asked.append(job) or {"seconds": 6.0})
    (row,) = plan.rows
    taken = honest.minutes(row.label, plan, 200, Store(tmp_path), Registry())
    assert taken == pytest.approx(0.1 * len(asked) / 2)
    assert len(asked) == len(set(asked)) > 2 * 15
    assert not plan.by_id.keys() & set(asked)


def test_a_verdict_that_no_honest_model_may_have_is_told(audited):
    (row,) = audited.rows
    box = row.by_check["BOX"].model_copy(update={"verdict": "broken", "text": "left the ball"})
    broken = audited.model_copy(update={"rows": (row.model_copy(update={"verdicts": (box, *row.verdicts[1:])}),)})
    assert honest.faults(audited) == []
    assert [verdict.text for _, verdict in honest.faults(broken)] == ["left the ball"]
    text = honest.report(broken, {row.label: 0.0})
    assert "**1 of 2 verdicts are `broken`" in text
    assert f"- {row.label}, BOX `broken`: left the ball" in text
