"""Each check of the kit is able to fail: a component broken in one way for each of them."""

from __future__ import annotations

import copy
import math
import random
import re
import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import nn

import robuststack as rs
from robuststack.layers.condition import Condition, attach
from robuststack.plugin.registry import KINDS, PluginSource, Registry
from robuststack.testing import (
    ArchitectureConformance,
    AttackConformance,
    ComponentConformance,
    DatasetConformance,
    DefenseConformance,
    collecting,
)
from robuststack.testing.network import SmallResNet, TwoSteps


class GoodDefense(rs.Defense):
    """Plain training behind input noise whose scale is a knob."""

    class Knobs(rs.Options):
        scale: float = rs.option(0.1, "Scale of the noise.", ge=0)

    def operating_points(self):
        return [{"scale": 0.0}, {"scale": 0.1}, {"scale": 0.2}]

    def build(self, architecture, shape, num_classes):
        condition = Condition("scale")
        model = Noisy(architecture.build(shape, num_classes), condition)
        return attach(model, condition)

    def setting(self, point):
        return rs.Setting({"scale": point["scale"]}, stochastic=point["scale"] > 0)

    def training_step(self, step):
        view = self.view(step.model, rs.Setting({"scale": 0.1}))
        step.backward(nn.functional.cross_entropy(view(step.x), step.y))

    def quiet(self, setting):
        return rs.Setting({"scale": 0.0}) if setting.stochastic else None


class Noisy(nn.Module):
    """A network behind noise on its input."""

    def __init__(self, network, condition):
        super().__init__()
        self.network, self.condition, self.draw = network, condition, None

    def freeze(self):
        self.draw = torch.randn(())

    def forward(self, x):
        scale = self.condition.read("scale")
        noise = self.draw if self.draw is not None else torch.randn_like(x[:1])
        return self.network(x + scale * noise) if scale else self.network(x)


class GoodArchitecture(SmallResNet):
    """A small residual network."""

    class Options(rs.Options):
        width: int = rs.option(4, "Channels.")


class GoodDataset(rs.Dataset):
    """Random images with a fingerprint."""

    shape, num_classes, fingerprint = (1, 4, 4), 3, "procedural"

    def size(self, split):
        return {"train": 20, "validation": 4, "test": 10}[split]

    def load(self, folder):
        source = np.random.RandomState(0)
        return {
            split: rs.Images(
                source.randint(256, size=(self.size(split), 1, 4, 4)).astype(np.uint8), np.arange(self.size(split)) % 3
            )
            for split in ("train", "validation", "test")
        }


class GoodAttack(TwoSteps):
    """Two steps on the sign of the gradient."""

    label = "Two"


def suite(kit: type[ComponentConformance], component: type, **facts: Any) -> ComponentConformance:
    """The kit on a class, registered as `broken` by a plugin of its own."""
    module = ModuleType("broken_component")
    module.Component = component  # type: ignore[attr-defined]
    sys.modules["broken_component"] = module

    def register(register):
        register("broken", "broken_component:Component")

    plugin = SimpleNamespace(**{f"register_{kit.kind}": rs.hookimpl(register)})
    registry = Registry([PluginSource("broken", "broken", "1", lambda: plugin)])
    facts = {"component": "broken", "registry": classmethod(lambda cls: registry), **facts}
    return type("Broken", (kit,), facts)()


def checks(kit: type) -> list[str]:
    return [name for name in dir(kit) if name.startswith("test_")]


KITS = {
    DefenseConformance: GoodDefense,
    ArchitectureConformance: GoodArchitecture,
    DatasetConformance: GoodDataset,
    AttackConformance: GoodAttack,
}
NEEDS_A_PROCESS = "test_registering_and_importing_it_imports_no_torch"


@pytest.mark.parametrize("kit", KITS, ids=lambda kit: kit.kind)
def test_a_component_that_keeps_its_contract_passes(kit):
    instance = suite(kit, KITS[kit])
    for name in checks(kit):
        if name != NEEDS_A_PROCESS:
            getattr(instance, name)()


# One broken component a check: kit, check, what is overridden, what the failure says.


class Loose(BaseModel):
    steps: int = 1


class Undescribed(rs.Options):
    steps: int = 1


class Required(rs.Options):
    steps: int = Field(description="Steps.")


class Untyped(rs.Options):
    steps: Any = rs.option(1, "Steps.")


class Text(rs.Options):
    steps: int = rs.option(1, "Steps.")

    def resolved(self):
        return {"steps": "one"}


class LooseKnobs(rs.Options):
    model_config = ConfigDict(extra="ignore")
    scale: float = rs.option(0.1, "Scale of the noise.")


def unmarked(self, shape, num_classes):
    return nn.Sequential(nn.Conv2d(shape[0], 2, 1), nn.BatchNorm2d(2), nn.Flatten(), nn.LazyLinear(num_classes))


def unmarked_layer_norm(self, shape, num_classes):
    return nn.Sequential(nn.Flatten(), nn.LayerNorm(math.prod(shape)), nn.Linear(math.prod(shape), num_classes))


def changed(**attributes):
    """Build the good network, with modules put on it."""

    def build(self, shape, num_classes):
        model = SmallResNet.build(self, shape, num_classes)
        for path, value in attributes.items():
            setattr(model, path, value)
        return model

    return build


def forward(function):
    """Build the good network with another forward pass: `function(network, x, logits)`."""

    class Other(nn.Module):
        def __init__(self, network):
            super().__init__()
            self.network = network
            self.register_buffer("seen", torch.zeros(()))

        def forward(self, x):
            return function(self, x, self.network(x))

    return lambda self, shape, num_classes: Other(SmallResNet.build(self, shape, num_classes))


SHARED = nn.Linear(1, 1)
UNSEEDED = random.SystemRandom()
"""What no seed of the host's reaches."""


def counting(self, x, logits):
    self.seen += 1
    return logits


def fixed_seed(self, shape, num_classes):
    torch.manual_seed(0)
    return SmallResNet.build(self, shape, num_classes)


def unseeded(self, shape, num_classes):
    model = SmallResNet.build(self, shape, num_classes)
    with torch.no_grad():
        model.classifier.bias += UNSEEDED.random()
    return model


ARCHITECTURE = [
    ("it_maps_images_to_logits_or_refuses_them", {"build": lambda self, shape, n: SmallResNet.build(self, shape, n + 1)},
     r"images of \(3, 16, 16\) give \(2, 8\), not logits \(2, 7\)"),
    ("it_maps_images_to_logits_or_refuses_them",
     {"build": lambda self, shape, n: nn.Sequential(nn.Flatten(), nn.Linear(3 * 16 * 16, n))},
     r"images of \(3, 32, 32\) end in .*; raise a robuststack.PluginError"),
    ("every_norm_says_its_role", {"build": unmarked}, "no role is marked on 1; see robuststack.layers.roles.mark"),
    ("every_norm_says_its_role", {"build": unmarked_layer_norm}, "no role is marked on 1; see robuststack.layers"),
    ("its_weights_are_drawn_from_the_seed", {"build": unseeded}, "classifier.bias differs between two networks of one"),
    ("its_weights_are_drawn_from_the_seed", {"build": fixed_seed}, "every seed gives one network"),
    ("two_networks_share_no_weights", {"build": changed(extra=SHARED)}, "two networks share parameters"),
    ("gradients_reach_every_parameter", {"build": changed(extra=nn.Linear(1, 1))},
     "no gradient reaches extra.weight, extra.bias"),
    ("eval_mode_is_deterministic_and_changes_nothing",
     {"build": forward(lambda self, x, logits: logits + torch.rand(()))}, "two forward passes in eval mode differ"),
    ("eval_mode_is_deterministic_and_changes_nothing", {"build": forward(counting)}, "in eval mode changes seen"),
    ("eval_mode_is_deterministic_and_changes_nothing",
     {"build": forward(lambda self, x, logits: self.train(False) and (self.network.stem.train() and logits))},
     "turns train mode on"),
    ("an_image_is_judged_alone", {"build": forward(lambda self, x, logits: logits - logits.mean(0) * len(x))},
     "an image's logits depend on the rest of its batch"),
]  # fmt: skip


def leaked(self, folder):
    splits = GoodDataset.load(self, folder)
    splits["train"].images[0] = splits["test"].images[0]
    return splits


def split(**parts):
    """Load the good splits, one of them changed: `train=(images, labels)`."""

    def load(self, folder):
        splits = GoodDataset.load(self, folder)
        for name, change in parts.items():
            splits[name] = rs.Images(*change(splits[name].images, splits[name].labels))
        return splits

    return load


def only(*names):
    """Load some of the good splits."""
    return lambda self, folder: {name: GoodDataset.load(self, folder)[name] for name in names}


def unfixed(self, folder):
    splits = GoodDataset.load(self, folder)
    splits["test"].labels[0] = next(COUNTER) % 3
    return splits


COUNTER = iter(range(1000))
DATASET = [
    ("it_declares_itself_without_reading", {"shape": (4, 4)}, r"shape is \(4, 4\), not \(C, H, W\)"),
    ("it_declares_itself_without_reading", {"num_classes": 1}, "num_classes is 1"),
    ("it_declares_itself_without_reading", {"fingerprint": ""}, "fingerprint is empty"),
    ("it_declares_itself_without_reading", {"fingerprint": property(lambda self: str(next(COUNTER)))},
     "fingerprint differs between two instances"),
    ("it_declares_itself_without_reading", {"eps": 8.0}, "eps is 8.0, outside"),
    ("it_declares_itself_without_reading", {"size": lambda self, split: 0}, "split test has 0 images"),
    ("it_declares_itself_without_reading", {"size": lambda self, split: 9 if split == "test" else -1},
     "split train has -1 images"),
    ("it_declares_itself_without_reading",
     {"size": lambda self, split: 9 * (split == "test"), "training_problem": lambda self: ""}, "training_problem is empty"),
    ("its_classes_and_notes_are_lines", {"classes": ("cat", "dog")}, "2 names for 3 classes"),
    ("its_classes_and_notes_are_lines", {"classes": (0, 1, 2)}, "0 is no text"),
    ("its_classes_and_notes_are_lines", {"notes": ["one\ntwo"]}, "has more than one line"),
    ("a_download_says_from_where_and_with_which_hash",
     {"downloads": lambda self: [rs.Download("ftp://x", "sha256:1", "x")]}, "x: 'ftp://x' is no address"),
    ("a_download_says_from_where_and_with_which_hash",
     {"downloads": lambda self: [rs.Download("https://x", "", "x")]}, "x: '' names no hash"),
    ("it_is_what_it_declares", {"load": split(train=lambda x, y: (x[:5], y))},
     r"train: images have shape \(5, 1, 4, 4\), declared is \(20, 1, 4, 4\)"),
    ("it_is_what_it_declares", {"load": split(test=lambda x, y: (x, y[:, None]))}, "test: labels have shape"),
    ("it_is_what_it_declares", {"load": split(test=lambda x, y: (x / 255, y))}, "test: images are float64"),
    ("it_is_what_it_declares", {"load": split(test=lambda x, y: (x.astype(np.float32), y))}, "pixels from .*, outside 0"),
    ("it_is_what_it_declares", {"load": split(test=lambda x, y: (x // 128, y))}, "pixels reach 1, and 255 is white"),
    ("it_is_what_it_declares", {"load": only("train", "validation")}, "those with images are"),
    ("it_is_what_it_declares", {"load": split(test=lambda x, y: (x, y + 1))}, "test: labels 1 to 3"),
    ("it_is_the_same_each_time", {"load": unfixed}, "test: labels differ between two loads"),
    ("test_images_are_not_trained_on", {"load": leaked}, "10% of the test images are in train"),
]  # fmt: skip


def perturb(function):
    """The good attack, its images changed: `function(model, x, found)`."""

    def changed(self, model, x, y, threat, generator):
        return function(model, x, TwoSteps.perturb(self, model, x, y, threat, generator))

    return changed


def spoiling(model, x, adversarial):
    x += 0.1
    return adversarial


def unfreezing(model, x, adversarial):
    next(model.parameters()).requires_grad_(True)
    return adversarial


def writing(model, x, adversarial):
    next(model.buffers()).add_(1)
    return adversarial


def chatting(model, x, adversarial):
    print("step 1")
    return adversarial


def in_linf_only(model, x, adversarial):
    return (x + 0.01 * torch.ones_like(x)).clamp(0, 1)


def counted_start(self, x, threat, generator):
    """Momentum made where a run starts, which is not where a training step starts."""
    self.velocity = torch.zeros_like(x)
    return TwoSteps.start(self, x, threat, generator)


def counted_loss(self, logits, y):
    self.velocity = 0
    return TwoSteps.loss(self, logits, y)


def counted_update(self, iterate, gradient, step, ball, state):
    self.velocity = getattr(self, "velocity", 0) + ball.steepest(gradient)
    return iterate + step * ball.steepest(self.velocity)


def lingering_update(self, iterate, gradient, step, ball, state):
    self.number = getattr(self, "number", 0) + 1
    return iterate + step / self.number * ball.steepest(gradient)


def batchwise_update(self, iterate, gradient, step, ball, state):
    return iterate + step * len(iterate) / 8 * ball.steepest(gradient)


def blind(self, model, x, y, threat, generator):
    model(x)
    return x + threat.eps * torch.ones_like(x).uniform_(-1, 1, generator=generator) * 0


ATTACK = [
    ("it_stays_in_the_ball", {"perturb": perturb(lambda model, x, images: images[:1])}, r"returns images of shape \(1, 3"),
    ("it_stays_in_the_ball", {"perturb": perturb(lambda model, x, images: images.double())}, "returns torch.float64"),
    ("it_stays_in_the_ball", {"perturb": perturb(lambda model, x, images: images / 0)}, "pixels that are not finite"),
    ("it_stays_in_the_ball", {"perturb": perturb(lambda model, x, images: (2 * images - x).clamp(0, 1))},
     "linf, eps 0.001: it leaves the ball, by 0.001"),
    ("it_stays_in_the_ball", {"norms": ("l2",), "perturb": perturb(in_linf_only)},
     "l2, eps 0.01: it leaves the ball, by 0.1"),
    ("it_stays_in_the_ball", {"perturb": perturb(lambda model, x, images: x - 0.001)}, "returns pixels from -0.00"),
    ("it_leaves_the_model_and_the_images_alone", {"perturb": perturb(spoiling)}, "writes into the images"),
    ("it_leaves_the_model_and_the_images_alone", {"perturb": perturb(unfreezing)}, "turns gradients of .* on"),
    ("it_leaves_the_model_and_the_images_alone", {"perturb": perturb(writing)}, "changes the model's .*running_mean"),
    ("it_leaves_the_model_and_the_images_alone",
     {"perturb": perturb(lambda model, x, images: model.train() and images)}, "turns train mode on"),
    ("it_is_a_function_of_its_seed", {"perturb": perturb(lambda model, x, images: images * UNSEEDED.random())},
     "two runs with one seed differ"),
    ("it_is_a_function_of_its_seed", {"perturb": perturb(lambda model, x, images: (np.random.seed(0), images)[1])},
     "draws from, or seeds, Python's or NumPy's"),
    ("it_is_a_function_of_its_seed", {"perturb": perturb(lambda model, x, images: (random.random(), images)[1])},
     "draws from, or seeds, Python's or NumPy's"),
    ("it_hurts", {"update": lambda self, iterate, gradient, step, ball, state: iterate - step * ball.steepest(gradient)},
     "is a sign the wrong way round"),
    ("it_hurts", {"norms": ("l2",), "update": lambda self, iterate, gradient, step, ball, state: iterate - step * gradient},
     "is a sign the wrong way round"),
    ("a_training_step_may_replace_its_start_and_its_loss", {"start": counted_start, "update": counted_update},
     "an earlier call changes what it returns"),
    ("a_training_step_may_replace_its_start_and_its_loss", {"loss": counted_loss, "update": counted_update},
     "an earlier call changes what it returns"),
    ("a_call_is_not_changed_by_calls_before_it", {"update": lingering_update}, "an earlier call changes what it returns"),
    ("images_that_leave_the_batch_change_no_other", {"early_stop": True, "update": batchwise_update},
     "images that are still attacked move by"),
    ("it_says_whether_it_needs_gradients", {"needs_gradients": False}, "needs_gradients is False, but"),
    ("it_says_whether_it_needs_gradients", {"perturb": blind}, "needs_gradients is True, but"),
    ("it_prints_nothing", {"perturb": perturb(chatting)}, r"it prints 'step 1\\n"),
    ("its_figures_and_its_cost_are_printed", {"label": ""}, "label is empty"),
    ("its_figures_and_its_cost_are_printed", {"figures": lambda self, threat, stochastic: {}}, "figures do not give eps"),
    ("its_figures_and_its_cost_are_printed",
     {"figures": lambda self, threat, stochastic: {"eps": threat.eps, "steps": [1]}}, "the figure 'steps' is neither"),
    ("its_figures_and_its_cost_are_printed", {"image_passes": lambda self, stochastic: -1.0}, "image_passes is -1.0"),
]  # fmt: skip


class Forgetful(Noisy):
    """Depends on a number that is in no buffer."""

    def __init__(self, *parts):
        super().__init__(*parts)
        self.offset = torch.rand(())

    def forward(self, x):
        return super().forward(x) + self.offset * x.mean()


class Batchwise(Noisy):
    def forward(self, x):
        return super().forward(x) + x.mean() * torch.arange(4)


class Unseeded(Noisy):
    def forward(self, x):
        return super().forward(x) + UNSEEDED.random() * torch.arange(4)


class Counting(Noisy):
    def __init__(self, *parts):
        super().__init__(*parts)
        self.register_buffer("seen", torch.zeros(()))

    def forward(self, x):
        self.seen += 1
        return super().forward(x)


class Drifting(Noisy):
    """Remembers the point it was used at before."""

    last = 0.0

    def forward(self, x):
        last, self.last = self.last, self.condition.read("scale")
        return super().forward(x) + last


def wrapped(network):
    def build(self, architecture, shape, num_classes):
        condition = Condition("scale")
        return attach(network(architecture.build(shape, num_classes), condition), condition)

    return build


def with_more(self, architecture, shape, num_classes):
    model = GoodDefense.build(self, architecture, shape, num_classes)
    model.more = nn.Linear(1, 1)
    return model


def eval_step(self, step):
    GoodDefense.training_step(self, step)
    step.model.eval()


def masked(self, model, optimizer):
    with torch.no_grad():
        model.network.stem.weight[0] = 0


def copied(self, model, point, *, frozen=False):
    return GoodDefense.deploy(self, copy.deepcopy(model), point, frozen=frozen)


def shared(self, model, point, *, frozen=False):
    return GoodDefense.deploy(self, model, point)


def never_frozen(self, model, point, *, frozen=False):
    return GoodDefense.deploy(self, copy.deepcopy(model) if frozen else model, point)


def frozen_at(draw):
    """Freeze what is no draw: always the same number."""

    def deploy(self, model, point, *, frozen=False):
        view = GoodDefense.deploy(self, model, point, frozen=frozen)
        if frozen:
            view.model.draw = draw
        return view

    return deploy


DEFENSE = [
    ("it_maps_images_to_logits_at_every_point",
     {"build": lambda self, architecture, shape, n: GoodDefense.build(self, architecture, shape, n + 1)},
     r"'scale': 0.0}: the output has shape \(8, 5\), not \(8, 4\)"),
    ("it_maps_images_to_logits_at_every_point", {"operating_points": lambda self: []}, "operating_points is empty"),
    ("it_refuses_knobs_it_does_not_have", {"Knobs": LooseKnobs}, "LooseKnobs lets unknown knobs pass"),
    ("every_setting_is_honoured", {"build": wrapped(lambda network, condition: network)},
     "settings .* and .* give the same logits"),
    ("every_setting_is_honoured", {"build": wrapped(Drifting)}, "answers otherwise after another point was used"),
    ("a_point_is_random_where_it_says_so", {"setting": lambda self, point: rs.Setting({"scale": point["scale"]})},
     "called deterministic, but two forward passes say otherwise"),
    ("a_point_is_random_where_it_says_so",
     {"setting": lambda self, point: rs.Setting({"scale": point["scale"]}, stochastic=True)},
     "'scale': 0.0}: it is called stochastic, but"),
    ("randomness_comes_from_the_seed", {"build": wrapped(Unseeded)}, "one seed gives the losses|not drawn from torch's"),
    ("gradients_reach_every_parameter", {"build": with_more}, "gives no gradient to more.weight, more.bias"),
    ("the_optimiser_gets_every_parameter_once",
     {"parameter_groups": lambda self, model, decay: [{"params": list(model.parameters())[1:]}]},
     "parameter_groups has network.stem.weight 0 times"),
    ("every_point_shares_the_weights", {"deploy": copied}, "deploy gives a model with other weights"),
    ("running_a_point_changes_nothing", {"build": wrapped(Counting)}, "a forward pass in eval mode changes seen"),
    ("a_training_step_leaves_train_mode_on", {"training_step": eval_step}, "the model is in eval mode"),
    ("a_frozen_point_owns_a_deterministic_copy", {"deploy": shared}, "shares weights with the trained one"),
    ("a_frozen_point_owns_a_deterministic_copy", {"deploy": never_frozen}, "two forward passes of the frozen model"),
    ("a_frozen_point_owns_a_deterministic_copy", {"deploy": frozen_at(0.05)}, "two frozen draws are one model"),
    ("a_frozen_point_owns_a_deterministic_copy", {"freezable": False}, "freezable is False, and the frozen model keeps"),
    ("every_point_can_be_scored_adaptively_and_runs_from_json",
     {"protocols": lambda self, point: {**rs.Defense.protocols(self, point), "off": rs.Scoring(*3 * [rs.Setting()])}},
     "protocol 'off' has the name of a rung of the ladder"),
    ("the_reference_point_is_one_of_its_own", {"reference_point": lambda self: {"scale": -1.0}},
     "reference_point is no point of the defense: .*scale: must be greater than or equal to 0"),
    ("the_reference_point_is_one_of_its_own", {"reference_point": lambda self: {"noise": 1.0}},
     "reference_point is no point of the defense: .*unknown key 'noise'"),
    ("a_quiet_setting_is_the_same_point_without_noise", {"quiet": lambda self, setting: rs.Setting({"scale": 0.0})},
     "'scale': 0.0}: there is no noise, and quiet gives"),
    ("a_quiet_setting_is_the_same_point_without_noise",
     {"quiet": lambda self, setting: rs.Setting(setting.values) if setting.stochastic else None},
     "two forward passes of the quiet setting differ"),
    ("a_quiet_setting_is_the_same_point_without_noise",
     {"quiet": lambda self, setting: setting if setting.stochastic else None}, "the quiet setting is called stochastic"),
    ("an_image_is_judged_alone", {"build": wrapped(Batchwise)}, "depend on the rest of its batch"),
    ("a_model_survives_a_file", {"build": wrapped(Forgetful)}, "what it depends on is in no buffer"),
    ("every_point_can_be_scored_adaptively_and_runs_from_json", {"protocols": lambda self, point: {}},
     "`adaptive` is not the deployed setting three times"),
    ("every_point_can_be_scored_adaptively_and_runs_from_json",
     {"setting": lambda self, point: rs.Setting({"scale": torch.tensor(point["scale"])})}, "does not run from JSON"),
    ("its_parameters_are_counted", {"parameters": lambda self, model, setting: 0}, "parameters is 0, the model has"),
    ("its_parameters_are_counted", {"after_step": masked}, "weights are zero, nonzero_parameters says otherwise"),
    ("what_it_shows_of_its_model_is_numbers", {"inspect": lambda self, model: {"alpha": {}}}, "shows nothing under"),
    ("what_it_shows_of_its_model_is_numbers", {"inspect": lambda self, model: {"alpha": {"a": float("nan")}}},
     "alpha, a is nan"),
    ("the_work_of_a_training_step_is_estimated", {"image_passes": lambda self, steps: 9.0 - steps},
     r"falls with the attack's steps: \[9.0, 8.0, 2.0\]"),
]  # fmt: skip

ANY = [
    ("it_says_what_it_is", {"__doc__": ""}, "has no docstring"),
    ("it_says_what_it_is", {"__doc__": "no sentence"}, "is no sentence: 'no sentence'"),
    (
        "every_option_has_a_type_a_default_and_a_description",
        {"Options": Undescribed},
        "Undescribed.steps has no descript",
    ),
    ("every_option_has_a_type_a_default_and_a_description", {"Options": Untyped}, "Untyped.steps has no type"),
    ("every_option_has_a_type_a_default_and_a_description", {"Options": Loose}, "Loose is no robuststack.Options"),
    ("a_job_can_make_it_again_from_what_it_wrote_down", {"Options": Text}, "option 'steps'|must be a valid integer"),
]
BROKEN = {
    ArchitectureConformance: ARCHITECTURE + ANY,
    DatasetConformance: DATASET + ANY,
    AttackConformance: ATTACK + ANY,
    DefenseConformance: DEFENSE + ANY,
}
CASES = [(kit, *case) for kit, cases in BROKEN.items() for case in cases]
IDS = [f"{kit.kind}-{check}-{message[:20]}" for kit, check, _, message in CASES]


@pytest.mark.parametrize(("kit", "check", "members", "message"), CASES, ids=IDS)
def test_a_check_fails_on_what_it_is_there_for(kit, check, members, message):
    broken = type("Broken", (KITS[kit],), {"__doc__": "A component.", "__module__": "broken_component", **members})
    with pytest.raises((AssertionError, rs.PluginError), match=message):
        getattr(suite(kit, broken), f"test_{check}")()


@pytest.mark.parametrize("kit", KITS, ids=lambda kit: kit.kind)
def test_every_check_has_something_broken_for_it(kit):
    assert {f"test_{check}" for check, *_ in BROKEN[kit]} | {NEEDS_A_PROCESS} == set(checks(kit))


def test_every_kind_has_its_kit():
    assert {kit.kind for kit in collecting.KITS} == set(KINDS)


@pytest.mark.parametrize(("heavy", "blamed"), [("component", "heavy_one"), ("plugin", "plugin heavy_plugin")])
def test_torch_at_the_top_of_a_module_is_found_and_the_innocent_are_not_blamed(tmp_path, monkeypatch, heavy, blamed):
    info = tmp_path / "heavy-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: heavy\nVersion: 1\n")
    (info / "entry_points.txt").write_text(f"[robuststack]\nheavy_plugin = heavy_{heavy}_plugin\n")
    source = "import robuststack as rs\n@rs.hookimpl\ndef register_attack(register):\n"
    for name in ("heavy_one", "light_one"):
        source += f"    register('{name}', '{name}_of_{heavy}:One')\n"
        text = 'import robuststack as rs\nclass One(rs.Attack):\n    """One."""\n'
        top = "import torch.nn\n" if (name, heavy) == ("heavy_one", "component") else ""
        (tmp_path / f"{name}_of_{heavy}.py").write_text(top + text)
    (tmp_path / f"heavy_{heavy}_plugin.py").write_text(("import torch\n" if heavy == "plugin" else "") + source)
    monkeypatch.syspath_prepend(tmp_path)
    check = {
        name: getattr(type("Kit", (AttackConformance,), {"component": name})(), NEEDS_A_PROCESS)
        for name in ("heavy_one", "light_one")
    }
    with pytest.raises(AssertionError, match=f"{blamed}.* imports torch: import it inside the methods that use it"):
        check["heavy_one"]()
    if heavy == "component":
        check["light_one"]()


def test_the_kit_without_pytest_says_what_to_install(monkeypatch):
    for name in [module for module in sys.modules if module.startswith("robuststack.testing")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "pytest", None)
    message = "robuststack.testing needs pytest: python -m pip install pytest"
    with pytest.raises(rs.RobustStackError, match=re.escape(message)):
        import robuststack.testing  # noqa: F401
