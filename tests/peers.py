"""What the comparisons with other libraries share: trained models, fresh images, and pyautoattack called directly."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import torch
import yaml
from pyautoattack import AutoAttack
from pyautoattack.autopgd_base import APGDAttack
from torch import Tensor

import robuststack as rs
from robuststack.attacks.attacked_model import AttackedModel
from robuststack.attacks.ball import Ball
from robuststack.attacks.frozen_eval import frozen_eval
from robuststack.engine import data
from robuststack.engine.evaluate import judge
from robuststack.engine.random_streams import generator, seeded, stream_seed
from robuststack.engine.runtime import Runtime
from robuststack.hardware import Hardware
from robuststack.layers.condition import View
from robuststack.plugin.registry import Registry
from trained import SMALL_SUITE, Trained

REGISTRY = Registry()
RUNTIME = Runtime(Hardware("cpu", "float32"))
CPU = torch.device("cpu")


def view(trained: Trained, defense: str, **point: float) -> View:
    """A trained model at an operating point."""
    return rs.load_model(trained.job(defense), store=trained.store).at(**point).eval()


@cache
def images(count: int) -> tuple[Tensor, Tensor]:
    """Test images of the small suite's dataset, more of them than it has."""
    options = yaml.safe_load(SMALL_SUITE)["datasets"]["options"]
    dataset = REGISTRY.create("dataset", "tradeoff", {**options, "test_images": count})
    test = data.load(dataset, Path(), CPU)["test"]
    return test.images, test.labels


def perturb(
    attack: rs.Attack, attacked: View, x: Tensor, y: Tensor, eps: float, seed: int = 0, norm: str = "linf"
) -> Tensor:
    """What an attack of ours returns."""
    threat = rs.Threat(norm=norm, eps=eps)
    with frozen_eval(attacked):
        return attack.perturb(AttackedModel(attacked, RUNTIME), x, y, threat, generator(CPU, seed))


def fixed_start(x: Tensor, threat: rs.Threat, source: torch.Generator) -> Tensor:
    """A first iterate that follows from the image alone: both sides start there, whichever of the images they attack."""
    pattern = torch.sin(1000 * x)
    return x + threat.eps * (pattern if threat.norm == "linf" else Ball.of(x, threat).steepest(pattern))


class Numbered(View):
    """A randomised model whose forward pass k, counted from 0, has the noise of a seed and of `number(k)`."""

    def __init__(self, network: View, number: Callable[[int], int], seed: int = 0) -> None:
        super().__init__(network.model, network.values, stochastic=True)
        self.network, self.number, self.seed, self.calls = network, number, seed, 0

    def forward(self, x: Tensor) -> Tensor:
        torch.manual_seed(stream_seed(self.seed, self.number(self.calls)))
        self.calls += 1
        return self.network(x)


def same_start(
    name: str,
    attacked: View,
    x: Tensor,
    y: Tensor,
    eps: float,
    seed: int = 0,
    *,
    iterations: int,
    draws: int = 1,
    norm: str = "linf",
) -> tuple[Tensor, Tensor]:
    """(what our attack returns, what pyautoattack's of the same options does), both from one start and, on a randomised
    model, with the same noise in the same places."""

    def in_theirs(k: int) -> int:
        """The number, in pyautoattack's run, of a forward pass of ours, which looks once at a run's last iterate."""
        steps, comparison = draws * iterations, 2 * draws
        run, within = divmod(k - draws, steps + 1 + comparison)
        if k < draws:  # The clean images.
            return k
        return draws + run * (steps + draws + comparison) + within + (draws - 1 if within >= steps else 0)

    adversarial = []
    # The official one asks a forward pass for the number of classes before all else.
    for variant, number in ((name, in_theirs), (f"pyautoattack:{name}", lambda k: k - 1)):
        attack = REGISTRY.create("attack", variant, {"iterations": iterations, "draws": draws})
        model = Numbered(attacked, number, seed) if attacked.stochastic else attacked
        with frozen_eval(attacked), seeded(seed):
            source = generator(CPU, seed)
            adversarial.append(
                attack.perturb(
                    AttackedModel(model, RUNTIME), x, y, rs.Threat(norm=norm, eps=eps), source, start=fixed_start
                )
            )
    return adversarial[0], adversarial[1]


def right(victim: View, x: Tensor, y: Tensor, draws: int = 1, seed: int = 0) -> Tensor:
    """How often the model is right about each image, over fresh draws."""
    torch.manual_seed(1000 + seed)
    return judge(victim, x, y, draws).float().mean(0)


@dataclass(frozen=True)
class Rand:
    """AutoAttack's version for randomised models, at some length."""

    eps: float
    iterations: int
    draws: int

    def ours(self, attacked: View, x: Tensor, y: Tensor, seed: int) -> Tensor:
        attack = REGISTRY.create("attack", "autoattack_rand", {"iterations": self.iterations, "draws": self.draws})
        return perturb(attack, attacked, x, y, self.eps, seed)

    def runs(self, attacked: View, x: Tensor, y: Tensor, seed: int) -> list[Tensor]:
        """The library's APGD on each loss, asked for the point of highest loss of every image."""
        torch.manual_seed(seed)
        with frozen_eval(attacked), torch.no_grad():
            return [self._apgd(attacked, loss).perturb(x.contiguous(), y, best_loss=True) for loss in ("ce", "dlr")]

    def protocol(self, attacked: View, x: Tensor, y: Tensor, seed: int) -> Tensor:
        """The library's whole evaluation: clean images where a single draw said that the model is robust, or wrong."""
        attack = AutoAttack(attacked, eps=self.eps, version="rand", seed=seed)
        attack.apgd = self._apgd(attacked, "ce")
        with frozen_eval(attacked):
            return attack.run_standard_evaluation(x.contiguous(), y, batch_size=len(x))[0]

    def _apgd(self, attacked: View, loss: str) -> APGDAttack:
        lengths = {"n_iter": self.iterations, "eot_iter": self.draws}
        logger = logging.getLogger(__name__)
        return APGDAttack(attacked, norm="Linf", eps=self.eps, loss=loss, device=CPU, logger=logger, **lengths)


def rand_from_one_start(attacked: View, eps: float, count: int, iterations: int, draws: int, seeds: int) -> Difference:
    """AutoAttack-rand of pyautoattack less ours on a randomised model, from one start and with the same noise."""
    x, y = images(count)
    ours, theirs = [], []
    for seed in range(seeds):
        adversarial = same_start("autoattack_rand", attacked, x, y, eps, seed, iterations=iterations, draws=draws)
        for side, batch in zip((ours, theirs), adversarial, strict=True):
            side.append(right(attacked, batch, y, 20, seed))
    return Difference.of(torch.stack(theirs), torch.stack(ours))


@dataclass(frozen=True)
class Difference:
    """The mean difference of robust accuracy in points, theirs less ours, with its 95 % interval over images."""

    mean: float
    low: float
    high: float

    @classmethod
    def of(cls, theirs: Tensor, ours: Tensor) -> Difference:
        """From accuracies [seeds, images]; an image's difference is its mean over the seeds."""
        differences = 100 * (theirs - ours).mean(0)
        half = 1.96 * float(differences.std()) / math.sqrt(len(differences))
        return cls(float(differences.mean()), float(differences.mean()) - half, float(differences.mean()) + half)


def compare_rand(
    rand: Rand, attacked: View, x: Tensor, y: Tensor, seeds: int, draws: int
) -> tuple[Difference, Difference]:
    """(the worst of the library's two runs, the library's whole evaluation), each against ours."""
    ours, worst, protocol = [], [], []
    for seed in range(seeds):
        ours.append(right(attacked, rand.ours(attacked, x, y, seed), y, draws, seed))
        runs = rand.runs(attacked, x, y, seed)
        # Which run hurts an image more is found on other draws than it is judged on: a minimum of noise is too low.
        outcomes = torch.stack([right(attacked, batch, y, draws, 100 + seed) for batch in runs])
        judged = torch.stack([right(attacked, batch, y, draws, seed) for batch in runs])
        worst.append(judged.gather(0, outcomes.argmin(0, keepdim=True)).squeeze(0))
        protocol.append(right(attacked, rand.protocol(attacked, x, y, seed), y, draws, seed))
    mine = torch.stack(ours)
    return Difference.of(torch.stack(worst), mine), Difference.of(torch.stack(protocol), mine)
