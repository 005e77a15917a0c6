"""What `check` refuses of a user's model, with its place in the suite file."""

from __future__ import annotations

from typing import Any

import pytest

import robuststack as rs
from robuststack.errors import SuiteError
from robuststack.plan.planner import make_plan
from robuststack.plugin.registry import PluginSource, Registry, installed_sources
from robuststack.suite.loading import load_suite
from user_models import CPU, SUITE, Blind, ids, weights


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
        ("file: a.pt", "unknown key 'file' in defenses.model: valid: load, python"),
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
    class Defenses:
        @rs.hookimpl
        def register_defense(self, register: Any) -> None:
            register("blind", f"{Blind.__module__}:Blind")

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
