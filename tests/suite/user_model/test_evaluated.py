"""A user's own model is attacked, judged and measured, and never trained."""

from __future__ import annotations

import pytest
import torch

import robuststack as rs
from robuststack.engine import models
from robuststack.plan.planner import make_plan
from robuststack.plugin.registry import Registry
from robuststack.suite.loading import load_suite
from user_models import CPU, NETWORK, SUITE, module, network, weights


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
