"""What a user's model is known by: the content of its file, or the source of its function."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from robuststack.engine import models
from robuststack.errors import ModelError, StoreError
from robuststack.plan import source_digest
from robuststack.plan.planner import make_plan
from robuststack.plan.rejudge import plan_rejudging
from robuststack.plugin.registry import Registry
from robuststack.running.rejudge import rejudge
from robuststack.running.store import Store
from robuststack.suite.loading import load_suite
from user_models import CPU, NETWORK, NUMBERS, ids, module, weights


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
