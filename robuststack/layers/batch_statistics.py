"""Running statistics of batch norms, estimated anew for weights that no training step left."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm


def batch_norms(model: nn.Module) -> Iterator[tuple[str, _BatchNorm]]:
    """Every batch norm that keeps running statistics, with its path."""
    for path, module in model.named_modules():
        if isinstance(module, _BatchNorm) and module.num_batches_tracked is not None:
            yield path, module


@contextmanager
def estimated_statistics(model: nn.Module) -> Iterator[None]:
    """Within, each forward pass in which a batch norm runs in train mode counts alike for its running mean and variance,
    and what they were before does not. A norm that no pass reaches keeps its own. Batch norms are in train mode, and get
    their mode back.

    Source: Izmailov et al. 2018, Averaging Weights Leads to Wider Optima and Better Generalization, section 3.2.
    """
    norms = [norm for _, norm in batch_norms(model)]
    before = [(norm.momentum, norm.training, norm.get_buffer("num_batches_tracked").clone()) for norm in norms]
    for norm in norms:
        # The first pass then replaces what was there, and the n-th counts with 1 / n. Until its first pass a norm in eval
        # mode still has its statistics: an attack in a training step may run before.
        norm.get_buffer("num_batches_tracked").zero_()
        norm.momentum = None
        norm.train()
    try:
        yield
    finally:
        for norm, (momentum, training, count) in zip(norms, before, strict=True):
            norm.momentum = momentum
            norm.train(training)
            norm.get_buffer("num_batches_tracked").copy_(count)
