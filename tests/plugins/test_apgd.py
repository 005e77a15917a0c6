"""Our own APGD and AutoAttack-rand: the steps are pyautoattack's, what costs nothing to leave out is left out."""

from __future__ import annotations

import logging
from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pyautoattack.autopgd_base import APGDAttack
from torch import Tensor, nn

import robuststack as rs
from peers import CPU, REGISTRY, RUNTIME, Numbered, fixed_start, images, rand_from_one_start, right, same_start, view
from robuststack.attacks.attacked_model import AttackedModel, Tally
from robuststack.attacks.ball import project
from robuststack.attacks.eot import mean_margin
from robuststack.attacks.frozen_eval import frozen_eval
from robuststack.attacks.losses import dlr
from robuststack.attacks.margins import still_open
from robuststack.attacks.starts import surface_start
from robuststack.engine.evaluate import judge
from robuststack.engine.random_streams import generator, seeded
from robuststack.engine.runtime import Runtime
from robuststack.hardware import Hardware
from robuststack.layers.condition import Condition, View, attach
from robuststack_plugins.attacks import auto_pgd
from trained import Trained

NAMES = ("apgd_ce", "apgd_dlr", "autoattack_rand")
THREAT = rs.Threat(eps=0.06)
CLASSES, COUNT = 5, 200
# Radii at which the attack fools some images and not others, or agreement would say nothing.
RADII = {"none": 0.02, "pgd_at": 0.15}


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


def toys() -> tuple[Tensor, Tensor]:
    """Images with the labels that the network gives them without noise, one in ten of them wrong."""
    x = torch.rand(COUNT, 3, 4, 4, generator=torch.Generator().manual_seed(1)) * 0.6 + 0.2
    y = Net()(x).argmax(1)
    y[::10] = (y[::10] + 1) % CLASSES
    return x.to(memory_format=torch.channels_last), y


def toy(noise: float = 0.0) -> View:
    return View(Net(noise).eval(), stochastic=noise > 0)


def create(name: str, **options: object) -> rs.Attack:
    return REGISTRY.create("attack", name, options)


def perturb(attack: rs.Attack, attacked: nn.Module, seed: int = 0, runtime: Runtime = RUNTIME) -> Tensor:
    with frozen_eval(attacked), seeded(seed):
        return attack.perturb(AttackedModel(attacked, runtime), *toys(), THREAT, generator(CPU, seed))


def accuracy(x: Tensor, noise: float = 0.0) -> float:
    torch.manual_seed(5)
    return float(judge(toy(noise), x, toys()[1], 50 if noise else 1).float().mean())


# It is pyautoattack


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("defense", RADII)
def test_from_one_start_its_verdicts_are_pyautoattacks(trained: Trained, defense: str, name: str) -> None:
    attacked, (x, y) = view(trained, defense), images(COUNT)
    adversarial = same_start(name, attacked, x, y, RADII[defense], iterations=30)
    ours, theirs = (right(attacked, batch, y) for batch in adversarial)
    assert 0.05 < float(theirs.mean()) < 0.95 * float(right(attacked, x, y).mean())
    assert float((ours == theirs).float().mean()) >= 0.99


@pytest.fixture(scope="module")
def agreement(trained: Trained) -> Callable[..., float]:
    """How often our verdicts are pyautoattack's at its own options, on images of which many are near the edge."""
    attacked, (x, y), eps = view(trained, "pgd_at"), images(500), RADII["pgd_at"]
    _, official = same_start("apgd_dlr", attacked, x, y, eps, iterations=20)
    theirs = right(attacked, official, y)

    def share(**options: object) -> float:
        with frozen_eval(attacked):
            attack = create("apgd_dlr", iterations=20, **options)
            adversarial = attack.perturb(
                AttackedModel(attacked, RUNTIME), x, y, rs.Threat(eps=eps), generator(CPU, 0), start=fixed_start
            )
        return float((right(attacked, adversarial, y) == theirs).float().mean())

    return share


@pytest.fixture(scope="module")
def as_it_is(agreement: Callable[..., float]) -> float:
    """Our agreement with nothing changed."""
    return agreement()


@pytest.mark.parametrize(("constant", "wrong"), [("FIRST_STEP", 0.1), ("MOMENTUM", 0.2), ("FIRST", 1.0)])
def test_another_constant_would_show(agreement, as_it_is, monkeypatch, constant, wrong):
    assert as_it_is >= 0.99
    monkeypatch.setattr(auto_pgd, constant, wrong)
    assert agreement() < as_it_is


def test_another_rho_would_show(agreement):
    assert agreement(rho=1.0) < 0.99


LOGGER = logging.getLogger(__name__)


@pytest.mark.parametrize("loss", ["ce", "dlr"])
@pytest.mark.parametrize("draws", [1, 3])
def test_on_a_randomised_model_a_run_finds_pyautoattacks_images_from_the_same_noise(trained, loss, draws):
    (x, y), eps, iterations = images(100), 0.1, 12
    x, threat, attacked = x.contiguous(), rs.Threat(eps=eps), view(trained, "float", lambda_n=1.0)
    start = fixed_start(x, threat, generator(CPU, 0))
    # The last iterate has the same noise in every pass: theirs makes `draws` of it, of which the last counts, ours one.
    models = [Numbered(attacked, lambda k: min(k, draws * iterations)) for _ in range(2)]
    official = APGDAttack(
        models[0], norm="Linf", eps=eps, loss=loss, n_iter=iterations, eot_iter=draws, device=CPU, logger=LOGGER
    )
    official.init_hyperparam(x)
    run = auto_pgd.auto_pgd(
        auto_pgd.LOSSES[loss], threat, lambda images: start,
        iterations=iterations, draws=draws, rho=0.75, early_stop=True,
    )  # fmt: skip
    with frozen_eval(attacked), torch.no_grad():
        highest, _, _, misclassified = official.attack_single_run(x, y, x_init=start)
        candidates = list(run(AttackedModel(models[1], RUNTIME), x, y))
    for ours, theirs in zip(candidates, (highest, misclassified), strict=True):
        assert float((ours - theirs).abs().flatten(1).amax(1).lt(1e-5).float().mean()) >= 0.99
    assert [model.calls for model in models] == [draws * (iterations + 1), draws * iterations + 1]


RANDOMISED = {"count": COUNT, "iterations": 15, "draws": 2, "seeds": 1}
"""With the same noise in the same places, two draws tell as much as many: the verdicts agree on every image."""


def test_on_a_randomised_model_autoattack_finds_what_pyautoattack_finds(trained):
    difference = rand_from_one_start(view(trained, "float", lambda_n=1.0), 0.15, **RANDOMISED)
    assert -1 < difference.low <= difference.high < 1


def test_on_a_randomised_model_shorter_steps_would_show(trained, monkeypatch):
    monkeypatch.setattr(auto_pgd, "FIRST_STEP", 0.2)
    assert rand_from_one_start(view(trained, "float", lambda_n=1.0), 0.15, **RANDOMISED).low < -1


def test_when_the_step_is_checked():
    assert auto_pgd.windows(100) == {22: 22, 41: 19, 57: 16, 70: 13, 80: 10, 87: 7, 93: 6, 99: 6}
    assert auto_pgd.windows(2) == {1: 1, 2: 1}


def test_the_ratio_is_pyautoattacks():
    logits, y = torch.randn(50, CLASSES), torch.randint(CLASSES, (50,))
    official = APGDAttack(nn.Identity(), norm="Linf", eps=0.1, loss="dlr", device=CPU, logger=LOGGER)
    torch.testing.assert_close(dlr(logits, y), official.dlr_loss(logits, y))


def test_each_image_starts_at_the_surface_of_its_ball():
    x = torch.full((50, 3, 4, 4), 0.5)
    noise = surface_start(x, THREAT, generator(CPU, 0)) - x
    torch.testing.assert_close(noise.abs().flatten(1).amax(1), torch.full((50,), THREAT.eps))
    assert abs(float(noise.mean())) < 0.003


# What is left out changes no verdict


@pytest.mark.parametrize("name", NAMES)
def test_images_that_are_wrong_leave_the_batch_and_no_verdict_changes(name):
    adversarial, passes = [], []
    for early_stop in (True, False):
        attacked = toy()
        adversarial.append(perturb(create(name, iterations=20, early_stop=early_stop), attacked))
        passes.append(attacked.model.passes)
    y = toys()[1]
    assert torch.equal(*(judge(toy(), batch, y, 1) for batch in adversarial))
    assert passes[0] < 0.8 * passes[1]


def test_where_all_are_wrong_the_attack_ends():
    attacked, (x, y) = toy(), toys()
    with frozen_eval(attacked):
        adversarial = create("apgd_ce").perturb(
            AttackedModel(attacked, RUNTIME), x, y, rs.Threat(eps=1.0), generator(CPU, 0)
        )
    assert accuracy(adversarial) == 0
    assert attacked.model.passes < 12 * COUNT


class Choosing(nn.Module):
    """Each image is classified by the layer that its entry in `branch` names."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.ModuleList([nn.Linear(48, CLASSES), nn.Linear(48, CLASSES)])
        attach(self, Condition("branch"))

    def forward(self, x: Tensor) -> Tensor:
        branch = self.condition.read("branch")
        first, two = (layer(x.flatten(1)) for layer in self.layers)
        return torch.where(branch[:, None], first, two)


def test_what_the_model_holds_for_each_image_follows_it():
    x, _ = toys()
    attacked = View(Choosing().eval(), {"branch": torch.arange(COUNT) % 3 == 0})
    y = attacked(x).argmax(1)
    outcomes = []
    for early_stop in (True, False):
        attack = create("autoattack_rand", iterations=10, early_stop=early_stop)
        with frozen_eval(attacked):
            adversarial = attack.perturb(AttackedModel(attacked, RUNTIME), x, y, THREAT, generator(CPU, 0))
        outcomes.append(judge(attacked, adversarial, y, 1))
    assert torch.equal(*outcomes)
    assert 0.05 < float(outcomes[0].float().mean()) < 0.95


def test_in_low_precision_a_verdict_within_rounding_is_open():
    logits, y = (
        torch.tensor([[2.0, 2.01, 0.0], [2.0, 3.0, 0.0], [3.0, 2.0, 0.0], [torch.nan] * 3]),
        torch.zeros(4).long(),
    )
    models = [
        AttackedModel(View(nn.Identity()), Runtime(Hardware("cpu", precision))) for precision in ("float32", "bf16")
    ]
    assert [still_open(model, logits, y).tolist() for model in models] == [
        [False, False, True, True], [True, False, True, True]
    ]  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_in_bf16_it_finds_what_it_finds_in_float32(name):
    runtimes = [Runtime(Hardware("cpu", precision)) for precision in ("float32", "bf16")]
    accuracies = [accuracy(perturb(create(name, iterations=20), toy(), runtime=runtime)) for runtime in runtimes]
    assert accuracies[0] == pytest.approx(accuracies[1], abs=0.015)


# On randomised points


@pytest.mark.parametrize("name", NAMES)
def test_every_image_is_attacked_to_the_end(name):
    noise, x = 0.05, toys()[0]
    attacked = toy(noise)
    adversarial = perturb(create(name, iterations=10, draws=4), attacked)
    runs = 2 if name == "autoattack_rand" else 1
    # The clean images, ten gradients, a look at the last iterate, and two candidates to compare.
    assert attacked.model.passes == COUNT * (4 + runs * (10 * 4 + 1 + 2 * 4))
    assert float((adversarial != x).flatten(1).any(1).float().mean()) > 0.99
    assert accuracy(adversarial, noise) < accuracy(x, noise) - 0.1


def test_the_work_is_what_the_attack_says():
    attack = create("apgd_ce", iterations=5, draws=3)
    assert attack.image_passes(stochastic=True) == 3 + 2 * 5 * 3 + 1 + 2 * 3
    assert attack.image_passes(stochastic=False) == 1 + 2 * 5 + 1 + 1
    both = create("autoattack_rand", iterations=5, draws=3, restarts=2)
    assert both.image_passes(stochastic=True) == 3 + 4 * (2 * 5 * 3 + 1 + 2 * 3)
    attacked = toy()
    perturb(create("apgd_ce", iterations=5, early_stop=False), attacked)
    assert attacked.model.passes == COUNT * (1 + 5 + 1 + 1), "five of them with a gradient, which is a pass more"


# What the options mean


def test_figures_and_labels():
    expected = {
        "iterations": 100, "restarts": 1, "draws": 20, "rho": 0.75, "average": "loss", "early_stop": True, "eps": 0.06,
        "step": 0.12,
    }  # fmt: skip
    for name, label in zip(NAMES, ("APGD-CE", "APGD-DLR", "AutoAttack-rand"), strict=True):
        assert create(name).figures(THREAT, stochastic=True) == expected
        assert create(name).figures(THREAT, stochastic=False) == {**expected, "draws": 1}
        assert create(name).label == label
    assert [create(name).min_classes for name in NAMES] == [2, 3, 3]
    assert not create("apgd_ce").fingerprint


def test_more_iterations_and_restarts_find_no_less():
    few, many, again = (
        accuracy(perturb(create("apgd_dlr", **options), toy()))
        for options in ({"iterations": 3}, {"iterations": 50}, {"iterations": 3, "restarts": 4})
    )
    assert many <= few
    assert again <= few


@settings(max_examples=20, deadline=None)
@given(
    name=st.sampled_from(NAMES),
    eps=st.floats(1e-3, 1.0),
    iterations=st.integers(1, 6),
    noise=st.sampled_from([0.0, 0.1]),
    early_stop=st.booleans(),
)
def test_it_stays_in_the_ball_and_hurts_no_less_than_the_clean_image(name, eps, iterations, noise, early_stop):
    attacked, (x, y), threat = toy(noise), toys(), rs.Threat(eps=eps)
    attack = create(name, iterations=iterations, draws=2, early_stop=early_stop)
    with frozen_eval(attacked), seeded(0):
        adversarial = attack.perturb(AttackedModel(attacked, RUNTIME), x, y, threat, generator(CPU, 0))
    torch.testing.assert_close(project(adversarial, x, threat), adversarial, atol=1e-6, rtol=0)
    if not noise:
        assert bool((mean_margin(attacked, adversarial, y, 1) >= mean_margin(attacked, x, y, 1) - 1e-5).all())


# Models that are broken


class Changed(Net):
    """The network with another output."""

    def __init__(self, change: Callable[[Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self.change = change

    def forward(self, x: Tensor) -> Tensor:
        return self.change(super().forward(x), x)


BROKEN = {
    "no gradient": lambda logits, x: logits + (x - x).sum((1, 2, 3))[:, None].sqrt(),
    "no logits": lambda logits, x: logits * torch.nan,
    "no logits on the way": lambda logits, x: torch.where(x.sum((1, 2, 3))[:, None] > 24, torch.nan, logits),
}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("change", BROKEN)
def test_a_broken_model_breaks_no_image(name, change):
    x, y = toys()
    attacked = View(Changed(BROKEN[change]).eval())
    adversarial = perturb(create(name, iterations=10), attacked)
    assert float((project(adversarial, x, THREAT) - adversarial).abs().max()) <= 1e-6
    # What is not finite is wrong, so the clean image, where it is not, hurts as much as anything.
    clean, left = (judge(attacked, batch, y, 1) for batch in (x, adversarial))
    assert bool((left <= clean).all())


@pytest.mark.parametrize("stochastic", [False, True])
def test_gradients_that_vanish_are_counted(stochastic):
    x, y = toys()
    flat = View(Changed(lambda logits, x: logits.detach() + 0 * x.sum()).eval(), stochastic=stochastic)
    tally = Tally(CPU)
    with frozen_eval(flat):
        create("autoattack_rand", iterations=4, draws=2).perturb(
            AttackedModel(flat, RUNTIME, tally), x, y, THREAT, generator(CPU, 0)
        )
    counted, zero, not_finite = tally.gradients.tolist()
    assert counted > COUNT
    assert zero == counted
    assert not_finite == 0


@pytest.mark.parametrize("name", NAMES)
def test_its_start_is_the_generators(name):
    first, same, other = (perturb(create(name, iterations=3), toy(), seed) for seed in (0, 0, 1))
    assert torch.equal(first, same)
    assert not torch.equal(first, other)
