"""What holds for an architecture."""

from __future__ import annotations

import copy
from functools import cache
from typing import ClassVar

import pytest
import torch
from torch import nn

from robuststack.engine.random_streams import seeded
from robuststack.errors import PluginError
from robuststack.layers.norms import norms
from robuststack.layers.roles import role_of
from robuststack.plugin.architecture import Architecture
from robuststack.testing.component import ComponentConformance
from robuststack.testing.network import images


class ArchitectureConformance(ComponentConformance):
    """The network takes images, says the role of its norms, learns, and leaves its buffers alone in eval mode."""

    kind = "architecture"
    shape: ClassVar[tuple[int, int, int]] = (3, 16, 16)
    """Images (C, H, W) that it must take."""
    other_shapes: ClassVar[tuple[tuple[int, int, int], ...]] = ((3, 32, 32), (1, 8, 8), (3, 16, 24))
    """Images that it takes too, or refuses with a `robuststack.PluginError`."""
    num_classes: ClassVar[int] = 7

    @classmethod
    def build(cls, seed: int = 0) -> nn.Module:
        with seeded(seed, "conformance"):
            model = cls.create().build(cls.shape, cls.num_classes)
        assert isinstance(model, nn.Module), f"build returned {type(model).__name__}, not a torch.nn.Module"
        return model

    @classmethod
    @cache
    def _built(cls) -> nn.Module:
        return cls.build()

    def model(self) -> nn.Module:
        """A copy that a check may change."""
        return copy.deepcopy(self._built())

    def test_it_maps_images_to_logits_or_refuses_them(self) -> None:
        """Of its own shape it must take images; of others it may say why not."""
        architecture: Architecture = self.create()
        for shape in (self.shape, *self.other_shapes):
            with torch.device("meta"):  # Shapes only: nothing is computed.
                try:
                    logits = architecture.build(shape, self.num_classes)(torch.rand(2, *shape))
                except PluginError as error:
                    assert shape != self.shape, f"it refuses images of its own shape {shape}: {error}"
                    continue
                except (RuntimeError, ValueError) as error:
                    raise AssertionError(
                        f"images of {shape} end in {error}; raise a robuststack.PluginError"
                    ) from error
            wanted = (2, self.num_classes)
            assert logits.shape == wanted, f"images of {shape} give {tuple(logits.shape)}, not logits {wanted}"

    def test_every_norm_says_its_role(self) -> None:
        """Defenses rewrite a network by the roles of its norms: batch, group, instance and layer norms. A network without
        any can be trained and made noisy, and defenses that split or modulate norms refuse it."""
        layers = dict(norms(self._built()))
        if not layers:
            pytest.skip("it has no norm layers")
        unmarked = [path for path, norm in layers.items() if getattr(norm, "norm_role", None) is None]
        assert not unmarked, f"no role is marked on {', '.join(unmarked)}; see robuststack.layers.roles.mark"
        roles = {role_of(norm) for norm in layers.values()}
        assert roles & {"stem", "final"}, f"no norm is the stem's or the final one; there are {sorted(roles)}"
        assert "block" in roles, f"no norm is of a block; there are {sorted(roles)}"

    def test_its_weights_are_drawn_from_the_seed(self) -> None:
        """A seed gives one initialisation, another seed another."""
        first, again, other = self._built().state_dict(), self.build().state_dict(), self.build(1).state_dict()
        changed = [key for key, value in first.items() if not torch.equal(value, again[key])]
        assert not changed, f"{changed[0]} differs between two networks of one seed; draw from torch's generator"
        assert any(not torch.equal(value, other[key]) for key, value in first.items()), "every seed gives one network"

    def test_two_networks_share_no_weights(self) -> None:
        weights = {id(parameter) for parameter in self._built().parameters()}
        assert weights.isdisjoint(id(parameter) for parameter in self.build().parameters()), (
            "two networks share parameters"
        )

    def test_gradients_reach_every_parameter(self) -> None:
        model = self.model().train()
        x, y = images(self.shape, self.num_classes, 4)
        with seeded("gradients"):
            for parameter in model.parameters():
                if not parameter.any():  # Some start a branch at zero, and nothing behind it learns in the first step.
                    nn.init.normal_(parameter, std=0.1)
            nn.functional.cross_entropy(model(x), y).backward()
        missing = [
            path
            for path, parameter in model.named_parameters()
            if parameter.grad is None or not parameter.grad.abs().sum() > 0
        ]
        assert not missing, f"no gradient reaches {', '.join(missing[:3])}"

    @torch.no_grad()
    def test_eval_mode_is_deterministic_and_changes_nothing(self) -> None:
        model, (x, _) = self.model().eval(), images(self.shape, self.num_classes, 1)
        before = copy.deepcopy(model.state_dict())
        first, again = model(x), model(x)
        assert torch.equal(first, again), "two forward passes in eval mode differ"
        changed = [key for key, value in model.state_dict().items() if not torch.equal(value, before[key])]
        assert not changed, f"a forward pass in eval mode changes {changed[0]}"
        assert not any(module.training for module in model.modules()), "a forward pass turns train mode on"

    @torch.no_grad()
    def test_an_image_is_judged_alone(self) -> None:
        """In eval mode its logits do not depend on what else is in the batch."""
        model, (x, _) = self.model().eval(), images(self.shape, self.num_classes, 2)
        together, alone = model(x)[:1], model(x[:1])
        assert torch.allclose(together, alone, atol=1e-4, rtol=1e-3), (
            "an image's logits depend on the rest of its batch"
        )
