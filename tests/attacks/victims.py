"""Small networks, images and calls that the tests of attacks share."""

from __future__ import annotations

import copy
from functools import cache

import torch
from torch import Tensor, nn

import robuststack as rs
from robuststack.attacks.attacked_model import AttackedModel
from robuststack.attacks.frozen_eval import frozen_eval
from robuststack.engine.data import Data
from robuststack.engine.evaluate import Evaluation, evaluate
from robuststack.engine.random_streams import generator
from robuststack.engine.runtime import Runtime
from robuststack.hardware import Hardware
from robuststack.layers.condition import Condition, View, attach
from robuststack.layers.noise import add_noise
from robuststack.plugin.registry import Registry

REGISTRY = Registry()
RUNTIME = Runtime(Hardware("cpu", "float32"))
CPU = torch.device("cpu")
THREAT = rs.Threat(eps=0.1)
N, CLASSES = 24, 3


class Net(nn.Module):
    def __init__(self, channels: int = 3) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, 8, 3, padding=1)
        self.norm = nn.BatchNorm2d(8)
        self.drop = nn.Dropout(0.5)
        self.head = nn.Linear(8 * 36, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.drop(self.norm(self.conv(x)).relu()).flatten(1))


def images(count: int = N, seed: int = 1) -> tuple[Tensor, Tensor]:
    """Images whose class is their brightest channel; pixels at both ends of [0, 1] among them."""
    source = torch.Generator().manual_seed(seed)
    y = torch.randint(CLASSES, (count,), generator=source)
    x = torch.randn(count, 3, 6, 6, generator=source) * 0.35 + 0.5
    x[torch.arange(count), y] += 0.25
    return x.clamp_(0, 1), y


@cache
def trained() -> Net:
    torch.manual_seed(0)
    net, (x, y) = Net(), images(256, seed=2)
    optimizer = torch.optim.Adam(net.parameters(), 0.01)
    for _ in range(60):
        optimizer.zero_grad()
        nn.functional.cross_entropy(net(x), y).backward()
        optimizer.step()
    return net.eval()


def model() -> Net:
    return copy.deepcopy(trained())


def noisy(scale: float = 1.0, alpha: float = 0.25) -> View:
    condition = Condition("noise")
    net = attach(add_noise(model(), condition), condition)
    with torch.no_grad():
        net.conv.alpha.fill_(alpha)
    return View(net, {"noise": scale}, stochastic=scale > 0)


def create(name: str, **options: object) -> rs.GradientAttack:
    return REGISTRY.create("attack", name, options)


def perturb(attack: rs.Attack, view: View, seed: int = 0, threat: rs.Threat = THREAT) -> Tensor:
    with frozen_eval(view):
        return attack.perturb(AttackedModel(view, RUNTIME), *images(), threat, generator(CPU, seed))


def run(view: View, attack: rs.Attack | None, **changes: object) -> Evaluation:
    data = changes.pop("data", None) or Data(*images())
    victim = changes.pop("victim", view)
    settings_ = {"seed": 0, "draws": 1, "batch_size": 10, "keep": True, **changes}
    return evaluate(view, victim, data, attack, THREAT if attack else None, RUNTIME, **settings_)


def everything(net: nn.Module) -> list[object]:
    return [
        *(module.training for module in net.modules()),
        *(parameter.requires_grad for parameter in net.parameters()),
        *(tensor.clone() for tensor in net.state_dict().values()),
    ]


def same(a: list[object], b: list[object]) -> bool:
    return all(torch.equal(i, j) if isinstance(i, Tensor) else i == j for i, j in zip(a, b, strict=True))
