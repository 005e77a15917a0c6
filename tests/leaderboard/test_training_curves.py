"""Training curves: as the jobs reported them, once for each trained model."""

from __future__ import annotations

from robuststack.leaderboard.board_file import read_board
from robuststack.leaderboard.training_curves import training_curves
from robuststack.running.store import Store


def test_every_trained_model_has_its_curve_once(trained):
    board = read_board(trained.leaderboard / "small.json")
    jobs = {job for row in board.rows for job in row.jobs.train.values()}
    assert board.training.keys() == jobs
    assert len(jobs) < len(board.rows), "settings of one model share it"
    store = Store(trained.store)
    for job, curve in board.training.items():
        history = store.result(job)["history"]
        assert curve.kept_epoch == 4
        assert curve.metrics["loss"] == tuple(round(epoch["loss"], 4) for epoch in history)
        assert {"steps", "seconds"}.isdisjoint(curve.metrics)


def test_jobs_that_are_not_done_have_none(trained):
    outcome = type(trained.result.outcome)(results={})
    assert training_curves(trained.result.plan, outcome) == {}


def test_layers_are_in_the_order_of_the_network(trained):
    (row, *_) = (row for row in read_board(trained.leaderboard / "small.json").rows if row.defense == "float")
    assert set(row.layers["alpha"]) == set(row.inspected["alpha"])
    assert row.layers["alpha"][0] == "stem"
