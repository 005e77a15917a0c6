"""Plans of components that only these tests know: models that are not trained, attacks and defenses with wishes."""

from __future__ import annotations

import pytest

import robuststack as rs
from planned_suites import ids
from robuststack import hookimpl
from robuststack.errors import SuiteError
from robuststack.plugin.registry import PluginSource, Registry, installed_sources


class Foreign(rs.Defense):
    """A finished model of others."""

    trains = False

    class Options(rs.Options):
        weights: str = rs.option("theirs", "Which.")


class Guess(rs.Attack):
    """An attack without gradients, and one that wants many classes."""

    min_classes = 5
    needs_gradients = False


class Strange(rs.Defense):
    """A defense that changes the recipe."""

    def recipe(self):
        return {"lr": 0.7, "momentum": 0.3}


@pytest.fixture(scope="module")
def wider():
    def register_defense(register):
        register("foreign", f"{__name__}:Foreign")
        register("strange", f"{__name__}:Strange")

    def register_attack(register):
        register("guess", f"{__name__}:Guess")

    plugin = type("Plugin", (), {
        "register_defense": staticmethod(hookimpl(register_defense)),
        "register_attack": staticmethod(hookimpl(register_attack)),
    })  # fmt: skip
    return Registry([*installed_sources(), PluginSource("fake", "fakes", "1.0", lambda: plugin)])


def test_a_foreign_model_is_attacked_and_never_trained(plan, wider):
    made = plan("defenses=foreign", registry=wider)
    assert {job.kind for job in made.jobs} == {"attack", "judge", "measure"}
    assert all(job.needs == () for job in made.jobs if job.kind != "judge")
    assert made.rows[0].train == {}
    assert made.rows[0].facts["recipe"] is None
    assert {job.spec.foreign.defense.name for job in made.jobs if job.kind == "attack"} == {"foreign"}


def test_a_foreign_models_options_are_in_its_ids_and_the_recipe_is_not(plan, wider):
    before = plan("defenses=foreign", registry=wider)
    other = plan("defenses={name: foreign, options: {weights: ours}}", registry=wider)
    assert not ids(before) & ids(other)
    assert ids(plan("defenses=foreign", "train.epochs=9", "train.batch_size=9999", registry=wider)) == ids(before)


def test_an_attack_without_gradients_cannot_train(plan, wider):
    with pytest.raises(
        SuiteError, match=r"train\.attack: 'guess' is no gradient attack, so it cannot train; use pgd or fgsm$"
    ):
        plan("train.attack=guess", registry=wider)


def test_an_attack_that_wants_more_classes_is_refused(plan, wider):
    with pytest.raises(SuiteError, match=r"attack 'guess' needs at least 5 classes, tradeoff has 4$"):
        plan("attacks=guess", registry=wider)
    assert plan("attacks=guess", "datasets.options.classes=5", registry=wider).rows


def test_a_defense_changes_defaults_of_the_recipe_and_the_suite_wins(plan, wider):
    made = plan("defenses=strange", "train.lr=0.2", registry=wider)
    recipe = made.rows[0].facts["recipe"]
    assert (recipe["lr"], recipe["momentum"]) == (0.2, 0.3)
