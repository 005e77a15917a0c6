"""FLOAT Sparse: FLOAT with few weights alive."""

from __future__ import annotations

from typing import TYPE_CHECKING

import robuststack as rs
from robuststack_plugins.defenses.float import Float

if TYPE_CHECKING:
    from torch import nn
    from torch.optim import Optimizer


class FloatSparse(Float):
    """FLOAT on sparse convolutions, "FLOATS" at WACV 2023: magnitude pruning and regrowth by momentum as it trains.

    Each convolution starts with a random mask of the same density. After each epoch it loses the share `prune_rate` of its
    smallest weights, which falls linearly to 0 at the last epoch, and as many grow over all layers. A weight that is not
    alive is zero and gets no noise; the noise's standard deviation is the whole tensor's, zeros included, as in FLOAT.
    Norms and linear layers stay dense.
    """

    paper = (
        "Kundu et al., FLOAT: Fast Learnable Once-for-all Adversarial Training, WACV 2023 (FLOAT Sparse);"
        " Dettmers and Zettlemoyer, Sparse Networks from Scratch, 2019, arXiv 1907.04840"
    )

    class Options(Float.Options):
        density: float = rs.option(
            0.1, "Share of each convolution's weights alive at the start.", gt=0, le=1, shown=True
        )
        prune_rate: float = rs.option(
            0.5, "Share of a layer's weights that the first epochs exchange; it falls linearly to 0.", ge=0, lt=1
        )

    def build(self, architecture: rs.Architecture, shape: tuple[int, int, int], num_classes: int) -> nn.Module:
        from robuststack.layers.sparse import sparsify

        return sparsify(super().build(architecture, shape, num_classes), self.options.density)

    def check_recipe(self, recipe: rs.PhaseRecipe) -> None:
        if not (recipe.betas[0] if recipe.optimizer == "adamw" else recipe.momentum):
            raise ValueError(
                "weights regrow by their momentum: train.momentum must be above 0 (with adamw, the first of train.betas)"
            )

    def after_step(self, model: nn.Module, optimizer: Optimizer) -> None:
        from robuststack.layers.sparse import apply_masks

        apply_masks(model)

    def after_epoch(self, model: nn.Module, optimizer: Optimizer, epoch: int, epochs: int) -> None:
        from robuststack.layers.sparse import masked_layers, regrow

        name = "exp_avg" if "betas" in optimizer.defaults else "momentum_buffer"
        momentum = {layer.weight: optimizer.state[layer.weight][name] for _, layer in masked_layers(model)}
        regrow(model, momentum, self.options.prune_rate * (1 - (epoch + 1) / epochs))

    def nonzero_parameters(self, model: nn.Module, setting: rs.Setting) -> int:
        """Masks move, but as many weights are alive as at the start."""
        from robuststack.layers.sparse import alive_at, masked_layers

        weights = [layer.weight.numel() for _, layer in masked_layers(model)]
        dead = sum(count - alive_at(self.options.density, count) for count in weights)
        return self.parameters(model, setting) - dead
