"""A bundle of a game whose mixture is attacked in rounds, of a model that was not trained here."""

from __future__ import annotations

from pathlib import Path

import pytest
from forging import contents, edited, forged
from knobbed import KnobbedSuite, knobbed_registry

import robuststack as rs
from robuststack.evidence.bundle.derived import job_changes
from robuststack.evidence.bundle.links import broken_links
from robuststack.evidence.bundle.opening import open_bundle

SUITE = KnobbedSuite(
    "known",
    """
datasets: {name: bright}
threat: {eps: 0.2}
defenses: {name: knobbed, points: {pixel: [0, 1]}}
attacks: {name: pgd, options: {steps: 8}}
evaluate: {game: true, block: 12}
measure: {latency: false}
precision: float32
""",
)


@pytest.fixture(scope="module")
def game(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundle of the game."""
    folder = tmp_path_factory.mktemp("game")
    assert not SUITE.run(folder).failed
    return rs.bundle(
        folder / "known.yaml", folder / "known.bundle", weights=True, store=folder / "store",
        leaderboard=folder / "board", registry=knobbed_registry(),
    ).path  # fmt: skip


def test_a_game_is_derived_with_its_rounds_and_its_model_is_not_judged_again(game):
    assert len(open_bundle(game).board.games[0].values) > 1, "a round was played"
    report = rs.verify(game, device="cpu", registry=knobbed_registry())
    assert report.disagreements == []
    assert report.verdict == "consistent"
    assert any(line.endswith("rows (2), entries (1), games (1)") for line in report.agreed)
    told = "\n".join(report.unchecked)
    assert "labels of the rounds of games against their models: their images are not in the bundle" in told
    assert "against their models: their weights or their data are not there" in told


def test_a_worth_that_does_not_follow_from_the_labels_is_found(game, tmp_path):
    bundle = open_bundle(game)
    (job,) = (job.id for job in bundle.plan.jobs if job.kind == "game")
    members, name = contents(game), f"jobs/{job}/result.json"

    def flatter(result: dict) -> None:
        result["values"][-1] += 0.25
        result["upper_bound"] = not result["upper_bound"]

    made = open_bundle(forged(tmp_path / "game.bundle", {**members, name: edited(members[name], flatter)}))
    values, upper_bound = job_changes(made.plan.jobs, made.results, made.jobs)
    assert values.startswith(f"{job}.values.")
    assert upper_bound.startswith(f"{job}.upper_bound is ")
    assert job_changes(bundle.plan.jobs, bundle.results, bundle.jobs) == []


def test_a_game_of_other_labels_than_its_judge_jobs_gave_is_found(game, tmp_path):
    members = contents(game)
    (job,) = (job for job in open_bundle(game).plan.jobs if job.kind == "game")
    judge, name = job.spec.judged[0], f"jobs/{job.id}/result.json"
    changed = edited(members[name], lambda result: result["labels_sha256"].update({judge: "0"}))
    made = open_bundle(forged(tmp_path / "game.bundle", {**members, name: changed}))
    assert broken_links(made.plan, made.jobs) == [f"{job.id} used other labels than {judge} made"]
    assert broken_links(open_bundle(game).plan, open_bundle(game).jobs) == []
