"""RobustBench's zoo: names without an import, checkpoints from its cache layout, and files that are none."""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import io
import warnings
from collections.abc import Callable
from pathlib import Path

import gdown
import pytest
import torch
from gdown.exceptions import FileURLRetrievalError
from torch import nn

import robuststack as rs
from robuststack.errors import ModelError
from robuststack.plugin.registry import Registry
from robuststack_plugins.robustbench import zoo
from robuststack_plugins.robustbench.loading import importable_autoattack
from robuststack_plugins.robustbench.zoo import entries

REGISTRY = Registry()
SMALL = "Addepalli2021Towards_RN18"
ENSEMBLE = "Chen2020Adversarial"
SHAPE = (3, 32, 32)


def create(model: str = SMALL, **options: object) -> rs.Defense:
    return REGISTRY.create("defense", f"robustbench:{model}", options)


@pytest.fixture(scope="module")
def library() -> dict[str, dict[str, dict[str, object]]]:
    """dataset -> name -> the zoo's own entry."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with importable_autoattack():
            from robustbench.model_zoo import model_dicts
            from robustbench.model_zoo.enums import BenchmarkDataset, ThreatModel
    return {name: model_dicts[BenchmarkDataset(name)][ThreatModel.Linf] for name in ("cifar10", "cifar100")}


@pytest.fixture(scope="module")
def network(library) -> nn.Module:
    """The architecture of the small model, randomly initialised."""
    torch.manual_seed(0)
    return library["cifar10"][SMALL]["model"]().eval()


@pytest.fixture(scope="module")
def checkpoint(network) -> bytes:
    buffer = io.BytesIO()
    torch.save({f"module.{key}": value for key, value in network.state_dict().items()}, buffer)
    return buffer.getvalue()


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[bytes], Path]:
    """Puts bytes where the small model's checkpoint belongs in the data folder."""
    monkeypatch.setenv("ROBUSTSTACK_DATA", str(tmp_path))

    def put(content: bytes) -> Path:
        path = tmp_path / "models" / "cifar10" / "Linf" / f"{SMALL}.pt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        return path

    return put


@pytest.fixture
def downloads(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """What Google Drive answers with, one by one: bytes or an error; taken answers become the addresses asked for."""
    answers: list[object] = []

    def download(url: str, output: str, **options: object) -> str:
        answer = answers.pop(0)
        answers.append(url)
        if isinstance(answer, Exception):
            raise answer
        Path(output).write_bytes(answer)
        return output

    monkeypatch.setattr(gdown, "download", download)
    return answers


# Names


@pytest.mark.parametrize("dataset", ["cifar10", "cifar100"])
def test_the_zoo_is_read_as_it_is_without_importing_it(library, dataset):
    expected = {
        name: tuple(ids) if isinstance(ids := entry["gdrive_id"], list) else (ids,)
        for name, entry in library[dataset].items()
    }
    assert len(expected) > 20
    assert entries(dataset) == expected


def test_an_unknown_model_is_refused_with_the_nearest_ones():
    with pytest.raises(rs.PluginError) as caught:
        create("Engstrom2019Robust")
    message = "RobustBench has no Linf model 'Engstrom2019Robust' for cifar10: did you mean 'Engstrom2019Robustness'"
    assert str(caught.value).startswith(message)


def test_a_model_of_another_dataset_is_refused():
    with pytest.raises(rs.PluginError, match="no Linf model 'Engstrom2019Robustness' for cifar100"):
        create("Engstrom2019Robustness", dataset="cifar100")


def test_without_the_library_one_line_says_how_to_get_it(monkeypatch):
    zoo.source.cache_clear()
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    try:
        with pytest.raises(rs.PluginError) as caught:
            create()
    finally:
        zoo.source.cache_clear()
    install = "python -m pip install 'robuststack[robustbench]'"
    assert str(caught.value) == f"defense 'robustbench:{SMALL}' needs the robustbench library: {install}"


def test_it_says_what_it_would_download():
    (download,) = create().downloads()
    assert download.url == f"https://drive.google.com/uc?id={entries('cifar10')[SMALL][0]}"
    assert download.path == f"models/cifar10/Linf/{SMALL}.pt"
    assert [download.path[-6:] for download in create(ENSEMBLE).downloads()] == ["_m0.pt", "_m1.pt", "_m2.pt"]


# Loading


def test_a_checkpoint_in_the_zoos_layout_is_loaded_and_nothing_is_downloaded(
    place, checkpoint, network, downloads, tmp_path
):
    place(checkpoint)
    model = create().load(tmp_path, SHAPE, 10)
    x = torch.rand(2, *SHAPE)
    assert torch.equal(model(x), network(x))
    assert not any(module.training for module in model.modules())
    assert downloads == []


def test_an_absent_checkpoint_is_downloaded_once(place, checkpoint, network, downloads, tmp_path):
    downloads.append(checkpoint)
    for _ in range(2):
        model = create().load(tmp_path, SHAPE, 10)
    x = torch.rand(2, *SHAPE)
    assert torch.equal(model(x), network(x))
    assert downloads == [create().downloads()[0].url]
    assert [entry.name for entry in (tmp_path / "models" / "cifar10" / "Linf").iterdir()] == [f"{SMALL}.pt"]


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (b"<!DOCTYPE html><title>Google Drive - Quota exceeded</title>", "it is a web page; Google Drive answers so"),
        (b"PK\x03\x04 and then nothing", "it is damaged or cut off"),
        (OSError("Network is unreachable"), "OSError: Network is unreachable"),
        (
            FileURLRetrievalError("Failed to retrieve\n\n file url"),
            "FileURLRetrievalError: Failed to retrieve file url",
        ),
    ],
)
def test_a_download_that_fails_says_so_in_one_line_and_leaves_nothing(place, downloads, tmp_path, answer, reason):
    downloads.append(answer)
    with pytest.raises(ModelError) as caught:
        create().load(tmp_path, SHAPE, 10)
    path, url = tmp_path / "models" / "cifar10" / "Linf" / f"{SMALL}.pt", create().downloads()[0].url
    assert str(caught.value).startswith(f"{path} is not there and could not be downloaded from {url}: ")
    assert str(caught.value).endswith("; put the file there and run again")
    assert reason in str(caught.value)
    assert list(path.parent.iterdir()) == []


class Payload:
    """Runs code when an unguarded reader meets it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self.path,)


def saved(content: object) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda good: b"\n<html>Sorry", "it is a web page"),
        (lambda good: good[: len(good) // 2], "it is damaged or cut off"),
        (lambda good: b"", "it is damaged or cut off"),
        (lambda good: b"hello", "it is damaged or cut off"),
        (lambda good: saved({"args": argparse.Namespace(a=1)}), "it holds more than weights"),
        (lambda good: saved({"conv1.weight": torch.zeros(1)}), f"it does not fit {SMALL}: RuntimeError: Error(s) in"),
        (lambda good: saved([1, 2]), f"it does not fit {SMALL}: AttributeError: "),
    ],
)
def test_a_file_that_is_no_checkpoint_is_refused_in_one_line(place, checkpoint, downloads, tmp_path, spoil, reason):
    path = place(spoil(checkpoint))
    with pytest.raises(ModelError) as caught:
        create().load(tmp_path, SHAPE, 10)
    assert str(caught.value).startswith(f"{path} cannot be used: {reason}")
    url = create().downloads()[0].url
    assert str(caught.value).endswith(f"; delete it to download it again from {url}")
    assert downloads == []
    assert path.exists()


def test_loading_runs_no_code_from_a_checkpoint(place, tmp_path):
    witness = tmp_path / "ran"
    path = place(saved({"state_dict": Payload(witness)}))
    with pytest.raises(ModelError, match="it holds more than weights, and reading that would run code from it"):
        create().load(tmp_path, SHAPE, 10)
    assert not witness.exists()
    torch.load(path, weights_only=False)
    assert witness.exists(), "the file was harmless, so this test shows nothing"


def test_torch_load_is_put_back(place, tmp_path):
    original = torch.load
    place(b"hello")
    with pytest.raises(ModelError):
        create().load(tmp_path, SHAPE, 10)
    assert torch.load is original


@pytest.mark.parametrize(("shape", "classes"), [((3, 64, 64), 10), ((3, 32, 32), 100)])
def test_another_dataset_is_refused(tmp_path, shape, classes):
    message = rf"knows images of \(3, 32, 32\) in 10 classes \(cifar10\), not of .* in {classes}"
    with pytest.raises(ModelError, match=message):
        create().load(tmp_path, shape, classes)


# Jobs


def test_jobs_know_the_model_by_its_checkpoint_or_by_its_name_before_that_is_there(place, checkpoint):
    assert create().fingerprint == f"robustbench:cifar10/Linf/{SMALL}"
    place(checkpoint)
    assert create().fingerprint == f"sha256:{hashlib.sha256(checkpoint).hexdigest()}"


def test_another_checkpoint_in_its_place_is_another_model(place, checkpoint):
    place(checkpoint)
    before = create().fingerprint
    place(checkpoint + b" ")
    assert create().fingerprint != before


SUITE = f"""
datasets: {{name: tradeoff, options: {{images: 10, test_images: 12, size: 32, classes: 10}}}}
architectures: resnet8
train: {{batch_size: 10}}
defenses: robustbench:{SMALL}
attacks: fgsm
measure: {{latency: false}}
"""


def test_a_suite_evaluates_it_without_training(place, checkpoint, network, tmp_path):
    place(checkpoint)
    suite = tmp_path / "zoo.yaml"
    suite.write_text(SUITE)
    result = rs.run(suite, store=tmp_path / "store", leaderboard=tmp_path / "board", device="cpu")
    (row,) = result.rows
    assert row.jobs.train == {}
    assert row.parameters == sum(parameter.numel() for parameter in network.parameters())
    assert 0 <= row.worst.value <= row.ca.value <= 100
