"""An architecture broken for each check of its kit."""

from __future__ import annotations

import math

import torch
from torch import nn

from robuststack.testing.network import SmallResNet
from sound_components import SHARED, UNSEEDED, changed, forward


def unmarked(self, shape, num_classes):
    return nn.Sequential(nn.Conv2d(shape[0], 2, 1), nn.BatchNorm2d(2), nn.Flatten(), nn.LazyLinear(num_classes))


def unmarked_layer_norm(self, shape, num_classes):
    return nn.Sequential(nn.Flatten(), nn.LayerNorm(math.prod(shape)), nn.Linear(math.prod(shape), num_classes))


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
