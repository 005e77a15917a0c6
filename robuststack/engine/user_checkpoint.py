"""Checkpoints that other programs wrote: which of their tensors are the weights of a model, under which names."""

from __future__ import annotations

import argparse
import datetime
import io
import pickle
import re
import warnings
import zipfile
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PosixPath, PurePosixPath
from typing import Any

import numpy as np
import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from robuststack.errors import ModelError
from robuststack.file_kind import HEAD, file_kind
from robuststack.suite import weight_files
from robuststack.suite.yaml_source import in_yaml

NO_WEIGHTS = re.compile(r"(^|.*\.)(n_averaged|total_ops|total_params)$")
"""Keys that averaging and counting add to a state dict, and that no layer reads."""
DEEPEST = 4
"""Dictionaries inside of one another that are looked through."""
_CORE: Any = getattr(np, "_core", None) or np.core
HARMLESS: list[Any] = [
    argparse.Namespace,
    datetime.date,
    datetime.datetime,
    datetime.timedelta,
    datetime.timezone,
    defaultdict,
    dict,
    list,
    int,
    float,
    PosixPath,
    PurePosixPath,
    np.dtype,
    np.ndarray,
    _CORE.multiarray.scalar,
    _CORE.multiarray._reconstruct,
    (_CORE.multiarray.scalar, "numpy.core.multiarray.scalar"),
    (_CORE.multiarray._reconstruct, "numpy.core.multiarray._reconstruct"),
    *{type(np.dtype(kind)) for kind in "?bBhHiIlLqQefdSU"},
]
"""What training scripts store beside weights, such as a best accuracy, a date or the command line; loading it runs no code.
"""


@dataclass(frozen=True)
class _Candidate:
    """One of a file's state dicts, under the model's names as far as they can be told; `key` is where it was, and `beside`
    are the other keys of the state dict that it is a part of."""

    key: str
    state: dict[str, Tensor]
    misfit: str
    beside: tuple[str, ...] = ()


def load_user_weights(model: nn.Module, path: Path, fingerprint: str, wanted: str, key: str | None = None) -> None:
    """Load the user's checkpoint `path` into `model`; nothing in it is run.

    The weights may lie in dictionaries, under any names, and the keys may have prefixes. `key` says where they are:
    names with dots between, the last of which may be a prefix of keys. `wanted` describes the model in messages.

    Raises:
        ModelError: the file has changed since `fingerprint` was taken, cannot be read, holds no weights of this model, or
            holds several that differ.
    """
    contents = weight_files.read(path)
    if weight_files.fingerprint(contents) != fingerprint:
        raise ModelError(f"{path} has changed since the run was planned; run again")
    loaded = _joined_parts(path, contents) if len(contents) > 1 else _loaded(path, contents[0])
    if key is not None:
        loaded = _at(path, loaded, key)
    candidates = [_candidate(model, place, state, beside) for place, state, beside in _state_dicts(loaded)]
    if not candidates:
        raise ModelError(f"{path} holds no state dict (name -> tensor); save model.state_dict()")
    fitting = [candidate for candidate in candidates if not candidate.misfit]
    if not fitting:
        whole = [candidate for candidate in candidates if not candidate.beside]
        likeliest = max(whole, key=lambda candidate: _shared(model, candidate.state))
        raise ModelError(f"{path} does not fit {wanted}: {likeliest.misfit}{_part(path)}")
    chosen = min(fitting, key=lambda candidate: len(candidate.beside))
    choices = [chosen, *_others(model, chosen, candidates)]
    example = f"`load: {{file: {in_yaml(path.name)}, key: {in_yaml(_joined(key, chosen.key))}}}`"
    if len(choices) > 1:
        names = ", ".join(repr(_joined(key, candidate.key)) for candidate in choices)
        raise ModelError(f"{path} holds weights of this model more than once: {names}; say which: {example}")
    if chosen.beside:
        more = f" and {len(chosen.beside) - 1} more" if len(chosen.beside) > 1 else ""
        raise ModelError(
            f"{path} holds weights of this model under {_joined(key, chosen.key)!r} beside {chosen.beside[0]}{more}, which"
            f" would be left out; if they change no logits, write {example}"
        )
    model.load_state_dict(chosen.state, strict=True)


def misfit(model: nn.Module, state: Mapping[str, Tensor]) -> str:
    """Why a state is that of another network, in one line; empty if it fits."""
    own = model.state_dict()
    for key, value in own.items():
        if key in state and _shape(value) != _shape(state[key]):
            return f"{key} has shape {_shape(state[key])}, the model's has {_shape(value)}"
        if key in state and (problem := _no_values(value, state[key])):
            return f"{key} {problem}"
    missing, unknown = [key for key in own if key not in state], sorted(state.keys() - own.keys())
    return "; ".join(
        f"keys {what}: {', '.join(keys[:2])}{f' and {len(keys) - 2} more' if len(keys) > 2 else ''}"
        for keys, what in ((missing, "are missing"), (unknown, "are unknown to it"))
        if keys
    )


def _no_values(own: Any, stored: Any) -> str:
    """Why a tensor of the model's shape cannot give it its values; empty if it can."""
    if not (isinstance(own, Tensor) and isinstance(stored, Tensor)):
        return ""
    if stored.is_meta or stored.layout is not torch.strided:
        return f"is stored {'without values' if stored.is_meta else 'as a sparse tensor'}; valid: a dense tensor"
    if stored.is_quantized or own.is_complex() != stored.is_complex() or (
        own.is_floating_point() and not (stored.is_floating_point() or stored.is_complex())
    ):  # fmt: skip
        kinds = tuple(str(tensor.dtype).removeprefix("torch.") for tensor in (stored, own))
        return f"is of type {kinds[0]}, the model's of {kinds[1]}; quantised weights need their scales"
    return ""


def _shape(value: Any) -> list[int] | str:
    return list(value.shape) if isinstance(value, Tensor) else type(value).__name__


def _joined_parts(index: Path, contents: Sequence[bytes]) -> dict[str, Tensor]:
    """The state dict that an index and its parts hold, as `weight_files.read` has read them.

    Raises:
        ModelError: a part cannot be read, or holds other tensors than the index says.
    """
    named = weight_files.weight_map(contents[0])
    state: dict[str, Tensor] = {}
    for part, content in zip(weight_files.part_files(index, named), contents[1:], strict=True):
        tensors = _loaded(part, content)
        wanted = {name for name, place in named.items() if place == part.name}
        if not isinstance(tensors, Mapping) or tensors.keys() != wanted:
            there = tensors.keys() if isinstance(tensors, Mapping) else set[str]()
            lacking = f"lacks {', '.join(map(str, sorted(wanted - there)[:2]))}" if wanted - there else (
                f"holds {', '.join(map(str, sorted(there - wanted)[:2]))} too"
            )  # fmt: skip
            raise ModelError(f"{index} is the index of other files: {part.name} {lacking}")
        state |= tensors
    return state


def _part(path: Path) -> str:
    """What is to be loaded in place of one part of several; empty if the name of the file is none of a part's."""
    numbered = re.fullmatch(r"(.+)-\d{5}-of-\d{5}(\.\w+)", path.name)
    return f"; a part of several is loaded by its index, {numbered[1]}{numbered[2]}.index.json" if numbered else ""


def _loaded(path: Path, content: bytes) -> Any:
    if _is_torchscript(content):
        raise ModelError(
            f"{path} is a TorchScript file, which holds its own network; write a function that returns"
            " torch.jit.load(FILE), and name it with python: MODULE:FUNCTION"
        )
    try:
        if weight_files.is_safetensors(content[:9]):  # By what it holds: a file may be named otherwise.
            return safetensors.torch.load(content)
        with warnings.catch_warnings(), torch.serialization.safe_globals(HARMLESS):
            warnings.simplefilter("ignore")  # Of what it then refuses in one line.
            return torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except Exception as error:  # Unpickling a damaged file ends in whatever its bytes happen to say.
        raise ModelError(
            f"{path} is not a readable checkpoint (.safetensors, or a PyTorch state dict): {_unreadable(error, content)}"
        ) from None


def _is_torchscript(content: bytes) -> bool:
    return any(name.endswith("/constants.pkl") for name in _archived(content))


def _archived(content: bytes) -> list[str]:
    """The names in a zip archive; none if it is something else."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            return archive.namelist()
    except zipfile.BadZipFile:
        return []


def _unreadable(error: Exception, content: bytes) -> str:
    code = re.search(r"GLOBAL ([\w.]+)", str(error)) if isinstance(error, pickle.UnpicklingError) else None
    if code:
        return f"it needs {code[1]} to be loaded, and loading runs no code; save model.state_dict()"
    names = _archived(content)
    if any(name.rpartition("/")[2] == "archive_format" for name in names):
        return (
            "it is a torch.export program, which holds its own network; write a function that returns"
            " torch.export.load(FILE).module(), and name it with python: MODULE:FUNCTION"
        )
    if names and all(name.endswith(".npy") for name in names):
        return "it is an .npz file of arrays"
    if kind := file_kind(content[:HEAD]):
        # PyTorch's files are zip archives or begin with a pickle.
        if kind.startswith("it is a pickle file"):
            return "it is a pickle file that torch.save did not write, or is damaged"
        return "it is cut off" if kind.startswith("it is a zip archive") and not names else kind
    if isinstance(error, (OSError, RuntimeError, safetensors.SafetensorError)):
        return str(error).partition(". ")[0].partition("\n")[0]
    return "it is damaged or of another kind"


def _at(path: Path, loaded: Any, key: str) -> Any:
    """What lies at `key`: an entry, an entry of an entry, or all entries whose keys begin so."""
    if not isinstance(loaded, Mapping):
        raise ModelError(f"{path} has no key {key!r}: it holds no dictionary")
    names = [name for name in loaded if isinstance(name, str) and (name == key or key.startswith(f"{name}."))]
    for name in sorted(names, key=len, reverse=True):
        if name == key:
            return loaded[name]
        if isinstance(loaded[name], Mapping):
            return _at(path, loaded[name], key.removeprefix(f"{name}."))
    prefixed = {
        name.removeprefix(f"{key}."): value
        for name, value in loaded.items()
        if isinstance(name, str) and name.startswith(f"{key}.")
    }
    if not prefixed:
        valid = sorted({str(name) for name in loaded})
        shown = ", ".join(valid[:8]) + (f" and {len(valid) - 8} more" if len(valid) > 8 else "")
        raise ModelError(f"{path} has no key {key!r}; valid: {shown}")
    return prefixed


def _state_dicts(
    loaded: Any, place: str = "", depth: int = 0
) -> Iterator[tuple[str, dict[str, Tensor], tuple[str, ...]]]:
    """Every dictionary of names and tensors in the file, with its place; what else a dictionary holds is left out."""
    if not isinstance(loaded, Mapping) or depth > DEEPEST:
        return
    tensors = {key: value for key, value in loaded.items() if isinstance(key, str) and isinstance(value, Tensor)}
    if not tensors and all(isinstance(value, np.ndarray) and value.dtype.kind in "biuf" for value in loaded.values()):
        tensors = {str(key): torch.from_numpy(np.array(value)) for key, value in loaded.items()}
    if tensors:
        yield place, tensors, ()
        yield from _groups(tensors, place)
    for key, value in loaded.items():
        if isinstance(key, str):
            yield from _state_dicts(value, _joined(place, key), depth + 1)


def _groups(tensors: Mapping[str, Tensor], place: str) -> Iterator[tuple[str, dict[str, Tensor], tuple[str, ...]]]:
    """The tensors of one state dict by the first part of their names: a module that averages a copy holds both so."""
    groups: dict[str, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        first, dot, rest = key.partition(".")
        if dot:
            groups.setdefault(first, {})[rest] = value
    for first, group in groups.items():
        beside = tuple(key for key in tensors if not key.startswith(f"{first}.") and not NO_WEIGHTS.match(key))
        if beside:
            yield _joined(place, first), group, beside


def _candidate(model: nn.Module, place: str, state: Mapping[str, Tensor], beside: tuple[str, ...]) -> _Candidate:
    """The state under the model's own names, as far as dropping prefixes and adding counters gives them.

    A prefix is what a wrapper puts before every key (`module.`, `_orig_mod.`, `model.`). A number is none: that is one of
    several layers in a row, and the others may count.
    """
    own = model.state_dict()
    kept = {key: value for key, value in state.items() if key in own or not NO_WEIGHTS.match(key)}
    while kept and not own.keys() & kept.keys():
        first = {key.partition(".")[0] if "." in key else "" for key in kept}
        prefix = first.pop()
        if first or not prefix or prefix.isdecimal():
            break
        kept = {key.removeprefix(f"{prefix}."): value for key, value in kept.items()}
    # Of tied weights a file may hold one.
    for key in own.keys() - kept.keys():
        twin = next((name for name in kept.keys() & own.keys() if own[name].is_set_to(own[key])), None)
        if twin is not None:
            kept[key] = kept[twin]
    # Counters that older versions did not write, and that a network reads only while it trains without a momentum.
    counters = {key: value for key, value in own.items() if key.endswith("num_batches_tracked") and key not in kept}
    if kept and own.keys() - kept.keys() <= counters.keys():
        kept |= counters
    return _Candidate(place, kept, misfit(model, kept), beside)


def _shared(model: nn.Module, state: Mapping[str, Tensor]) -> float:
    """How much the names agree, from 0 to 1."""
    own = model.state_dict().keys()
    return len(own & state.keys()) / max(len(own | state.keys()), 1)


def _others(model: nn.Module, chosen: _Candidate, candidates: list[_Candidate]) -> list[_Candidate]:
    """The candidates that could be meant in place of the chosen one: plain and averaged weights, a best and a last epoch.

    Those that lack running statistics count too: averaged weights are often stored without them.
    """
    weights = {name for name, _ in model.named_parameters()} & chosen.state.keys()
    return [
        other
        for other in candidates
        if weights
        and other.key != chosen.key
        and weights <= other.state.keys()
        and all(other.state[name].shape == chosen.state[name].shape for name in weights)
        and any(not torch.equal(other.state[name], chosen.state[name]) for name in weights)
    ]


def _joined(*places: str | None) -> str:
    return ".".join(place for place in places if place)
