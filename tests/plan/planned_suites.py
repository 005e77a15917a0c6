"""The suite that the tests of plans share, and the ids of a plan's jobs."""

from __future__ import annotations

from pathlib import Path

from robuststack.hardware import Hardware
from robuststack.plan.plan import Plan

ROOT = Path(__file__).parents[2]
CPU = Hardware("cpu", "float32")
SCORED = ("train", "attack", "judge")
SUITE = """
datasets: {name: tradeoff, options: {images: 600, test_images: 200, size: 8, classes: 4}}
architectures: resnet8
threat: {eps: 0.1}
train: {epochs: 2, batch_size: 50}
defenses:
- name: float
  points: {lambda_n: [0, 1]}
- none
attacks: [fgsm, {name: pgd, options: {steps: 5}}]
"""


def ids(plan: Plan, *kinds: str) -> set[str]:
    return {job.id for job in plan.jobs if not kinds or job.kind in kinds}
