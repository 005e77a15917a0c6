"""How many draws an attack averages over on a randomised setting, found on a probe of images."""

from __future__ import annotations

import time
from dataclasses import asdict
from typing import Any

import numpy as np
import safetensors.numpy

from robuststack.engine import blocks
from robuststack.engine.attack import Seen, attack_block, checks
from robuststack.engine.judge import judge_block
from robuststack.engine.stages import Content, Reporter, Stages
from robuststack.engine.workspace import Workspace
from robuststack.evidence.draws import enough, levels
from robuststack.evidence.variance import of_model
from robuststack.plan.job import LABELS, Job
from robuststack.plan.specs import DrawsSpec
from robuststack.plugin.attack import Attack

STREAM = "draws"
"""Names the noise that judges the probe. That of attacks and of a row's judging is another: draws that an attack was chosen
on, or has seen, would flatter it."""


def choose(
    job: Job, spec: DrawsSpec, workspace: Workspace, report: Reporter
) -> tuple[dict[str, Any], dict[str, bytes]]:
    """The result and files of a job that chooses draws: `draws`, whether the cap was reached, and the `curve`: for each
    number of draws that was tried the probe's robust accuracy in percent with its interval, and the attack's forward passes
    for each image (a gradient counts one more).
    """
    basis = blocks.basis(job, workspace)
    stages = Stages(job, workspace, report, basis)
    attack: Attack = workspace.component("attack", spec.attack)
    made = workspace.made(spec, job.digest)
    data = workspace.selected(made.spec.dataset, spec.selection)
    truth = data.labels.cpu().numpy()
    labels: dict[int, np.ndarray] = {}
    curve: list[dict[str, Any]] = []
    seen: list[dict[str, Any]] = []
    seconds = 0.0
    chosen: int | None = None
    for draws in levels(spec.cap):
        used = attack.with_draws(draws)

        def probe(number: int, used: Attack = used) -> Content:
            return _block(job, spec, workspace, used, number)

        stage = stages.run(probe)
        labels[draws] = np.concatenate([safetensors.numpy.load(block.content)["labels"] for block in stage], 1)
        seen += [{name: block.facts[name] for name in blocks.SEEN} for block in stage]
        seconds += sum(block.facts["seconds"] for block in stage)
        estimate = of_model([labels[draws]], truth)
        low, high = estimate.interval()
        curve.append({
            "draws": draws,
            "accuracy": 100 * estimate.value,
            "low": 100 * max(low, 0.0),
            "high": 100 * min(high, 1.0),
            "passes": used.image_passes(True),
        })  # fmt: skip
        chosen = enough(labels, truth)
        if chosen is not None:
            break
    result = {
        **basis,
        "n": len(truth),
        "draws": chosen or spec.cap,
        "cap_reached": chosen is None,
        "curve": curve,
        "seconds": seconds,
        "checks": checks(Seen(**facts) for facts in seen),
        "devices": sorted(stages.devices),
    }
    files = {str(draws): kept for draws, kept in labels.items()} | {"truth": truth}
    return result, {LABELS: safetensors.numpy.save(files)}


def _block(job: Job, spec: DrawsSpec, workspace: Workspace, attack: Attack, number: int) -> Content:
    """One block of the probe, attacked from the same start whatever the draws, and judged on the same noise."""
    started = time.perf_counter()
    made = workspace.made(spec, job.digest)
    view, folding = workspace.view(made, spec)
    data = workspace.selected(made.spec.dataset, spec.selection)
    x, y = data.batch(slice(number * spec.block, (number + 1) * spec.block))
    images, seen = attack_block(
        view, x, y, attack, spec.threat, workspace.runtime,
        seed=spec.seed, number=number, early_stop=False, folding=folding,
    )  # fmt: skip
    labels = judge_block(view, images, spec.judged, seed=spec.seed, stream=STREAM, number=number)
    kept = labels.cpu().numpy().astype(blocks.label_type(workspace, made.spec.dataset))
    facts = {**asdict(seen), "seconds": time.perf_counter() - started}
    return safetensors.numpy.save({"labels": kept}), facts
