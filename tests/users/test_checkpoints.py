"""Checkpoints that people bring: each stands for a way that training scripts store weights."""

from __future__ import annotations

import argparse
import gzip
import pickle
import tarfile
import zipfile
from collections import defaultdict
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from torch import Tensor, nn

import robuststack as rs
from referee import figures, taught
from robuststack.plugin.registry import Registry

ARCHITECTURE = "resnet8 width=4"
State = dict[str, Tensor]


def network(seed: int = 0, name: str = "resnet8", **options: Any) -> nn.Module:
    torch.manual_seed(seed)
    return Registry().create("architecture", name, options or {"width": 4}).build((3, 8, 8), 4)


@pytest.fixture(scope="module")
def net() -> nn.Module:
    return taught(network())


@pytest.fixture(scope="module")
def other() -> State:
    return taught(network(1), steps=5).state_dict()


def prefixed(state: State, prefix: str) -> State:
    return {prefix + key: value for key, value in state.items()}


def averaged(state: State) -> State:
    return {"n_averaged": torch.tensor(3), **prefixed(state, "module.")}


def without(state: State, ending: str) -> State:
    return {key: value for key, value in state.items() if not key.endswith(ending)}


STORED: dict[str, Callable[[State], Any]] = {
    "the state dict": lambda state: state,
    "net and a best accuracy": lambda state: {"net": state, "acc": 95.0, "epoch": 7},
    "an accuracy of numpy": lambda state: {"net": state, "acc": np.float64(95.0), "history": np.arange(3)},
    "an accuracy as a tensor": lambda state: {"model": state, "best": torch.tensor(95.0)},
    "model_state": lambda state: {"model_state": state},
    "weights": lambda state: {"weights": state},
    "params": lambda state: {"params": state},
    "network": lambda state: {"network": state},
    "best_state_dict": lambda state: {"best_state_dict": state},
    "beside an optimiser": lambda state: {
        "model": state, "optimizer": {"state": {0: {"momentum_buffer": torch.zeros(3)}}, "param_groups": [{"lr": 0.1}]},
    },
    "beside the command line": lambda state: {"model": state, "args": argparse.Namespace(lr=0.1, name="run")},
    "in dictionaries": lambda state: {"checkpoint": {"model": {"state_dict": state}}},
    "Lightning": lambda state: {
        "state_dict": prefixed(state, "model."), "pytorch-lightning_version": "2.0", "hyper_parameters": {"lr": 0.1},
    },
    "AveragedModel": averaged,
    "AveragedModel of DataParallel": lambda state: averaged(prefixed(state, "module.")),
    "compiled": lambda state: prefixed(state, "_orig_mod."),
    "a wrapper's attribute": lambda state: prefixed(state, "backbone."),
    "the same weights twice": lambda state: {"model": state, "best": {key: value.clone() for key, value in state.items()}},
    "no counters of batches": lambda state: without(state, "num_batches_tracked"),
    "counted by thop": lambda state: {**state, "total_ops": torch.zeros(1), "stem.total_params": torch.zeros(1)},
    "beside a date and a path": lambda state: {"model": state, "when": datetime.now(), "log": defaultdict(list), "at": Path("x")},
    "arrays of NumPy": lambda state: {"model": {key: value.numpy() for key, value in state.items()}},
    "channels last": lambda state: {key: value.to(memory_format=torch.channels_last) if value.dim() == 4 else value
                                    for key, value in state.items()},
    "double precision": lambda state: {key: value.double() if value.is_floating_point() else value for key, value in state.items()},
    "half precision": lambda state: {key: value.half() if value.is_floating_point() else value for key, value in state.items()},
}  # fmt: skip


@pytest.mark.parametrize("kind", STORED)
def test_weights_are_found(kind: str, net: nn.Module, score: Callable[..., Any], here: Path) -> None:
    torch.save(STORED[kind](net.state_dict()), here / "w.pt")
    (row,) = score(load="w.pt", architecture=ARCHITECTURE).rows
    expected = net
    if kind == "half precision":
        expected = network()
        expected.load_state_dict({key: value.half() if value.is_floating_point() else value
                                  for key, value in net.state_dict().items()})  # fmt: skip
    assert (row.ca.value, row.ra["FGSM"].value) == pytest.approx(figures(expected), abs=1e-3)


def written_as(kind: str, state: State, path: Path) -> None:
    if kind == "safetensors in a .pt file":
        safetensors.torch.save_file(state, path, metadata={"format": "pt", "epoch": "3"})
    else:
        torch.save(state, path, _use_new_zipfile_serialization=kind != "PyTorch's older format")


WRITTEN = {"safetensors in a .pt file": "w.pt", "PyTorch in a .safetensors file": "w.safetensors",
           "PyTorch's older format": "w.pt", "a .pth.tar file": "w.pth.tar"}  # fmt: skip


@pytest.mark.parametrize("kind", WRITTEN)
def test_a_file_is_what_it_holds(kind: str, net: nn.Module, score: Callable[..., Any], here: Path) -> None:
    written_as(kind, net.state_dict(), here / WRITTEN[kind])
    (row,) = score(load=WRITTEN[kind], architecture=ARCHITECTURE).rows
    assert row.ca.value == pytest.approx(figures(net)[0], abs=1e-3)


def test_safetensors_with_metadata_and_a_home_directory(
    net: nn.Module, score: Callable[..., Any], here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(here))
    safetensors.torch.save_file(net.state_dict(), here / "w.safetensors", metadata={"format": "pt"})
    (row,) = score(load="~/w.safetensors", architecture=ARCHITECTURE).rows
    assert row.ca.value == pytest.approx(figures(net)[0], abs=1e-3)


CHOICES: dict[str, tuple[Callable[[State, State], Any], str, str]] = {
    "plain and averaged": (lambda a, b: {"state_dict": a, "state_dict_ema": b}, "'state_dict', 'state_dict_ema'", "state_dict_ema"),
    "averaged without statistics": (
        lambda a, b: {"model": a, "ema": without(without(b, "running_mean"), "running_var")}, "'model', 'ema'", "model",
    ),
    "under prefixes of one state dict": (
        lambda a, b: {"state_dict": {**prefixed(a, "model."), **prefixed(b, "ema.")}},
        "'state_dict.model', 'state_dict.ema'", "state_dict.ema",
    ),
    "AveragedModel beside the model": (lambda a, b: {"model": a, "swa": averaged(b)}, "'model', 'swa'", "swa"),
}  # fmt: skip


@pytest.mark.parametrize("kind", CHOICES)
def test_a_file_with_several_weights_names_the_choices(
    kind: str, net: nn.Module, other: State, score: Callable[..., Any], here: Path
) -> None:
    stored, names, key = CHOICES[kind]
    torch.save(stored(net.state_dict(), other), here / "w.pt")
    with pytest.raises(rs.RobustStackError) as caught:
        score(load="w.pt", architecture=ARCHITECTURE)
    message = str(caught.value)
    assert message.startswith(
        f"{here / 'w.pt'} holds weights of this model more than once: {names}; say which: `load: {{file: w.pt, "
    )
    (row,) = score(f"defenses.0.model.load={{file: w.pt, key: {key}}}", load="w.pt", architecture=ARCHITECTURE).rows
    expected = net
    if key != "model":
        expected = network()
        expected.load_state_dict(other)
    assert (row.ca.value, row.ra["FGSM"].value) == pytest.approx(figures(expected), abs=1e-3)


@pytest.mark.parametrize("name", ["1", "null", "a, b"])
def test_the_key_that_is_proposed_can_be_written_as_it_stands(
    name: str, net: nn.Module, score: Callable[..., Any], here: Path
) -> None:
    """`nn.Sequential(normalisation, network)` calls its weights `1.`; in YAML that is a number."""
    state = {**prefixed(net.state_dict(), f"{name}."), "0.mean": torch.zeros(3)}
    torch.save(state, here / "w.pt")
    with pytest.raises(rs.RobustStackError) as caught:
        score(load="w.pt", architecture=ARCHITECTURE)
    proposed = str(caught.value).rpartition("`load: ")[2].removesuffix("`")
    (row,) = score(f"defenses.0.model.load={proposed}", load="w.pt", architecture=ARCHITECTURE).rows
    assert row.user_model.key == name


def test_two_keys_of_one_file_are_two_models(
    net: nn.Module, other: State, score: Callable[..., Any], here: Path
) -> None:
    torch.save({"a": net.state_dict(), "b": other}, here / "w.pt")
    rows = [
        row
        for key in "ab"
        for row in score(
            f"defenses.0.model.load={{file: w.pt, key: {key}}}", load="w.pt", architecture=ARCHITECTURE
        ).rows
    ]
    assert [row.user_model.key for row in rows] == ["a", "b"]
    jobs = [{*row.jobs.scored(), *row.jobs.attacks.values(), row.jobs.measure} for row in rows]
    assert [len(ids) for ids in jobs] == [4, 4]
    assert not jobs[0] & jobs[1]


def jit(state: State, path: Path) -> None:
    net = network()
    net.load_state_dict(state)
    torch.jit.save(torch.jit.trace(net.eval(), torch.rand(1, 3, 8, 8)), path)


def archived(state: State, path: Path, kind: str) -> None:
    """The checkpoint in an archive that somebody made of it."""
    inner = path.with_name("inner.pt")
    torch.save(state, inner)
    if kind == "tar":
        with tarfile.open(path, "w") as archive:
            archive.add(inner, "inner.pt")
    elif kind == "zip":
        with zipfile.ZipFile(path, "w") as files:
            files.write(inner, "inner.pt")
    elif kind == "npz":
        np.savez(path.open("wb"), **{key: value.numpy() for key, value in state.items()})
    else:
        path.write_bytes(gzip.compress(inner.read_bytes()))


def shortened(state: State, path: Path) -> None:
    torch.save(state, path)
    path.write_bytes(path.read_bytes()[:9000])


def changed(change: Callable[[Tensor], Tensor]) -> Callable[[State, Path], Any]:
    """Floating-point weights changed before they are saved."""
    return lambda state, path: torch.save(
        {key: change(value) if value.is_floating_point() else value for key, value in state.items()}, path
    )


POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n"
REFUSED: dict[str, tuple[Callable[[State, Path], Any], str]] = {
    "TorchScript": (jit, "w.pt is a TorchScript file, which holds its own network; write a function that returns"),
    "a shard": (
        lambda state, path: torch.save(dict(list(state.items())[:9]), path), "w.pt does not fit resnet8 under none",
    ),
    "a tar archive": (lambda state, path: archived(state, path, "tar"), "it is a tar archive: unpack it"),
    "a zip archive": (lambda state, path: archived(state, path, "zip"), "it is a zip archive: unpack it"),
    "a gzip file": (lambda state, path: archived(state, path, "gzip"), "it is compressed by gzip: unpack it"),
    "an npz file": (lambda state, path: archived(state, path, "npz"), "it is an .npz file of arrays"),
    "a file that is cut off": (shortened, "it is cut off"),
    "a pickle file": (
        lambda state, path: path.write_bytes(pickle.dumps({"weight": np.zeros(3)})),
        "it is a pickle file that torch.save did not write",
    ),
    "a pointer of Git LFS": (lambda _, path: path.write_text(POINTER), "in place of the file: run `git lfs pull`"),
    "a web page": (lambda _, path: path.write_text("<html>Sign in</html>"), "it is a web page"),
    "nothing": (lambda _, path: path.write_bytes(b""), "it is empty"),
    "a folder": (lambda _, path: path.mkdir(), "w.pt cannot be read: Is a directory"),
    "an exported program": (
        lambda _, path: torch.export.save(torch.export.export(nn.Linear(2, 2), (torch.zeros(3, 2),)), path.open("wb")),
        "it is a torch.export program, which holds its own network; write a function that returns",
    ),
    "quantised weights": (
        changed(lambda value: (100 * value).to(torch.int8)),
        "stem.weight is of type int8, the model's of float32; quantised weights need their scales",
    ),
    "sparse weights": (changed(lambda value: value.to_sparse()), "stem.weight is stored as a sparse tensor"),
    "weights without values": (changed(lambda value: value.to("meta")), "stem.weight is stored without values"),
    "complex weights": (changed(lambda value: value.to(torch.cfloat)), "stem.weight is of type complex64"),
    "weights of NaN": (changed(lambda value: value * torch.nan), "gives NaN for each of 8 images; stem.weight holds NaN"),
    "a list of tensors": (
        lambda state, path: torch.save(list(state.values()), path), "w.pt holds no state dict (name -> tensor)",
    ),
    "a whole module": (
        lambda _, path: torch.save(network(), path), "loading runs no code; save model.state_dict()",
    ),
    "more than the network": (
        lambda state, path: torch.save({**prefixed(state, "model."), "normalize.mean": torch.zeros(3)}, path),
        "w.pt holds weights of this model under 'model' beside normalize.mean, which would be left out; if they change no"
        " logits, write `load: {file: w.pt, key: model}`",
    ),
    "a layer in a row": (
        lambda state, path: torch.save(prefixed(state, "1."), path), "w.pt does not fit resnet8 under none with 4 classes",
    ),
    "no weights": (lambda _, path: torch.save({"acc": 95.0}, path), "w.pt holds no state dict (name -> tensor)"),
}  # fmt: skip


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", REFUSED)
def test_what_cannot_be_loaded_is_one_line(kind: str, net: nn.Module, score: Callable[..., Any], here: Path) -> None:
    write, reason = REFUSED[kind]
    write(net.state_dict(), here / "w.pt")
    with pytest.raises(rs.RobustStackError) as caught:
        score(load="w.pt", architecture=ARCHITECTURE)
    assert reason in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


def test_a_key_that_is_not_there_names_those_that_are(net: nn.Module, score: Callable[..., Any], here: Path) -> None:
    torch.save({"model": net.state_dict(), "epoch": 3}, here / "w.pt")
    with pytest.raises(rs.RobustStackError, match=r"w\.pt has no key 'ema'; valid: epoch, model$"):
        score("defenses.0.model.load={file: w.pt, key: ema}", load="w.pt", architecture=ARCHITECTURE)


@pytest.mark.parametrize("name", ["mobilenetv3_small_050", "densenet121", "regnetx_002", "efficientnet_b0"])
def test_plain_files_of_timm_load(name: str, here: Path) -> None:
    timm = pytest.importorskip("timm")
    torch.manual_seed(0)
    plain = timm.create_model(name, num_classes=4).eval()
    mine = Registry().create("architecture", f"timm:{name}").build((3, 32, 32), 4).eval()
    assert list(mine.state_dict()) == list(plain.state_dict())
    mine.load_state_dict(plain.state_dict())
    x = torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(mine(x), plain(x))


def test_tied_weights_that_a_file_has_once(here: Path) -> None:
    """As safetensors stores a model: of tensors that share memory it keeps one."""
    from robuststack.engine.user_checkpoint import load_user_weights

    def tied() -> nn.Module:
        net = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
        net[1].weight = net[0].weight
        return net

    import hashlib

    stored, model = tied(), tied()
    safetensors.torch.save_model(stored, str(here / "w.safetensors"))
    content = (here / "w.safetensors").read_bytes()
    fingerprint = f"sha256:{hashlib.sha256(content).hexdigest()}"
    load_user_weights(model, here / "w.safetensors", fingerprint, "a network")
    assert torch.equal(model[1].weight, stored[0].weight)
