"""Defenses that train in several phases: each phase is what its trainer alone would do, and resumes as epochs do."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from torch import nn
from torch.nn import functional

import robuststack as rs
from robuststack.engine.jobs import execute, seconds_of
from robuststack.engine.phases import part_of
from robuststack.engine.workspace import Workspace
from robuststack.errors import PluginError, SuiteError
from robuststack.layers.condition import View
from robuststack.leaderboard.training_curves import training_curves
from robuststack.plan.planner import make_plan
from robuststack.running.pipeline import Outcome
from robuststack.running.store import Store
from robuststack.suite.loading import load_suite
from robuststack.suite.phases import checked
from robuststack_plugins.defenses.mixed_nuts import MixedNuts
from training_runs import HARDWARE, REGISTRY, RUNTIME

SUITE = """
datasets: {name: tradeoff, options: {images: 60, test_images: 10, size: 8, classes: 4}, threat: {eps: 0.1}}
architectures: {name: resnet8, options: {width: 4}}
train: {epochs: 2, batch_size: 20, attack: {name: pgd, options: {steps: 2}}}
defenses: [DEFENSES]
attacks: fgsm
"""


class Killed(Exception):
    """Stands for the end of the process."""


def planned(folder: Path, defenses: str, *overrides: str) -> Any:
    folder.mkdir(exist_ok=True)
    (folder / "suite.yaml").write_text(SUITE.replace("DEFENSES", defenses))
    return make_plan(load_suite(folder / "suite.yaml", overrides), REGISTRY, HARDWARE)


def refused(folder: Path, defenses: str, *overrides: str) -> str:
    with pytest.raises(SuiteError) as error:
        planned(folder, defenses, *overrides)
    return str(error.value)


def trained(
    folder: Path, defenses: str, *overrides: str, die_after: int | None = None
) -> dict[str, tuple[dict[str, Any], Mapping[str, torch.Tensor]]]:
    """Label -> the result and the weights of a train job; each may be killed once after an epoch, and run again."""
    plan, store = planned(folder, defenses, *overrides), Store(folder / "store")

    def report(event: str, **facts: Any) -> None:
        if facts["epoch"] == die_after:
            raise Killed

    models = {}
    for job in (job for job in plan.jobs if job.kind == "train"):
        if die_after:
            with pytest.raises(Killed):
                execute(job, Workspace(REGISTRY, store, folder, HARDWARE), report)
            assert store.load_checkpoint(job.id, job.digest).epoch == die_after
        result = execute(job, Workspace(REGISTRY, store, folder, HARDWARE), lambda event, **facts: None)
        models[job.label.rpartition("/")[2]] = (
            result,
            safetensors.torch.load(store.read(job.id, "model.safetensors")),
        )
    return models


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return trained(tmp_path_factory.mktemp("phases"), "none, pgd_at, logit_mix")


def test_each_phase_gives_the_weights_of_its_trainer_alone(whole):
    _, mixed = whole["logit_mix"]
    for part, alone in (("clean", "none"), ("robust", "pgd_at")):
        weights = whole[alone][1]
        assert weights
        assert all(torch.equal(mixed[f"{part}.{key}"], value) for key, value in weights.items())
    assert len(mixed) == 2 * len(whole["none"][1])


def test_the_two_phases_are_told_apart(whole):
    result, _ = whole["logit_mix"]
    assert [(phase["name"], phase["epochs"]) for phase in result["phases"]] == [("clean", 2), ("robust", 2)]
    assert len(result["history"]) == len(result["epoch_seconds"]) == 4
    assert [sorted(epoch.keys() & {"ca", "ra"}) for epoch in result["history"]] == [["ca"]] * 2 + [["ca", "ra"]] * 2
    assert result["kept_epoch"] == 4


@pytest.mark.parametrize(
    ("seconds", "epochs", "expected"),
    [
        ([1.0, 1.0, 90.0, 5.0, 6.0], [3, 2], 3 * 1.0 + 2 * 5.5),  # 5, the median of all, is of neither phase.
        ([1.0, 5.0, 5.0, 5.0], [1, 3], 16.0),
        ([2.0, 90.0, 3.0], [3], 9.0),
    ],
)
def test_an_epoch_takes_the_median_of_its_phase(seconds, epochs, expected):
    assert seconds_of(seconds, epochs) == pytest.approx(expected)


def test_its_curves_are_those_of_each_phase(whole, tmp_path):
    result, _ = whole["logit_mix"]
    (curve,) = training_curves(planned(tmp_path, "logit_mix"), Outcome(results={result["id"]: result})).values()
    assert curve.metrics.keys() == {"clean: loss", "clean: ca", "robust: loss", "robust: ca", "robust: ra"}
    assert curve.metrics["robust: loss"] == tuple(round(epoch["loss"], 4) for epoch in result["history"][2:])
    assert (curve.kept_epoch, curve.kept_of_phases) == (4, {"clean": 2, "robust": 2})


@pytest.mark.parametrize("epoch", [1, 2, 3])
def test_a_job_that_is_killed_in_or_between_phases_ends_with_the_same_weights(whole, tmp_path, epoch):
    result, weights = trained(tmp_path, "logit_mix", die_after=epoch)["logit_mix"]
    assert result["history"] == whole["logit_mix"][0]["history"]
    assert all(torch.equal(weights[key], value) for key, value in whole["logit_mix"][1].items())


def test_a_phase_has_keys_of_its_own(tmp_path):
    phases = "defenses.0.train={phases: {clean: {epochs: 1, lr: 0.01}}}"
    result, _ = trained(tmp_path, "{name: logit_mix}", phases)["logit_mix"]
    assert [phase["epochs"] for phase in result["phases"]] == [1, 2]
    clean, *robust = result["epoch_seconds"]
    assert result["seconds_per_epoch"] == pytest.approx((clean + 2 * statistics.median(robust)) / 2)
    recipes = result["spec"]["recipe"]["phases"]
    assert [(recipes[name]["lr"], recipes[name]["epochs"]) for name in ("clean", "robust")] == [(0.01, 1), (0.1, 2)]


def test_the_best_checkpoint_is_chosen_in_the_robust_phase_alone(tmp_path):
    result, _ = trained(tmp_path, "logit_mix", "train.checkpoint=best")["logit_mix"]
    assert ["validation_ra" in epoch for epoch in result["history"]] == [False, False, True, True]
    ras = [epoch["validation_ra"] for epoch in result["history"][2:]]
    assert result["phases"][1]["kept_epoch"] == ras.index(max(ras)) + 1


def test_a_job_of_one_phase_does_not_speak_of_phases(tmp_path):
    job = next(job for job in planned(tmp_path, "none").jobs if job.kind == "train")
    assert "phases" not in job.spec.plain()["recipe"]


@pytest.mark.parametrize(
    ("defenses", "override", "message"),
    [
        ("none", "train.phases={clean: {epochs: 1}}",
         "no defense of this suite has a phase 'clean'; each trains in one phase"),
        ("logit_mix", "train.phases={cleen: {epochs: 1}}",
         "no defense of this suite has a phase 'cleen'; did you mean 'clean'?"),
        ("{name: none, train: {phases: {clean: {epochs: 1}}}}", None,
         "defense 'none' trains in one phase, so it has no phase 'clean'; leave `phases` out"),
        ("{name: logit_mix, train: {phases: {robst: {epochs: 1}}}}", None,
         "the recipe of defense 'logit_mix': defense 'logit_mix' has no phase 'robst': did you mean 'robust'?"),
        ("{name: logit_mix, train: {phases: {clean: {eps: 0.1}}}}", None, "unknown key 'eps' in "),
        ("{name: logit_mix, train: {phases: {clean: {batch_size: 900}}}}", None,
         "batch_size 900 is more than the 60 training images of tradeoff: an epoch would have no step"),
        ("{name: logit_mix, train: {phases: {clean: {momentum: 0, nesterov: true}}}}", None,
         "train.phases.clean: nesterov needs a momentum above 0"),
        ("{name: logit_mix, train: {phases: {clean: {betas: [0.9, 0.9]}}}}", None,
         "phase 'clean': betas is a key of optimizer adamw, and this recipe has sgd"),
        ("{name: logit_mix, points: {alpha: [0, 1.5]}}", None,
         "points of logit_mix: alpha: must be less than or equal to 1, not 1.5"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused_with_its_place(tmp_path, defenses, override, message):
    told = refused(tmp_path, defenses, *([override] if override else []))
    assert message in told
    assert "\n" not in told
    assert (f"--set {override}" if override else "suite.yaml:5:") in told


class Declared(rs.Defense):
    """A defense with the phases that a test wants."""

    def __init__(self, *phases: rs.Phase) -> None:
        super().__init__()
        self.name, self.declared = "declared", phases

    def phases(self, recipe: rs.PhaseRecipe) -> tuple[rs.Phase, ...]:
        return self.declared


TRAINER = REGISTRY.create("defense", "none", {})


@pytest.mark.parametrize(
    ("phases", "message"),
    [
        ((rs.Phase("tuned", TRAINER, parent="first"),), "its parent 'first' is no earlier phase; it is the first"),
        ((rs.Phase("one", TRAINER), rs.Phase("two", TRAINER, parent="three")), "is no earlier phase; valid: one"),
        ((rs.Phase("one", TRAINER), rs.Phase("one", TRAINER)), "two phases have this name"),
        ((rs.Phase("a phase", TRAINER),), "its name must be a word of letters, digits and underscores"),
        ((rs.Phase("one", REGISTRY.create("defense", "logit_mix", {})),),
         "its trainer LogitMix has no training step of its own"),
    ],
)  # fmt: skip
def test_phases_that_cannot_be_are_refused(phases, message):
    with pytest.raises(PluginError, match=r"^defense 'declared', phase '.*': ") as error:
        checked(Declared(*phases), rs.PhaseRecipe())
    assert message in str(error.value)


def test_a_part_that_is_not_there_is_refused():
    model = nn.Sequential(nn.Flatten())
    with pytest.raises(PluginError, match="phase 'one': the model has no part 'robust'; its parts: 0"):
        part_of(model, rs.Phase("one", TRAINER, part="robust"), Declared())


def test_a_part_is_guarded_from_faulty_convolutions_like_the_whole_model():
    class Narrow(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.rand(24, 3, 1, 1))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return functional.conv2d(x, self.weight, stride=2)

    model = RUNTIME.place(nn.Sequential(Narrow()))
    x = torch.rand(2, 3, 8, 8).contiguous(memory_format=torch.channels_last)
    assert not model[0](x).is_contiguous()
    assert part_of(model, rs.Phase("one", TRAINER, part="0"), Declared())(x).is_contiguous()


def test_a_phase_starts_from_its_parent_and_what_is_calibrated_is_stored(tmp_path):
    """Killed where the second phase begins, and not killed."""
    defenses = "{name: weight_mix, train: {phases: {clean: {lr: 1.0e-12}}}}, mixed_nuts"
    whole = trained(tmp_path / "whole", defenses)
    killed = trained(tmp_path / "killed", defenses, die_after=2)
    for label, (_, weights) in whole.items():
        assert all(torch.equal(killed[label][1][key], value) for key, value in weights.items())
    _, mixed = whole["weight_mix"]
    for key in (key for key in mixed if key.startswith("robust.") and key.endswith("weight")):
        torch.testing.assert_close(mixed[key.replace("robust.", "clean.", 1)], mixed[key], atol=1e-6, rtol=1e-5)
    statistics = [value for key, value in mixed.items() if "/running_mean" in key]
    assert statistics
    assert all(not torch.equal(value[0], torch.zeros_like(value[0])) for value in statistics)
    result, nuts = whole["mixed_nuts"]
    assert result["inspected"]["calibrated"]["alpha"] == float(nuts["calibrated_mix"])


@pytest.mark.parametrize("attack", ["fgsm", "free"])
def test_training_by_one_step_is_not_calibrated_on_its_own_attack(tmp_path, monkeypatch, attack):
    """Free training has no attack of its own, and its start alone fools nothing."""
    moved = []

    def calibrate(self: rs.Defense, model: nn.Module, calibration: rs.Calibration) -> None:
        robust = View(model.get_submodule("robust"))
        moved.extend(calibration.attack(robust, x, y) - x for x, y in calibration.validation())

    monkeypatch.setattr(MixedNuts, "calibrate", calibrate)
    trained(tmp_path, "mixed_nuts", f"train.attack={attack}", "train.epochs=1")
    lengths = torch.cat(moved).abs()
    assert lengths.max() <= 0.1 + 1e-6
    between = ((lengths > 0.01) & (lengths < 0.09)).float().mean()
    at_the_border = (lengths > 0.0999).float().mean()
    assert at_the_border > 0.3, "a uniform start has a hundredth of its pixels there"
    assert between > 0.05, "a single step of eps moves every pixel as far"


def test_what_calibration_writes_where_no_weights_are_kept_is_refused(tmp_path, monkeypatch):
    def calibrate(self: rs.Defense, model: nn.Module, calibration: rs.Calibration) -> None:
        model.register_buffer("shift", torch.ones(4), persistent=False)

    monkeypatch.setattr(MixedNuts, "calibrate", calibrate)
    with pytest.raises(PluginError, match=r"^defense 'mixed_nuts': calibrate sets shift, a buffer that is not stored"):
        trained(tmp_path, "mixed_nuts")
