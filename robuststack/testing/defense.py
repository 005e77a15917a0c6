"""What holds for a defense, at each of its operating points."""

from __future__ import annotations

import contextlib
import copy
import json
import math

import safetensors.torch
import torch
from torch import Tensor, nn

from robuststack.engine.measure import blueprint
from robuststack.engine.phases import part_of
from robuststack.engine.random_streams import seeded
from robuststack.engine.user_checkpoint import misfit
from robuststack.errors import ModelError, PluginError
from robuststack.plugin.operating_point import Point, Scoring, Setting
from robuststack.suite.ladder import RUNGS
from robuststack.testing.stepped_defense import SteppedDefense

DRAWS = 12
"""How often noise is drawn again before it counts as none."""


class DefenseConformance(SteppedDefense):
    """The defense rewrites a network it does not know, trains it, and runs it at each operating point as it says."""

    def test_it_maps_images_to_logits_at_every_point(self) -> None:
        model, (x, _) = self.model(), self.images()
        assert self.points(), "operating_points is empty"
        for point in self.points():
            logits, wanted = self.logits(model, point, x), (len(x), self.num_classes)
            assert logits.shape == wanted, f"{point}: the output has shape {tuple(logits.shape)}, not {wanted}"
            assert logits.dtype == torch.float32, f"{point}: the logits are {logits.dtype}"
            assert torch.isfinite(logits).all(), f"{point}: the logits are not finite"

    def test_it_refuses_knobs_it_does_not_have(self) -> None:
        knobs = self.defense().Knobs
        assert knobs.model_config.get("extra") == "forbid", f"{knobs.__qualname__} lets unknown knobs pass"

    def test_every_setting_is_honoured(self) -> None:
        """Two settings give two models, in turn on one model, and points of one setting share their jobs."""
        defense, model, (x, _) = self.defense(), self.model(), self.images()
        outputs: dict[str, Tensor] = {}
        for point in [*self.points(), *reversed(self.points())]:
            setting, logits = defense.setting(point), self.logits(model, point, x)
            known = outputs.setdefault(_text(setting), logits)
            assert torch.equal(known, logits), f"{point}: the model answers otherwise after another point was used"
        answers = list(outputs.items())
        for number, (setting_text, logits) in enumerate(answers):
            for other, earlier in answers[:number]:
                assert not torch.equal(logits, earlier), f"settings {other} and {setting_text} give the same logits"

    def test_a_point_is_random_where_it_says_so(self) -> None:
        """`Setting.stochastic` decides how many draws judge a point."""
        defense, model, (x, _) = self.defense(), self.model(), self.images()
        for point in self.points():
            setting = defense.setting(point)
            view = defense.deploy(model, point)
            assert getattr(view, "stochastic", None) == setting.stochastic, f"{point}: setting and view disagree"
            with torch.no_grad(), seeded("draws"):
                # Noise of a few values may come out alike a few times.
                first = view(x)
                same = all(torch.equal(view(x), first) for _ in range(DRAWS))
            said = "stochastic" if setting.stochastic else "deterministic"
            assert same != setting.stochastic, f"{point}: it is called {said}, but two forward passes say otherwise"

    def test_the_reference_point_is_one_of_its_own(self) -> None:
        """It stands for the defense if one point must: in probing, and when an epoch is chosen."""
        defense, model, (x, _) = self.defense(), self.model(), self.images()
        try:
            point = defense.whole_point(defense.reference_point())
        except PluginError as error:
            raise AssertionError(f"reference_point is no point of the defense: {error}") from error
        assert torch.isfinite(self.logits(model, point, x)).all(), f"reference point {point}: the logits are not finite"

    def test_a_quiet_setting_is_the_same_point_without_noise(self) -> None:
        """`quiet` is None at deterministic points, and if the noise cannot be switched off."""
        defense, model, (x, _) = self.defense(), self.model(), self.images()
        for point in self.points():
            setting = defense.setting(point)
            quiet = defense.quiet(setting)
            if not setting.stochastic:
                assert quiet is None, f"{point}: there is no noise, and quiet gives {quiet}"
            elif quiet is not None:
                assert not quiet.stochastic, f"{point}: the quiet setting is called stochastic"
                view = defense.view(model, Setting(**json.loads(_text(quiet))))
                with torch.no_grad(), seeded("quiet"):
                    assert torch.equal(view(x), view(x)), f"{point}: two forward passes of the quiet setting differ"

    def test_randomness_comes_from_the_seed(self) -> None:
        """Weights, training steps and noise are functions of torch's default generator, which the host seeds."""
        first, again, other = self.build(), self.build(), self.build(1)
        assert _different(first, again) == [], f"{_different(first, again)} differs between two models of one seed"
        assert _different(first, other), "every seed gives one model"
        losses = [self.train_step(self.defense(), model) for model in (first, again)]
        assert losses[0] == losses[1], f"one seed gives the losses {losses[0]:g} and {losses[1]:g}"
        grads = [[parameter.grad for parameter in model.parameters()] for model in (first, again)]
        for a, b in zip(*grads, strict=True):
            assert (a is None and b is None) or torch.equal(a, b), "one seed gives two gradients"
        model, (x, _) = self.model(), self.images()
        for point in self.points():
            same = torch.equal(self.logits(model, point, x), self.logits(model, point, x))
            assert same, f"{point}: its noise is not drawn from torch's default generator"

    def test_gradients_reach_every_parameter(self) -> None:
        model = self.build()
        loss = self.train_step(self.defense(), model)
        assert math.isfinite(loss), f"the loss of the first step is {loss}"
        missing = [
            path
            for path, parameter in model.named_parameters()
            if parameter.grad is None or not parameter.grad.abs().sum() > 0
        ]
        assert not missing, f"a training step gives no gradient to {', '.join(missing[:3])}"

    def test_the_optimiser_gets_every_parameter_once(self) -> None:
        defense, model = self.defense(), self.build()
        trained: set[int] = set()
        for phase in self.phases(defense):
            part = part_of(model, phase, defense)
            grouped = [id(weight) for group in phase.trainer.parameter_groups(part, 0.1) for weight in group["params"]]
            for path, parameter in part.named_parameters():
                count = grouped.count(id(parameter))
                assert count == 1, f"parameter_groups has {path} {count} times"
            trained.update(grouped)
        left = [path for path, parameter in model.named_parameters() if id(parameter) not in trained]
        assert not left, f"no phase of training has {', '.join(left[:3])}"

    def test_its_phases_train_what_is_there(self) -> None:
        """Each phase has a name, a trainer and a part, and starts from weights that fit."""
        defense, model = self.defense(), self.build()
        try:
            phases = self.phases(defense)
            parts = {phase.name: part_of(model, phase, defense) for phase in phases}
        except PluginError as error:
            raise AssertionError(f"phases: {error}") from error
        for phase in phases:
            reason = misfit(parts[phase.name], parts[phase.parent].state_dict()) if phase.parent else ""
            assert not reason, f"phase {phase.name!r} starts from {phase.parent!r}, whose weights do not fit: {reason}"

    def test_calibrating_repeats_itself(self) -> None:
        """It is a function of the model, the data and torch's default generator, and leaves the trained weights alone."""
        defense, first, again = self.defense(), self.model(), self.model()
        for model in (first, again):
            self.calibrated(defense, model)
        assert not _different(first, again), f"calibrating twice gives another {_different(first, again)[0]}"
        weights = dict(self._stepped().named_parameters())
        changed = [path for path, weight in first.named_parameters() if not torch.equal(weight, weights[path])]
        assert not changed, f"calibrating changes the trained weight {changed[0]}"

    def test_every_point_shares_the_weights(self) -> None:
        model = self.model()
        trained = {id(parameter) for parameter in model.parameters()}
        for point in self.points():
            deployed = {id(parameter) for parameter in self.defense().deploy(model, point).parameters()}
            assert deployed == trained, f"{point}: deploy gives a model with other weights than the trained one's"

    def test_running_a_point_changes_nothing(self) -> None:
        """Modes, buffers and weights are as before a forward pass in eval mode."""
        model, (x, _) = self.model(), self.images()
        before = copy.deepcopy(model)
        for point in self.points():
            self.logits(model, point, x)
            changed = _different(model, before)
            assert not changed, f"{point}: a forward pass in eval mode changes {changed[0]}"
            assert not any(module.training for module in model.modules()), f"{point}: it turns train mode on"

    def test_a_training_step_leaves_train_mode_on(self) -> None:
        model = self.build()
        self.train_step(self.defense(), model)
        off = [path or "the model" for path, module in model.named_modules() if not module.training]
        assert not off, f"after a training step {off[0]} is in eval mode; put back what was changed"

    def test_a_frozen_point_owns_a_deterministic_copy(self) -> None:
        """It stays what it is when the trained model changes. What is not `freezable` refuses to be frozen."""
        model, (x, _) = self.model(), self.images()
        before = copy.deepcopy(model)
        for point in self.points():
            if self.defense().setting(point).stochastic and not self.defense().freezable:
                self._refuses_to_be_frozen(model, point, x)
                continue
            with seeded("freeze"):
                frozen = self.defense().deploy(model, point, frozen=True)
            copied, trained = ({id(weight) for weight in whole.parameters()} for whole in (frozen, model))
            shared = copied & trained
            assert not shared, f"{point}: the frozen model shares weights with the trained one"
            with torch.no_grad():
                expected = frozen(x)
                assert torch.equal(frozen(x), expected), f"{point}: two forward passes of the frozen model differ"
                changed = _different(model, before)
                assert not changed, f"{point}: freezing changes the trained model's {changed[0]}"
                if not self.defense().setting(point).stochastic:
                    same = torch.allclose(self.logits(model, point, x), expected, atol=1e-6)
                    assert same, f"{point}: the frozen model is another than the deployed one"
                    continue
                self._is_one_draw(model, point, x, expected)

    def _refuses_to_be_frozen(self, model: nn.Module, point: Point, x: Tensor) -> None:
        frozen = self.defense().deploy(model, point, frozen=True)
        with torch.no_grad(), contextlib.suppress(ModelError):
            frozen(x)
            raise AssertionError(
                f"{point}: freezable is False, and the frozen model keeps one draw; leave freezable out"
            )

    def _is_one_draw(self, model: nn.Module, point: Point, x: Tensor, frozen: Tensor) -> None:
        """That freezing keeps the noise: with another seed it is another model, and it is not the quiet one."""
        defense = self.defense()

        def again(number: int) -> Tensor:
            with seeded("freeze again", number):
                logits: Tensor = defense.deploy(model, point, frozen=True)(x)
                return logits

        same = all(torch.equal(again(number), frozen) for number in range(DRAWS))
        assert not same, f"{point}: two frozen draws are one model"
        quiet = defense.quiet(defense.setting(point))
        if quiet is not None:
            silent = torch.equal(defense.view(model, quiet)(x), frozen)
            assert not silent, f"{point}: freezing switches the noise off in place of keeping a draw"

    def test_an_image_is_judged_alone(self) -> None:
        """At a deterministic point its logits do not depend on what else is in the batch."""
        model, (x, _) = self.model(), self.images()
        for point in self.points():
            if not self.defense().setting(point).stochastic:
                alone = torch.cat([self.logits(model, point, image[None]) for image in x])
                same = torch.allclose(self.logits(model, point, x), alone, atol=1e-4, rtol=1e-3)
                assert same, f"{point}: an image's logits depend on the rest of its batch"

    def test_a_model_survives_a_file(self) -> None:
        """The store keeps `state_dict()` as safetensors and loads it strictly."""
        model, (x, _) = self.model(), self.images()
        other = self.build(1).eval()
        state = {key: value.contiguous() for key, value in model.state_dict().items()}
        other.load_state_dict(safetensors.torch.load(safetensors.torch.save(state)), strict=True)
        for point in self.points():
            same = torch.equal(self.logits(model, point, x), self.logits(other, point, x))
            assert same, f"{point}: the model that was loaded answers otherwise; what it depends on is in no buffer"

    def test_every_point_can_be_scored_adaptively_and_runs_from_json(self) -> None:
        """`adaptive`, where the attacker sees what is deployed, is the headline; jobs hold settings as JSON."""
        defense, model = self.defense(), self.build()
        for point in self.points():
            setting = defense.setting(point)
            scorings = defense.protocols(point)
            wanted = Scoring(setting, setting, setting)
            assert scorings.get("adaptive") == wanted, f"{point}: `adaptive` is not the deployed setting three times"
            rungs = sorted({*RUNGS} & scorings.keys())
            assert not rungs, (
                f"{point}: protocol {rungs[0]!r} has the name of a rung of the ladder, which the host adds"
            )
            for name, scoring in scorings.items():
                for role in (scoring.clean, scoring.attacker, scoring.victim):
                    try:
                        read = Setting(**json.loads(_text(role)))
                        defense.view(model, read)
                    except (TypeError, ValueError) as error:
                        raise AssertionError(
                            f"{point}, protocol {name}: {role} does not run from JSON: {error}"
                        ) from error

    def test_its_parameters_are_counted(self) -> None:
        """What is fixed at zero is known of the untrained model; the rest is not zero after training steps."""
        defense, model = self.defense(), self.model()
        whole = sum(weight.numel() for weight in model.parameters())
        unfilled = blueprint(defense, self.architecture(), self.shape, self.num_classes)
        # Every weight has been moved but those that may not move; a bias or a branch that has not begun may still be zero.
        zeros = sum(int((weight == 0).sum()) for weight in model.parameters() if weight.dim() == 4)
        for point in self.points():
            setting = defense.setting(point)
            count, nonzero = defense.parameters(model, setting), defense.nonzero_parameters(unfilled, setting)
            assert 0 < count <= whole, f"{point}: parameters is {count:,}, the model has {whole:,}"
            assert 0 < nonzero <= count, f"{point}: nonzero_parameters is {nonzero:,}, parameters is {count:,}"
            if count == whole:
                assert nonzero == count - zeros, (
                    f"{point}: {zeros:,} weights are zero, nonzero_parameters says otherwise"
                )

    def test_what_it_shows_of_its_model_is_numbers(self) -> None:
        for title, values in self.defense().inspect(self.model()).items():
            assert title, "a title of inspect is empty"
            odd = [name for name, value in values.items() if not math.isfinite(value)]
            assert values, f"inspect shows nothing under {title!r}"
            assert not odd, f"inspect: {title}, {odd[0]} is {values[odd[0]]}"

    def test_the_work_of_a_training_step_is_estimated(self) -> None:
        """`image_passes` feeds the estimate of `plan` and the time left."""
        for phase in self.phases(self.defense()):
            passes = [phase.trainer.image_passes(steps) for steps in (0, 1, 7)]
            assert all(math.isfinite(count) and count > 0 for count in passes), (
                f"image_passes is {passes} for 0, 1 and 7 steps"
            )
            assert passes == sorted(passes), f"image_passes falls with the attack's steps: {passes} for 0, 1 and 7"

    def test_the_work_of_an_answer_is_estimated(self) -> None:
        """`forward_passes` feeds the same estimates."""
        defense = self.defense()
        for point in self.points():
            passes = defense.forward_passes(defense.setting(point))
            assert 0 < passes < math.inf, f"{point}: forward_passes is {passes}"


def _text(setting: Setting) -> str:
    return json.dumps(setting.resolved(), sort_keys=True)


def _different(model: nn.Module, other: nn.Module) -> list[str]:
    """The parameters and buffers in which two models differ."""
    state = other.state_dict()
    return [key for key, value in model.state_dict().items() if not torch.equal(value, state[key])]
