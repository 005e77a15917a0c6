"""The speed of a network on this machine, found by running it on made-up images."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from robuststack.attacks.attacked_model import AttackedModel
from robuststack.attacks.eot import loss_gradient
from robuststack.attacks.frozen_eval import frozen_eval
from robuststack.attacks.losses import cross_entropy as each_cross_entropy
from robuststack.engine.judge import predictions
from robuststack.engine.models import untrained
from robuststack.engine.random_streams import seeded
from robuststack.engine.runtime import Runtime, current_card, threads
from robuststack.engine.train import make_optimizer
from robuststack.engine.user_function import call_function
from robuststack.engine.workspace import ready
from robuststack.errors import ModelError
from robuststack.hardware import Hardware
from robuststack.layers.condition import View
from robuststack.layers.folding import Folding, on_folded
from robuststack.plan.components import component
from robuststack.plan.speed import Network, NetworkSpeed
from robuststack.plugin.defense import Defense
from robuststack.plugin.registry import Registry
from robuststack.suite.recipe import PhaseRecipe

BATCHES = (8, 32, 128)
"""Images a batch: the largest that is over soon enough, as larger ones take as long an image."""
SOON = 0.04
"""Seconds of a batch, at which the next larger one is tried."""
REPEATS, REPEATED = 5, 0.12
"""Calls, and seconds, after which a pass is not repeated. The quickest of several counts: something held the others up."""


def network_speed(network: Network, registry: Registry, hardware: Hardware) -> NetworkSpeed:
    """Run the passes that jobs are made of, a few times each, on a network with random weights, unless a function of the
    user returns it.

    Raises:
        ModelError: a defense brings the network, which may be a download.
        RobustStackError: the network cannot be built.
    """
    runtime = Runtime(hardware)
    defense: Defense = component(registry, "defense", network.model.defense)
    own = network.model.user_model
    if own is not None and own.python:
        model = call_function(own.python, own.fingerprint)
    elif network.model.architecture is not None:
        model = untrained(registry, network.model, 0)
    else:
        raise ModelError(f"{network.name}: its defense brings it whole")
    with current_card(runtime.device), threads(hardware.threads), seeded("speed"):
        model = ready(defense, model, network.shape, runtime)
        setting = defense.reference_setting()
        view, passes = defense.view(model, setting), defense.forward_passes(setting)
        images = torch.rand(BATCHES[-1], *network.shape, device=runtime.device)
        labels = torch.randint(network.num_classes, (len(images),), device=runtime.device)
        count = next((size for size in BATCHES if _answer(view, images[:size], runtime) > SOON), BATCHES[-1])
        x, y = images[:count].contiguous(memory_format=torch.channels_last), labels[:count]
        images_passed = count * passes  # The work of a job counts the passes of an answer as well.
        gradient = _gradient(view, x, y, runtime) / (2 * images_passed)
        update = _update(defense, view, x, y, runtime) / (3 * images_passed) if defense.trains else gradient
        return NetworkSpeed(answer=_answer(view, x, runtime) / images_passed, gradient=gradient, update=update)


def _answer(view: View, x: Tensor, runtime: Runtime) -> float:
    return _quickest(lambda: predictions(view, x, 1), runtime)


def _gradient(view: View, x: Tensor, y: Tensor, runtime: Runtime) -> float:
    def climbed(views: Sequence[View]) -> float:
        attacked = AttackedModel(views[0], runtime)
        return _quickest(lambda: loss_gradient(attacked, x, y, each_cross_entropy, 1), runtime)

    with frozen_eval(view), runtime.float32():
        return on_folded([view], [Folding().of(view, x)], climbed)[0]


def _update(defense: Defense, view: View, x: Tensor, y: Tensor, runtime: Runtime) -> float:
    optimizer = make_optimizer(defense.parameter_groups(view.model, 0.0), PhaseRecipe(lr=1e-6))

    def learned() -> None:
        optimizer.zero_grad(set_to_none=True)
        with runtime.autocast():
            cross_entropy(view(x).float(), y).backward()
        optimizer.step()

    view.model.train()
    return _quickest(learned, runtime)


def _quickest(work: Callable[[], object], runtime: Runtime) -> float:
    """Seconds of the quickest of several calls, the first of which warms up if more follow."""
    seconds, taken = runtime.clock(), list[float]()
    while not taken or (len(taken) < REPEATS and sum(taken) < REPEATED):
        started = seconds()
        work()
        if runtime.device.type == "cuda":
            torch.cuda.synchronize(runtime.device)
        taken.append(seconds() - started)
    return min(taken)
