"""The attack loop against a plain one, and the host against attacks that cheat."""

from __future__ import annotations

import copy
from functools import cache
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import robuststack as rs
from robuststack.attacks.attacked_model import AttackedModel, Tally
from robuststack.attacks.ball import project
from robuststack.attacks.eot import loss_gradient
from robuststack.attacks.frozen_eval import frozen_eval
from robuststack.attacks.margins import margin
from robuststack.engine.data import Data
from robuststack.engine.evaluate import Evaluation, evaluate, judge
from robuststack.engine.random_streams import generator
from robuststack.engine.runtime import Runtime
from robuststack.errors import PluginError
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


# What any attack of ours returns


@settings(max_examples=40, deadline=None)
@given(
    eps=st.floats(1e-4, 1.0),
    steps=st.integers(1, 4),
    step=st.sampled_from(["oat", "relative", 0.7]),
    restarts=st.integers(1, 3),
    draws=st.integers(1, 2),
    seed=st.integers(0, 99),
)
def test_pgd_stays_in_the_ball_and_in_the_pixel_range(eps, steps, step, restarts, draws, seed):
    x, _ = images()
    attack = create("pgd", steps=steps, step=step, restarts=restarts, draws=draws)
    adversarial = perturb(attack, noisy(), seed, rs.Threat(eps=eps))
    assert adversarial.shape == x.shape
    assert float((adversarial - x).abs().max()) <= eps + 1e-6
    assert 0 <= float(adversarial.min()) <= float(adversarial.max()) <= 1


@settings(max_examples=15, deadline=None)
@given(eps=st.floats(1e-4, 1.0))
def test_fgsm_stays_in_the_ball_and_in_the_pixel_range(eps):
    x, _ = images()
    adversarial = perturb(create("fgsm"), View(model()), threat=rs.Threat(eps=eps))
    assert float((adversarial - x).abs().max()) <= eps + 1e-6
    assert 0 <= float(adversarial.min()) <= float(adversarial.max()) <= 1


@pytest.mark.parametrize(
    ("eps", "options", "expected"),
    [
        (8 / 255, {"steps": 7, "step": "oat"}, 10 / 7 / 255),
        (8 / 255, {"steps": 20, "step": "oat"}, 0.5 / 255),
        (0.2, {"steps": 20, "step": "oat"}, (0.2 + 4 / 255) / 20),
        (0.2, {"steps": 20, "step": "relative"}, 0.025),
        (0.2, {"steps": 20, "step": "2/255"}, 2 / 255),
    ],
)
def test_the_step_rules_come_out_as_documented(eps, options, expected):
    assert create("pgd", **options).step_size(rs.Threat(eps=eps)) == pytest.approx(expected, rel=1e-12)


# Against an independent implementation


def plain_gradient(net: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    x = x.clone().requires_grad_()
    nn.functional.cross_entropy(net(x), y, reduction="sum").backward()
    return x.grad


def test_fgsm_is_the_textbooks():
    net, (x, y) = model(), images()
    expected = torch.clamp(x + THREAT.eps * plain_gradient(net, x, y).sign(), 0, 1)
    torch.testing.assert_close(perturb(create("fgsm"), View(net)), expected)


@pytest.mark.parametrize("steps", [1, 5])
def test_pgd_is_the_textbooks(steps):
    net, (x, y), eps = model(), images(), THREAT.eps
    noise = (torch.rand(x.shape, generator=generator(CPU, 0)) * 2 - 1) * eps
    expected = (x + noise).clamp(0, 1)
    for _ in range(steps):
        expected = expected + 2.5 * eps / steps * plain_gradient(net, expected, y).sign()
        expected = (x + (expected - x).clamp(-eps, eps)).clamp(0, 1)
    adversarial = perturb(create("pgd", steps=steps, early_stop=False), View(net))
    assert float((adversarial - expected).abs().max()) < 1e-6


@pytest.mark.parametrize("draws", [1, 4])
def test_gradients_of_a_randomised_model_are_averaged_over_the_draws(draws):
    view, (x, y) = noisy(alpha=3.0), images()
    torch.manual_seed(3)
    mean = torch.stack([plain_gradient(view, x, y) for _ in range(draws)]).mean(0)
    torch.manual_seed(3)
    adversarial = perturb(create("fgsm", draws=draws), view)
    torch.testing.assert_close(adversarial, torch.clamp(x + THREAT.eps * mean.sign(), 0, 1))


def test_fgsm_is_not_pgd_of_one_step():
    one_step = create("pgd", steps=1, step=THREAT.eps)
    fgsm = perturb(create("fgsm"), View(model()))
    assert not torch.allclose(fgsm, perturb(one_step, View(model())), atol=1e-3)
    assert torch.equal(fgsm, perturb(create("fgsm"), View(model()), seed=5))


def test_restarts_keep_the_largest_margin():
    net, (x, y) = model(), images()

    def margin(batch: Tensor) -> Tensor:
        logits = net(batch)
        others = logits.masked_fill(nn.functional.one_hot(y, CLASSES).bool(), -torch.inf)
        return others.max(1).values - logits[range(len(y)), y]

    attack, source = create("pgd", steps=2, restarts=3, early_stop=False), generator(CPU, 0)
    single = create("pgd", steps=2, early_stop=False)
    with frozen_eval(net):
        restarts = [single.perturb(AttackedModel(View(net), RUNTIME), x, y, THREAT, source) for _ in range(3)]
        best = torch.stack([margin(x), *(margin(batch) for batch in restarts)]).max(0).values
        torch.testing.assert_close(margin(perturb(attack, View(net))), best)


def test_later_restarts_attack_what_is_still_right():
    net, (x, y) = model(), images(200, seed=3)
    attack = create("pgd", steps=4, restarts=3)
    counts = []

    class Counted(rs.GradientAttack):
        steps, restarts, early_stop = attack.steps, attack.restarts, attack.early_stop

        def step_size(self, threat):
            return attack.step_size(threat)

        def start(self, x, threat, generator):
            counts.append(len(x))
            return super().start(x, threat, generator)

    def right(batch: Tensor) -> Tensor:
        return judge(View(net), batch, y, 1)[0]

    threat = rs.Threat(eps=0.04)
    with frozen_eval(net):
        # The first restart alone, from the same start.
        once = create("pgd", steps=4).perturb(AttackedModel(View(net), RUNTIME), x, y, threat, generator(CPU, 0))
        adversarial = Counted(rs.Options()).perturb(AttackedModel(View(net), RUNTIME), x, y, threat, generator(CPU, 0))
        clean, first, all_ = right(x), right(once), right(adversarial)
    assert counts[0] == 200
    assert 0 < counts[1] == int((clean & first).sum()) < 200
    assert 0 < counts[2] <= counts[1]
    assert not bool((all_ & ~(clean & first)).any())


def robust_accuracy(view: View, attack: rs.Attack) -> float:
    return 100 * float(run(view, attack, data=Data(*images(200, seed=3))).correct.float().mean())


def test_more_steps_and_more_restarts_find_more():
    view = View(model())
    clean = 100 * float(run(view, None, data=Data(*images(200, seed=3))).correct.float().mean())
    by_steps = [robust_accuracy(view, create("pgd", steps=steps)) for steps in (1, 5, 20, 40)]
    by_restarts = [robust_accuracy(view, create("pgd", steps=5, restarts=restarts)) for restarts in (1, 4)]
    assert clean - 10 > by_steps[0]
    assert all(more <= fewer + 0.5 for fewer, more in pairwise(by_steps))
    assert by_restarts[1] <= by_restarts[0]
    assert by_steps[-1] <= robust_accuracy(view, create("fgsm"))


@pytest.mark.parametrize("count", [1, 5])
def test_an_image_is_attacked_alike_whatever_is_beside_it(count):
    net, (x, y) = model(), images()
    attack = create("fgsm")
    with frozen_eval(net):
        alone = attack.perturb(AttackedModel(View(net), RUNTIME), x[:count], y[:count], THREAT, generator(CPU, 0))
    torch.testing.assert_close(alone, perturb(attack, View(net))[:count])


# What the host puts back


class Failing(rs.Attack):
    """Moves everything it can reach, and dies."""

    def perturb(self, model, x, y, threat, generator):
        model.train()
        model(x)
        raise ZeroDivisionError("attack")


@pytest.mark.parametrize("mode", [True, False])
def test_modes_and_flags_are_put_back(mode):
    net = model().train(mode)
    net.norm.eval()
    net.head.weight.requires_grad_(False)
    before = everything(net)
    run(View(net), create("pgd", steps=2, restarts=2))
    assert same(before, everything(net))


def test_modes_flags_and_buffers_are_put_back_after_an_exception():
    net = model()
    net.drop.train()
    before = everything(net)
    with pytest.raises(ZeroDivisionError):
        run(View(net), Failing())
    assert same(before, everything(net))


def test_still_freezes_and_restores_also_on_exceptions():
    net = model().train()
    net.head.bias.requires_grad_(False)
    before = everything(net)

    def fail_inside() -> None:
        with frozen_eval(net):
            assert not any(module.training for module in net.modules())
            assert not any(parameter.requires_grad for parameter in net.parameters())
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail_inside()
    assert same(before, everything(net))


def test_attacks_leave_no_gradients():
    net = model()
    run(View(net), create("pgd", steps=2))
    assert all(parameter.grad is None for parameter in net.parameters())


def test_an_evaluation_leaves_the_callers_random_numbers_alone():
    torch.manual_seed(5)
    state = torch.get_rng_state()
    run(noisy(), create("pgd", steps=1), draws=2)
    assert torch.equal(state, torch.get_rng_state())


# What the host does not believe


class Shouting(rs.Attack):
    """Leaves the ball and the pixel range."""

    def perturb(self, model, x, y, threat, generator):
        return x + 3 * threat.eps


class Absent(rs.Attack):
    """Returns what no image can hold."""

    def perturb(self, model, x, y, threat, generator):
        raised = x + threat.eps
        raised[0, 0, 0, 0], raised[1, 0, 0, 0] = torch.nan, torch.inf
        return raised


class Training(rs.Attack):
    """Leaves the model in train mode, with other batch norm statistics."""

    def perturb(self, model, x, y, threat, generator):
        model.train()
        model(x + 5)
        return x


class Moving(rs.Attack):
    """Changes batch norm statistics and puts the mode back."""

    def perturb(self, model, x, y, threat, generator):
        model.train()
        model(x + 5)
        model.eval()
        return x


class InPlace(rs.Attack):
    """Writes into the images and labels it was given, so that the ball moves along."""

    def perturb(self, model, x, y, threat, generator):
        x.fill_(0.5)
        y.fill_(0)
        return x


class Cropping(rs.Attack):
    """Returns images of another shape."""

    def perturb(self, model, x, y, threat, generator):
        return x[:, :, 1:]


def in_ball(outcome: Evaluation, data: Data) -> bool:
    return bool(((outcome.images - data.images).abs() <= THREAT.eps + 1e-6).all()) and bool(
        ((outcome.images >= 0) & (outcome.images <= 1)).all()
    )


def test_an_honest_attack_passes_every_check():
    data = Data(*images())
    outcome = run(View(model()), create("pgd", steps=3), data=data)
    assert outcome.checks["clipped"] < 1e-6
    assert outcome.checks["not_finite"] == 0
    assert outcome.checks["state_kept"] is True
    assert in_ball(outcome, data)


def test_images_outside_the_ball_are_clipped_and_recorded():
    data = Data(*images())
    outcome = run(View(model()), Shouting(), data=data)
    assert outcome.checks["clipped"] == pytest.approx(3 * THREAT.eps, abs=1e-5)
    assert in_ball(outcome, data)


def test_values_that_are_no_numbers_count_as_the_clean_image_and_are_recorded():
    data = Data(*images())
    outcome = run(View(model()), Absent(), data=data)
    assert outcome.checks["not_finite"] == 2 * 3
    assert in_ball(outcome, data)
    assert torch.equal(outcome.images[0, 0, 0, 0], data.images[0, 0, 0, 0])


@pytest.mark.usefixtures("unfolded")
@pytest.mark.parametrize("attack", [Training(), Moving()])
def test_an_attack_that_changes_the_model_is_recorded_and_undone(attack):
    net = model()
    before = everything(net)
    outcome = run(View(net), attack)
    assert outcome.checks["state_kept"] is False
    assert same(before, everything(net))
    assert torch.equal(outcome.correct, run(View(model()), None).correct)


@pytest.mark.parametrize("channels", [3, 1])
def test_an_attack_that_writes_into_its_input_cannot_move_the_ball(channels):
    # One channel: the layout conversion copies nothing, and a batch is a piece of the data itself.
    x, y = images()
    data = Data(x[:, :channels].clone(), y.clone())
    before = Data(data.images.clone(), data.labels.clone())
    torch.manual_seed(0)
    outcome = run(View(Net(channels).eval()), InPlace(), data=data)
    assert torch.equal(data.images, before.images)
    assert torch.equal(data.labels, before.labels)
    assert outcome.checks["clipped"] > 0
    assert in_ball(outcome, before)


def test_images_of_another_shape_are_refused():
    with pytest.raises(PluginError, match=r"returned images of shape \(10, 3, 5, 6\) for \(10, 3, 6, 6\)"):
        run(View(model()), Cropping())


@settings(max_examples=30, deadline=None)
@given(eps=st.floats(1e-4, 1), seed=st.integers(0, 99))
def test_the_projection_lands_in_the_ball_and_moves_nothing_that_is_inside(eps, seed):
    x, _ = images()
    threat = rs.Threat(eps=eps)
    anywhere = x + torch.randn(x.shape, generator=torch.Generator().manual_seed(seed))
    once = project(anywhere, x, threat)
    assert float((once - x).abs().max()) <= eps + 1e-6
    assert 0 <= float(once.min()) <= float(once.max()) <= 1
    assert torch.equal(project(once, x, threat), once)


# Judging


def test_judging_compares_the_models_prediction_with_the_label():
    net, (x, y) = model(), images()
    expected = net(x).argmax(1) == y
    assert torch.equal(judge(View(net.train()), x, y, 3), expected.expand(3, -1))
    assert 0 < int(expected.sum()) < N + 1


def test_a_deterministic_model_gives_the_same_outcome_at_every_draw():
    correct = run(View(model()), create("pgd", steps=3), draws=5).correct
    assert correct.shape == (5, N)
    assert bool((correct == correct[0]).all())


def test_a_randomised_model_is_judged_on_fresh_draws():
    correct = run(noisy(alpha=3.0), None, draws=20).correct
    assert len({tuple(row.tolist()) for row in correct}) > 10


class Recorder(nn.Module):
    """Remembers the noise that each forward pass of a model would see."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = model()
        self.seen: list[float] = []

    def forward(self, x: Tensor) -> Tensor:
        self.seen.append(float(torch.randn(())))
        return self.inner(x)


@pytest.mark.usefixtures("unfolded")
def test_the_noise_that_judges_is_not_the_attacks():
    recorder = Recorder()
    run(View(recorder, stochastic=True), create("pgd", steps=3, draws=2), draws=6, batch_size=N)
    assert len(recorder.seen) == 3 * 2 + 6
    assert len(set(recorder.seen)) == len(recorder.seen)
    judged = recorder.seen[6:]
    recorder.seen = []
    run(View(recorder, stochastic=True), create("fgsm", draws=1), draws=6, batch_size=N)
    assert recorder.seen[1:] == judged, "the judging draws are a stream of their own, whatever the attack drew"


def test_the_draws_of_two_batches_differ():
    recorder = Recorder()
    run(View(recorder, stochastic=True), None, draws=4, batch_size=12)
    assert len(set(recorder.seen)) == 8


def test_a_randomised_point_averages_gradients_over_its_draws_and_a_deterministic_one_does_not():
    attack = create("pgd", steps=2, draws=3)
    passes = {}
    for stochastic in (True, False):
        recorder = Recorder()
        perturb(attack, View(recorder, stochastic=stochastic))
        passes[stochastic] = len(recorder.seen)
    assert passes == {True: 6, False: 2}


def test_the_same_seed_gives_the_same_outcome_and_another_seed_another_start():
    attack = create("pgd", steps=2)
    first, again, other = (run(noisy(), attack, seed=seed, draws=3) for seed in (0, 0, 1))
    assert torch.equal(first.images, again.images)
    assert torch.equal(first.correct, again.correct)
    assert not torch.equal(first.images, other.images)


def test_the_batches_of_a_run_start_at_different_places():
    x, y = images(1)
    data = Data(x.repeat(2, 1, 1, 1), y.repeat(2))
    outcome = run(View(model()), create("pgd", steps=1, step=0.01), data=data, batch_size=1)
    assert not torch.equal(outcome.images[0], outcome.images[1])


def test_attacker_and_victim_can_be_different_views():
    attacker, victim = noisy(0.0), noisy(0.0)
    with torch.no_grad():
        victim.model.head.weight.neg_()
    transfer = run(attacker, create("fgsm"), victim=victim)
    own = run(attacker, create("fgsm"))
    assert torch.equal(transfer.images, own.images)
    assert not torch.equal(transfer.correct, own.correct)


@pytest.mark.parametrize("options", [{}, {"restarts": 2}])
@pytest.mark.parametrize("name", ["pgd", "apgd_ce"])
def test_images_that_another_view_judges_are_attacked_to_the_end(name, options):
    view, other = View(model()), View(model())
    length = {"steps": 8} if name == "pgd" else {"iterations": 8}
    early, whole = (create(name, **length, **options, early_stop=stop) for stop in (True, False))
    stopped, own, transfer = run(view, early), run(view, whole), run(view, early, victim=other)
    assert not torch.equal(stopped.images, transfer.images)
    if not options:
        assert torch.equal(own.images, transfer.images)


class Rewriting(rs.Attack):
    def perturb(self, model, x, y, threat, generator):
        with torch.no_grad():
            next(model.parameters()).zero_()
        return x


def test_an_attack_that_changes_the_weights_is_refused():
    with pytest.raises(PluginError, match="breaks its contract: it changed the model's weights"):
        run(View(model()), Rewriting())


class Masked(nn.Module):
    """A network whose gradient does not exist (`broken`) or is nothing (`flat`), as gradient masking has it."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.net = model()
        self.kind = kind

    def forward(self, x: Tensor) -> Tensor:
        if self.kind == "flat":
            return self.net(x.detach()) + 0 * x.sum()
        return self.net(x) + (x - x).sum((1, 2, 3))[:, None].sqrt()


@pytest.mark.parametrize(("kind", "check"), [("flat", "gradients_zero"), ("broken", "gradients_not_finite")])
def test_gradients_that_fail_are_counted(kind, check):
    assert run(View(model()), create("pgd", steps=3)).checks[check] == 0
    assert run(View(Masked(kind)), create("pgd", steps=3)).checks[check] == 100


def test_a_capped_loss_that_is_flat_where_the_model_is_fooled_is_no_masking():
    capped = create("cw_inf", steps=5, kappa=0.0)
    outcome = run(View(model()), capped)
    assert not outcome.correct.all()  # Some are fooled, so some gradients were zero.
    assert outcome.checks["gradients_zero"] == 0


def test_logits_that_are_not_finite_are_wrong():
    net = model()
    x, _ = images()
    first = torch.zeros(N, dtype=torch.long)
    with torch.no_grad():
        net.head.bias.fill_(torch.nan)
    assert net(x).argmax(1).eq(first).all()
    assert not judge(View(net), x, first, draws=1).any()


class MaskedClass(nn.Module):
    """The network with a class more, which a mask takes out: its logit is -inf."""

    def __init__(self) -> None:
        super().__init__()
        self.net = model()

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.pad(self.net(x), (0, 1), value=-torch.inf)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("pgd", {"steps": 7}),
        ("pgd", {"steps": 7, "restarts": 2}),
        ("apgd_ce", {"iterations": 10}),
        ("cw_inf", {"steps": 7}),
    ],
)
def test_a_class_that_a_mask_takes_out_changes_no_figure(name: str, options: dict[str, int]) -> None:
    x, y = images(200)
    figures = [
        evaluate(View(net), View(net), Data(x, y), attack, THREAT, RUNTIME, seed=0, draws=1, batch_size=200).correct
        for attack in (None, create(name, **options))
        for net in (model(), MaskedClass().eval())
    ]
    plain_clean, masked_clean, plain, masked = (float(correct.float().mean()) for correct in figures)
    assert plain_clean == masked_clean
    assert plain == masked < plain_clean


class Sometimes(nn.Module):
    """One forward pass of three gives logits that are no numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.net = model()
        self.calls = 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        return self.net(x) * (torch.nan if self.calls == 2 else 1.0)


def test_a_draw_without_a_gradient_is_counted_and_spoils_no_other():
    x, y = images()
    cross_entropy = create("pgd").loss
    expected, _ = loss_gradient(AttackedModel(View(model()), RUNTIME), x, y, cross_entropy, 2)
    tally = Tally(CPU)
    gradient, logits = loss_gradient(AttackedModel(View(Sometimes().eval()), RUNTIME, tally), x, y, cross_entropy, 3)
    torch.testing.assert_close(gradient, expected)
    counted = int((logits.argmax(1) == y).sum())
    assert tally.gradients.tolist() == [counted, 0, counted]
    # In training nothing counts them, so that they are not hidden either.
    assert loss_gradient(AttackedModel(View(Sometimes().eval()), RUNTIME), x, y, cross_entropy, 3)[0].isnan().all()


class Overflowing(nn.Module):
    """Always right about class 0, but that its logits are infinite, without a gradient, where most pixels are not grey."""

    def __init__(self) -> None:
        super().__init__()
        self.net = model()

    def forward(self, x: Tensor) -> Tensor:
        far = (x - 0.5).abs().mean((1, 2, 3)) > 0.7 * THREAT.eps
        return (self.net(x) + torch.tensor([8.0, 0.0, 0.0])) * torch.where(far, torch.inf, 1.0)[:, None]


class Scaled(type(create("pgd"))):
    """Steps along the gradient itself, its largest entry the step: what is no number there would be none in the image."""

    def update(self, iterate, gradient, step, ball, state):
        return iterate + step * gradient / (gradient.abs().amax((1, 2, 3), keepdim=True) + 1e-12)


@pytest.mark.parametrize("attack", [create("pgd"), create("apgd_ce"), Scaled()])
def test_an_image_whose_logits_become_infinite_stays_as_it_is_and_is_wrong(attack):
    net = View(Overflowing().eval())
    grey = torch.full((N, 3, 6, 6), 0.5)
    data = Data(grey, torch.zeros(N, dtype=torch.long))
    assert run(net, None, data=data).correct.all()
    # A random start is half of eps from grey in the mean; the corners, where an attack ends, are all of it.
    outcome = run(net, attack, data=data)
    assert outcome.checks["gradients_not_finite"] > 0
    assert outcome.checks["not_finite"] == 0
    assert not outcome.correct.any()


@pytest.mark.parametrize("step", [-0.01, 0.0, 2.0, "8/1"])
def test_a_step_outside_of_the_pixel_range_is_refused(step):
    with pytest.raises(PluginError, match=r"step: .* is outside \(0, 1\], the range of a pixel"):
        create("pgd", step=step)


# Early stop


class Counting(nn.Module):
    """Counts the images that pass, forward passes of one or two images aside (folding looks at those)."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner, self.images = inner, 0

    def forward(self, x: Tensor) -> Tensor:
        self.images += len(x)
        return self.inner(x)


def test_what_is_wrong_leaves_with_the_same_verdict_and_less_work():
    plain, early = Counting(model()), Counting(model())
    to_the_end = run(View(plain), create("pgd", steps=8, early_stop=False), batch_size=N)
    stopped = run(View(early), create("pgd", steps=8), batch_size=N)
    # What breaks may be right again at the last step of an attack that goes on, never the other way round.
    assert bool((stopped.correct <= to_the_end.correct).all())
    assert int(to_the_end.correct.sum()) > 0, "some images survive"
    assert early.images < 0.8 * plain.images


def test_images_that_left_are_as_they_were_and_the_others_as_without_them():
    x, y = images()
    fast = AttackedModel(View(model()), RUNTIME)
    attack = create("pgd", steps=8)
    with frozen_eval(fast):
        stopped = attack.perturb(fast, x, y, THREAT, generator(CPU, 0))
        whole = attack.perturb(fast, x, y, THREAT, generator(CPU, 0), early_stop=False)
    survived = fast(stopped).argmax(1) == y
    assert bool(survived.any())
    torch.testing.assert_close(stopped[survived], whole[survived], atol=1e-6, rtol=0)


def test_a_randomised_model_is_attacked_to_the_end():
    view = View(Counting(model()), stochastic=True)
    with frozen_eval(view):
        create("pgd", steps=8, draws=2).perturb(AttackedModel(view, RUNTIME), *images(), THREAT, generator(CPU, 0))
    assert view.model.images == 8 * 2 * N


def test_a_verdict_within_rounding_stays_open():
    fast = AttackedModel(View(model()), Runtime(Hardware("cpu", "bf16")))
    logits = torch.tensor([[10.0, 10.1, 0.0], [10.0, 11.0, 0.0]])
    assert (margin(logits, torch.tensor([0, 0])) > fast.slack(logits)).tolist() == [False, True]
