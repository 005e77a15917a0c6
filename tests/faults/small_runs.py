"""The suite that clusters run while something is killed or cut."""

from __future__ import annotations

import os

TRIES = range(int(os.environ.get("ROBUSTSTACK_FAULTS", "1")))
"""How often each fault is tried; the number of a try is its seed."""
SUITE = """
datasets: {name: digits}
architectures: {name: resnet8, options: {width: 4}}
threat: {eps: 0.1}
train: {epochs: 30, batch_size: 100, attack: {name: pgd, options: {steps: 1, step: relative}}}
defenses: [none, {name: float, points: {lambda_n: [0, 1]}}]
attacks: {name: pgd, options: {steps: 3}}
evaluate: {draws: 2, limit: 200, block: 20}
measure: {latency: false}
precision: float32
device: cpu
threads: 1
"""
