"""Weight noise: its shapes, distribution, gradients and freshness, and what is not a substitute for fresh draws."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch
from torch import Tensor, nn

from robuststack.errors import PluginError
from robuststack.layers.condition import Condition, View, attach
from robuststack.layers.noise import (
    ALPHA_INIT,
    NoisyConv2d,
    NoisyLinear,
    add_noise,
    noise_scales,
    noisy,
)


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
    added = sum(parameter.numel() for parameter in net.parameters()) - sum(
        parameter.numel() for parameter in Net().parameters()
    )
    assert added == 2
    assert net.first.alpha.item() == ALPHA_INIT == 0.25


def test_a_noisy_network_starts_from_the_weights_it_was_given(x):
    torch.manual_seed(3)
    plain = Net()
    condition = Condition("noise")
    noisy = attach(add_noise(copy.deepcopy(plain), condition), condition)
    assert torch.equal(noisy.second.weight, plain.second.weight)
    assert torch.equal(view(noisy, 0.0)(x), plain(x))


def everywhere(granularity: str = "layer") -> Net:
    """With noise on the linear layer too."""
    torch.manual_seed(0)
    condition = Condition("noise")
    return attach(add_noise(Net(), condition, granularity, linear=True), condition).eval()


@pytest.mark.parametrize(
    ("granularity", "shapes"),
    [
        ("layer", [(), (), ()]),
        ("channel", [(8, 1, 1, 1), (8, 1, 1, 1), (4, 1)]),
        ("element", [(8, 3, 3, 3), (8, 8, 3, 3), (4, 8)]),
    ],
)
def test_alpha_has_the_shape_of_its_granularity(granularity, shapes):
    net = everywhere(granularity)
    alphas = [net.first.alpha, net.second.alpha, net.head.alpha]
    assert [tuple(alpha.shape) for alpha in alphas] == shapes
    assert all(bool((alpha == 0.25).all()) for alpha in alphas)


def test_rewriting_draws_nothing_and_keeps_the_very_parameters():
    plain = Net()
    before, state = dict(plain.named_parameters()), torch.get_rng_state()
    noisy_net = add_noise(plain, Condition("noise"), linear=True)
    assert torch.equal(torch.get_rng_state(), state)
    after = dict(noisy_net.named_parameters())
    assert all(after[path] is parameter for path, parameter in before.items())
    assert after.keys() - before.keys() == {"first.alpha", "second.alpha", "head.alpha"}
    assert noisy_net.second.stride == (2, 2)


def test_a_noisy_linear_layer_computes_with_one_draw_of_its_weight(x):
    net = everywhere()
    assert isinstance(net.head, NoisyLinear)
    inputs = torch.rand(5, 8)
    torch.manual_seed(4)
    logits = View(attach(net.head, net.condition), {"noise": 0.7})(inputs)
    torch.manual_seed(4)
    weight = net.head.weight + 0.7 * 0.25 * net.head.weight.std() * torch.randn(4, 8)
    torch.testing.assert_close(logits, inputs @ weight.T + net.head.bias)


def test_each_alpha_scales_its_own_weights():
    torch.manual_seed(0)
    channel = NoisyConv2d(nn.Conv2d(4, 6, 3), Condition("noise"), "channel")
    element = NoisyLinear(nn.Linear(6, 5), Condition("noise"), "element")
    with torch.no_grad():
        channel.alpha[::2] = 0
        channel.alpha[1] = 2
        element.alpha[:, 3] = 0
    eta = (channel.noisy_weight(1.0) - channel.weight).detach()
    assert bool((eta[::2] == 0).all())
    assert float(eta[1].std() / eta[3].std()) == pytest.approx(8, rel=0.5)
    changed = (element.noisy_weight(1.0) != element.weight).any(0)
    assert changed.tolist() == [True, True, True, False, True, True]


@pytest.mark.parametrize("granularity", ["channel", "element"])
def test_every_alpha_gets_the_gradient_of_its_own_noise(granularity):
    conv = NoisyConv2d(nn.Conv2d(2, 3, 3), Condition("noise"), granularity)
    coefficients = torch.randn(3, 2, 3, 3)
    torch.manual_seed(5)
    (conv.noisy_weight(0.7) * coefficients).sum().backward()
    torch.manual_seed(5)
    expected = coefficients * torch.randn(3, 2, 3, 3) * 0.7 * conv.weight.detach().std()
    torch.testing.assert_close(conv.alpha.grad, expected if granularity == "element" else expected.sum((1, 2, 3), True))
    torch.testing.assert_close(conv.weight.grad, coefficients)


def test_masked_weights_get_no_noise():
    conv = nn.Conv2d(2, 3, 3)
    mask = torch.rand(3, 2, 3, 3) < 0.5
    conv.register_buffer("mask", mask)
    conv = NoisyConv2d(conv, Condition("noise"))
    assert "mask" in conv.state_dict()
    drawn = conv.noisy_weight(1.0)
    assert torch.equal(drawn != conv.weight, mask)
    before = conv.weight.detach().clone()
    with conv.condition.holding({"noise": 1.0}):
        conv.freeze()
    assert torch.equal(conv.weight != before, mask)


def test_the_noise_scales_are_listed_by_layer_in_order():
    net = everywhere("channel")
    with torch.no_grad():
        net.second.alpha.copy_(torch.tensor([-1.0, 1, -1, 1, -1, 1, -1, 1])[:, None, None, None])
    assert list(noise_scales(net).items()) == [("first", 0.25), ("second", 1.0), ("head", 0.25)]


def test_a_layer_without_a_noisy_form_is_refused():
    with pytest.raises(TypeError, match=r"Embedding has no noisy form; it can be given one with @noisy\.register"):
        noisy(nn.Embedding(2, 2), Condition("noise"), "layer")


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


@pytest.mark.parametrize("width", [16, 192])
def test_layers_and_draws_are_independent(width):
    torch.manual_seed(0)
    first, second = (NoisyConv2d(nn.Conv2d(width, width, 3), Condition("noise")) for _ in range(2))
    draws = [(layer.noisy_weight(1.0) - layer.weight).detach().flatten() for layer in (first, second, first)]
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


@pytest.mark.parametrize("layer", [nn.Conv2d(1, 1, 1), nn.Linear(1, 1)], ids=["conv", "linear"])
def test_a_single_weight_has_no_spread_and_gets_no_noise(layer):
    condition = Condition("noise")
    model = attach(add_noise(nn.Sequential(layer), condition, linear=True), condition)
    image = torch.ones(1, 1, 1, 1)
    expected = view(model, 0.0)(image)
    for requires_grad in (True, False):
        assert torch.equal(view(model.requires_grad_(requires_grad), 2.0)(image), expected)


def gradient(model: View, image: Tensor, draws: int, copies: int) -> Tensor:
    """The input gradient, averaged over forward passes and over copies of the image in the batch."""
    total = torch.zeros_like(image)
    for _ in range(draws):
        batch = image[None].repeat(copies, 1, 1, 1).requires_grad_()
        loss = nn.functional.cross_entropy(model(batch), torch.zeros(copies, dtype=torch.long))
        total += torch.autograd.grad(loss, batch)[0].sum(0)
    return total / draws


def spread(model: View, image: Tensor, draws: int = 1, copies: int = 1) -> float:
    gradients = torch.stack([gradient(model, image, draws, copies) for _ in range(150)])
    return float(gradients.var(0).sum().sqrt())


def test_only_fresh_draws_average_the_noise_out(net, x):
    torch.manual_seed(11)
    model = view(net.requires_grad_(False))
    single = spread(model, x[0])
    # Sixteen draws: a quarter of the spread. Sixteen copies in one batch share a draw: all of it.
    assert spread(model, x[0], draws=16) / single == pytest.approx(0.25, rel=0.25)
    assert spread(model, x[0], copies=16) / single == pytest.approx(1.0, rel=0.25)


def test_attention_that_would_lose_the_noise_is_refused() -> None:
    model = nn.ModuleDict({"attend": nn.MultiheadAttention(4, 1)})
    with pytest.raises(PluginError, match="no effect inside attend, a MultiheadAttention"):
        add_noise(model, Condition("noise"), linear=True)
