"""The rows of a finished run: everything a figure needs to be believed and computed again."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import robuststack as rs
from robuststack.errors import LeaderboardError
from robuststack.leaderboard import files, outcomes
from robuststack.leaderboard.rows import load_outcomes, make_rows, spread
from robuststack.plugin.registry import Registry
from robuststack.running.store import Store
from robuststack.statistics import accuracy

ATTACKS = ["FGSM", "PGD-5"]


@pytest.fixture
def rows(trained) -> list[dict]:
    return trained.result.rows


@pytest.fixture
def store(trained) -> Store:
    return Store(trained.store)


def figures(row: dict) -> dict[str, dict]:
    return {"clean": row["ca"], **row["ra"]}


def test_there_is_a_row_for_every_point(rows):
    found = [(row["defense"], row["point"]) for row in rows]
    assert found == [
        ("none", {}), ("pgd_at", {"lambda": 1.0}),
        ("float", {"lambda_n": 0.0, "lambda_th": 0.0}), ("float", {"lambda_n": 1.0, "lambda_th": 0.0}),
        ("oat", {"lambda": 0.0}), ("oat", {"lambda": 1.0}),
    ]  # fmt: skip


def test_a_row_holds_what_it_is_about_and_what_was_found(rows):
    expected = {
        "dataset", "dataset_options", "architecture", "architecture_options", "defense", "options", "point", "retrained",
        "threat", "recipe", "device", "precision", "stochastic", "attacks", "label", "ca", "ra", "n", "draws", "seeds",
        "parameters", "macs", "latency_ms", "train_seconds_per_epoch", "checks", "versions", "machine", "jobs", "extra",
    }  # fmt: skip
    for row in rows:
        assert expected <= row.keys()
        assert row["ra"].keys() == {*ATTACKS, "worst"}
        assert row["dataset"] == "tradeoff"
        assert row["architecture"] == "resnet8"
        assert row["threat"] == {"norm": "linf", "eps": 0.1}
        assert row["n"] == 200
        assert row["seeds"] == {"train": [0], "attack": [0]}
        assert row["device"] == "cpu"
        assert row["precision"] == "float32"


def test_every_figure_has_an_interval_around_it(rows):
    for row in rows:
        for name, one in figures(row).items():
            assert 0 <= one["low"] <= one["value"] <= one["high"] <= 100, (row["label"], name)
            assert one["low"] < one["high"]


def test_the_worst_case_is_below_every_attack_and_attacks_below_clean(rows):
    for row in rows:
        assert all(row["ra"]["worst"]["value"] <= row["ra"][attack]["value"] + 1e-9 for attack in ATTACKS)
    undefended = rows[0]
    assert undefended["ra"]["worst"]["value"] < undefended["ca"]["value"]


def test_only_randomised_points_are_judged_on_several_draws(rows):
    for row in rows:
        noisy = row["defense"] == "float" and row["point"]["lambda_n"] == 1
        assert row["stochastic"] is noisy
        assert row["draws"] == (4 if noisy else 1)
        assert row["attacks"]["PGD-5"]["draws"] == (2 if noisy else 1)
        assert row["ca"]["interval"] == ("bootstrap" if noisy else "wilson")


def test_the_attacks_are_printed_as_they_came_out(rows):
    for row in rows:
        assert row["attacks"].keys() == set(ATTACKS)
        assert row["attacks"]["FGSM"]["eps"] == 0.1
        assert row["attacks"]["FGSM"]["step"] == 0.1
        assert row["attacks"]["PGD-5"]["step"] == pytest.approx(0.05)


def test_a_figure_can_be_computed_again_from_the_outcomes_of_its_jobs(rows, store):
    for row in rows:
        outcomes = {name: load_outcomes(store, row["jobs"]["adaptive"][name]["0/0"]) for name in ("ca", *ATTACKS)}
        assert all(one.shape == (row["draws"], row["n"]) for one in outcomes.values())
        for name, one in {"ca": row["ca"], **{attack: row["ra"][attack] for attack in ATTACKS}}.items():
            assert one["value"] == pytest.approx(100 * outcomes[name].mean(), abs=1e-3)
        worst = np.min([outcomes[attack].mean(0) for attack in ATTACKS], axis=0).mean()
        assert row["ra"]["worst"]["value"] == pytest.approx(100 * worst, abs=1e-3)
        again = accuracy([[outcomes[attack] for attack in ATTACKS]], stochastic=row["stochastic"])
        assert row["ra"]["worst"]["low"] == pytest.approx(again.low, abs=1e-3)


def test_the_figures_of_the_jobs_are_those_of_the_rows(rows, store):
    for row in rows:
        for name, one in {"ca": row["ca"], **{attack: row["ra"][attack] for attack in ATTACKS}}.items():
            job = store.result(row["jobs"]["adaptive"][name]["0/0"])
            assert job["accuracy"] == pytest.approx(one["value"], abs=1e-3)


def test_the_jobs_of_a_row_are_in_the_store(rows, store, trained):
    for row in rows:
        assert store.result(row["jobs"]["train"]["0"])["kind"] == "train"
        assert store.result(row["jobs"]["measure"])["kind"] == "measure"
    assert rows[2]["jobs"]["train"] == rows[3]["jobs"]["train"], "two points, one model"
    assert trained.job("float") == rows[2]["jobs"]["train"]["0"]


def test_costs_are_those_of_the_model(rows, trained):
    for row in rows:
        model = rs.load_model(row["jobs"]["train"]["0"], store=trained.store).model
        assert row["parameters"] == sum(one.numel() for one in model.parameters())
        assert row["macs"] > 0
        assert row["latency_ms"].keys() == {"1", "8"}
        assert all(0 < one["low"] <= one["median"] <= one["high"] for one in row["latency_ms"].values())
        assert row["train_seconds_per_epoch"] > 0
    by_name = {row["defense"]: row["parameters"] for row in rows}
    assert by_name["none"] == by_name["pgd_at"] < by_name["float"] < by_name["oat"]


def test_versions_and_machine_are_there(rows):
    for row in rows:
        assert row["versions"].keys() == {"robuststack", "python", "torch", "numpy"}
        assert row["versions"]["robuststack"] == rs.__version__
        assert int(row["machine"]["threads"]) >= 1


def test_no_attack_had_to_be_corrected(rows):
    for row in rows:
        assert row["checks"]["clipped"] < 1e-6
        assert row["checks"]["not_finite"] == 0
        assert row["checks"]["state_kept"] is True


def test_rows_made_again_are_the_same_and_are_plain_json(trained, store):
    again = make_rows(trained.result.plan, trained.result.outcome, store)
    assert json.loads(json.dumps(again)) == json.loads(json.dumps(trained.result.rows))
    assert again == json.loads(json.dumps(again))


def test_a_leaderboard_written_again_is_the_same_file(trained, store, tmp_path):
    plan, rows = trained.result.plan, trained.result.rows
    per_sample = outcomes.collect(rows, store)
    written = [files.write(plan, rows, per_sample, tmp_path / one / "leaderboard") for one in ("one", "two")]
    for first, again in zip(*written, strict=True):
        if first.suffix == ".md":
            assert first.read_bytes() == again.read_bytes()
    before = [path.read_bytes() for path in written[0]]
    files.write(plan, rows, per_sample, tmp_path / "one" / "leaderboard")
    assert [path.read_bytes() for path in written[0]] == before


def test_every_outcome_behind_the_rows_stands_beside_them(trained, store):
    board = trained.leaderboard / "small.json"
    rows = files.read(board)["rows"]
    found = outcomes.load(board, rows)
    for row in rows:
        for job in outcomes.judge_jobs(row):
            assert (found[job] == load_outcomes(store, job)).all()
        (job,) = row["jobs"]["adaptive"]["ca"].values()
        assert 100 * found[job].mean() == pytest.approx(row["ca"]["value"], abs=1e-3)


def test_the_labels_of_every_draw_stand_beside_a_leaderboard_with_the_truth_once(trained, store):
    board = trained.leaderboard / "small.json"
    labels = outcomes.load_labels(board)
    assert labels.keys() == {job for row in files.read(board)["rows"] for job in outcomes.judge_jobs(row)}
    options = {"images": 600, "test_images": 200, "size": 8, "classes": 4, "nonrobust_strength": 0.05, "noise": 0.1}
    truth = Registry().create("dataset", "tradeoff", options).load(Path())["test"].labels
    for job, judged in labels.items():
        assert judged.labels.dtype == np.int8
        assert set(np.unique(judged.labels)) <= {-1, 0, 1, 2, 3}
        assert np.array_equal(judged.truth, truth)
        assert np.array_equal(judged.labels, outcomes.read_labels(store, job).labels)
    assert {judged.selection.partition("-")[0] for judged in labels.values()} == {"tradeoff"}
    assert outcomes.path_of(board).read_bytes().count(b'"truth/tradeoff-') == 1


def test_a_row_says_which_attack_is_behind_each_judging(trained, store):
    for row in trained.result.rows:
        for name in ATTACKS:
            judge = row["jobs"]["adaptive"][name]["0/0"]
            attack = store.result(row["jobs"]["attacks"][judge])
            assert (attack["kind"], attack["spec"]["model"]) == ("attack", row["jobs"]["train"]["0"])
        assert row["effort"]["calls"].keys() == set(ATTACKS)


def test_outcomes_that_cannot_be_read_are_named_and_missing_ones_are_none(tmp_path):
    assert outcomes.load(tmp_path / "a.json", []) == {}
    (tmp_path / "a.labels.safetensors").write_bytes(b"no")
    with pytest.raises(LeaderboardError, match=r"a\.labels\.safetensors cannot be read as labels"):
        outcomes.load(tmp_path / "a.json", [])


def test_the_file_holds_the_rows(trained):
    board = files.read(trained.leaderboard / "small.json")
    assert board["rows"] == json.loads(json.dumps(trained.result.rows))
    assert board["complete"] is True
    assert [one["label"] for one in board["attacks"]] == ATTACKS
    names = ["small.json", "small.md", "small.labels.safetensors"]
    assert trained.result.files == [trained.leaderboard / name for name in names]


def test_a_row_whose_jobs_are_not_all_done_is_left_out(trained, store):
    missing = trained.result.rows[1]["jobs"]["adaptive"]["FGSM"]["0/0"]
    results = {job: one for job, one in trained.result.outcome.results.items() if job != missing}
    outcome = type(trained.result.outcome)(results=results)
    found = make_rows(trained.result.plan, outcome, store)
    assert [row["label"] for row in found] == [
        row["label"] for row in trained.result.rows if row["defense"] != "pgd_at"
    ]


TINY = """
datasets: {name: tradeoff, options: {images: 60, test_images: 40, size: 8, classes: 4}, threat: {eps: 0.1}}
architectures: {name: resnet8, options: {width: 4}}
train: {epochs: 1, batch_size: 20}
attacks: {name: pgd, options: {steps: 2}}
measure: {latency: false}
precision: float32
"""


def run(folder: Path, more: str) -> tuple[list[dict], Store]:
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
    assert still["jobs"].keys() == {"train", "measure", "attacks", "adaptive", "published"}
    for row in (still, noisy):
        assert row["protocols"].keys() == {"published"}
        # What is printed of the attacks is what the headline was attacked with: no noise, no averaging.
        assert row["attacks"]["PGD-2"]["draws"] == (20 if row is noisy else 1)
        assert row["protocols"]["published"]["attacks"]["PGD-2"]["draws"] == 1
        assert row["stochastic"] is (row is noisy)
        assert row["draws"] == (3 if row is noisy else 1)


def test_training_and_attack_seeds_are_kept_apart(seeded):
    row, _ = seeded
    assert row["seeds"] == {"train": [0, 1, 2], "attack": [0, 1]}
    pairs = {f"{train}/{attack}" for train in (0, 1, 2) for attack in (0, 1)}
    assert row["ra"]["PGD-2"]["seeds"].keys() == pairs
    assert row["jobs"]["adaptive"]["PGD-2"].keys() == pairs
    assert len(set(row["jobs"]["adaptive"]["PGD-2"].values())) == 6


def test_mean_and_spread_are_over_the_seeds(seeded):
    row, store = seeded
    each = [100 * load_outcomes(store, job).mean() for job in row["jobs"]["adaptive"]["PGD-2"].values()]
    assert row["ra"]["PGD-2"]["value"] == pytest.approx(np.mean(each), abs=1e-3)
    # Attack seeds of one model are no models of their own.
    models = np.reshape(each, (3, 2)).mean(1)
    assert row["ra"]["PGD-2"]["spread"] == pytest.approx(np.std(models, ddof=1), abs=1e-3)
    assert spread({(0, 0): 50.0, (0, 1): 54.0}) == pytest.approx(np.std([50, 54], ddof=1))
    assert row["n"] == 40


def test_clean_accuracy_of_a_deterministic_model_counts_each_training_seed_once(seeded):
    row, store = seeded
    jobs = set(row["jobs"]["adaptive"]["ca"].values())
    assert len(jobs) == 3
    each = [100 * load_outcomes(store, job).mean() for job in jobs]
    assert row["ca"]["value"] == pytest.approx(np.mean(each), abs=1e-3)
    assert row["ca"]["spread"] == pytest.approx(np.std(each, ddof=1), abs=1e-3)
