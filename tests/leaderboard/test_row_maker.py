"""The rows of a finished run: everything a figure needs to be believed and computed again."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import robuststack as rs
from robuststack.errors import LeaderboardError
from robuststack.evidence.figures import measured
from robuststack.layers import normal
from robuststack.leaderboard import board_labels
from robuststack.leaderboard.board_file import read_board, write_board
from robuststack.leaderboard.board_labels import read_labels
from robuststack.leaderboard.row import Figure
from robuststack.leaderboard.row_maker import make_rows
from robuststack.running.store import Store

ATTACKS = ["FGSM", "PGD-5"]


@pytest.fixture
def rows(trained) -> list[rs.Row]:
    return trained.result.rows


@pytest.fixture
def store(trained) -> Store:
    return Store(trained.store)


def figures(row: rs.Row) -> dict[str, Figure]:
    return {"clean": row.ca, **row.ra}


def test_there_is_a_row_for_every_point(rows):
    points = [(row.defense, row.point) for row in rows]
    assert points == [
        ("none", {}), ("pgd_at", {"lambda": 1.0}),
        ("float", {"lambda_n": 0.0, "lambda_th": 0.0}), ("float", {"lambda_n": 1.0, "lambda_th": 0.0}),
        ("oat", {"lambda": 0.0}), ("oat", {"lambda": 1.0}),
    ]  # fmt: skip


def test_a_row_holds_what_it_is_about_and_what_was_found(rows):
    for row in rows:
        assert row.ra.keys() == {*ATTACKS, "worst"}
        assert row.dataset == "tradeoff"
        assert row.architecture == "resnet8"
        assert (row.threat.norm, row.threat.eps) == ("linf", 0.1)
        assert row.n == 200
        assert (row.seeds.train, row.seeds.attack) == ((0,), (0,))
        assert row.device == "cpu"
        assert row.precision == "float32"


def test_every_figure_has_an_interval_around_it(rows):
    for row in rows:
        for name, figure in figures(row).items():
            assert 0 <= figure.low <= figure.value <= figure.high <= 100, (row.label, name)
            assert figure.low < figure.high


def test_the_worst_case_is_below_every_attack_and_attacks_below_clean(rows):
    for row in rows:
        assert all(row.worst.value <= row.ra[attack].value + 1e-9 for attack in ATTACKS)
    undefended = rows[0]
    assert undefended.worst.value < undefended.ca.value


def test_only_randomised_points_are_judged_on_several_draws(rows):
    for row in rows:
        noisy = row.defense == "float" and row.point["lambda_n"] == 1
        assert row.stochastic is noisy
        assert row.draws == (4 if noisy else 1)
        assert row.attacks["PGD-5"]["draws"] == (2 if noisy else 1)
        assert row.ca.interval == ("t" if noisy else "wilson")


def test_the_attacks_are_printed_as_they_came_out(rows):
    for row in rows:
        assert row.attacks.keys() == set(ATTACKS)
        assert row.attacks["FGSM"]["eps"] == 0.1
        assert row.attacks["FGSM"]["step"] == 0.1
        assert row.attacks["PGD-5"]["step"] == pytest.approx(0.05)


def test_a_figure_can_be_computed_again_from_the_outcomes_of_its_jobs(rows, store):
    for row in rows:
        judged = {name: read_labels(store, row.jobs.scores["adaptive"][name]["0/0"]) for name in ("ca", *ATTACKS)}
        assert all(labels.labels.shape == (row.draws, row.n) for labels in judged.values())
        for name, figure in {"ca": row.ca, **{attack: row.ra[attack] for attack in ATTACKS}}.items():
            assert figure.value == pytest.approx(100 * judged[name].correct.mean(), abs=1e-3)
        again = measured({(0, 0): [judged[attack].labels for attack in ATTACKS]}, judged["ca"].truth)
        assert [row.worst.value, row.worst.low, row.worst.high] == pytest.approx(
            [100 * again.value, 100 * again.low, 100 * again.high], abs=1e-3
        )
        if not row.stochastic:
            worst = np.min([judged[attack].correct for attack in ATTACKS], axis=0).mean()
            assert row.worst.value == pytest.approx(100 * worst, abs=1e-3)


def test_the_figures_of_the_jobs_are_those_of_the_rows(rows, store):
    for row in rows:
        for name, figure in {"ca": row.ca, **{attack: row.ra[attack] for attack in ATTACKS}}.items():
            job = store.result(row.jobs.scores["adaptive"][name]["0/0"])
            assert job["accuracy"] == pytest.approx(figure.value, abs=1e-3)


def test_the_jobs_of_a_row_are_in_the_store(rows, store, trained):
    for row in rows:
        assert store.result(row.jobs.train[0])["kind"] == "train"
        assert store.result(row.jobs.measure)["kind"] == "measure"
    assert rows[2].jobs.train == rows[3].jobs.train, "two points, one model"
    assert trained.job("float") == rows[2].jobs.train[0]


def test_costs_are_those_of_the_model(rows, trained):
    for row in rows:
        model = rs.load_model(row.jobs.train[0], store=trained.store).model
        assert row.parameters == sum(parameter.numel() for parameter in model.parameters())
        assert row.macs > 0
        assert row.latency_ms.keys() == {1, 8}
        assert all(0 < timed.low <= timed.median <= timed.high for timed in row.latency_ms.values())
        assert row.train_seconds_per_epoch > 0
    by_name = {row.defense: row.parameters for row in rows}
    assert by_name["none"] == by_name["pgd_at"] < by_name["float"] < by_name["oat"]


def test_versions_and_machine_are_there(rows):
    for row in rows:
        assert row.versions.robuststack == rs.__version__
        assert int(row.machine.threads) >= 1


def test_no_attack_had_to_be_corrected(rows):
    for row in rows:
        assert row.checks.clipped < 1e-6
        assert row.checks.not_finite == 0
        assert row.checks.state_kept is True
        assert row.checks.attacked_again == 0


def test_a_row_says_how_often_the_table_of_normal_quantiles_served(small_suite, monkeypatch):
    monkeypatch.setattr(normal, "MANY", 1)
    looked_up, table = [], normal._looked_up
    monkeypatch.setattr(normal, "_looked_up", lambda count: looked_up.append(count) or table(count))
    overrides = [
        "train.epochs=1",
        "train.attack={name: pgd, options: {steps: 2}}",  # Training by one step is watched, with draws of its own.
        "datasets.options.images=100",
        "defenses=[none, {name: float, points: {lambda_n: 1}}]",
    ]
    result = rs.run(
        small_suite,
        store=small_suite.parent / "store",
        leaderboard=None,
        device="cpu",
        overrides=[*overrides, "attacks=fgsm"],
    )
    plain, noisy = result.rows
    assert plain.effort.table_draws == 0
    assert noisy.effort.table_draws == len(looked_up) > 100, "in training and in the attack; judging takes none"


def test_rows_made_again_are_the_same_and_are_plain_json(trained, store):
    again = make_rows(trained.result.plan, trained.result.outcome, store)
    assert again == trained.result.rows
    assert [rs.Row.model_validate_json(row.model_dump_json()) for row in again] == again


def test_a_leaderboard_written_again_is_the_same_file(trained, store, tmp_path):
    plan, rows = trained.result.plan, trained.result.rows
    per_sample = board_labels.collect(rows, store)
    written = [write_board(plan, rows, per_sample, tmp_path / name / "leaderboard") for name in ("one", "two")]
    for first, again in zip(*written, strict=True):
        if first.suffix == ".md":
            assert first.read_bytes() == again.read_bytes()
    before = [path.read_bytes() for path in written[0]]
    write_board(plan, rows, per_sample, tmp_path / "one" / "leaderboard")
    assert [path.read_bytes() for path in written[0]] == before


def test_every_outcome_behind_the_rows_stands_beside_them(trained, store):
    board = trained.leaderboard / "small.json"
    rows = read_board(board).rows
    correct = board_labels.load_correct(board, rows)
    for row in rows:
        for job in row.jobs.scored():
            assert (correct[job] == read_labels(store, job).correct).all()
        (job,) = row.jobs.scores["adaptive"]["ca"].values()
        assert 100 * correct[job].mean() == pytest.approx(row.ca.value, abs=1e-3)


def test_outcomes_that_cannot_be_read_are_named_and_missing_ones_are_none(tmp_path):
    assert board_labels.load_correct(tmp_path / "a.json", []) == {}
    (tmp_path / "a.labels.safetensors").write_bytes(b"no")
    with pytest.raises(LeaderboardError, match=r"a\.labels\.safetensors cannot be read as labels"):
        board_labels.load_correct(tmp_path / "a.json", [])


def test_the_file_holds_the_rows(trained):
    board = read_board(trained.leaderboard / "small.json")
    assert list(board.rows) == trained.result.rows
    assert board.complete is True
    assert [attack.label for attack in board.attacks] == ATTACKS
    names = ["small.json", "small.md", "small.labels.safetensors"]
    assert trained.result.files == [trained.leaderboard / name for name in names]


def test_a_row_whose_jobs_are_not_all_done_is_left_out(trained, store):
    missing = trained.result.rows[1].jobs.scores["adaptive"]["FGSM"]["0/0"]
    results = {job: result for job, result in trained.result.outcome.results.items() if job != missing}
    outcome = type(trained.result.outcome)(results=results)
    left = make_rows(trained.result.plan, outcome, store)
    assert [row.label for row in left] == [row.label for row in trained.result.rows if row.defense != "pgd_at"]


def test_a_number_that_no_file_can_hold_is_one_line_with_row_and_key(trained, store):
    plan, results = trained.result.plan, dict(trained.result.outcome.results)
    job = trained.job("float")
    results[job] = {**results[job], "inspected": {"alpha": {"stem": float("nan")}}}
    outcome = type(trained.result.outcome)(results=results)
    message = (
        r"^tradeoff/resnet8/float lambda_n=0 lambda_th=0: inspected\.alpha\.stem: must be a finite number, not nan$"
    )
    with pytest.raises(LeaderboardError, match=message):
        make_rows(plan, outcome, store)


TINY = """
datasets: {name: tradeoff, options: {images: 60, test_images: 40, size: 8, classes: 4}, threat: {eps: 0.1}}
architectures: {name: resnet8, options: {width: 4}}
train: {epochs: 1, batch_size: 20}
attacks: {name: pgd, options: {steps: 2}}
measure: {latency: false}
precision: float32
"""


def run(folder: Path, more: str) -> tuple[list[rs.Row], Store]:
    (folder / "tiny.yaml").write_text(TINY + more)
    result = rs.run(folder / "tiny.yaml", store=folder / "store", leaderboard=folder / "boards", device="cpu")
    return result.rows, Store(folder / "store")


@pytest.fixture(scope="module")
def seeded(tmp_path_factory):
    more = "defenses: none\nseeds: {train: [0, 1, 2], attack: [0, 1]}"
    (row,), store = run(tmp_path_factory.mktemp("seeded"), more)
    return row, store


@pytest.mark.parametrize("order", ["[adaptive, published]", "[published, adaptive]"])
def test_the_adaptive_protocol_is_the_headline_in_whatever_order_they_are_asked_for(tmp_path, order):
    more = f"defenses: {{name: float, points: {{lambda_n: [0, 0.5]}}}}\nevaluate: {{protocols: {order}, draws: 3}}"
    (still, noisy), _ = run(tmp_path, more)
    assert still.jobs.scores.keys() == {"adaptive", "published"}
    for row in (still, noisy):
        assert row.protocols.keys() == {"published"}
        # What is printed of the attacks is what the headline was attacked with: no noise, no averaging.
        assert row.attacks["PGD-2"]["draws"] == (20 if row is noisy else 1)
        assert row.protocols["published"].attacks["PGD-2"]["draws"] == 1
        assert row.stochastic is (row is noisy)
        assert row.draws == (3 if row is noisy else 1)


def test_training_and_attack_seeds_are_kept_apart(seeded):
    row, _ = seeded
    assert (row.seeds.train, row.seeds.attack) == ((0, 1, 2), (0, 1))
    pairs = {f"{train}/{attack}" for train in (0, 1, 2) for attack in (0, 1)}
    assert row.ra["PGD-2"].seeds.keys() == pairs
    assert row.jobs.scores["adaptive"]["PGD-2"].keys() == pairs
    assert len(set(row.jobs.scores["adaptive"]["PGD-2"].values())) == 6


def test_mean_and_spread_are_over_the_seeds(seeded):
    row, store = seeded
    accuracies = [100 * read_labels(store, job).correct.mean() for job in row.jobs.scores["adaptive"]["PGD-2"].values()]
    assert row.ra["PGD-2"].value == pytest.approx(np.mean(accuracies), abs=1e-3)
    # Attack seeds of one model are no models of their own.
    models = np.reshape(accuracies, (3, 2)).mean(1)
    assert row.ra["PGD-2"].spread == pytest.approx(np.std(models, ddof=1), abs=1e-3)
    assert (row.ra["PGD-2"].lowest, row.ra["PGD-2"].highest) == pytest.approx((models.min(), models.max()), abs=1e-3)
    assert row.n == 40


def test_clean_accuracy_of_a_deterministic_model_counts_each_training_seed_once(seeded):
    row, store = seeded
    jobs = set(row.jobs.scores["adaptive"]["ca"].values())
    assert len(jobs) == 3
    accuracies = [100 * read_labels(store, job).correct.mean() for job in jobs]
    assert row.ca.value == pytest.approx(np.mean(accuracies), abs=1e-3)
    assert row.ca.spread == pytest.approx(np.std(accuracies, ddof=1), abs=1e-3)
