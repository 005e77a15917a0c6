"""suites/claims.yaml: every randomised defense that is built in, as published and against an attacker who averages."""

from __future__ import annotations

import pytest

import robuststack as rs
from planned_suites import ROOT
from robuststack.hardware import Hardware
from robuststack.plan.plan import Plan
from robuststack.plan.planner import make_plan
from robuststack.plugin.registry import Registry
from robuststack.suite.loading import load_suite

REGISTRY = Registry()
TUNED_ALIKE = {"floats", "floats_sparse"}
"""FLOAT's noise on other networks."""


@pytest.fixture(scope="module")
def plan() -> Plan:
    return make_plan(load_suite(ROOT / "suites" / "claims.yaml"), REGISTRY, Hardware("cpu", "bf16"))


def randomised() -> set[str]:
    defenses = [
        REGISTRY.create("defense", registration.name)
        for registration in REGISTRY
        if registration.kind == "defense" and registration.distribution == "robuststack" and not registration.pattern
    ]
    return {defense.name for defense in defenses if defense.trains and _draws_noise(defense)}


def _draws_noise(defense: rs.Defense) -> bool:
    return any(defense.setting(defense.whole_point(point)).stochastic for point in defense.operating_points())


def test_it_has_every_randomised_defense(plan):
    assert {row.facts["defense"] for row in plan.rows} - {"none", "pgd_at"} == randomised() - TUNED_ALIKE


def test_each_is_scored_as_published_by_the_attacker_who_averages_and_up_the_ladder(plan):
    for row in plan.rows:
        if row.facts["stochastic"]:
            rungs = {"off", "surrogate", "frozen_known"} - row.facts["inapplicable"].keys()
            assert row.robust.keys() == {"adaptive", "published"} | rungs, row.label


def test_adv_bnn_trains_with_the_optimiser_of_its_reference_code(plan):
    """The suite's learning rate is for SGD."""
    (recipe,) = [row.facts["recipe"] for row in plan.rows if row.facts["defense"] == "adv_bnn"]
    assert (recipe["optimizer"], recipe["lr"], recipe["weight_decay"]) == ("adamw", 0.01, 0.0)
