"""Weight noise: its distribution, its gradients, its freshness, and what is not a substitute for fresh draws."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch
from torch import Tensor, nn

from robuststack.layers.condition import Condition, View, attach
from robuststack.layers.noise import ALPHA_INIT, NoisyConv2d, add_noise, bake


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3, padding=1, bias=False)
        self.second = nn.Conv2d(8, 8, 3, padding=1, stride=2)
        self.head = nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.second(self.first(x).relu()).relu().mean((2, 3)))


def make() -> Net:
    torch.manual_seed(0)
    condition = Condition("noise")
    return attach(add_noise(Net(), condition), condition).eval()


def view(net: nn.Module, noise: float = 1.0) -> View:
    return View(net, {"noise": noise}, stochastic=noise > 0)


@pytest.fixture
def net() -> Net:
    return make()


@pytest.fixture
def x() -> Tensor:
    return torch.rand(4, 3, 6, 6, generator=torch.Generator().manual_seed(1))


def test_convolutions_become_noisy_and_linear_layers_stay(net):
    assert isinstance(net.first, NoisyConv2d)
    assert isinstance(net.second, NoisyConv2d)
    assert type(net.head) is nn.Linear
    added = sum(one.numel() for one in net.parameters()) - sum(one.numel() for one in Net().parameters())
    assert added == 2
    assert net.first.alpha.item() == ALPHA_INIT == 0.25


def test_a_noisy_network_starts_from_the_weights_it_was_given(x):
    torch.manual_seed(3)
    plain = Net()
    condition = Condition("noise")
    noisy = attach(add_noise(copy.deepcopy(plain), condition), condition)
    assert torch.equal(noisy.second.weight, plain.second.weight)
    assert torch.equal(view(noisy, 0.0)(x), plain(x))


@pytest.mark.parametrize(("alpha", "scale"), [(0.25, 1.0), (0.25, 0.4), (-0.6, 0.5)])
def test_the_noise_has_the_standard_deviation_of_the_papers(alpha, scale):
    torch.manual_seed(0)
    conv = NoisyConv2d(nn.Conv2d(16, 32, 3), Condition("noise"))
    with torch.no_grad():
        conv.alpha.fill_(alpha)
        conv.weight[:16] *= 10  # One standard deviation for the whole tensor, not one a channel.
    eta = torch.stack([conv.noisy_weight(scale).detach() - conv.weight.detach() for _ in range(40)])
    expected = abs(alpha) * scale * float(conv.weight.detach().std())
    count = eta.numel()
    assert abs(float(eta.mean())) < 5 * expected / count**0.5
    assert float(eta.std()) == pytest.approx(expected, rel=5 / (2 * count) ** 0.5)
    for half in (eta[:, :16], eta[:, 16:]):
        assert float(half.std()) == pytest.approx(expected, rel=0.03)


def test_layers_and_draws_are_independent():
    torch.manual_seed(0)
    first, second = (NoisyConv2d(nn.Conv2d(16, 16, 3), Condition("noise")) for _ in range(2))
    draws = [(one.noisy_weight(1.0) - one.weight).detach().flatten() for one in (first, second, first)]
    correlation = torch.corrcoef(torch.stack(draws))
    assert float((correlation - torch.eye(3)).abs().max()) < 5 / draws[0].numel() ** 0.5


def test_every_forward_pass_has_fresh_noise(net, x):
    first, second = view(net)(x), view(net)(x)
    assert not torch.allclose(first, second)


def test_no_scale_is_no_noise(net, x):
    state = torch.get_rng_state()
    assert torch.equal(view(net, 0.0)(x), view(net, 0.0)(x))
    assert torch.equal(torch.get_rng_state(), state)


def test_a_whole_batch_shares_one_draw(net, x):
    out = view(net)(x[:1].expand(4, -1, -1, -1))
    torch.testing.assert_close(out, out[:1].expand_as(out))


def test_alpha_learns(net, x):
    view(net)(x).square().sum().backward()
    assert all(abs(float(layer.alpha.grad)) > 0 for layer in (net.first, net.second))


def test_the_standard_deviation_carries_no_gradient():
    conv = NoisyConv2d(nn.Conv2d(2, 3, 3), Condition("noise"))
    coefficients = torch.randn(3, 2, 3, 3)
    torch.manual_seed(5)
    (conv.noisy_weight(0.7) * coefficients).sum().backward()
    # dw^/dw is the identity; a gradient through std would add to it.
    torch.testing.assert_close(conv.weight.grad, coefficients)
    torch.manual_seed(5)
    eta = torch.randn(3, 2, 3, 3)
    torch.testing.assert_close(conv.alpha.grad, (coefficients * eta).sum() * 0.7 * conv.weight.detach().std())


def steps(conv: NoisyConv2d) -> dict[str, object]:
    def stepped(**options: bool) -> None:
        optimizer = torch.optim.SGD(conv.parameters(), lr=1.0, momentum=0.9, **options)
        for parameter in conv.parameters():
            parameter.grad = torch.randn_like(parameter)
        optimizer.step()

    def copied() -> None:
        with torch.no_grad():
            conv.weight.copy_(torch.randn_like(conv.weight))

    return {
        "sgd": stepped,
        # The engine's own optimiser: fused kernels leave the version counter of a tensor alone.
        "fused sgd": lambda: stepped(fused=True),
        "load_state_dict": lambda: conv.load_state_dict({**conv.state_dict(), "weight": torch.randn_like(conv.weight)}),
        "copy_": copied,
        "double": conv.double,
        "new parameter": lambda: setattr(conv, "weight", nn.Parameter(torch.randn_like(conv.weight))),
    }


@pytest.mark.parametrize("name", steps(NoisyConv2d(nn.Conv2d(1, 1, 2), Condition("noise"))))
def test_the_standard_deviation_follows_the_weights(name):
    torch.manual_seed(0)
    conv = NoisyConv2d(nn.Conv2d(3, 4, 3), Condition("noise"))
    for _ in range(3):
        before = conv.weight_std()
        steps(conv)[name]()
        torch.testing.assert_close(conv.weight_std(), conv.weight.detach().std())
        assert name == "double" or float(conv.weight_std()) != float(before)


def test_the_standard_deviation_follows_an_optimiser_step_between_attacks(x):
    """As in training: frozen for an attack, a step on the weights, frozen again."""
    net = make()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.5, fused=True)
    for _ in range(2):
        net.requires_grad_(False)
        view(net)(x)
        torch.testing.assert_close(net.first.weight_std(), net.first.weight.std())
        net.requires_grad_(True)
        view(net)(x).square().sum().backward()
        optimizer.step()


def test_a_copy_does_not_share_the_cached_standard_deviation(net):
    net.first.weight_std()
    for other in (copy.deepcopy(net), pickle.loads(pickle.dumps(net))):
        with torch.no_grad():
            other.first.weight.mul_(3)
        torch.testing.assert_close(other.first.weight_std(), other.first.weight.detach().std())


def test_a_baked_model_is_deterministic_and_independent(net, x):
    before = {key: value.clone() for key, value in net.state_dict().items()}
    torch.manual_seed(7)
    baked = bake(view(net, 0.5))
    assert not baked.stochastic
    assert torch.equal(baked(x), baked(x))
    assert all(torch.equal(value, before[key]) for key, value in net.state_dict().items())
    with torch.no_grad():
        expected = baked(x)
        net.first.weight.zero_()
    assert torch.equal(baked(x), expected)


def test_a_baked_model_is_one_draw_of_the_noise(net, x):
    torch.manual_seed(7)
    expected = view(net, 0.5)(x)
    torch.manual_seed(7)
    baked = bake(view(net, 0.5))
    torch.testing.assert_close(baked(x), expected)
    torch.manual_seed(8)
    assert not torch.allclose(bake(view(net, 0.5))(x), expected)


def test_baking_without_noise_changes_nothing(net, x):
    assert torch.equal(bake(view(net, 0.0))(x), view(net, 0.0)(x))


def gradient(model: View, image: Tensor, draws: int, copies: int) -> Tensor:
    """The input gradient, averaged over forward passes and over copies of the image in the batch."""
    total = torch.zeros_like(image)
    for _ in range(draws):
        batch = image[None].repeat(copies, 1, 1, 1).requires_grad_()
        loss = nn.functional.cross_entropy(model(batch), torch.zeros(copies, dtype=torch.long))
        total += torch.autograd.grad(loss, batch)[0].sum(0)
    return total / draws


def spread(model: View, image: Tensor, draws: int = 1, copies: int = 1) -> float:
    found = torch.stack([gradient(model, image, draws, copies) for _ in range(150)])
    return float(found.var(0).sum().sqrt())


def test_only_fresh_draws_average_the_noise_out(net, x):
    torch.manual_seed(11)
    model = view(net.requires_grad_(False))
    one = spread(model, x[0])
    # Sixteen draws: a quarter of the spread. Sixteen copies in one batch share a draw: all of it.
    assert spread(model, x[0], draws=16) / one == pytest.approx(0.25, rel=0.25)
    assert spread(model, x[0], copies=16) / one == pytest.approx(1.0, rel=0.25)
