"""Roles of norms: given by hand or found in the structure, and what rewrites a network."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from robuststack.errors import PluginError
from robuststack.layers.roles import mark, mark_by_structure, norms, rewrite, role_of
from robuststack.plugin.registry import Registry

SHAPE = (3, 8, 8)


def conv(inputs: int = 4, kernel: int = 3) -> nn.Conv2d:
    return nn.Conv2d(inputs, 4, kernel, padding=kernel // 2)


def norm() -> nn.BatchNorm2d:
    return nn.BatchNorm2d(4)


class Residual(nn.Module):
    def __init__(self, main: nn.Module, side: nn.Module | None = None, *, swapped: bool = False) -> None:
        super().__init__()
        self.main = main
        self.side = side or nn.Identity()
        self.swapped = swapped

    def forward(self, x: Tensor) -> Tensor:
        return self.side(x) + self.main(x) if self.swapped else self.main(x) + self.side(x)


class Parallel(nn.Module):
    """Two branches whose results are stacked as channels."""

    def __init__(self) -> None:
        super().__init__()
        self.one = nn.Sequential(nn.Conv2d(4, 2, 1), nn.BatchNorm2d(2))
        self.two = nn.Sequential(nn.Conv2d(4, 2, 1), nn.BatchNorm2d(2), nn.Conv2d(2, 2, 1), nn.BatchNorm2d(2))

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.one(x), self.two(x)], 1)


class Gated(nn.Module):
    """Squeeze and excitation."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = nn.Sequential(nn.AdaptiveAvgPool2d(1), conv(kernel=1), nn.Sigmoid())

    def forward(self, x: Tensor) -> Tensor:
        return x * self.gate(x)


def head() -> list[nn.Module]:
    return [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 5)]


def two_convolutions() -> nn.Sequential:
    return nn.Sequential(conv(), norm(), nn.ReLU(inplace=True), conv(), norm())


def roles(network: nn.Module, shape: tuple[int, int, int] = SHAPE) -> list[str]:
    mark_by_structure(network, shape)
    return [role_of(layer) for _, layer in norms(network)]


# Marked by hand


def test_a_mark_is_kept_and_read():
    layer = norm()
    assert mark(layer, "final") is layer
    assert role_of(layer) == "final"


def test_a_role_that_is_none_is_refused():
    with pytest.raises(ValueError, match=r"^unknown role 'middle'; valid: stem, block, shortcut, final$"):
        mark(norm(), "middle")


def test_a_norm_without_a_role_says_how_to_give_it_one():
    with pytest.raises(PluginError) as caught:
        role_of(norm())
    assert str(caught.value) == (
        "a norm layer has no role; the architecture marks each with robuststack.layers.roles.mark, or all of them with"
        " mark_by_structure"
    )


# Found in the structure


def test_a_chain_has_a_stem_and_blocks_and_no_final_norm():
    assert roles(nn.Sequential(conv(3), norm(), conv(), norm(), conv(), norm(), *head())) == ["stem", "block", "block"]


def test_a_norm_behind_the_stem_without_a_convolution_between_is_a_block():
    dense = [norm(), nn.ReLU(), nn.MaxPool2d(2), norm(), nn.ReLU(), conv()]
    assert roles(nn.Sequential(conv(3), *dense, *head())) == ["stem", "block"]


@pytest.mark.parametrize("swapped", [False, True])
@pytest.mark.parametrize("pooled", [False, True])
def test_the_projection_beside_a_block_is_a_shortcut_whatever_the_order(swapped, pooled):
    pool = [nn.AvgPool2d(3, 1, 1)] if pooled else []
    side = nn.Sequential(*pool, conv(kernel=1), norm())
    network = nn.Sequential(conv(3), norm(), nn.ReLU(), Residual(two_convolutions(), side, swapped=swapped), *head())
    assert roles(network) == ["stem", "block", "block", "shortcut"]


def test_a_bare_norm_beside_a_convolution_is_a_shortcut():
    network = nn.Sequential(conv(3), norm(), Residual(nn.Sequential(conv(), norm()), norm()), *head())
    assert roles(network) == ["stem", "block", "shortcut"]


def test_branches_of_one_depth_are_no_shortcuts():
    sides = [nn.Sequential(conv(kernel=kernel), norm()) for kernel in (3, 1)]
    assert roles(nn.Sequential(conv(3), norm(), Residual(*sides), *head())) == ["stem", "block", "block"]


def test_two_deep_branches_are_no_shortcuts():
    deeper = nn.Sequential(two_convolutions(), conv(), norm())
    network = nn.Sequential(conv(3), norm(), Residual(deeper, two_convolutions()), *head())
    assert roles(network) == ["stem", *["block"] * 5]


def test_the_norm_after_the_last_block_is_final():
    network = nn.Sequential(conv(3), norm(), Residual(two_convolutions()), conv(kernel=1), norm(), nn.ReLU(), *head())
    assert roles(network) == ["stem", "block", "block", "final"]


@pytest.mark.parametrize("block", [Parallel, Gated])
def test_a_block_may_stack_or_gate_its_branches(block):
    seen = roles(nn.Sequential(conv(3), norm(), block(), norm(), nn.ReLU(), *head()))
    assert seen == ["stem", *["block"] * (len(seen) - 2), "final"]


def test_a_last_norm_that_a_shortcut_bypasses_is_not_final():
    network = nn.Sequential(conv(3), norm(), *[Residual(two_convolutions()) for _ in range(2)], *head())
    assert roles(network) == ["stem", *["block"] * 4]


def test_a_product_of_an_activation_with_itself_is_no_block():
    class Swish(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x * torch.sigmoid(x)

    assert roles(nn.Sequential(conv(3), norm(), Swish(), conv(), norm(), *head())) == ["stem", "block"]


def test_pre_activation_has_its_stem_in_the_first_block():
    block = nn.Sequential(norm(), nn.ReLU(), conv(), norm(), nn.ReLU(), conv())
    assert roles(nn.Sequential(conv(3), Residual(block), norm(), nn.ReLU(), *head())) == ["stem", "block", "final"]


def test_a_norm_that_no_image_passes_is_a_block():
    network = nn.Sequential(conv(3), norm(), *head())
    network[0].unused = norm()
    assert [role_of(layer) for _, layer in norms(mark_by_structure(network, SHAPE))] == ["block", "stem"]


def test_a_role_given_by_hand_stays():
    network = nn.Sequential(conv(3), mark(norm(), "shortcut"), conv(), norm(), *head())
    assert roles(network) == ["shortcut", "block"]


def test_a_network_without_norms_is_left_alone():
    assert roles(nn.Sequential(conv(3), *head())) == []


def test_looking_leaves_modes_statistics_gradients_and_random_numbers_alone():
    network = nn.Sequential(conv(3), norm(), nn.Dropout(0.5), Residual(two_convolutions()), *head()).train()
    network[1].eval()
    modes, before = [module.training for module in network.modules()], copy.deepcopy(network.state_dict())
    state = torch.get_rng_state()
    with torch.no_grad():
        mark_by_structure(network, SHAPE)
    assert [module.training for module in network.modules()] == modes
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())
    assert all(parameter.grad is None for parameter in network.parameters())
    assert torch.equal(torch.get_rng_state(), state)
    assert not any(module._forward_hooks for module in network.modules())


def test_an_image_that_does_not_fit_is_the_networks_own_error():
    network = nn.Sequential(nn.Conv2d(3, 4, 9), norm(), *head())
    with pytest.raises(RuntimeError, match="Kernel size can't be greater than actual input size"):
        mark_by_structure(network.train(), SHAPE)
    assert network.training
    assert not any(module._forward_hooks for module in network.modules())


@pytest.mark.parametrize("device", ["cpu", "meta"])
@pytest.mark.parametrize("name", ["resnet8", "resnet18", "resnet34", "resnet50", "wrn-16-2"])
def test_what_is_found_in_our_own_networks_is_what_they_say(name, device):
    with torch.device(device):
        network = Registry().create("architecture", name).build(SHAPE, 10)
    by_hand = {path: role_of(layer) for path, layer in norms(network)}
    for _, layer in norms(network):
        del layer.norm_role
    by_structure = {path: role_of(layer) for path, layer in norms(mark_by_structure(network, SHAPE))}
    # A pre-activation network has no norm of its own behind the first convolution.
    expected = {**by_hand, "blocks.0.norm1": "stem"} if name.startswith("wrn") else by_hand
    assert by_structure == expected


# Rewriting


def test_rewriting_replaces_each_module_once_wherever_it_is_used():
    shared = nn.ReLU()
    network = nn.Sequential(shared, nn.Sequential(conv(), shared), nn.ReLU())
    assert rewrite(network, nn.ReLU, lambda old: nn.GELU()) == 2
    assert network[0] is network[1][1]
    assert isinstance(network[2], nn.GELU)
    assert network[2] is not network[0]
