"""Doubts: chance level, constant predictions, and comparisons that cannot tell methods apart."""

from __future__ import annotations

import numpy as np
import pytest
from made_rows import make_figure, make_row

from robuststack.leaderboard.board_labels import Labels
from robuststack.leaderboard.row import Predictions
from robuststack.leaderboard.row_predictions import predictions
from robuststack.leaderboard.row_variance import variance
from robuststack.leaderboard.suspicion import doubtful_rows, saturated, suspicions


def judged(*labels: np.ndarray, truth: np.ndarray) -> tuple[dict[str, dict[str, str]], dict[str, Labels]]:
    """Jobs and labels of clean images and one attack, for a training seed each."""
    jobs = {name: {f"{seed}/0": f"{name}-{seed}" for seed in range(len(labels))} for name in ("ca", "pgd")}
    return jobs, {job: Labels(labels[int(run[0])], truth, "images") for of in jobs.values() for run, job in of.items()}


@pytest.mark.parametrize(
    ("ca", "seen", "doubt"),
    [
        (90.0, {"chance": 10.0, "most_named": 12.0}, None),
        (
            10.5,
            {"chance": 10.0, "most_named": 40.0},
            r"10.5 [9.5, 11.5] is no better than always naming one class (10.0)",
        ),
        (90.0, {"chance": 10.0, "most_named": 12.0, "helped": 1.0}, None),
        (
            90.0,
            {"chance": 10.0, "most_named": 12.0, "helped": 7.7},
            "7.7 % of the images are wrong when clean and right under every attack: RA counts them",
        ),
        (10.0, {"chance": 10.0, "most_named": 100.0}, "100.0 % of clean images are given the same class"),
    ],
)
def test_a_model_at_chance_level_or_with_one_answer_is_doubtful(ca, seen, doubt):
    row = make_row(ca=make_figure(ca), predictions=Predictions(**seen))
    doubts = suspicions(row)
    assert len(doubts) == (doubt is not None)
    assert doubt is None or doubt in doubts[0]


@pytest.mark.parametrize(
    ("options", "doubtful"),
    [
        ({"steps": 10, "alpha": 2 / 255}, True),
        ({"steps": 20, "alpha": 2 / 255}, False),
        ({"steps": 2, "step": 1 / 255}, True),
        ({"steps": 4, "step": 0.025}, False),
        ({"iterations": 100}, False),
        ({"steps": 50, "lr": 0.01}, False),
    ],
)
def test_an_attack_that_cannot_reach_the_edge_of_the_ball_is_doubtful(options, doubtful):
    doubts = suspicions(make_row(attacks={"mine": options}))
    assert [doubt.startswith("mine cannot reach the edge of the ball: ") for doubt in doubts] == [True] * doubtful


def test_what_is_predicted_is_counted_from_the_labels():
    truth = np.array([0, 0, 0, 1, 2])
    jobs, labels = judged(np.array([[1, 1, 1, 1, 0]]), truth=truth)
    assert predictions(jobs, labels.__getitem__) == Predictions(chance=60.0, most_named=80.0)


def test_images_that_an_attack_turns_right_are_counted():
    truth = np.zeros(4, dtype=np.int64)
    jobs, labels = judged(np.array([[0, 0, 1, 1]]), np.array([[0, 0, 0, 1]]), truth=truth)
    attacked = {"pgd-0": [[1, 0, 0, 1]], "pgd-1": [[1, 0, 1, 0]]}
    labels |= {job: Labels(np.array(named), truth, "images") for job, named in attacked.items()}
    assert predictions(jobs, labels.__getitem__).helped == 25.0
    jobs["fgsm"] = {run: f"fgsm-{run[0]}" for run in jobs["pgd"]}
    labels |= {job: Labels(np.array([[1, 1, 1, 0]]), truth, "images") for job in jobs["fgsm"].values()}
    assert predictions(jobs, labels.__getitem__).helped == 12.5, "by every attack"


def test_of_several_draws_the_means_are_compared():
    truth = np.zeros(2, dtype=np.int64)
    jobs, labels = judged(np.array([[0, 1], [1, 0]]), truth=truth)
    labels["pgd-0"] = Labels(np.array([[1, 0], [0, 1]]), truth, "images")
    assert predictions(jobs, labels.__getitem__).helped == 0
    labels["pgd-0"] = Labels(np.array([[0, 0], [0, 1]]), truth, "images")
    assert predictions(jobs, labels.__getitem__).helped == 25.0


def test_defenses_whose_best_rows_are_alike_are_a_saturated_comparison():
    def row(defense: str, ca: float, worst: float) -> object:
        ra = {"PGD-20": make_figure(worst), "worst": make_figure(worst)}
        return make_row(label=defense, defense=defense, undefended=False, ca=make_figure(ca), ra=ra)

    alike = [row("float", 76.4, 76.4), row("float", 99.0, 10.0), row("oat", 76.4, 76.0)]
    (line,) = saturated(alike)
    assert line == (
        "digits, resnet8, Linf eps 0.1: the most robust rows of float, oat are alike (CA 76.4, RA 76.4); this comparison is"
        " saturated and cannot tell them apart"
    )
    assert doubtful_rows(alike) == [line]
    assert saturated([row("float", 76.4, 76.4), row("oat", 76.4, 60.0)]) == []
    assert saturated([row("float", 76.4, 76.4)]) == []


def test_a_row_says_where_its_variance_comes_from():
    random, truth = np.random.default_rng(0), np.zeros(400, dtype=int)
    models = [np.where(random.random((8, 400)) < chance, 0, 1) for chance in (0.3, 0.6, 0.9)]
    jobs, labels = judged(*models, truth=truth)
    parts = variance(jobs, labels.__getitem__)["worst"]
    assert parts["training seed"].sd == pytest.approx(30, abs=4)
    assert parts["attack seed"].sd is None
    assert parts["inference draw"].sd == pytest.approx(100 * np.sqrt(0.2 / 400), rel=0.4)
    assert 0 < parts["test images"].low <= parts["test images"].sd <= parts["test images"].high
    one = {name: {"0/0": runs["0/0"]} for name, runs in jobs.items()}
    assert variance(one, labels.__getitem__)["ca"]["training seed"].sd is None
