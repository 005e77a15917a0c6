"""Models from files and functions: what loads, what is refused in one line, and that a probe leaves no trace."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import robuststack as rs
from robuststack.engine import model_check, models
from robuststack.errors import ModelError, StoreError
from robuststack.plan.specs import ComponentSpec, ModelSpec, UserModelSpec
from robuststack.plugin.registry import Registry

REGISTRY = Registry()
DATASET = REGISTRY.create("dataset", "tradeoff", {"size": 8, "classes": 4})


def network(defense: str = "none", seed: int = 0) -> nn.Module:
    architecture = REGISTRY.create("architecture", "resnet8", {"width": 4})
    return models.build(REGISTRY.create("defense", defense), architecture, DATASET.shape, DATASET.num_classes, seed)


def probe(model: nn.Module, defense: str = "none", **more: Any) -> None:
    arguments = {"gradients": True, "name": "'mine'", **more}
    model_check.probe(REGISTRY, REGISTRY.create("defense", defense), model, DATASET, **arguments)


@pytest.mark.parametrize("defense", ["none", "pgd_at", "float", "oat"])
def test_a_probe_leaves_no_trace(defense: str) -> None:
    model = network(defense).train()
    model.get_submodule("classifier").eval()
    frozen = next(model.parameters()).requires_grad_(False)
    state = {key: value.clone() for key, value in model.state_dict().items()}
    modes = [module.training for module in model.modules()]
    before = torch.get_rng_state()
    probe(model, defense)
    assert torch.equal(torch.get_rng_state(), before)
    assert [module.training for module in model.modules()] == modes
    assert all(torch.equal(value, state[key]) for key, value in model.state_dict().items())
    assert [parameter for parameter in model.parameters() if not parameter.requires_grad] == [frozen]
    assert all(parameter.grad is None for parameter in model.parameters())


def test_a_probe_sees_the_model_in_eval_mode() -> None:
    class OneImageAtATime(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            assert not self.training
            return x.mean((2, 3)) @ torch.ones(3, 4)

    probe(OneImageAtATime().train())


def test_an_error_of_ours_inside_a_model_keeps_its_words() -> None:
    class Breaking(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            raise rs.PluginError("its own words")

    with pytest.raises(rs.PluginError, match="its own words"):
        probe(Breaking())


@pytest.mark.parametrize(
    ("rows", "probabilities"),
    [
        ([[0.25, 0.25, 0.5], [1.0, 0.0, 0.0]], True),
        ([[1.0, 0.0, 0.1], [1.0, 0.0, 0.1]], False),
        ([[1.5, -0.5, 0.0], [1.0, 0.0, 0.0]], False),
        ([[-1.0, -2.0, -0.4], [0.0, 0.0, 0.0]], False),
        ([[0.0, 0.0, 0.0], [0.0, 0.0, 0.0]], False),
    ],
)
def test_probabilities_are_rows_that_are_not_negative_and_sum_to_one(
    rows: list[list[float]], probabilities: bool
) -> None:
    class Fixed(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.cat([torch.tensor(rows[:1]), torch.zeros(1, 1)], 1).expand(len(x), -1)

    if probabilities:
        with pytest.raises(ModelError, match="'mine' returns probabilities; remove its softmax: attacks need logits"):
            probe(Fixed(), gradients=False)
    else:
        probe(Fixed(), gradients=False)


def test_a_checkpoint_of_the_stores_own_that_does_not_fit_says_what_to_do(tmp_path: Path) -> None:
    path = tmp_path / "train-1" / "model.safetensors"
    with pytest.raises(StoreError) as caught:
        models.restore(network("float"), models.packed(network("none")), path)
    assert str(caught.value).startswith(f"{path} is not a checkpoint of this model: keys are missing: stem.alpha, ")
    assert str(caught.value).endswith(f"; delete {path.parent} to train again")
    with pytest.raises(StoreError, match="is not a checkpoint of this model: Error while deserializing"):
        models.restore(network(), b"<html>", path)


def test_a_packed_model_is_restored_bit_by_bit(tmp_path: Path) -> None:
    first, second = network("oat", seed=1), network("oat", seed=2)
    models.restore(second, models.packed(first), tmp_path)
    assert all(torch.equal(value, second.state_dict()[key]) for key, value in first.state_dict().items())


def test_a_checkpoint_that_contains_itself_is_refused(tmp_path: Path) -> None:
    state: dict[str, Any] = {"epoch": 3}
    state["model"] = state
    path = tmp_path / "w.pt"
    torch.save(state, path)
    fingerprint = f"sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}"
    spec = ModelSpec(
        dataset=ComponentSpec.of(DATASET),
        defense=ComponentSpec.of(REGISTRY.create("defense", "none")),
        architecture=ComponentSpec.of(REGISTRY.create("architecture", "resnet8")),
        user_model=UserModelSpec(fingerprint=fingerprint, places={"load": str(path)}),
    )
    with pytest.raises(ModelError, match="holds no state dict"):
        models.finished(None, REGISTRY, "", spec, tmp_path)  # type: ignore[arg-type]
