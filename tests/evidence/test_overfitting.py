"""When a training run is said to have overfitted catastrophically."""

from __future__ import annotations

import pytest

from robuststack.evidence.overfitting import FGSM, PGD, Overfitting, catastrophic_overfitting


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
