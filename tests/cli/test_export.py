"""`robuststack export`: each file is loaded again, as its reader would, and gives the logits of the model."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import safetensors
import safetensors.torch
import torch
from onnx.reference import ReferenceEvaluator
from torch import Tensor, nn

import robuststack as rs
from robuststack.cli import call
from robuststack.engine import export as exporting
from robuststack.errors import ModelError
from robuststack.layers.activation_noise import NoisyInput
from robuststack.layers.condition import Condition, View
from trained import Trained

PROGRAMS = ["torch-export", "onnx"]
DETERMINISTIC = [("none", ""), ("float", "lambda_n=0"), ("oat", "lambda=1")]
SUFFIXES = {"safetensors": ".safetensors", "torch-export": ".pt2", "onnx": ".onnx"}
Written = Callable[..., Path]


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def export(trained: Trained, capsys: pytest.CaptureFixture[str]) -> Any:
    """Export a defense's model -> (exit code, standard output, standard error)."""

    def go(defense: str, point: str = "", *more: str) -> tuple[int, str, str]:
        job = trained.job(defense) if defense in ("none", "pgd_at", "float", "oat") else defense
        capsys.readouterr()
        points = ["--point", point] if point else []
        code = call(["export", job, *points, "--store", str(trained.store), *more])
        return code, *capsys.readouterr()

    return go


@contextmanager
def all_that_is_said(path: Path) -> Iterator[None]:
    """What this process and its libraries write to standard output and error, as a file."""
    before = [os.dup(descriptor) for descriptor in (1, 2)]
    with path.open("w", buffering=1) as file, redirect_stdout(file), redirect_stderr(file):
        for descriptor in (1, 2):
            os.dup2(file.fileno(), descriptor)
        try:
            yield
        finally:
            for descriptor, old in zip((1, 2), before, strict=True):
                os.dup2(old, descriptor)
                os.close(old)


@pytest.fixture(scope="module")
def written(trained: Trained, tmp_path_factory: pytest.TempPathFactory) -> Written:
    """A defense's model at a point as a file of a form, exported once for all tests, by an exporter that says nothing."""

    @cache
    def path(defense: str, point: str, form: str, *more: str) -> Path:
        folder = tmp_path_factory.mktemp("written")
        file, said = folder / f"model{SUFFIXES[form]}", folder / "said.txt"
        points = ["--point", point] if point else []
        command = ["export", trained.job(defense), *points, "--format", form, "-o", str(file), *more]
        with all_that_is_said(said):
            code = call([*command, "--store", str(trained.store)])
        assert (code, said.read_text()) == (0, f"wrote {file}\n")
        return file

    return path


def point_of(text: str) -> dict[str, float]:
    return {key: float(value) for key, _, value in (word.partition("=") for word in text.split())}


def images(count: int) -> Tensor:
    return torch.rand(count, 3, 8, 8, generator=torch.Generator().manual_seed(count))


def program(path: Path) -> Any:
    """The file as its reader runs it: images -> logits."""
    if path.suffix == ".pt2":
        return torch.export.load(path).module()
    onnx.checker.check_model(onnx.load(path), full_check=True)
    session = ReferenceEvaluator(str(path))
    return lambda x: torch.from_numpy(session.run(["logits"], {"images": x.numpy()})[0])


def close(a: Tensor, b: Tensor) -> bool:
    return torch.allclose(a, b, atol=1e-4)


@pytest.mark.parametrize("form", PROGRAMS)
@pytest.mark.parametrize(("defense", "point"), DETERMINISTIC)
def test_a_program_gives_the_logits_of_the_model_for_any_batch(written, trained, defense, point, form):
    run = program(written(defense, point, form))
    model = rs.load_model(trained.job(defense), store=trained.store).at(**point_of(point))
    for count in (1, 2, 7):
        x = images(count)
        assert close(run(x), model(x))
    # Another point, where there is one, has other logits: the comparison can fail.
    other = {"lambda_n=0": {"lambda_n": 1.0}, "lambda=1": {"lambda": 0.0}}.get(point)
    if other:
        assert not close(run(x), rs.load_model(trained.job(defense), store=trained.store).at(**other)(x))


@pytest.mark.parametrize("form", PROGRAMS)
def test_a_frozen_program_is_deterministic_and_has_the_draw_of_its_seed(written, trained, form):
    model, x, seed = rs.load_model(trained.job("float"), store=trained.store), images(5), 5
    run = program(written("float", "lambda_n=1", form, "--frozen", "--seed", str(seed)))
    assert torch.equal(run(x), run(x))
    torch.manual_seed(seed)
    assert close(run(x), model.at(lambda_n=1.0, frozen=True)(x))
    assert not close(run(x), model.at(lambda_n=1.0, frozen=True)(x)), "of another draw"


DRAWS = 150


@pytest.mark.parametrize("form", PROGRAMS)
def test_a_randomised_program_draws_the_noise_of_the_model_in_every_call(written, trained, form):
    run, x = program(written("float", "lambda_n=1", form)), images(2)
    model = rs.load_model(trained.job("float"), store=trained.store).at(lambda_n=1.0)
    with torch.no_grad():
        theirs = torch.stack([run(x) for _ in range(DRAWS)])
        # A pass of the model is quick: its distribution is known well.
        ours = torch.stack([model(x) for _ in range(400)])
    assert len({tuple(logits.flatten().tolist()) for logits in theirs}) == DRAWS, "no draw comes twice"
    # The same distribution: 150 draws tell means to a twelfth of the deviation, and deviations to 6 %.
    spread = ours.std(0)
    assert bool((spread > 0).all())
    assert float(((ours.mean(0) - theirs.mean(0)) / spread).abs().max()) < 0.4
    assert torch.allclose(theirs.std(0) / spread, torch.ones_like(spread), atol=0.3)


def test_every_noisy_layer_of_an_onnx_file_draws_for_itself(written):
    kinds = [node.op_type for node in onnx.load(written("float", "lambda_n=1", "onnx")).graph.node]
    assert kinds.count("RandomNormalLike") == kinds.count("Conv") == 7


# --- weights


def test_weights_load_again_and_are_evaluated_like_the_job(export, trained, here):
    assert export("float", "lambda_n=0", "-o", "w.safetensors") == (0, "wrote w.safetensors\n", "")
    model = rs.load_model(trained.job("float"), store=trained.store).model
    state = safetensors.torch.load_file(here / "w.safetensors")
    assert all(torch.equal(value, state.pop(key)) for key, value in model.state_dict().items())
    assert state == {}
    (row,) = rs.evaluate(
        load="w.safetensors", architecture="resnet8 width=8", defense="float", points=["lambda_n=0"], eps=0.1, device="cpu",
        dataset="tradeoff images=600 test_images=200 size=8 classes=4 nonrobust_strength=0.05 noise=0.1", attacks=["fgsm"],
        overrides=["precision=float32", "measure.latency=false"],
    ).rows  # fmt: skip
    whole = next(
        candidate
        for candidate in trained.result.rows
        if candidate.defense == "float" and candidate.point["lambda_n"] == 0
    )
    assert (row.ca, row.ra["FGSM"]) == (whole.ca, whole.ra["FGSM"])


def test_frozen_weights_hold_one_noise_draw(export, trained, here):
    for name, more in (("whole", []), ("a", ["--frozen"]), ("b", ["--frozen"]), ("c", ["--frozen", "--seed", "1"])):
        assert export("float", "lambda_n=1", *more, "-o", f"{name}.safetensors")[0] == 0
    whole, a, b, c = (safetensors.torch.load_file(here / f"{stem}.safetensors") for stem in ("whole", "a", "b", "c"))
    assert torch.equal(a["stem.weight"], b["stem.weight"])
    assert not torch.equal(a["stem.weight"], c["stem.weight"])
    assert not torch.equal(a["stem.weight"], whole["stem.weight"])
    assert torch.equal(a["classifier.weight"], whole["classifier.weight"])


def test_a_draw_that_is_kept_beside_the_weights_is_refused(odd):
    network = NoisyInput(nn.Sequential(nn.Flatten(), nn.Linear(192, 4)), Condition("noise"))
    model = odd(network, stochastic=True)
    model.defense.setting = lambda point: rs.Setting({"noise": 1.0}, stochastic=True)
    with pytest.raises(ModelError, match=r"its NoisyInput layers keep a draw beside .* --format torch-export"):
        exporting.export(model, {}, "safetensors", frozen=True)
    exporting.export(model, {}, "safetensors")


def test_weights_that_two_layers_share_stand_there_twice(odd):
    tied = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    tied[1].weight = tied[0].weight
    model = odd(tied)
    model.model = tied
    held = safetensors.torch.load(exporting.export(model, {}, "safetensors"))
    assert torch.equal(held["0.weight"], held["1.weight"])


# --- what the files say of themselves


def header(path: Path) -> dict[str, str]:
    if path.suffix == ".safetensors":
        with safetensors.safe_open(path, "pt") as file:
            return file.metadata()
    if path.suffix == ".onnx":
        return {entry.key: entry.value for entry in onnx.load(path).metadata_props}
    extra = {"robuststack.json": ""}
    torch.export.load(path, extra_files=extra)
    return dict(json.loads(extra["robuststack.json"]))


@pytest.mark.parametrize("form", SUFFIXES)
def test_every_file_says_which_model_it_is_and_what_it_takes(written, trained, form):
    facts = header(written("float", "lambda_n=1", form))
    assert facts["job"] == trained.job("float")
    assert facts["label"] == "tradeoff/resnet8/float"
    assert facts["input"] == "float32 [N, 3, 8, 8] in [0, 1]; normalisation is inside the model"
    assert facts["output"] == "float32 logits [N, 4]"
    assert facts["robuststack"] == rs.__version__
    assert json.loads(facts["point"]) == {"lambda_n": 1.0, "lambda_th": 0.0}
    assert json.loads(facts["defense"])["options"] == {"recipe": "paper", "alpha_weight_decay": True}
    assert json.loads(facts["architecture"])["options"] == {"depth": 8, "width": 8}
    assert json.loads(facts["dataset"])["name"] == "tradeoff"
    assert json.loads(facts["threat"])["eps"] == 0.1
    assert (json.loads(facts["stochastic"]), json.loads(facts["frozen"])) == (True, None)
    facts = header(written("float", "lambda_n=1", form, "--frozen", "--seed", "5"))
    assert (json.loads(facts["stochastic"]), json.loads(facts["frozen"])) == (False, {"seed": 5})


def test_every_knob_of_the_point_is_in_the_file(written):
    facts = header(written("float", "lambda_n=0.2 lambda_th=0.5", "safetensors"))
    assert json.loads(facts["point"]) == {"lambda_n": 0.2, "lambda_th": 0.5}


def test_the_default_name_is_the_job_and_the_point(export, here):
    start = "wrote tradeoff-resnet8-float-lambda_n"
    assert export("float", "lambda_n=0.2")[1] == f"{start}=0.2-lambda_th=0.safetensors\n"
    assert export("float", "", "--frozen")[1] == f"{start}=1-lambda_th=0-frozen-seed=0.safetensors\n"
    assert export("none", "", "--format", "torch-export")[1] == "wrote tradeoff-resnet8-none.pt2\n"


def test_the_beginning_of_an_id_is_enough(export, trained):
    assert export(trained.job("float")[:14], "", "-o", "a.safetensors")[0] == 0


def test_exporting_disturbs_no_random_numbers(trained):
    model = rs.load_model(trained.job("float"), store=trained.store)
    before = torch.get_rng_state()
    exporting.export(model, {"lambda_n": 1.0}, "safetensors", frozen=True)
    exporting.export(model, {"lambda_n": 0.0}, "torch-export")
    assert torch.equal(torch.get_rng_state(), before)


# --- what cannot be exported


@pytest.mark.parametrize(
    ("defense", "point", "more", "message"),
    [
        ("train-nothing", "", [], "has no finished job train-nothing; it holds "),
        ("train-", "", [], "4 jobs begin with train-: train-"),
        ("float", "lambda=1", [], "float: unknown key 'lambda': did you mean 'lambda_n' or 'lambda_th'?"),
        ("float", "lambda_n=2", [], "float: lambda_n: must be less than or equal to 1, not 2"),
        ("oat", "lambda=0.3", [], "oat: lambda 0.3 has no row in the codebook; trained: 0, 0.2, 0.7, 1 (dim: 1 takes"),
        ("float", "high", [], "--point high: write KEY=VALUE, several of them with spaces between"),
        ("float", "lambda_n=1", ["--point", "lambda_th=0.5"],
         '--point is given 2 times; one point is meant: --point "lambda_n=1 lambda_th=0.5"'),
        ("float", "", ["--format", "tflite"], "'tflite' is not one of 'safetensors', 'torch-export', 'onnx'."),
        ("float", "", ["-o", "."], "Invalid value for '--output' / '-o': File '.' is a directory."),
        ("float", "", ["--store", "elsewhere"], "elsewhere has no finished job train-"),
        ("none", "", ["-o", "file/model.onnx"], "cannot write file/model.onnx: "),
    ],
)  # fmt: skip
def test_what_cannot_be_exported_is_one_line(export, here, defense, point, more, message):
    (here / "file").write_text("not a folder")
    code, output, errors = export(defense, point, *more)
    (line,) = errors.splitlines()
    assert (code, output) == (2, "")
    assert message in line
    assert [entry.name for entry in here.iterdir()] == ["file"]


def test_a_job_that_trained_nothing_names_the_one_that_did(export, trained):
    attack = next(job for job in trained.result.plan.jobs if job.kind == "attack")
    _, _, errors = export(attack.id)
    model = attack.spec.model
    assert errors.endswith(
        f"{attack.id} is a job of kind attack; name a train job, such as {model}, whose model it scores\n"
    )


def test_without_the_onnx_packages_the_way_to_get_them_is_named(export, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    code, _, errors = export("none", "", "--format", "onnx")
    (line,) = errors.splitlines()
    assert code == 2
    assert line.startswith("robuststack: error: --format onnx needs the packages onnx and onnxscript (")
    assert line.endswith("): python -m pip install 'robuststack[onnx]'")


def test_a_file_that_cannot_be_finished_leaves_the_old_one(export, here, monkeypatch):
    (here / "w.safetensors").write_bytes(b"old")

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    code, _, errors = export("none", "", "-o", "w.safetensors")
    assert code == 2
    assert errors.startswith("robuststack: error: cannot write w.safetensors: No space left on device")
    assert [path.name for path in here.iterdir()] == ["w.safetensors"]
    assert (here / "w.safetensors").read_bytes() == b"old"


class Repeating(nn.Module):
    """Noise that the exporters take for a constant."""

    def forward(self, x: Tensor) -> Tensor:
        return x.mean((2, 3)) + torch.from_numpy(np.random.standard_normal(3).astype(np.float32))


class Branching(nn.Module):
    """Asks the values of its input."""

    def forward(self, x: Tensor) -> Tensor:
        return x.mean((2, 3)) if bool(x.mean() > 0.5) else x.amax((2, 3))


class Counting(nn.Module):
    """Another answer in every call, while it says that it is deterministic."""

    calls = 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        return x.mean((2, 3)) + self.calls


@pytest.fixture
def odd(trained):
    """A trained model with another network in its place."""

    def make(network: nn.Module, *, stochastic: bool = False) -> rs.Trained:
        model = rs.load_model(trained.job("none"), store=trained.store)
        model.defense.deploy = lambda *_, frozen: View(network.eval(), stochastic=stochastic)
        return model

    return make


@pytest.mark.parametrize("form", PROGRAMS)
def test_noise_that_would_be_the_same_in_every_call_is_refused_with_the_way_out(odd, form):
    with pytest.raises(
        ModelError, match=f"cannot be written as {form}: it would draw the same noise in every call; use --fro"
    ):
        exporting.export(odd(Repeating(), stochastic=True), {}, form)


@pytest.mark.parametrize("form", PROGRAMS)
def test_a_model_that_the_format_cannot_represent_is_one_line(odd, form):
    with pytest.raises(ModelError, match=rf"^train-\w+ cannot be written as {form}: \w+: ") as caught:
        exporting.export(odd(Branching()), {}, form)
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize("form", PROGRAMS)
def test_a_program_that_is_not_the_model_is_never_written(odd, form):
    with pytest.raises(ModelError, match=f"cannot be written as {form}: its logits differ by "):
        exporting.export(odd(Counting()), {}, form)
