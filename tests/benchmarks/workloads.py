"""What the speed comparisons share: networks, images, timing in turn, and how fast a network's convolutions run alone."""

from __future__ import annotations

import itertools
import statistics
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import robuststack as rs
from robuststack.attacks.attacked_model import AttackedModel, Tally
from robuststack.attacks.frozen_eval import frozen_eval
from robuststack.engine import data, models
from robuststack.engine import train as training
from robuststack.engine.evaluate import judge
from robuststack.engine.random_streams import generator
from robuststack.engine.runtime import Runtime, current_card
from robuststack.hardware import Hardware
from robuststack.layers.condition import View
from robuststack.layers.folding import Folding
from robuststack.plugin.registry import Registry
from robuststack.suite.recipe import Recipe

REGISTRY = Registry()
EPS, STEP = 8 / 255, 2 / 255
Task = Callable[[], object]


def synchronise(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def in_turn(
    tasks: Mapping[str, Task], device: torch.device, rounds: int = 3, *, warm_up: bool = True
) -> dict[str, float]:
    """Median seconds of each task over `rounds` rounds, in each of which all run one after another.

    A machine that slows down slows all of them: the ratios hold. A round before them warms up and is not counted; tasks of
    many alike passes can do without.
    """
    times: dict[str, list[float]] = {name: [] for name in tasks}
    for number in range(0 if warm_up else 1, rounds + 1):
        for name, task in tasks.items():
            synchronise(device)
            started = time.perf_counter()
            task()
            synchronise(device)
            if number:
                times[name].append(time.perf_counter() - started)
    return {name: statistics.median(seen) for name, seen in times.items()}


def built(
    defense: rs.Defense, architecture: str, shape: tuple[int, int, int], runtime: Runtime, classes: int = 10
) -> nn.Module:
    """An untrained model on the device."""
    return runtime.place(models.build(defense, REGISTRY.create("architecture", architecture), shape, classes, 0))


@dataclass(frozen=True)
class Convolutions:
    """Seconds that all convolutions of a network take alone, one pass each, for a batch of images."""

    forward: float
    to_input: float
    to_weight: float

    def passes(self, forward: float, to_input: float, to_weight: float) -> float:
        """Seconds of so many passes."""
        return forward * self.forward + to_input * self.to_input + to_weight * self.to_weight


class ConvolutionRate:
    """Every convolution that `model` runs on `x`, timed alone on tensors of the job's precision, channels-last.

    Calling it takes the times once more: as one of the tasks that run in turn, it sees the machine as they do.
    """

    def __init__(self, model: nn.Module, x: Tensor, runtime: Runtime) -> None:
        self.device = x.device
        self.kind = torch.bfloat16 if runtime.precision == "bf16" else torch.float32
        self.calls: Counter[tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...], tuple[int, ...], int]] = Counter()
        self.seen: list[list[float]] = []

        def note(conv: nn.Module, args: tuple[Tensor], _: Tensor) -> None:
            assert isinstance(conv, nn.Conv2d)
            padding = tuple(int(extent) for extent in conv.padding)
            key = (tuple(args[0].shape), tuple(conv.weight.shape), tuple(conv.stride), padding, conv.groups)
            self.calls[key] += 1

        hooks = [module.register_forward_hook(note) for module in model.modules() if isinstance(module, nn.Conv2d)]
        with torch.no_grad():
            model(x)
        for hook in hooks:
            hook.remove()

    def __call__(self) -> None:
        totals = [0.0, 0.0, 0.0]
        for (shape, weight_shape, stride, padding, groups), count in self.calls.items():
            layout = {"memory_format": torch.channels_last}
            image = torch.randn(shape, device=self.device).to(self.kind).contiguous(**layout)
            weight = torch.randn(weight_shape, device=self.device).to(self.kind).contiguous(**layout)
            out = nn.functional.conv2d(image, weight, None, stride, padding, 1, groups)
            backward = partial(
                torch.ops.aten.convolution_backward,
                out, image, weight, None, stride, padding, (1, 1), False, (0, 0), groups,
            )  # fmt: skip
            tasks: dict[str, Task] = {
                "forward": partial(nn.functional.conv2d, image, weight, None, stride, padding, 1, groups),
                "to_input": partial(backward, (True, False, False)),
                "to_weight": partial(backward, (False, True, False)),
            }
            seconds = in_turn(tasks, self.device, rounds=1)
            totals = [total + count * seconds[name] for total, name in zip(totals, tasks, strict=True)]
        self.seen.append(totals)

    def medians(self) -> Convolutions:
        """The medians so far."""
        return Convolutions(*(statistics.median(times) for times in zip(*self.seen, strict=True)))


def adversarially_trained(
    defense: rs.Defense, architecture: str, images: int, epochs: int, runtime: Runtime, **options: float
) -> tuple[nn.Module, data.Data]:
    """A network with real robust accuracy between the extremes, and test images: `tradeoff` with `options` at 32 x 32, eps
    8/255, trained with a two-step attack, which is quick."""
    dataset = REGISTRY.create("dataset", "tradeoff", {"images": images, "test_images": 500, "noise": 0.1, **options})
    splits = data.load(dataset, Path(), runtime.device)
    model = built(defense, architecture, dataset.shape, runtime)
    recipe = Recipe(epochs=epochs, batch_size=64, lr=0.05)
    attack = REGISTRY.create("attack", "pgd", {"steps": 2, "step": EPS / 2, "draws": 1})
    training.train(
        training.begin(defense, model, recipe), defense, splits["train"], attack, rs.Threat(eps=EPS), recipe, runtime,
        seed=0, augmentation=rs.Augmentation(), epoch_done=lambda *_: None,
    )  # fmt: skip
    return model.eval(), splits["test"]


def ours(view: View, x: Tensor, y: Tensor, runtime: Runtime, name: str, **options: Any) -> Tensor:
    """Images by an attack of ours, set up as the engine does it for every batch."""
    attack = REGISTRY.create("attack", name, options)
    with current_card(x.device), frozen_eval(view):
        fast = AttackedModel(Folding().of(view, x), runtime, Tally(x.device))
        return attack.perturb(fast, x, y, rs.Threat(eps=EPS), generator(x.device, 0))


def right(view: View, x: Tensor, y: Tensor, draws: int, seed: int) -> Tensor:
    """How often a model is right about each image [N], in float32."""
    torch.manual_seed(seed)
    return judge(view, x, y, draws if view.stochastic else 1).float().mean(0)


def step_of(
    name: str, architecture: str, batch: int, steps: int, runtime: Runtime, *, single: str | None = None
) -> Callable[[], None]:
    """A training step of a defense with its defaults, optimiser included, on random 32 x 32 images, attacked by PGD with so
    many steps or, if one is named, by an attack of a `single` step."""
    defense: rs.Defense = REGISTRY.create(
        "defense", name, {"pgd_at": {"lambda": 0.5}, "pni": {"warmup_epochs": 0}}.get(name, {})
    )
    model = built(defense, architecture, (3, 32, 32), runtime)
    x, y = torch.rand(batch, 3, 32, 32, device=runtime.device), torch.randint(10, (batch,), device=runtime.device)
    x = x.contiguous(memory_format=torch.channels_last)
    pgd = {"steps": steps, "draws": 1}
    attack = REGISTRY.create("attack", single or "pgd", {"draws": 1} if single else pgd)
    optimizer = training.begin(defense, model, Recipe(batch_size=batch, lr=0.01)).optimizer
    step = training.Step(model.train(), attack, rs.Threat(eps=EPS), runtime, epochs=1, seed=0)
    numbers = itertools.count()

    def one() -> None:
        training.learn(step, defense, optimizer, x, y, epoch=0, number=next(numbers))

    return one


def here(device: str = "auto", precision: str = "auto") -> Runtime:
    """This machine's device and precision."""
    from robuststack.hardware import resolve

    hardware: Hardware = resolve(device, precision)
    return Runtime(hardware)
