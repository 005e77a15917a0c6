"""Attacks side by side with torchattacks, foolbox, the Adversarial Robustness Toolbox and pyautoattack."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import foolbox
import pytest
import torch
import torchattacks
from art.attacks.evasion import FastGradientMethod, ProjectedGradientDescent
from art.estimators.classification import PyTorchClassifier
from pyautoattack.autopgd_base import APGDAttack
from torch import Tensor, nn

import robuststack as rs
from robuststack.attacks.frozen_eval import frozen_eval
from robuststack.layers.condition import View
from workloads import EPS, REGISTRY, STEP, ConvolutionRate, adversarially_trained, here, in_turn, ours, right

pytestmark = [pytest.mark.bench, pytest.mark.timeout(3600)]
RUNTIME = here()


@dataclass
class Target:
    """A trained ResNet-18 with a CIFAR stem, and images that it is tested on."""

    view: View
    x: Tensor
    y: Tensor

    @cached_property
    def unprepared(self) -> View:
        """The model as its user has it, in torch's default layout: what the other libraries get."""
        model = copy.deepcopy(self.view.model).to(memory_format=torch.contiguous_format)
        return View(model, self.view.values, stochastic=self.view.stochastic)

    @cached_property
    def images(self) -> Tensor:
        """`x` in torch's default layout."""
        return self.x.contiguous()

    def ours(self, name: str, **options: Any) -> Tensor:
        return ours(self.view, self.x, self.y, RUNTIME, name, **options)

    def ra(self, adversarial: Tensor) -> float:
        return 100 * float(right(self.view, adversarial, self.y, draws=20, seed=0).mean())


@pytest.fixture(scope="module")
def target() -> Target:
    model, test = adversarially_trained(
        REGISTRY.create("defense", "pgd_at", {"lambda": 1.0}), "resnet18", images=2560, epochs=1, runtime=RUNTIME,
        robust_accuracy=0.8, robust_strength=0.12,
    )  # fmt: skip
    x, y = test.batch(slice(0, 128))
    return Target(View(model), x, y)


def compare(
    table: Any,
    benchmark: Any,
    work: str,
    target: Target,
    tasks: dict[str, Callable[[], Tensor]],
    targets: dict[str, str] | None = None,
    passes: dict[str, int] | None = None,
    rounds: int = 3,
    warm_up: bool = True,
) -> dict[str, float]:
    """Run in turn, note time and robust accuracy, and return how many times as long as ours each took.

    `passes`: how many times an attack goes forward and back through the network.
    """
    rate = ConvolutionRate(target.view, target.x, RUNTIME)
    adversarial: dict[str, Tensor] = {}

    def kept(name: str, task: Callable[[], Tensor]) -> Callable[[], None]:
        return lambda: adversarial.__setitem__(name, task())

    timed = {name: kept(name, task) for name, task in tasks.items()}
    seconds = in_turn({**timed, "rate": rate} if passes else timed, target.x.device, rounds, warm_up=warm_up)
    seconds.pop("rate", None)
    table.add(work, "no attack", None, ra=target.ra(target.x))
    first = next(iter(tasks))
    ratios = {name: time / seconds[first] for name, time in seconds.items()}
    for name, time in seconds.items():
        count = (passes or {}).get(name)
        table.add(
            work, name, time, ratio=ratios[name], ra=target.ra(adversarial[name]),
            share=rate.medians().passes(count, count, 0) / time if count else None, target=(targets or {}).get(name, ""),
        )  # fmt: skip
    benchmark.extra_info.update({"seconds": seconds})
    benchmark.pedantic(tasks[first], rounds=1)
    return ratios


def foolbox_run(attack: Any, target: Target) -> Callable[[], Tensor]:
    model = foolbox.PyTorchModel(target.unprepared, bounds=(0, 1), device=target.x.device)
    return lambda: attack(model, target.images, target.y, epsilons=EPS)[1]


def art_run(kind: Any, target: Target, **options: Any) -> Callable[[], Tensor]:
    classifier = PyTorchClassifier(
        target.unprepared, loss=nn.CrossEntropyLoss(), input_shape=tuple(target.x.shape[1:]), nb_classes=10,
        clip_values=(0, 1), device_type="gpu" if target.x.is_cuda else "cpu",
    )  # fmt: skip
    attack = kind(classifier, eps=EPS, batch_size=len(target.x), **options)
    x, y = target.x.cpu().numpy(), target.y.cpu().numpy()
    return lambda: torch.from_numpy(attack.generate(x, y)).to(target.x.device)


def test_pgd(target: Target, table: Any, benchmark: Any) -> None:
    steps = 20
    whole, early = "robuststack, every image to the end", "robuststack, as it evaluates"
    options = {"steps": steps, "step": STEP / 2}
    compare(
        table, benchmark, f"PGD-{steps}, ResNet-18, batch {len(target.y)}", target,
        {
            whole: lambda: target.ours("pgd", early_stop=False, **options),
            early: lambda: target.ours("pgd", **options),
            "torchattacks": lambda: torchattacks.PGD(target.unprepared, EPS, STEP / 2, steps)(target.images, target.y),
            "torchattacks, channels-last as ours": lambda: torchattacks.PGD(target.view, EPS, STEP / 2, steps)(
                target.x, target.y
            ),
            "foolbox": foolbox_run(
                foolbox.attacks.LinfPGD(abs_stepsize=STEP / 2, steps=steps, rel_stepsize=None), target
            ),
            "adversarial-robustness-toolbox": art_run(
                ProjectedGradientDescent, target, eps_step=STEP / 2, max_iter=steps, num_random_init=1, verbose=False
            ),
        },
        targets={"torchattacks": "3.5 (5 as it evaluates)"}, passes={whole: steps}, rounds=2, warm_up=False,
    )  # fmt: skip


def test_fgsm(target: Target, table: Any, benchmark: Any) -> None:
    compare(
        table, benchmark, f"FGSM, ResNet-18, batch {len(target.y)}", target,
        {
            "robuststack": lambda: target.ours("fgsm"),
            "torchattacks": lambda: torchattacks.FGSM(target.unprepared, EPS)(target.images, target.y),
            "foolbox": foolbox_run(foolbox.attacks.LinfFastGradientAttack(random_start=False), target),
            "adversarial-robustness-toolbox": art_run(FastGradientMethod, target),
        },
    )  # fmt: skip


def official(target: Target, loss: str, iterations: int, draws: int) -> Tensor:
    model = target.unprepared
    attack = APGDAttack(model, n_iter=iterations, eps=EPS, loss=loss, eot_iter=draws, seed=0, device=target.x.device)
    with frozen_eval(model):
        adversarial: Tensor = attack.perturb(target.images, target.y, best_loss=model.stochastic)
    return adversarial


def test_apgd(target: Target, table: Any, benchmark: Any) -> None:
    iterations = 20
    compare(
        table, benchmark, f"APGD-CE, {iterations} iterations, ResNet-18, batch {len(target.y)}", target,
        {
            "robuststack, every image to the end": lambda: target.ours(
                "apgd_ce", early_stop=False, iterations=iterations
            ),
            "robuststack, as it evaluates": lambda: target.ours("apgd_ce", iterations=iterations),
            "pyautoattack": lambda: official(target, "ce", iterations, 1),
        },
        rounds=2, warm_up=False,
    )  # fmt: skip


def test_autoattack_rand(table: Any, benchmark: Any) -> None:
    """On a FLOAT ResNet-20 at the robust end; cut to 10 iterations of each loss and 5 draws, on both sides alike."""
    iterations, draws = 10, 5
    defense: rs.Defense = REGISTRY.create("defense", "float")
    model, test = adversarially_trained(
        defense, "resnet20", images=1280, epochs=4, runtime=RUNTIME, robust_accuracy=0.7
    )
    target = Target(defense.view(model, defense.reference_setting()), *test.batch(slice(0, 128)))

    def both() -> Tensor:
        # The better of the two losses' images, told by as many draws as ours tells it by.
        ce, dlr = official(target, "ce", iterations, draws), official(target, "dlr", iterations, draws)
        by_ce, by_dlr = (right(target.view, batch, target.y, draws, seed=1) for batch in (ce, dlr))
        return torch.where((by_ce > by_dlr)[:, None, None, None], dlr, ce)

    compare(
        table, benchmark, f"AutoAttack-rand, FLOAT ResNet-20, {iterations} iterations, {draws} draws", target,
        {
            "robuststack": lambda: target.ours("autoattack_rand", iterations=iterations, draws=draws),
            "pyautoattack": both,
        },
        targets={"pyautoattack": "3"},
    )  # fmt: skip
