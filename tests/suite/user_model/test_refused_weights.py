"""Files of weights: those of training scripts load, and what does not fit is one line."""

from __future__ import annotations

import os
import pickle
from typing import Any

import pytest
import torch

from robuststack.engine import models
from robuststack.plan.planner import make_plan
from robuststack.suite.loading import load_suite
from user_models import CPU, network, weights


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
        (b"", "it is empty"),
        (b"<html>404 not found</html>", "it is a web page"),
        (b"PK\x03\x04 half an archive", "it is cut off"),
        (bytes(range(128, 256)), "it is damaged or of another kind"),
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
