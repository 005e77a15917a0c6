"""A defense broken for each check of its kit."""

from __future__ import annotations

import copy
import itertools

import torch
from torch import nn

import robuststack as rs
from broken_options import LooseKnobs
from robuststack.layers.condition import Condition, attach
from sound_components import UNSEEDED, GoodDefense, Noisy


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


COUNT = itertools.count()


def miscounted(self, model, calibration):
    model.network.stem_norm.running_mean.fill_(next(COUNT))


def moved(self, model, calibration):
    with torch.no_grad():
        model.network.stem.weight.add_(1)


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
    ("the_optimiser_gets_every_parameter_once",
     {"phases": lambda self, recipe: [rs.Phase("one", trainer=self, part="network.stem")]},
     "no phase of training has network"),
    ("its_phases_train_what_is_there", {"phases": lambda self, recipe: [rs.Phase("one", trainer=self, part="nowhere")]},
     "phases: .*phase 'one': the model has no part 'nowhere'"),
    ("its_phases_train_what_is_there",
     {"phases": lambda self, recipe: [rs.Phase("one", self), rs.Phase("two", self, part="network", parent="one")]},
     "phase 'two' starts from 'one', whose weights do not fit: keys are missing"),
    ("calibrating_repeats_itself", {"calibrate": miscounted}, "calibrating twice gives another network.stem_norm"),
    ("calibrating_repeats_itself", {"calibrate": moved}, "calibrating changes the trained weight network.stem.weight"),
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
    ("the_work_of_an_answer_is_estimated", {"forward_passes": lambda self, setting: 0.0}, "forward_passes is 0.0"),
]  # fmt: skip
