"""From a job's specification to its model: untrained, trained, or brought by the user."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import safetensors
import safetensors.torch
from torch import Tensor, nn

from robuststack.engine.build import network
from robuststack.engine.random_streams import seeded
from robuststack.engine.user_checkpoint import load_user_weights, misfit
from robuststack.engine.user_function import call_function
from robuststack.errors import StoreError
from robuststack.plan.components import component
from robuststack.plan.job import WEIGHTS
from robuststack.plan.specs import ModelSpec
from robuststack.plugin.architecture import Architecture
from robuststack.plugin.dataset import Dataset
from robuststack.plugin.defense import Defense
from robuststack.plugin.registry import Registry
from robuststack.running.job_store import JobStore
from robuststack.suite.exported import exported


def build(
    defense: Defense, architecture: Architecture, shape: tuple[int, int, int], num_classes: int, seed: int
) -> nn.Module:
    """The untrained model of a seed. It is built on the CPU, so that every device starts from the same weights."""
    with seeded(seed, "initialisation"):
        return network(defense, architecture, shape, num_classes)


def untrained(registry: Registry, spec: ModelSpec, seed: int) -> nn.Module:
    """The model that a train job of this specification starts from."""
    assert spec.architecture is not None
    architecture: Architecture = component(registry, "architecture", spec.architecture)
    defense: Defense = component(registry, "defense", spec.defense)
    dataset: Dataset = component(registry, "dataset", spec.dataset)
    return build(defense, architecture, dataset.shape, dataset.num_classes, seed)


def finished(
    store: JobStore, registry: Registry, job: str, spec: ModelSpec, folder: Path, *, seed: int = 0
) -> tuple[Defense, nn.Module]:
    """The defense and its finished model, on the CPU: of a train job, of the user, or of a defense that does not train.

    `seed` is the train job's: what a model draws when it is built need not all be in its state.

    Raises:
        StoreError: a train job's weights are not there or damaged.
        ModelError: the user's weights or function do not give the model.
    """
    defense: Defense = component(registry, "defense", spec.defense)
    dataset: Dataset = component(registry, "dataset", spec.dataset)
    own = spec.user_model
    if own is None and not defense.trains:
        return defense, defense.load(folder, dataset.shape, dataset.num_classes)
    if own is not None and own.python:
        return defense, call_function(own.python, own.fingerprint)
    file = exported(Path(own.places["load"])) if own else None
    model = untrained(registry, spec, file.seed if file else seed)
    if own is None:
        restore(model, store.read(job, WEIGHTS), store.folder(job) / WEIGHTS)
    else:
        assert spec.architecture is not None
        wanted = f"{spec.architecture.name} under {defense.name} with {dataset.num_classes} classes"
        load_user_weights(model, Path(own.places["load"]), own.fingerprint, wanted, own.key)
    return defense, model


def restore(model: nn.Module, content: bytes, path: Path) -> None:
    """Load a checkpoint of the store's own.

    Raises:
        StoreError: it is damaged, or of another network.
    """
    try:
        state = safetensors.torch.load(content)
        reason = misfit(model, state)
    except safetensors.SafetensorError as error:
        reason = str(error)
    if reason:
        raise StoreError(f"{path} is not a checkpoint of this model: {reason}; delete {path.parent} to train again")
    model.load_state_dict(state, strict=True)


def packed(model: nn.Module) -> bytes:
    """A model's state as the content of a safetensors file."""
    return packed_state(model.state_dict())


def packed_state(state: Mapping[str, Tensor]) -> bytes:
    """A state dict as the content of a safetensors file."""
    # Each with memory of its own, tied ones too: the format knows no shared memory.
    return safetensors.torch.save({key: value.detach().cpu().contiguous().clone() for key, value in state.items()})
