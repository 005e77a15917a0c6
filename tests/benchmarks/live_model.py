"""What `rs.evaluate` costs beside a bare loop: `python tests/benchmarks/live_model.py`.

A ResNet-18 on 128 images under PGD-20, in one thread. The loop is what a researcher writes: gradients of the cross-entropy,
steps of 2.5 eps / 20, and the accuracy on the images that it ends with, clean and attacked. Times are processor time.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time

import torch
from torch import Tensor, nn
from torch.nn import functional as F

import robuststack as rs
from robuststack.plugin.registry import Registry

EPS = 8 / 255


def bare(model: nn.Module, x: Tensor, y: Tensor, steps: int) -> tuple[float, float]:
    """Clean and robust accuracy, as a plain loop finds them."""
    step = 2.5 * EPS / steps
    adversarial = (x + torch.empty_like(x).uniform_(-EPS, EPS)).clamp(0, 1)
    for _ in range(steps):
        adversarial.requires_grad_()
        (gradient,) = torch.autograd.grad(F.cross_entropy(model(adversarial), y), adversarial)
        adversarial = (adversarial.detach() + step * gradient.sign()).clamp(x - EPS, x + EPS).clamp(0, 1)
    with torch.no_grad():
        clean, attacked = (float((model(images).argmax(1) == y).float().mean()) for images in (x, adversarial))
    return clean, attacked


def evaluated(model: nn.Module, x: Tensor, y: Tensor, steps: int) -> None:
    """The same by `rs.evaluate`, from nothing. Latency is another question and stays out."""
    with tempfile.TemporaryDirectory() as store:
        result = rs.evaluate(
            model, data=(x, y), attacks=[f"pgd steps={steps} early_stop=false"], eps=EPS, store=store,
            overrides=["measure.latency=false", "precision=float32", "threads=1"],
        )  # fmt: skip
    assert not result.failed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--images", type=int, default=128)
    parser.add_argument("--steps", type=int, default=20)
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    model = Registry().create("architecture", "resnet18", {}).build((3, 32, 32), 10).eval().requires_grad_(False)
    x, y = torch.rand(chosen.images, 3, 32, 32), torch.arange(chosen.images) % 10
    evaluated(model, x[:10], y[:10], 1)  # Imports.
    ratios = []
    for _ in range(chosen.rounds):
        seconds = []
        for way in (bare, evaluated):
            started = time.process_time()
            way(model, x, y, chosen.steps)
            seconds.append(time.process_time() - started)
        ratios.append(seconds[1] / seconds[0])
        print(f"loop {seconds[0]:.1f} s, rs.evaluate {seconds[1]:.1f} s, ratio {ratios[-1]:.3f}", flush=True)
    print(f"median ratio {statistics.median(ratios):.3f}")


if __name__ == "__main__":
    main()
