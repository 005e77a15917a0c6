"""The binarisation test: does the attack find an adversarial image that is known to be there?

Zimmermann, Brendel, Tramèr and Carlini, "Increasing Confidence in Adversarial Robustness Evaluations", NeurIPS 2022. The
last linear layer is replaced, for each image anew, by a linear readout of two classes. It tells one random image on the
boundary of the ball, the planted one, from random images inside. So every ball holds an image that the new network calls by
the other class, on the very features that the attack has to climb through. An attack that finds none there is too weak.

The readout is Fisher's linear discriminant, with its threshold just below the planted image. The paper's is a logistic
regression, which has no unique solution if classes are separable.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Generator, Tensor, nn

from robuststack.attacks.attacked_model import AttackedModel
from robuststack.attacks.ball import Ball
from robuststack.attacks.frozen_eval import frozen_eval
from robuststack.engine.probes.probed import Probed
from robuststack.engine.random_streams import generator
from robuststack.layers.condition import View

INNER = 200
"""Random images inside the ball, beside the clean one."""
RADIUS = 0.95
"""Of the ball that they lie in, in those of the threat."""
SEARCHED = 100
"""Random images on the boundary that a search without gradients tries."""
TIGHT = 0.9
"""Where the threshold lies between the inner image of highest score (0) and the planted one (1)."""
DRAWS = 10
"""At a randomised point: noise draws that features and scores are averaged over."""
RIDGE = 1.0
"""Added to the features' covariance, in parts of its mean variance: along directions that hardly vary, a readout would be
one of rounding, and curved beyond what any attack can climb."""


def look(subject: Probed) -> dict[str, Any]:
    """`images` of the check, and in how many of them the readout `separates` the planted image from the inner ones; in how
    many of those the attack has `found` an image of the other class, and in how many a random `search` has; `features`, how
    many numbers the readout reads, and of which `layer` they are the input: empty if they are the logits. Or `failed`, why
    the attack cannot run on two classes."""
    view = subject.view
    with frozen_eval(view):
        name, layer = _last_linear(view, subject.x[:2])
        counts = {"separates": 0, "found": 0, "search": 0}
        width = 0
        for number, (x, _) in enumerate(subject.blocks()):
            trial = _Trial(subject, layer, x, number)
            readout, separated = trial.readout()
            width = readout.weight.shape[1]
            try:
                found = trial.attacked(readout)
            except torch.OutOfMemoryError:
                raise
            except (RuntimeError, ValueError, IndexError, TypeError) as error:
                return {"failed": " ".join(f"{type(error).__name__}: {error}".split())}
            counts["separates"] += int(separated.sum())
            counts["found"] += int((found & separated).sum())
            counts["search"] += int((trial.searched(readout) & separated).sum())
    return {"layer": name, "features": width, "images": len(subject.y), **counts}


class Binarised(View):
    """A view whose last linear layer is replaced by a readout of two classes of each image's own: images [N, C, H, W] ->
    logits [N, 2], the second above the first where the score is above 0."""

    def __init__(self, view: View, layer: nn.Module | None, weight: Tensor, bias: Tensor) -> None:
        """`weight` [N, D] and `bias` [N], for as many images as a batch has."""
        super().__init__(view.model, view.values, stochastic=view.stochastic)
        self.view, self.layer = view, layer
        self.weight, self.bias = weight, bias

    def forward(self, x: Tensor) -> Tensor:
        score = ((features(self.view, self.layer, x) * self.weight).sum(1) + self.bias) / 2
        return torch.stack([-score, score], 1)

    def surrogate(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The readout's logits are the loss's too: a model's surrogate is one of its own classes."""
        logits = self(x)
        return logits, logits

    def subset(self, index: Tensor) -> Binarised:
        return Binarised(self.view.subset(index), self.layer, self.weight[index], self.bias[index])


def features(view: View, layer: nn.Module | None, x: Tensor) -> Tensor:
    """What the linear layer gets when the view runs on the images, float32 [N, D]; without a layer the logits."""
    if layer is None:
        return view(x).float()  # type: ignore[no-any-return]
    kept: list[Tensor] = []
    handle = layer.register_forward_pre_hook(lambda _, inputs: kept.append(inputs[0]))
    try:
        view(x)
    finally:
        handle.remove()
    # A network that cannot take one image gets it twice.
    return kept[-1][: len(x)].float()


@torch.no_grad()
def _last_linear(view: View, x: Tensor) -> tuple[str, nn.Module | None]:
    """The path and module of the linear layer whose output is the logits; none if there is none."""
    outputs: dict[str, tuple[nn.Module, Tensor]] = {}
    handles = [
        module.register_forward_hook(
            lambda layer, inputs, output, path=path: (
                outputs.update({path: (layer, output)}) if inputs[0].dim() == 2 else None
            )
        )
        for path, module in view.named_modules()
        if isinstance(module, nn.Linear)
    ]
    try:
        logits = view(x.clone())
    finally:
        for handle in handles:
            handle.remove()
    for path, (layer, output) in reversed(outputs.items()):
        if output.shape == logits.shape and torch.equal(output, logits):
            return path.removeprefix("model."), layer
    return "", None


@dataclass(frozen=True)
class _Trial:
    """The test on one block of images."""

    subject: Probed
    layer: nn.Module | None
    x: Tensor
    number: int

    @property
    def draws(self) -> int:
        return DRAWS if self.subject.view.stochastic else 1

    def readout(self) -> tuple[Binarised, Tensor]:
        """The network with its readout for each image, and whether that separates, bool [N]."""
        source = generator(self.x.device, self.subject.spec.seed, "binary", self.number)
        threat = self.subject.spec.threat
        inside = threat.model_copy(update={"eps": RADIUS * threat.eps})
        planted = _boundary(Ball.of(self.x, threat), source)
        weights, biases, separated = [], [], []
        for clean, goal_image in zip(self.x.split(1), planted.split(1), strict=True):
            ball = Ball.of(clean.expand(INNER, -1, -1, -1), inside)
            points = torch.cat([ball.project(ball.random(source)), clean, goal_image])
            mean = self._mean(self._features, points, "fit")
            inner, goal = mean[:-1], mean[-1]
            weight = discriminant(inner, goal)
            scores, goal_score = inner @ weight, goal @ weight
            highest = scores.max()
            scale = (goal_score - scores.mean()).clamp_min(torch.finfo(torch.float32).tiny)
            weights.append(weight / scale)
            biases.append(-(highest + TIGHT * (goal_score - highest)) / scale)
            separated.append(goal_score > highest)
        view = Binarised(self.subject.view, self.layer, torch.stack(weights), torch.stack(biases))
        apart = torch.stack(separated)
        if self.subject.view.stochastic:
            # The planted image may have stood out by its noise alone.
            apart &= (self._score(view, planted, "again") > 0) & (self._score(view, self.x, "again") < 0)
        return view, apart

    def attacked(self, view: Binarised) -> Tensor:
        """Whether the attack's images are of the other class, bool [N]."""
        subject, attack = self.subject, self.subject.attack
        assert attack is not None
        threat, runtime = subject.spec.threat, subject.runtime
        # The bias leaves small differences of large numbers, which a lower precision does not hold.
        model = AttackedModel(view, runtime.exact())
        source = generator(self.x.device, subject.spec.seed, "start", self.number)
        labels = torch.zeros(len(self.x), dtype=torch.int64, device=self.x.device)
        with subject.noise("attack", self.number), runtime.float32():
            images = attack.perturb(model, self.x.clone(), labels, threat, source).detach().float()
        images = torch.where(torch.isfinite(images), images, self.x)
        return self._score(view, Ball.of(self.x, threat).project(images), "judge") > 0

    def searched(self, view: Binarised) -> Tensor:
        """Whether one of many random images on the boundary, or inside of it, is of the other class, bool [N]."""
        source = generator(self.x.device, self.subject.spec.seed, "search", self.number)
        ball = Ball.of(self.x, self.subject.spec.threat)
        hit = torch.zeros(len(self.x), dtype=torch.bool, device=self.x.device)
        for number in range(SEARCHED):
            hit |= self._score(view, _boundary(ball, source), "search", number) > 0
        return hit

    def _features(self, images: Tensor) -> Tensor:
        """In batches no larger than the row's."""
        batches = images.split(self.subject.spec.block)
        return torch.cat([features(self.subject.view, self.layer, batch) for batch in batches])

    def _score(self, view: Binarised, images: Tensor, *stream: object) -> Tensor:
        """The mean score [N] over draws, as judging computes it."""
        return self._mean(view, images, *stream)[:, 1]

    def _mean(self, network: Callable[[Tensor], Tensor], images: Tensor, *stream: object) -> Tensor:
        with self.subject.still(), self.subject.noise(*stream, self.number):
            return torch.stack([network(images.clone()) for _ in range(self.draws)]).mean(0).nan_to_num()


def _boundary(ball: Ball, source: Generator) -> Tensor:
    """Random images on the boundary of the ball, one for each of its images: corners of a cube, points of a sphere."""
    return ball.project(ball.x + ball.eps * ball.steepest(ball.random_on_surface(source) - ball.x))


def discriminant(inner: Tensor, planted: Tensor) -> Tensor:
    """The direction [D] along which the planted features [D] stand out most from the inner ones [I, D], in units of their
    spread: (covariance + ridge)^-1 (planted - mean), by way of the I x I products of the features."""
    centre = inner.mean(0)
    spread, goal = (inner - centre).double(), (planted - centre).double()
    products = spread @ spread.T
    ridge = RIDGE * products.diagonal().mean() * len(inner) / max(spread.shape[1], 1) + torch.finfo(torch.float64).tiny
    identity = torch.eye(len(inner), dtype=torch.float64, device=inner.device)
    inside = torch.linalg.solve(products + ridge * identity, spread @ goal)
    return (goal - spread.T @ inside).float()  # type: ignore[no-any-return]
