"""Judging draws noise anew, and may be that of another view than the attacked one."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from robuststack.engine.data import Data
from robuststack.engine.evaluate import judge
from robuststack.layers.condition import View
from victims import N, create, images, model, noisy, perturb, run


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
