"""A finished model of the user's own in a suite: loaded, known by its content, and refused before any compute."""

from __future__ import annotations

import importlib
import os
import pickle
import shutil
import sys
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from torch import Tensor, nn

import robuststack as rs
from robuststack.engine import models
from robuststack.errors import ModelError, StoreError, SuiteError
from robuststack.hardware import Hardware
from robuststack.plan import source_digest
from robuststack.plan.planner import make_plan
from robuststack.plan.rejudge import plan_rejudging
from robuststack.plugin.registry import PluginSource, Registry, installed_sources
from robuststack.running.rejudge import rejudge
from robuststack.running.store import Store
from robuststack.suite.loading import load_suite

CPU = Hardware("cpu", "float32")
SHAPE, CLASSES = (3, 8, 8), 4
SUITE = """
datasets:
  name: tradeoff
  options: {images: 60, test_images: 30, size: 8, classes: 4}
  threat: {eps: 0.1}
architectures: {name: resnet8, options: {width: 4}}
defenses: DEFENSES
attacks: ATTACKS
evaluate: {draws: 2}
measure: {latency: false}
precision: float32
"""
NETWORK = "from torch import nn\ndef make():\n    return nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 8, 4))\n"
NUMBERS = count()


class Jitter(rs.Attack):
    """Moves every pixel by eps, up or down at random."""

    needs_gradients = False

    def perturb(self, model: nn.Module, x: Tensor, y: Tensor, threat: rs.Threat, generator: torch.Generator) -> Tensor:
        return x + threat.eps * (torch.rand(x.shape, generator=generator) - 0.5).sign()


class Blind(rs.Defense):
    """A defense whose models give no gradients."""

    differentiable = False


class Own(rs.Defense):
    """A defense that brings its model."""

    trains = False

    def load(self, folder: Path, shape: tuple[int, int, int], num_classes: int) -> nn.Module:
        return nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 8, num_classes))


class Grey(rs.Dataset):
    """Made-up images of one channel."""

    shape = (1, 8, 8)
    num_classes = 4
    fingerprint = "made up"

    def size(self, split: rs.Split) -> int:
        return 8

    def load(self, folder: Path) -> dict[rs.Split, rs.Images]:
        return self.stand_in(8)


class Recoloured(Grey):
    """The same, with a way out for networks that take colour."""

    class Options(rs.Options):
        channels: int = rs.option(1, "Channels.")


class Plugin:
    @rs.hookimpl
    def register_attack(self, register: Any) -> None:
        register("jitter", f"{__name__}:Jitter")

    @rs.hookimpl
    def register_defense(self, register: Any) -> None:
        register("blind", f"{__name__}:Blind")
        register("own", f"{__name__}:Own")

    @rs.hookimpl
    def register_dataset(self, register: Any) -> None:
        register("grey", f"{__name__}:Grey")
        register("recoloured", f"{__name__}:Recoloured")


class Watch:
    """Counts the jobs that were started."""

    def __init__(self) -> None:
        self.started: list[str] = []

    @rs.hookimpl
    def job_started(self, job: Any) -> None:
        self.started.append(job.kind)


@pytest.fixture
def registry() -> Registry:
    return Registry([*installed_sources(), PluginSource("given", "given", "1", Plugin)])


@pytest.fixture
def watch(registry: Registry) -> Watch:
    plugin = Watch()
    registry.hooks.register(plugin)
    return plugin


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory, which holds the user's files."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    return tmp_path


@pytest.fixture
def suite(here: Path) -> Callable[..., Path]:
    """The suite with this model, in a file."""

    def write(model: str, *, defense: str = "none", attacks: str = "fgsm", text: str = SUITE) -> Path:
        path = here / "mine.yaml"
        entry = f"{{name: {defense}, model: {{{model}}}}}"
        path.write_text(text.replace("DEFENSES", entry).replace("ATTACKS", attacks))
        return path

    return write


@pytest.fixture
def run(here: Path, suite: Callable[..., Path], registry: Registry, watch: Watch) -> Callable[..., Any]:
    def go(model: str, **more: str) -> Any:
        return rs.run(
            suite(model, **more), store=here / "store", leaderboard=here / "board", device="cpu", registry=registry
        )

    return go


@pytest.fixture
def refused(run: Callable[..., Any], watch: Watch, here: Path) -> Callable[..., str]:
    """The message that a suite with this model is refused with, before any job of it was started."""

    def go(model: str, **more: str) -> str:
        with pytest.raises(rs.RobustStackError) as caught:
            run(model, **more)
        assert watch.started == []
        assert not list(here.glob("store/*/*"))
        message = str(caught.value)
        assert len(message.splitlines()) == 1
        return message.replace(f"{here}{os.sep}", "")

    return go


def network(defense: str = "none", classes: int = CLASSES, width: int = 4, seed: int = 0) -> nn.Module:
    registry = Registry()
    architecture = registry.create("architecture", "resnet8", {"width": width})
    return models.build(registry.create("defense", defense), architecture, SHAPE, classes, seed)


def weights(path: Path, **more: Any) -> dict[str, Tensor]:
    """The state of a network, also written as a safetensors file."""
    state = network(**more).state_dict()
    safetensors.torch.save_file(state, path)
    return state


def module(source: str) -> str:
    """The name of a new module in the working directory."""
    name = f"given_{next(NUMBERS)}"
    Path(f"{name}.py").write_text(source)
    return name


def ids(path: Path, registry: Registry) -> list[str]:
    return [job.id for job in make_plan(load_suite(path), registry, CPU).jobs]


# --- what is evaluated


def test_weights_are_attacked_and_measured_and_nothing_is_trained(run, watch, here):
    weights(here / "w.safetensors")
    (row,) = run("load: w.safetensors").rows
    assert sorted(watch.started) == ["attack", "judge", "judge", "measure"]
    assert row.jobs.train == {}
    assert row.recipe is None
    assert row.shown == {"model": "w.safetensors"}
    assert row.user_model.places == {"load": "w.safetensors"}
    assert row.user_model.fingerprint.startswith("sha256:")
    assert row.parameters == sum(parameter.numel() for parameter in network().parameters())


def test_the_loaded_weights_are_those_that_are_scored(run, here):
    weights(here / "w.safetensors", seed=3)
    result = run("load: w.safetensors")
    dataset = Registry().create("dataset", "tradeoff", result.rows[0].dataset_options)
    test = dataset.load(here)["test"]
    model = network(seed=3).eval()
    right = model(torch.from_numpy(test.images)).argmax(1).numpy() == test.labels
    assert result.rows[0].ca.value == pytest.approx(100 * right.mean(), abs=1e-3)


def test_a_tunable_defense_takes_weights_at_all_its_points(run, here):
    weights(here / "w.safetensors", defense="float")
    rows = run("load: w.safetensors", defense="float").rows
    assert [row.point["lambda_n"] for row in rows] == [0, 0.2, 0.7, 1]


def test_a_function_brings_its_own_network(run, watch):
    name = module(NETWORK)
    (row,) = run(f"python: '{name}:make'").rows
    assert "train" not in watch.started
    assert row.variant == ("tradeoff", "own network")
    assert row.architecture is None
    assert row.parameters == 3 * 8 * 8 * 4 + 4


def test_a_function_needs_no_architectures_in_the_suite(run):
    text = SUITE.replace("architectures: {name: resnet8, options: {width: 4}}\n", "")
    (row,) = run(f"python: '{module(NETWORK)}:make'", text=text).rows
    assert row.architecture is None


def test_a_function_that_draws_weights_gives_every_job_the_same_ones(here, suite, registry):
    name = module(NETWORK)
    path = suite(f"python: '{name}:make'", attacks="[fgsm, jitter]")
    plan = make_plan(load_suite(path), registry, CPU)
    spec = next(job.spec.foreign for job in plan.jobs if job.kind == "attack")
    torch.manual_seed(1)
    _, first = models.finished(None, registry, "", spec, here)
    torch.manual_seed(2)
    before = torch.get_rng_state()
    _, second = models.finished(None, registry, "", spec, here)
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))
    assert torch.equal(torch.get_rng_state(), before)


MEAN = """
from torch import nn
class Mean(nn.Module):
    def forward(self, x):
        return x.mean((2, 3)).repeat(1, 2)[:, :4]
"""


def test_a_network_without_parameters_is_measured_too(run):
    (row,) = run(f"python: '{module(MEAN)}:Mean'").rows
    assert row.parameters == 0


def test_a_network_may_call_something_of_its_own_condition(run):
    source = NETWORK.replace("return ", "model = ") + "    model.condition = 'good'\n    return model\n"
    assert len(run(f"python: '{module(source)}:make'").rows) == 1


def test_two_models_of_one_defense_are_told_apart(here, registry):
    weights(here / "a.safetensors", seed=0)
    weights(here / "b.safetensors", seed=1)
    text = SUITE.replace(
        "DEFENSES", "[{name: none, model: {load: a.safetensors}}, {name: none, model: {load: b.safetensors}}]"
    ).replace("ATTACKS", "fgsm")
    (here / "mine.yaml").write_text(text)
    result = rs.run(here / "mine.yaml", store=here / "store", leaderboard=here / "board", registry=registry)
    labels = [row.label for row in result.rows]
    assert labels == [f"tradeoff/resnet8/none model={letter}.safetensors" for letter in "ab"]
    assert "none model=a.safetensors" in result.table()


# --- what a model is known by


def test_ids_depend_on_the_content_of_the_file_not_on_its_place(here, suite, registry):
    weights(here / "w.safetensors")
    first = ids(suite("load: w.safetensors"), registry)
    (here / "elsewhere").mkdir()
    shutil.move(here / "w.safetensors", here / "elsewhere" / "other.safetensors")
    assert ids(suite("load: elsewhere/other.safetensors"), registry) == first
    weights(here / "elsewhere" / "other.safetensors", seed=1)
    assert not set(ids(suite("load: elsewhere/other.safetensors"), registry)) & set(first)


def test_a_moved_file_is_scored_from_the_store(run, watch, here):
    weights(here / "w.safetensors")
    run("load: w.safetensors")
    (here / "w.safetensors").rename(here / "moved.safetensors")
    watch.started.clear()
    run("load: moved.safetensors")
    assert watch.started == []


def fingerprint(path: Path, registry: Registry) -> str:
    """What a suite's function is known by, read anew."""
    for function in vars(source_digest).values():
        if hasattr(function, "cache_clear"):
            function.cache_clear()
    (mark,) = {
        job.spec.foreign.user_model.fingerprint
        for job in make_plan(load_suite(path), registry, CPU).jobs
        if job.kind == "attack"
    }
    assert mark.startswith("source:")
    return mark


def test_a_function_is_known_by_its_source_and_what_it_imports_from_its_package(here, suite, registry):
    name = f"package_{next(NUMBERS)}"
    (here / name).mkdir()
    (here / name / "__init__.py").write_text("")
    (here / name / "parts.py").write_text("WIDTH = 1\n")
    (here / name / "nets.py").write_text(f"from {name}.parts import WIDTH\n{NETWORK}")
    path = suite(f"python: '{name}.nets:make'")
    first = fingerprint(path, registry)
    assert fingerprint(path, registry) == first
    (here / name / "parts.py").write_text("WIDTH = 2\n")
    assert fingerprint(path, registry) != first
    assert not {name, f"{name}.nets"} & set(sys.modules), "planning imports nothing of the user's"


@pytest.mark.parametrize("beside", ["FILE.py", "FILE/__init__.py", "FILE/nets.py"])
def test_a_function_is_known_by_what_lies_beside_its_module_too(here, suite, registry, beside):
    other = f"beside_{next(NUMBERS)}"
    part = here / beside.replace("FILE", other)
    part.parent.mkdir(exist_ok=True)
    name = module(f"from {other}{'.nets' if part.stem == 'nets' else ''} import make\n")
    (part.parent / "__init__.py").touch()
    part.write_text(NETWORK)
    path = suite(f"python: '{name}:make'")
    first = fingerprint(path, registry)
    part.write_text(NETWORK.replace("nn.Flatten()", "nn.Flatten(), nn.Dropout(0.5)"))
    assert fingerprint(path, registry) != first


LOADING = NETWORK.replace("return ", "model = ") + (
    "    import torch\n    model.load_state_dict(torch.load('w.pt', weights_only=True))\n    return model\n"
)


def rejudged(here: Path, job: str) -> Any:
    """Which labels are right when the images of a job are judged again: bool [draws, n]."""
    store, registry = Store(here / "store"), Registry()
    rejudging = plan_rejudging(store, registry, job, device="cpu")
    return rejudge(rejudging, store, registry, here).labels.correct


def test_a_function_that_loads_other_weights_is_scored_anew(run, here):
    def save(seed: int) -> None:
        torch.manual_seed(seed)
        torch.save(nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 8, 4)).state_dict(), "w.pt")

    def times() -> dict[str, int]:
        return {path.parent.name: path.stat().st_mtime_ns for path in (here / "store").glob("*/*/result.json")}

    name = module(LOADING)
    save(0)
    (first,) = run(f"python: '{name}:make'").rows
    before = times()
    (again,) = run(f"python: '{name}:make'").rows
    assert times() == before
    assert again == first
    (job,) = first.jobs.scores["adaptive"]["FGSM"].values()
    assert 100 * rejudged(here, job).mean() == pytest.approx(first.ra["FGSM"].value, abs=1e-3)
    save(1)
    attack = first.jobs.attacks[job]
    changed = f"'{name}:make' returns other weights since {attack} attacked it; run the suite again"
    with pytest.raises(StoreError, match=changed):
        rejudged(here, job)
    (other,) = run(f"python: '{name}:make'").rows
    assert times().keys() == before.keys()
    assert all(times()[job] != before[job] for job in before)
    assert other.ca != first.ca


def test_a_file_that_changes_between_plan_and_run_is_refused(here, suite, registry):
    weights(here / "w.safetensors")
    plan = make_plan(load_suite(suite("load: w.safetensors")), registry, CPU)
    spec = next(job.spec.foreign for job in plan.jobs if job.kind == "attack")
    weights(here / "w.safetensors", seed=1)
    with pytest.raises(ModelError, match=r"w\.safetensors has changed since the run was planned; run again"):
        models.finished(None, registry, "", spec, here)


def test_a_function_that_changes_between_plan_and_run_is_refused(here, suite, registry):
    plan = make_plan(load_suite(suite(f"python: '{module(NETWORK)}:make'")), registry, CPU)
    spec = next(job.spec.foreign for job in plan.jobs if job.kind == "attack")
    of_another_day = spec.user_model.model_copy(update={"fingerprint": "source:of another day"})
    stale = spec.model_copy(update={"user_model": of_another_day})
    with pytest.raises(ModelError, match=r"the source of 'given_\d+:make' has changed since the run was planned"):
        models.finished(None, registry, "", stale, here)


# --- what is refused when the suite is checked


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("load: gone.pt", "mine.yaml:7:24: gone.pt cannot be read: No such file or directory"),
        ("load: .", "mine.yaml:7:24: . cannot be read: Is a directory"),
        ("python: 'absent_package:make'", "mine.yaml:7:24: no module 'absent_package' in "),
        ("python: 'torch.absent:make'", "mine.yaml:7:24: package 'torch' has no module 'torch.absent' with Python source"),
        ("python: '__main__:make'", "mine.yaml:7:24: no module '__main__' in "),
        ("python: mynetwork", "'mynetwork' names no function; write package.module:function"),
        ("python: '.x:make'", "'.x:make' names no function; write package.module:function"),
        ("python: 'a..b:make'", "'a..b:make' names no function; write package.module:function"),
        ("", "give either load (a file of weights) or python (package.module:function)"),
        ("load: a.pt, python: 'a:b'", "give either load (a file of weights) or python (package.module:function)"),
        ("file: a.pt", "unknown key 'file' in defenses.0.model: valid: load, python"),
    ],
)  # fmt: skip
def test_a_model_that_is_not_there_is_refused_with_its_place_in_the_file(refused, model, message):
    assert message in refused(model)


def test_a_defense_that_brings_its_model_takes_no_other(refused, here):
    weights(here / "w.safetensors")
    message = refused("load: w.safetensors", defense="own")
    assert message == "mine.yaml:7:23: defense 'own' brings its own model: leave `model:` out"


def test_weights_without_an_architecture_are_refused(refused, here):
    weights(here / "w.safetensors")
    text = SUITE.replace("architectures: {name: resnet8, options: {width: 4}}\n", "")
    assert "defense 'none' rewrites a network, and the suite has no `architectures:`" in refused(
        "load: w.safetensors", text=text
    )


def test_a_defense_without_gradients_takes_no_gradient_attack(refused, here, suite, registry):
    weights(here / "w.safetensors")
    message = refused("load: w.safetensors", defense="blind", attacks="[jitter, pgd]")
    assert message.startswith("mine.yaml:8:19: attack 'pgd' needs gradients, and defense 'blind' gives none; valid: ")
    assert "jitter" in message.rpartition("valid: ")[2].split(", ")
    assert ids(suite("load: w.safetensors", defense="blind", attacks="jitter"), registry)


def test_without_a_gradient_free_attack_the_message_says_so(here, suite):
    from robuststack_plugins import attacks

    class Defenses:
        @rs.hookimpl
        def register_defense(self, register: Any) -> None:
            register("blind", f"{__name__}:Blind")

    class Gradients:
        @rs.hookimpl
        def register_attack(self, register: Any) -> None:
            register("fgsm", "robuststack_plugins.attacks.fgsm:FGSM")
            register("pgd", "robuststack_plugins.attacks.pgd:PGD")

    others = [source for source in installed_sources() if source.name in ("datasets", "architectures", "defenses")]
    registry = Registry([*others, PluginSource("a", "a", "1", Gradients), PluginSource("b", "b", "1", Defenses)])
    weights(here / "w.safetensors")
    with pytest.raises(SuiteError, match="gives none; no attack is installed that only calls the model"):
        make_plan(load_suite(suite("load: w.safetensors", defense="blind")), registry, CPU)
    assert attacks.HERE


# --- what is refused when the model is called, before any compute


def test_weights_of_another_width_are_one_line(refused, here):
    weights(here / "w.safetensors", width=8)
    assert refused("load: w.safetensors") == (
        "w.safetensors does not fit resnet8 under none with 4 classes: stem.weight has shape [8, 3, 3, 3], the model's"
        " has [4, 3, 3, 3]"
    )


def test_weights_of_another_number_of_classes_are_one_line(refused, here):
    weights(here / "w.safetensors", classes=7)
    assert refused("load: w.safetensors").endswith(
        "with 4 classes: classifier.weight has shape [7, 16], the model's has [4, 16]"
    )


def test_weights_of_another_defense_are_one_line(refused, here):
    weights(here / "w.safetensors")
    message = refused("load: w.safetensors", defense="float")
    assert message.startswith(
        "w.safetensors does not fit resnet8 under float with 4 classes: keys are missing: stem.alpha"
    )
    assert " more; keys are unknown to it: blocks.0.norm1.bias, blocks.0.norm1.num_batches_tracked and " in message


def test_a_truncated_safetensors_file_is_one_line(refused, here):
    weights(here / "w.safetensors")
    whole = (here / "w.safetensors").read_bytes()
    (here / "w.safetensors").write_bytes(whole[: len(whole) // 2])
    assert refused("load: w.safetensors").startswith(
        "w.safetensors is not a readable checkpoint (.safetensors, or a PyTorch state dict): Error while deserializing"
    )


@pytest.mark.parametrize("wrapped", [lambda state: state, lambda state: {"state_dict": state, "epoch": 3},
                                     lambda state: {"model": {"state_dict": state}}])  # fmt: skip
@pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod.", "module._orig_mod.", "_orig_mod.module."])
def test_checkpoints_of_training_scripts_load(here, suite, registry, wrapped, prefix):
    state = network(seed=5).state_dict()
    torch.save(wrapped({prefix + key: value for key, value in state.items()}), here / "w.pt")
    plan = make_plan(load_suite(suite("load: w.pt")), registry, CPU)
    spec = next(job.spec.foreign for job in plan.jobs if job.kind == "attack")
    _, model = models.finished(None, registry, "", spec, here)
    assert all(torch.equal(value, state[key]) for key, value in model.state_dict().items())


class Code:
    """What a malicious checkpoint holds."""

    def __reduce__(self) -> Any:
        return os.system, ("touch ran",)


@pytest.mark.parametrize("write", [torch.save, lambda value, path: path.write_bytes(pickle.dumps(value, 2))])
def test_a_pickle_with_code_in_it_is_refused_without_running_it(refused, here, write):
    write({"stem.weight": Code()}, here / "w.pt")
    assert refused("load: w.pt") == (
        "w.pt is not a readable checkpoint (.safetensors, or a PyTorch state dict): it needs posix.system to be loaded,"
        " and loading runs no code; save model.state_dict()"
    )
    assert not (here / "ran").exists()
    pickle.loads(pickle.dumps(Code()))
    assert (here / "ran").exists(), "the code would have run"


def test_a_whole_pickled_model_is_refused_with_the_way_out(refused, here):
    torch.save(network(), here / "w.pt")
    message = refused("load: w.pt")
    assert "it needs robuststack_plugins.architectures.networks.ThreeStageResNet to be loaded" in message
    assert message.endswith("; save model.state_dict()")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "it is empty, damaged or of another kind"),
        (b"<html>404 not found</html>", "it is empty, damaged or of another kind"),
        (b"PK\x03\x04 half an archive", "PytorchStreamReader failed reading zip archive"),
    ],
)
def test_a_file_that_is_no_checkpoint_is_one_line(refused, here, content, reason):
    (here / "w.pt").write_bytes(content)
    assert f"w.pt is not a readable checkpoint (.safetensors, or a PyTorch state dict): {reason}" in refused(
        "load: w.pt"
    )


@pytest.mark.parametrize("value", [{"stem.weight": 3}, [torch.zeros(2)], {1: torch.zeros(2)}, {"state_dict": {"a": 1}}])
def test_a_checkpoint_without_a_state_dict_is_refused(refused, here, value):
    torch.save(value, here / "w.pt")
    assert refused("load: w.pt") == "w.pt holds no state dict (name -> tensor); save model.state_dict()"


RETURNS = """
import torch
from torch import nn
class Net(nn.Module):
    def forward(self, x):
        y = x.mean((1, 2, 3))[:, None] * torch.tensor([[1.0, -1.0, 2.0, 0.5]])
        return RESULT
"""
FUNCTIONS = {
    "raises": "def make():\n    raise OSError('no weights\\nat all')\n",
    "exits": "import sys\ndef make():\n    sys.exit(3)\n",
    "returns nothing": "def make():\n    pass\n",
    "returns a tuple": "def make():\n    return (1, 2)\n",
    "cannot be imported": "import absent_thing\ndef make():\n    pass\n",
    "is not there": "def other():\n    pass\n",
}


@pytest.mark.parametrize(
    ("function", "reason"),
    [
        ("raises", "cannot be made: OSError: no weights at all"),
        ("exits", "cannot be made: SystemExit: 3"),
        ("returns nothing", "gives NoneType; valid: a torch.nn.Module that returns logits"),
        ("returns a tuple", "gives tuple; valid: a torch.nn.Module that returns logits"),
        ("cannot be imported", "cannot be made: ModuleNotFoundError: No module named 'absent_thing'"),
        ("is not there", "has no attribute 'make'"),
    ],
)
def test_a_function_that_gives_no_module_is_one_line(refused, function, reason):
    name = module(FUNCTIONS[function])
    message = refused(f"python: '{name}:make'")
    assert message.startswith(f"model '{name}:make' ")
    assert message.endswith(reason)


@pytest.mark.parametrize(
    ("result", "message"),
    [
        ("(y, x)", "returns tuple; valid: a tensor of logits [N, 4]"),
        ("{'scores': y}", "returns dict; valid: a tensor of logits [N, 4]"),
        ("y[:, :3]", "returns [2, 3] for 2 images; the dataset has 4 classes, so logits are [2, 4]"),
        (
            "y[:, :, None].repeat(1, 1, 2)",
            "returns [2, 4, 2] for 2 images; the dataset has 4 classes, so logits are [2, 4]",
        ),
        ("y[:1]", "returns [1, 4] for 2 images; the dataset has 4 classes, so logits are [2, 4]"),
        ("y.softmax(1)", "returns probabilities; remove its softmax: attacks need logits"),
        ("y.detach()", "gives no gradients, which attacks here need; valid: "),
        ("x @ y", "cannot take images of shape [3, 8, 8]: RuntimeError: "),
    ],
)
def test_a_model_that_could_not_be_evaluated_is_refused_before_any_compute(refused, result, message):
    name = module(RETURNS.replace("RESULT", result))
    assert refused(f"python: '{name}:Net'").startswith(f"'{name}:Net' {message}")


@pytest.mark.parametrize("result", ["y", "y.log_softmax(1)", "y.abs()", "{'logits': y}", "y[:, :, None]"])
def test_logits_of_other_kinds_are_taken(run, result):
    assert len(run(f"python: '{module(RETURNS.replace('RESULT', result))}:Net'").rows) == 1


def test_a_model_without_gradients_is_evaluated_by_attacks_that_need_none(run, watch):
    (row,) = run(f"python: '{module(RETURNS.replace('RESULT', 'y.detach()'))}:Net'", attacks="jitter").rows
    assert sorted(watch.started) == ["attack", "judge", "judge", "measure"]
    assert row.ra.keys() == {"jitter", "worst"}


def test_one_gradient_attack_among_others_is_enough_to_refuse_a_model_without_gradients(refused):
    name = module(RETURNS.replace("RESULT", "y.detach()"))
    message = refused(f"python: '{name}:Net'", attacks="[jitter, fgsm]")
    assert "gives no gradients" in message
    assert "jitter" in message


def test_a_network_that_is_none_of_the_defense_is_refused(refused):
    name = module(NETWORK)
    assert refused(f"python: '{name}:make'", defense="float") == (
        f"'{name}:make' is no model of defense 'float': the model's condition has no field ['branch', 'noise']"
    )
    assert f"'{name}:make' is no model of defense 'oat': " in refused(f"python: '{name}:make'", defense="oat")


@pytest.mark.parametrize(
    ("dataset", "reason"),
    [
        ("recoloured", "it takes 3 channels; give the dataset the option `channels: 3`"),
        ("grey", "it takes 3 channels, and the images of grey have 1"),
    ],
)
def test_colour_networks_on_grey_images_are_refused_with_the_way_out(refused, dataset, reason):
    source = "from torch import nn\ndef make():\n    return nn.Sequential(nn.Conv2d(3, 4, 8), nn.Flatten())\n"
    name = module(source)
    text = SUITE.replace("name: tradeoff", f"name: {dataset}").replace(
        "  options: {images: 60, test_images: 30, size: 8, classes: 4}\n", ""
    )
    message = refused(f"python: '{name}:make'", text=text)
    assert message == f"'{name}:make' cannot take images of shape [1, 8, 8]: {reason}"


def test_a_refused_model_stops_the_jobs_of_the_others_too(here, registry, watch):
    name = module(RETURNS.replace("RESULT", "y.softmax(1)"))
    weights(here / "w.safetensors", defense="float")
    entries = [
        "{name: none, train: {batch_size: 20}}",
        "{name: float, model: {load: w.safetensors}}",
        f"{{name: none, model: {{python: '{name}:Net'}}}}",
    ]
    text = SUITE.replace("DEFENSES", f"[{', '.join(entries)}]")
    (here / "mine.yaml").write_text(text.replace("ATTACKS", "fgsm"))
    with pytest.raises(ModelError, match="returns probabilities"):
        rs.run(here / "mine.yaml", store=here / "store", leaderboard=here / "board", registry=registry)
    assert watch.started == []


# --- where a user's module is looked for, and what it leaves behind


def test_a_package_of_the_working_directory_wins_over_an_installed_one(run, here, tmp_path, monkeypatch):
    """As `tests.models:make`, where a library installs a package of the name `tests`."""
    for regular in (True, False):
        package = f"shared_{next(NUMBERS)}"
        installed = tmp_path / f"site-{package}" / package
        installed.mkdir(parents=True)
        (installed / "__init__.py").write_text("WHOSE = 'theirs'\n")
        (installed / "nets.py").write_text("raise RuntimeError('of another package')\n")
        monkeypatch.setattr(sys, "path", [str(installed.parent), *sys.path])
        theirs = importlib.import_module(package)
        (here / package).mkdir()
        if regular:
            (here / package / "__init__.py").write_text("")
        (here / package / "parts.py").write_text("WIDTH = 4\n")
        (here / package / "nets.py").write_text(f"from {package}.parts import WIDTH\n{NETWORK}")
        assert len(run(f"python: '{package}.nets:make'").rows) == 1
        assert sys.modules[package] is theirs, "what was imported before is still there"
        assert importlib.import_module(package).WHOSE == "theirs"


def test_a_run_leaves_the_search_path_as_it_was(run, here):
    helper = module("GAIN = 1.0\n")
    name = module(
        f"import sys\nsys.path.insert(0, '/nowhere')\n{NETWORK.replace('def make', f'import {helper}{chr(10)}def make')}"
    )
    before = list(sys.path)
    assert len(run(f"python: '{name}:make'").rows) == 1
    assert sys.path == ["/nowhere", *before], "only what the module itself did"


MOVING = f"""
import os
{NETWORK.replace("make", "plain")}
class Moving(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = plain()
    def forward(self, x):
        os.chdir({{folder!r}})
        return self.net(x)
make = Moving
"""


@pytest.mark.parametrize(
    ("source", "kept"),
    [("import os\nos.chdir({folder!r})\n" + NETWORK, True), (MOVING, False)],
    ids=["import", "forward"],
)
def test_a_module_that_changes_the_working_directory_moves_nothing(suite, here, registry, source, kept):
    """What it does where it is imported is put back; what its network does when it is called is not, and moves no file."""
    (here / "elsewhere").mkdir()
    name = module(source.format(folder=str(here / "elsewhere")))
    result = rs.run(
        suite(f"python: '{name}:make'"), store="store", leaderboard="board", device="cpu", registry=registry
    )
    assert Path.cwd() == (here if kept else here / "elsewhere")
    assert len(result.rows) == 1
    assert {path.name for path in here.iterdir()} >= {"store", "board"}
    assert list((here / "elsewhere").iterdir()) == []
    assert all(path.is_relative_to(here / "board") for path in result.files)


def test_a_path_may_begin_with_the_home_folder(run, here, suite, registry, monkeypatch):
    monkeypatch.setenv("HOME", str(here / "home"))
    (here / "home").mkdir()
    weights(here / "home" / "w.safetensors")
    result = rs.run(
        suite("load: ~/w.safetensors"), store="~/store", leaderboard="~/board", device="cpu", registry=registry
    )
    assert result.rows[0].user_model.places == {"load": "~/w.safetensors"}, "a board names no folder of its maker's"
    assert {path.name for path in (here / "home").iterdir()} == {"w.safetensors", "store", "board"}
    assert not (here / "~").exists()


def test_a_home_folder_that_is_not_there_is_named_with_its_place(suite, registry):
    with pytest.raises(SuiteError) as caught:
        make_plan(load_suite(suite("load: ~nobody-of-this-name/w.pt")), registry, CPU)
    place, _, reason = str(caught.value).partition(": ")
    assert place.partition("mine.yaml:")[2].partition(":")[0].isdecimal()
    assert reason == (
        "~nobody-of-this-name/w.pt: there is no home folder that `~` could stand for; write the whole path"
    )
