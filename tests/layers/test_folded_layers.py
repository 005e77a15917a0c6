"""Folded layers follow every forward pass: what they cannot follow is never computed wrongly, but attacked again plain."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress

import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from robuststack.attacks.frozen_eval import frozen_eval
from robuststack.layers.condition import View
from robuststack.layers.folded_layers import FoldedConv2d, Strayed
from robuststack.layers.folding import FoldedView, Folding, on_folded

Way = Callable[["Net", Tensor, Tensor], Tensor]


class Net(nn.Module):
    """Two convolutions with norms. A batch whose first pixel is 1 takes another way, which is given."""

    def __init__(self, way: Way) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.norm, self.other = nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.BatchNorm2d(4)
        self.last, self.end = nn.Conv2d(4, 4, 3), nn.BatchNorm2d(4)
        for norm in (self.norm, self.other, self.end):
            nn.init.normal_(norm.running_mean, std=0.3), nn.init.uniform_(norm.running_var, 0.5, 2)
            nn.init.normal_(norm.bias, std=0.3)
        self.way = way

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv(x)
        y = self.way(self, x, y) if bool(x[0, 0, 0, 0] == 1) else self.norm(y)
        return self.end(self.last(y.relu())).mean((2, 3))


class Doubled(torch.autograd.Function):
    @staticmethod
    def forward(context, x):
        return 2 * x

    @staticmethod
    def backward(context, gradient):
        return 2 * gradient


def swallowed(net: Net, x: Tensor, y: Tensor) -> Tensor:
    with suppress(RuntimeError):
        return net.norm(y) + y
    return net.norm(y)


def in_train_mode(net: Net, x: Tensor, y: Tensor) -> Tensor:
    net.norm.training = True
    try:
        return net.norm(y)
    finally:
        net.norm.training = False


def shifted(net: Net, x: Tensor, y: Tensor) -> Tensor:
    before = net.norm.running_mean
    net.norm.running_mean = before + 1
    try:
        return net.norm(y)
    finally:
        net.norm.running_mean = before


def without_gradient(net: Net, x: Tensor, y: Tensor) -> Tensor:
    with torch.no_grad():
        normed = net.norm(y)
    return normed + x.mean()


def norm_twice_in_place(net: Net, x: Tensor, y: Tensor) -> Tensor:
    first = net.norm(y).relu_()
    return first + net.norm(y)


STRAYING: dict[str, Way] = {
    "another norm": lambda net, x, y: net.other(y),
    "no norm": lambda net, x, y: y,
    "norm and itself": lambda net, x, y: net.norm(y) + y,
    "read where autograd does not look": lambda net, x, y: net.norm(y) + y.detach().mean(),
    "concatenated": lambda net, x, y: net.norm(torch.cat([y[:1], y[1:]])),
    "a function of its own": lambda net, x, y: Doubled.apply(y),
    "compiled code": lambda net, x, y: torch.jit.script(nn.ReLU())(y),
    "through numpy": lambda net, x, y: net.norm(y) + torch.from_numpy(y.detach().numpy()),
    "an error that it swallows": swallowed,
    "in place": lambda net, x, y: net.norm(y.mul_(2)),
    "a norm in train mode": in_train_mode,
    "other statistics": shifted,
    "a norm without gradients": without_gradient,
    "the same norm twice, written in place": norm_twice_in_place,
    "checkpointed": lambda net, x, y: checkpoint(lambda z: net.norm(net.conv(z)), x, use_reentrant=False),
}
FOLLOWED: dict[str, Way] = {
    "the norm of another tensor": lambda net, x, y: net.norm(y) + net.norm(net.conv(1 - x)),
    "a norm that folding does not touch": lambda net, x, y: net.other(net.norm(y)),
    "the norm first of another tensor": lambda net, x, y: net.norm(x.mean(1, keepdim=True).expand(-1, 4, -1, -1)),
    "an output that nobody reads": lambda net, x, y: x.mean(1, keepdim=True).expand(-1, 4, -1, -1),
    "its shape": lambda net, x, y: net.norm(y) * y.shape[1] / y.size(1) / len(y) * y.dim(),
    "an input that is written afterwards": lambda net, x, y: net.norm(y) + x.mul(1).zero_().mean(),
    "convolved functionally": lambda net, x, y: net.norm(nn.functional.conv2d(x, net.conv.weight, padding=1)),
}


def images(*, other: bool) -> Tensor:
    """Images [4, 3, 8, 8], of a batch that takes the other way or not."""
    x = torch.rand(4, 3, 8, 8, generator=torch.Generator().manual_seed(2)) * 0.9
    x[0, 0, 0, 0] = float(other)
    return x


def looked_at(x: Tensor) -> Callable[[Sequence[View]], tuple[Tensor, Tensor]]:
    """Logits and input gradient of a view on x, as an attack sees them."""

    def go(views: Sequence[View]) -> tuple[Tensor, Tensor]:
        point = x.clone().requires_grad_()
        logits = views[0](point)
        return logits.detach(), torch.autograd.grad(logits.logsumexp(1).sum(), point)[0]

    return go


@pytest.mark.filterwarnings("ignore:.*torch.jit.script")
@pytest.mark.parametrize("way", [*STRAYING, *FOLLOWED])
def test_an_attack_sees_the_plain_network_whatever_way_images_take(way: str) -> None:
    view = View(Net({**STRAYING, **FOLLOWED}[way]).eval())
    with frozen_eval(view):
        folded = Folding().of(view, images(other=False))
        assert isinstance(folded, FoldedView)
        assert len(folded.layers) == 2
        for x, strays in ((images(other=True), way in STRAYING), (images(other=False), False)):
            seen, used = on_folded([view], [Folding().of(view, images(other=False))], looked_at(x))
            assert (used[0] is view) == strays
            for with_folded, plain in zip(seen, looked_at(x)([view]), strict=True):
                torch.testing.assert_close(with_folded, plain, rtol=1e-4, atol=1e-5)
    assert not any("forward" in module.__dict__ for module in view.modules())


def test_a_convolution_whose_output_is_not_followed_would_be_another_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """The guard is shown able to fail: without it, another norm gets the folded output in silence."""
    monkeypatch.setattr(FoldedConv2d, "convolved", FoldedConv2d.__call__)
    monkeypatch.setattr(FoldedConv2d, "normed", lambda self, y: y)
    view, x = View(Net(STRAYING["another norm"]).eval()), images(other=True)
    with frozen_eval(view):
        seen, _ = on_folded([view], [Folding().of(view, images(other=False))], looked_at(x))
        assert (seen[0] - looked_at(x)([view])[0]).abs().max() > 0.05


def test_a_pass_that_strays_says_so() -> None:
    view = View(Net(STRAYING["another norm"]).eval())
    with frozen_eval(view):
        folded = Folding().of(view, images(other=False))
        with pytest.raises(Strayed, match="read by something else than its norm"):
            folded(images(other=True))


def test_an_attack_s_own_error_is_its_own() -> None:
    view = View(Net(STRAYING["another norm"]).eval())

    def broken(_: Sequence[View]) -> None:
        raise ValueError("mine")

    with frozen_eval(view), pytest.raises(ValueError, match="mine"):
        on_folded([view], [Folding().of(view, images(other=False))], broken)
