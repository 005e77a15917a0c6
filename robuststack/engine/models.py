"""From a job's specification to its model: untrained, trained, or brought by the user."""

from __future__ import annotations

import hashlib
import importlib
import io
import pickle
import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from robuststack.engine.build import network
from robuststack.engine.random_streams import seeded
from robuststack.errors import ModelError, RobustStackError, StoreError
from robuststack.plugin.architecture import Architecture
from robuststack.plugin.dataset import Dataset
from robuststack.plugin.defense import Defense
from robuststack.plugin.registry import Registry
from robuststack.running.store import Store
from robuststack.suite.parts import ModelSource
from robuststack.suite.smoke import StandIn
from robuststack.suite.user_model import find_given, importable_here

WRAPPERS = ("state_dict", "model", "model_state_dict")
"""Keys under which training scripts put a state dict, one inside the other at times."""
PREFIXES = ("_orig_mod.", "module.", "_orig_mod.")
"""What torch.compile and DataParallel, either around the other, put before every key."""


def component(registry: Registry, kind: str, spec: Mapping[str, Any]) -> Any:
    """The component that a job wrote down."""
    found = registry.create(kind, spec["name"], {**spec["options"], **spec.get("places", {})})
    return StandIn(found, spec["stand_in"]) if "stand_in" in spec else found


def build(
    defense: Defense, architecture: Architecture, shape: tuple[int, int, int], num_classes: int, seed: int
) -> nn.Module:
    """The untrained model of a seed. It is built on the CPU, so that every device starts from the same weights."""
    with seeded(seed, "initialisation"):
        return network(defense, architecture, shape, num_classes)


def untrained(registry: Registry, spec: Mapping[str, Any], seed: int) -> nn.Module:
    """The model that a train job of this specification starts from."""
    architecture: Architecture = component(registry, "architecture", spec["architecture"])
    defense: Defense = component(registry, "defense", spec["defense"])
    dataset: Dataset = component(registry, "dataset", spec["dataset"])
    return build(defense, architecture, dataset.shape, dataset.num_classes, seed)


def finished(
    store: Store, registry: Registry, job: str, spec: Mapping[str, Any], folder: Path
) -> tuple[Defense, nn.Module]:
    """The defense and its finished model, on the CPU: of a train job, of the user, or of a defense that does not train.

    Raises:
        StoreError: a train job's weights are not there or damaged.
        ModelError: the user's weights or function do not give the model.
    """
    defense: Defense = component(registry, "defense", spec["defense"])
    dataset: Dataset = component(registry, "dataset", spec["dataset"])
    given = spec.get("given")
    if given is None and not defense.trains:
        return defense, defense.load(folder, dataset.shape, dataset.num_classes)
    if given is not None and "python" in given:
        return defense, _called(given["python"], given["fingerprint"])
    model = untrained(registry, spec, spec.get("seed", 0))
    if given is None:
        restore(model, store.read(job, "model.safetensors"), store.folder(job) / "model.safetensors")
    else:
        path = Path(given["places"]["load"])
        misfit = _misfit(model, _user_state(path, given["fingerprint"]))
        if misfit:
            wanted = f"{spec['architecture']['name']} under {defense.name} with {dataset.num_classes} classes"
            raise ModelError(f"{path} does not fit {wanted}: {misfit}")
    return defense, model


def restore(model: nn.Module, content: bytes, path: Path) -> None:
    """Load a checkpoint of the store's own.

    Raises:
        StoreError: it is damaged, or of another network.
    """
    try:
        misfit = _misfit(model, safetensors.torch.load(content))
    except safetensors.SafetensorError as error:
        misfit = str(error)
    if misfit:
        raise StoreError(f"{path} is not a checkpoint of this model: {misfit}; delete {path.parent} to train again")


def packed(model: nn.Module) -> bytes:
    """A model's state as the content of a safetensors file."""
    return packed_state(model.state_dict())


def packed_state(state: Mapping[str, Tensor]) -> bytes:
    """A state dict as the content of a safetensors file."""
    return safetensors.torch.save({key: value.detach().cpu().contiguous() for key, value in state.items()})


def weights_hash(model: nn.Module) -> str:
    """A hash of a model's state, whatever it is made of: tied weights and other types are no hindrance."""
    found = hashlib.sha256()
    for key, value in model.state_dict().items():
        found.update(f"{key} {getattr(value, 'dtype', None)} {list(getattr(value, 'shape', ()))}".encode())
        plain = isinstance(value, Tensor) and value.layout is torch.strided and not value.is_quantized
        found.update(value.detach().cpu().reshape(-1).view(torch.uint8).numpy().tobytes() if plain else b"")
    return found.hexdigest()


def _misfit(model: nn.Module, state: Mapping[str, Tensor]) -> str:
    """Load the state, or say in one line why it is that of another network."""
    own = model.state_dict()
    for key, value in own.items():
        if key in state and value.shape != state[key].shape:
            return f"{key} has shape {list(state[key].shape)}, the model's has {list(value.shape)}"
    missing, unknown = [key for key in own if key not in state], sorted(state.keys() - own.keys())
    found = [
        f"keys {what}: {', '.join(keys[:2])}{f' and {len(keys) - 2} more' if len(keys) > 2 else ''}"
        for keys, what in ((missing, "are missing"), (unknown, "are unknown to it"))
        if keys
    ]
    if not found:
        model.load_state_dict(state, strict=True)
    return "; ".join(found)


def _user_state(path: Path, fingerprint: str) -> dict[str, Tensor]:
    """The tensors of a safetensors file or of a PyTorch checkpoint; loading runs no code."""
    try:
        content = path.read_bytes()
        if f"sha256:{hashlib.sha256(content).hexdigest()}" != fingerprint:
            raise ModelError(f"{path} has changed since the run was planned; run again")
        if path.suffix == ".safetensors":
            return safetensors.torch.load(content)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Of what it then refuses in one line.
            state = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except RobustStackError:
        raise
    except Exception as error:  # Unpickling a damaged file ends in whatever its bytes happen to say.
        raise ModelError(
            f"{path} is not a readable checkpoint (.safetensors, or a PyTorch state dict): {_unreadable(error)}"
        ) from None
    for _ in WRAPPERS:
        inner = [state[key] for key in WRAPPERS if isinstance(state, Mapping) and isinstance(state.get(key), Mapping)]
        state = inner[0] if inner else state
    if not isinstance(state, Mapping) or not all(
        isinstance(key, str) and isinstance(value, Tensor) for key, value in state.items()
    ):
        raise ModelError(f"{path} holds no state dict (name -> tensor); save model.state_dict()")
    for prefix in PREFIXES:
        if state and all(key.startswith(prefix) for key in state):
            state = {key.removeprefix(prefix): value for key, value in state.items()}
    return dict(state)


def _unreadable(error: Exception) -> str:
    code = re.search(r"GLOBAL ([\w.]+)", str(error)) if isinstance(error, pickle.UnpicklingError) else None
    if code:
        return f"it needs {code[1]} to be loaded, and loading runs no code; save model.state_dict()"
    if isinstance(error, (OSError, RuntimeError, safetensors.SafetensorError)):
        return str(error).partition(". ")[0]
    return "it is empty, damaged or of another kind"


def _called(target: str, fingerprint: str) -> nn.Module:
    if find_given(ModelSource(python=target)).fingerprint != fingerprint:
        raise ModelError(f"the source of {target!r} has changed since the run was planned; run again")
    module, _, function = target.partition(":")
    try:
        with importable_here(), seeded("given"):  # Whatever the function draws, every job gets the same model.
            model = getattr(importlib.import_module(module), function)()
    except (Exception, SystemExit) as error:
        raise ModelError(f"model {target!r} cannot be made: {type(error).__name__}: {error}") from error
    if not isinstance(model, nn.Module):
        raise ModelError(f"model {target!r} gives {type(model).__name__}; valid: a torch.nn.Module that returns logits")
    return model
