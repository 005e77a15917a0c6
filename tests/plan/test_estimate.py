"""What jobs are expected to take, and the speed of a machine that is kept for it."""

from __future__ import annotations

import pytest

from robuststack.errors import StoreError
from robuststack.hardware import Hardware
from robuststack.plan.estimate import EARLY_STOP, EPOCH_SECONDS, JOB_SECONDS, job_seconds, jobs_seconds
from robuststack.plan.speed import NetworkSpeed, keep_speeds, kept_speeds, networks

HARDWARE = Hardware("cpu", "float32", 1, 1)
SPEED = NetworkSpeed(answer=1e-3, gradient=1e-4, update=1e-5)
PIXELS = 64


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """A cache folder of the test's own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "robuststack" / "speed"


def test_networks_are_told_apart_by_all_but_the_options_of_a_defense(plan):
    lambdas = "{name: pgd_at, sweep: {lambda: [0, 1]}}"
    assert len({network.key for network in networks(plan(f"defenses=[{lambdas}]")).values()}) == 1
    both = plan(f"defenses=[none, {lambdas}]", "architectures=[{name: resnet8, sweep: {width: [4, 8]}}]")
    of_job = networks(both)
    assert of_job.keys() == {job.id for job in both.jobs}
    assert len({network.key for network in of_job.values()}) == 4
    larger = plan("datasets={name: tradeoff, options: {size: 16}}")
    assert {network.key for network in networks(larger).values()}.isdisjoint(network.key for network in of_job.values())


def test_a_job_takes_what_its_passes_take(plan):
    made = plan("defenses=[pgd_at]", "attacks=[{name: pgd, options: {steps: 4}}, square]", "train.epochs=3")
    of_job = networks(made)
    seconds = {job.id: job_seconds(job, of_job[job.id], SPEED) for job in made.jobs}
    (train,) = (job for job in made.jobs if job.kind == "train")
    assert 0 < train.attack_work < train.work
    assert seconds[train.id] == pytest.approx(
        JOB_SECONDS + 3 * EPOCH_SECONDS + train.attack_work / PIXELS * 1e-4
        + (train.work - train.attack_work) / PIXELS * 1e-5
    )  # fmt: skip
    pgd, square = (job for job in made.jobs if job.kind == "attack")
    assert pgd.attack_work == pgd.work
    assert seconds[pgd.id] == pytest.approx(JOB_SECONDS + EARLY_STOP * pgd.work / PIXELS * 1e-4)
    assert seconds[square.id] == pytest.approx(JOB_SECONDS + EARLY_STOP * square.work / PIXELS * 1e-4), "as folded"
    judge = next(job for job in made.jobs if job.kind == "judge")
    assert seconds[judge.id] == pytest.approx(JOB_SECONDS + judge.work / PIXELS * 1e-3)
    (measure,) = (job for job in made.jobs if job.kind == "measure")
    assert seconds[measure.id] == pytest.approx(JOB_SECONDS + 2 * measure.work / PIXELS * 1e-3), "beside the undefended"


def test_jobs_of_networks_that_were_not_measured_are_left_out(plan):
    made = plan("defenses=[none, pgd_at]")
    of_job = networks(made)
    key = of_job[made.jobs[0].id].key
    assert jobs_seconds(made, {key: SPEED}).keys() == {job for job, network in of_job.items() if network.key == key}
    assert jobs_seconds(made, {}) == {}


def test_speeds_are_kept_for_their_machine(cache, monkeypatch):
    assert kept_speeds(HARDWARE) == {}
    keep_speeds(HARDWARE, {"a": SPEED})
    keep_speeds(HARDWARE, {"b": SPEED})
    assert kept_speeds(HARDWARE) == {"a": SPEED, "b": SPEED}
    assert kept_speeds(Hardware("cpu", "float32", 2, 1)) == {}, "other threads"
    assert kept_speeds(Hardware("cpu", "bf16", 1, 1)) == {}
    assert kept_speeds(Hardware("cpu", "float32", 1, 4)) == kept_speeds(HARDWARE), "a job is as fast"
    monkeypatch.setattr("robuststack.processor.cpu_name", lambda: "another processor")
    assert kept_speeds(HARDWARE) == {}


@pytest.mark.parametrize("content", [b"", b"{}", b'{"machine": "m", "networks": {"a": {"answer": -1}}}', b"\xff"])
def test_a_damaged_file_counts_as_none(cache, content):
    keep_speeds(HARDWARE, {"a": SPEED})
    (file,) = cache.glob("*.json")
    file.write_bytes(content)
    assert kept_speeds(HARDWARE) == {}
    keep_speeds(HARDWARE, {"a": SPEED})
    assert kept_speeds(HARDWARE) == {"a": SPEED}


def test_a_cache_that_cannot_be_written_is_an_error_of_one_line(cache):
    cache.parent.parent.write_text("a file")
    with pytest.raises(StoreError, match=r"^cannot write .*speed"):
        keep_speeds(HARDWARE, {"a": SPEED})
