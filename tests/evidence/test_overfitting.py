"""When a training run is said to have overfitted catastrophically."""

from __future__ import annotations

import pytest

from robuststack.evidence.overfitting import FGSM, PGD, Overfitting, catastrophic_overfitting, keeps_overfitted


def history(*epochs: tuple[float, float] | None) -> list[dict[str, float]]:
    """(RA under PGD, RA under FGSM) of each epoch; None for one that was not watched."""
    return [{"loss": 1.0, **({PGD: shown[0], FGSM: shown[1]} if shown else {})} for shown in epochs]


@pytest.mark.parametrize(
    ("epochs", "epoch"),
    [
        ([(20, 25), (40, 45), (42, 50), (41, 55)], None),  # It learns.
        ([(20, 25), (40, 45), (3, 90), (0, 95)], 3),  # The textbook's.
        ([(40, 45), (10, 45)], 2),  # A quarter is left.
        ([(40, 45), (10.1, 45)], None),
        ([(40, 45), (8, 44)], None),  # FGSM fell with it: the network broke down.
        ([(5, 70)], 1),  # From the first epoch on.
        ([(10, 59)], None),
        ([None, (40, 45), None, (0, 60)], 4),
        ([None, None], None),
        ([(0, 0), (0, 0)], None),  # Nothing has been learned yet.
        ([(0, 0), (0, 3), (20, 30), (40, 45)], None),
        ([(10, 10), (2, 12), (20, 30), (40, 45)], None),
        ([(7, 8), (1, 7), (1, 13), (5, 17), (9, 19), (9, 21), (8, 19)], None),  # Digits: it learns, slowly.
        ([(16, 17), (4, 22), (20, 30)], None),  # No network that answers FGSM.
        ([], None),
    ],
)
def test_robustness_that_is_gone_while_fgsm_finds_less(epochs, epoch):
    overfitting = catastrophic_overfitting(history(*epochs))
    assert (overfitting.epoch if overfitting else None) == epoch
    if overfitting:
        assert (overfitting.pgd, overfitting.fgsm) == epochs[epoch - 1]


def test_it_is_said_with_its_epoch_and_both_figures():
    assert Overfitting(3, 0.5, 95).text == (
        "catastrophic overfitting in epoch 3: on validation images RA is 0.5 under PGD and 95.0 under FGSM"
    )


@pytest.mark.parametrize(
    ("epoch", "phases", "kept"),
    [
        (10, [(30, 30)], True),
        (10, [(30, 9)], False),
        (10, [(30, 10)], True),
        (10, [(30, 5), (30, 30)], False),  # What the second phase keeps says nothing of the first.
        (10, [(30, 12), (30, 1)], True),
        (35, [(30, 30), (30, 4)], False),
        (35, [(30, 1), (30, 5)], True),
    ],
)
def test_weights_are_overfitted_if_those_of_the_phase_were_kept(epoch, phases, kept):
    assert keeps_overfitted(epoch, phases) == kept
