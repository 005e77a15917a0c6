"""The official AutoAttack through our loop: nothing it finds is lost, and nothing of it leaks."""

from __future__ import annotations

import logging
import time

import pytest
import torch
from pyautoattack import AutoAttack
from torch import Tensor, nn

import robuststack as rs
from robuststack.attacks.attacked_model import AttackedModel
from robuststack.attacks.ball import project
from robuststack.attacks.eot import mean_margin
from robuststack.attacks.frozen_eval import frozen_eval
from robuststack.engine.evaluate import judge
from robuststack.engine.random_streams import generator
from robuststack.engine.runtime import Runtime
from robuststack.errors import SuiteError
from robuststack.hardware import Hardware
from robuststack.layers.condition import View
from robuststack.plan.planner import make_plan
from robuststack.plugin.registry import Registry
from robuststack.suite.loading import load_suite

REGISTRY = Registry()
RUNTIME = Runtime(Hardware("cpu", "float32"))
CPU = torch.device("cpu")
THREAT = rs.Threat(eps=0.06)
CLASSES, COUNT = 5, 200
QUICK = {
    "pyautoattack:apgd_ce": {"iterations": 10},
    "pyautoattack:apgd_dlr": {"iterations": 10},
    "pyautoattack:autoattack_rand": {"iterations": 10},
    "autoattack_standard": {"iterations": 10, "queries": 20},
    "square": {"queries": 50},
}


class Net(nn.Module):
    """Two layers; its logits get normal noise of a scale, drawn once a forward pass as weight noise is."""

    def __init__(self, noise: float = 0.0) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.layers = nn.Sequential(nn.Flatten(), nn.Linear(48, 32), nn.ReLU(), nn.Linear(32, CLASSES))
        self.noise = noise
        self.passes = 0

    def forward(self, x: Tensor) -> Tensor:
        self.passes += len(x)
        return self.layers(x) + self.noise * torch.randn(CLASSES) if self.noise else self.layers(x)


def images(count: int = COUNT) -> tuple[Tensor, Tensor]:
    """Images with the labels that the network gives them without noise, one in ten of them wrong."""
    x = torch.rand(count, 3, 4, 4, generator=torch.Generator().manual_seed(1)) * 0.6 + 0.2
    y = Net()(x).argmax(1)
    y[::10] = (y[::10] + 1) % CLASSES
    return x.to(memory_format=torch.channels_last), y


def view(noise: float = 0.0) -> View:
    return View(Net(noise).eval(), stochastic=noise > 0)


def create(name: str, **options: object) -> rs.Attack:
    return REGISTRY.create("attack", name, options)


def perturb(attack: rs.Attack, attacked: View, seed: int = 0) -> Tensor:
    with frozen_eval(attacked):
        return attack.perturb(AttackedModel(attacked, RUNTIME), *images(), THREAT, generator(CPU, seed))


def official(version: str, attacked: View, iterations: int, queries: int = 1, seed: int = 0, eot: int = 1) -> Tensor:
    """What pyautoattack returns when it is called directly."""
    attack = AutoAttack(attacked, eps=THREAT.eps, version=version, seed=seed)
    for part in (attack.apgd, attack.apgd_targeted, attack.fab):
        part.n_iter = part.n_iter_orig = iterations
    for part in (attack.apgd, attack.apgd_targeted):
        part.n_iter_2, part.n_iter_min = max(int(0.22 * iterations), 1), max(int(0.06 * iterations), 1)
        part.size_decr = max(int(0.03 * iterations), 1)
    attack.square.n_queries, attack.apgd.eot_iter = queries, eot
    attack.apgd_targeted.n_target_classes = attack.fab.n_target_classes = CLASSES - 1
    x, y = images()
    torch.manual_seed(seed)
    with frozen_eval(attacked):
        return attack.run_standard_evaluation(x.contiguous(), y, batch_size=COUNT)[0]


def right(attacked: View, x: Tensor, draws: int = 1) -> Tensor:
    """How often the model is right about each image."""
    torch.manual_seed(5)
    return judge(attacked, x, images()[1], draws).float().mean(0)


# On deterministic points


def test_standard_breaks_what_pyautoattack_breaks_when_called_directly():
    ours = right(view(), perturb(create("autoattack_standard", iterations=20, queries=50), view()))
    theirs = right(view(), official("standard", view(), iterations=20, queries=50))
    assert 0.2 < float(theirs.mean()) < 0.8
    assert float((ours == theirs).float().mean()) >= 0.99


def test_standard_breaks_what_each_of_its_parts_breaks():
    bundle = right(view(), perturb(create("autoattack_standard", iterations=20, queries=50), view()))
    part = right(view(), perturb(create("pyautoattack:apgd_ce", iterations=20), view()))
    assert float(bundle.mean()) <= float(part.mean()) < float(right(view(), images()[0]).mean())


def test_images_that_are_fooled_are_not_attacked_again():
    passes = {}
    for name in ("pyautoattack:apgd_ce", "pyautoattack:autoattack_rand"):
        attacked = view()
        perturb(create(name, iterations=10), attacked)
        passes[name] = attacked.model.passes
    once, twice = passes.values()
    assert once < twice < 1.8 * once


# Nothing is lost


@pytest.mark.parametrize("name", QUICK)
@pytest.mark.parametrize("noise", [0.0, 0.05])
def test_every_image_is_attacked_robust_or_wrong_already(name, noise):
    x, y = images()
    adversarial = perturb(create(name, **QUICK[name]), view(noise))
    assert float((project(adversarial, x, THREAT) - adversarial).abs().max()) <= 1e-6
    margins = []
    for batch in (x, adversarial):
        torch.manual_seed(0)
        margins.append(mean_margin(view(noise), batch, y, 50))
    assert bool((margins[1] >= margins[0] - 1e-6).all() if noise == 0 else (margins[1].mean() > margins[0].mean()))
    moved = (adversarial != x).flatten(1).any(1).float().mean()
    # The margins that Square lowers are of few draws or, at a deterministic point, end with the first success: of what it
    # finds and the clean image, either may be what hurts more.
    assert float(moved) > (0.9 if name == "square" else 0.99)


def test_on_a_randomised_point_images_that_one_draw_calls_robust_or_wrong_are_attacked_all_the_same():
    noise, x = 0.05, images()[0]
    adversarial = perturb(create("pyautoattack:autoattack_rand", iterations=20, draws=10), view(noise))
    theirs = official("rand", view(noise), iterations=20, eot=10)
    left = (theirs == x).flatten(1).all(1)
    assert 10 < int(left.sum()) < COUNT - 10, "the library returns the clean image for some"
    assert bool((adversarial[left] != x[left]).flatten(1).any(1).all())
    ours, clean = (right(view(noise), batch, draws=100) for batch in (adversarial, x))
    assert float(ours[left].mean()) < float(clean[left].mean()) - 0.05


def test_restarts_and_more_iterations_find_no_less():
    def accuracy(**options: int) -> float:
        return float(right(view(), perturb(create("pyautoattack:apgd_dlr", **options), view())).mean())

    assert accuracy(iterations=50) <= accuracy(iterations=3)
    assert accuracy(iterations=3, restarts=4) <= accuracy(iterations=3)


# What the options mean


@pytest.mark.parametrize(("noise", "draws"), [(0.0, 1), (0.1, 3)])
def test_only_randomised_points_average_over_draws(noise, draws):
    attack = create("pyautoattack:apgd_ce", iterations=5, draws=3)
    attacked = view(noise)
    perturb(attack, attacked)
    # One pass asks for the number of classes; then the clean images, the start, 5 steps, and two candidates to compare.
    assert attacked.model.passes == 1 + COUNT * draws * (1 + 1 + 5 + 2)
    assert attack.image_passes(noise > 0) == draws * (1 + 2 * (1 + 5) + 2)
    assert attack.figures(THREAT, noise > 0)["draws"] == draws


def test_square_averages_the_logits_of_a_query():
    attacked = view(0.1)
    perturb(create("square", queries=1, draws=4), attacked)
    # The clean images, the start, a query of every image, also of those that a draw called fooled, and the comparison.
    assert attacked.model.passes == 1 + COUNT * 4 * 4
    assert create("square", queries=1, draws=4).image_passes(True) == 4 * 4


def test_figures_are_the_resolved_ones():
    expected = {"iterations": 100, "restarts": 1, "draws": 20, "rho": 0.75, "eps": 0.06, "step": 0.12}
    assert create("pyautoattack:autoattack_rand").figures(THREAT, stochastic=True) == expected
    assert create("pyautoattack:autoattack_rand").figures(THREAT, stochastic=False) == {**expected, "draws": 1}
    standard = create("autoattack_standard").figures(THREAT, stochastic=True)
    assert standard["draws"] == 1, "the standard version has no EOT"


def test_labels():
    labels = [create(name).label for name in QUICK]
    ours = [create(name).label for name in ("apgd_ce", "apgd_dlr", "autoattack_rand")]
    assert labels == [*(f"{label} (pyautoattack)" for label in ours), "AutoAttack", "Square"]


@pytest.mark.parametrize(
    ("name", "least"),
    [
        *((f"{library}{name}", 3) for library in ("", "pyautoattack:") for name in ("apgd_dlr", "autoattack_rand")),
        ("autoattack_standard", 4),
    ],
)
def test_too_few_classes_are_refused_before_any_compute(small_suite, name, least):
    text = small_suite.read_text().replace("attacks: [fgsm,", f"attacks: ['{name}',")
    small_suite.write_text(text.replace("classes: 4", f"classes: {least - 1}"))
    message = f"attack '{name}' needs at least {least} classes, tradeoff has {least - 1}"
    with pytest.raises(SuiteError, match=message):
        make_plan(load_suite(small_suite), REGISTRY, Hardware("cpu", "float32"))
    small_suite.write_text(text.replace("classes: 4", f"classes: {least}"))
    assert make_plan(load_suite(small_suite), REGISTRY, Hardware("cpu", "float32")).rows


# Nothing leaks


@pytest.mark.parametrize("name", QUICK)
def test_nothing_depends_on_the_time_or_on_the_callers_random_numbers(name, monkeypatch):
    attack = create(name, **QUICK[name])
    adversarial = []
    for number in range(2):
        torch.manual_seed(number)
        monkeypatch.setattr(time, "time", lambda number=number: 1000.0 + number)
        state = torch.get_rng_state()
        adversarial.append(perturb(attack, view(0.1)))
        assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(*adversarial)
    assert not torch.equal(adversarial[0], perturb(attack, view(0.1), seed=1))


class Flat(nn.Module):
    """Logits without a gradient, which the library warns of."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.ones(len(x), CLASSES).cumsum(1) + 0 * x.sum()


def test_the_librarys_warnings_are_logged_and_not_printed(capfd, caplog):
    x, y = torch.rand(4, 3, 4, 4), torch.full((4,), CLASSES - 1)
    with caplog.at_level(logging.WARNING):
        create("pyautoattack:apgd_dlr", iterations=2).perturb(
            AttackedModel(View(Flat()), RUNTIME), x, y, THREAT, generator(CPU, 0)
        )
    assert "zero gradient" in caplog.text
    assert capfd.readouterr() == ("", "")


class Broken(Net):
    """A network whose gradient is no number."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) + (x - x).sum((1, 2, 3))[:, None].sqrt()


@pytest.mark.parametrize("name", QUICK)
def test_a_broken_gradient_breaks_no_image(name):
    adversarial = perturb(create(name, **QUICK[name]), View(Broken().eval()))
    assert bool(torch.isfinite(adversarial).all())
