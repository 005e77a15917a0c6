"""The kept adversarial images of an attack job, scored again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import safetensors.torch
import torch

from robuststack.engine.data import Data
from robuststack.engine.evaluate import judge
from robuststack.engine.jobs import Workspace
from robuststack.engine.random_streams import seeded
from robuststack.errors import RobustStackError, StoreError
from robuststack.layers.condition import View
from robuststack.plan.job import function_of
from robuststack.plugin.operating_point import Setting
from robuststack.suite.suite import Evaluate

IMAGES = "images.safetensors"


@dataclass(frozen=True)
class Again:
    """What the images come to now: `correct` bool [draws, N], and, where they were rounded, what they came to on the very
    same noise before."""

    job: str
    result: Mapping[str, Any]
    """The stored result of the job."""
    correct: np.ndarray
    unrounded: np.ndarray | None
    point: Mapping[str, Any] | None
    """The other operating point they were scored on, whole."""
    stochastic: bool

    @property
    def stopped_early(self) -> bool:
        """Whether another point judges images that were attacked only until they fooled their own."""
        spec = self.result["spec"]
        return (
            self.point is not None
            and not spec["attacker"]["stochastic"]
            and spec["attacker"] == spec["victim"]
            and bool(spec["attack"]["options"].get("early_stop"))
        )


def rejudge(
    workspace: Workspace,
    job: str,
    *,
    point: Mapping[str, Any] | None = None,
    draws: int | None = None,
    seed: int = 0,
    eight_bit: bool = False,
) -> Again:
    """Score the images of `job`, an attack job or an unambiguous beginning of its id, on its own setting or on `point`.

    Randomised points are judged on `draws` noise draws (default: as many as the job) of a stream that no attack and no
    other judging uses; `seed` chooses among such streams. `eight_bit` rounds the images to multiples of 1/255 first.

    Raises:
        StoreError: no such job, images or a model that are damaged, or a model that was trained again since.
        RobustStackError: the job has no adversarial images, or the defense has no such point.
    """
    store = workspace.store
    job = store.find(job)
    result = store.result(job)
    spec = result["spec"]
    if result["kind"] != "attack" or spec["attack"] is None:
        kind = "scores clean images" if result["kind"] == "attack" else f"is a job of kind {result['kind']}"
        raise RobustStackError(f"{job} {kind}; name a job that attacks")
    if IMAGES not in result["files"]:
        raise RobustStackError(
            f"{job} kept no adversarial images; run its suite again with --set evaluate.keep_images=true"
        )
    images = safetensors.torch.load(store.read(job, IMAGES, result))["images"]

    trained = workspace.trained(spec)
    source, weights = trained["spec"], trained["weights"]
    defense, model = workspace.model(spec["model"], source, weights)
    function = function_of(spec)
    if (workspace.model_hash if function else weights) != result["model_sha256"]:
        again = f"{function!r} returns other weights" if function else f"{spec['model']} has been trained again"
        raise StoreError(f"{again} since {job} attacked it; run the suite again")
    setting = Setting(**spec["victim"])
    if point is not None:
        point = defense.whole_point(point)
        setting = defense.setting(point)
    if not setting.stochastic:
        draws = 1
    elif draws is None:
        draws = spec["draws"] if spec["victim"]["stochastic"] else Evaluate().draws
    labels = workspace.data(source["dataset"])[spec["split"]].labels[: len(images)]

    def judged(eight_bit: bool) -> np.ndarray:
        data = Data(images, labels)
        return _judged(defense.view(model, setting), data, draws, seed, spec["batch_size"], eight_bit)

    exact = judged(False)
    rounded = judged(True) if eight_bit else None
    correct, unrounded = (exact, None) if rounded is None else (rounded, exact)
    return Again(job, result, correct, unrounded, point, setting.stochastic)


def _judged(view: View, data: Data, draws: int, seed: int, batch_size: int, eight_bit: bool) -> np.ndarray:
    found = []
    for number, (x, y) in enumerate(data.batches(batch_size)):
        x = (x * 255).round() / 255 if eight_bit else x
        with seeded(seed, "rejudge", number):
            found.append(judge(view, x, y, draws))
    return torch.cat(found, 1).cpu().numpy()
