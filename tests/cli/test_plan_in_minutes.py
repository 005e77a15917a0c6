"""How long a suite takes: `plan --minutes`, what is kept of it, and who says it afterwards."""

from __future__ import annotations

import json
import os
from concurrent.futures import ProcessPoolExecutor

import pytest

from robuststack.cli import call, progress
from robuststack.plan.speed import kept_speeds
from robuststack.suite.loading import load_suite

SUITE = """
datasets: {name: tradeoff, options: {images: 60, test_images: 30, size: 8, classes: 4}}
architectures: {name: resnet8, options: {width: 4}}
threat: {eps: 0.1}
train: {epochs: 1, batch_size: 30, attack: {name: pgd, options: {steps: 1}}}
defenses: [none, {name: float, points: {lambda_n: [1]}}]
attacks: [fgsm]
measure: {latency: false}
precision: float32
threads: 1
"""


class Killed(ProcessPoolExecutor):
    """A pool whose process is killed as soon as it has something to do."""

    def submit(self, function, *arguments):
        return super().submit(os._exit, 9)


@pytest.fixture
def robuststack(tmp_path, monkeypatch, capsys):
    """Run a command beside a suite, with an empty cache folder -> what it prints and what it says of itself."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "small.yaml").write_text(SUITE)

    def run(*arguments):
        assert call([*arguments, "--device", "cpu"]) == 0
        printed = capsys.readouterr()
        return printed.out, printed.err

    return run


def test_a_plan_in_minutes_is_measured_once(robuststack):
    unknown, _ = robuststack("plan", "small.yaml")
    assert "to do: " in unknown
    assert "forward-pass pixels (100 % of the suite's work)\n`robuststack plan --minutes` measures how long " in unknown
    assert robuststack("check", "small.yaml", "--quick")[0].endswith("jobs\n")
    assert {job["seconds"] for job in json.loads(robuststack("plan", "small.yaml", "--json")[0])["jobs"]} == {None}

    measured, said = robuststack("plan", "small.yaml", "--minutes")
    assert said == ""
    assert "to do: about " in measured
    assert "pixels" not in measured
    assert robuststack("plan", "small.yaml")[0] == measured, "as kept"
    assert robuststack("run", "small.yaml", "--dry-run")[0] == measured
    assert ", about " in robuststack("check", "small.yaml", "--quick")[0]
    assert all(job["seconds"] > 0 for job in json.loads(robuststack("plan", "small.yaml", "--json")[0])["jobs"])

    hardware = load_suite("small.yaml").hardware("cpu")
    before = kept_speeds(hardware)
    assert len(before) == 2
    robuststack("plan", "small.yaml", "--minutes")
    assert kept_speeds(hardware) == before
    robuststack("plan", "small.yaml", "--measure-again")
    assert kept_speeds(hardware).keys() == before.keys()
    assert kept_speeds(hardware) != before


def test_a_run_says_at_its_beginning_how_long_it_will_take(robuststack, monkeypatch):
    """If it is long, it measures first, in a process of its own: this one may import no torch."""
    monkeypatch.setattr(progress, "WORTH_MEASURING", 0)
    measured, _ = robuststack("run", "small.yaml", "--only", "none")
    assert "(cpu, float32), about " in measured
    assert len(kept_speeds(load_suite("small.yaml").hardware("cpu"))) == 1


def test_a_measuring_process_that_is_killed_is_said_and_the_run_goes_on(robuststack, monkeypatch):
    monkeypatch.setattr(progress, "WORTH_MEASURING", 0)
    monkeypatch.setattr("concurrent.futures.ProcessPoolExecutor", Killed)
    printed, said = robuststack("run", "small.yaml", "--only", "none")
    assert "(cpu, float32)\n" in printed
    reason = "the process that measured it was killed; was it out of memory?"
    assert said == f"robuststack: note: a network's speed is not known: {reason}\n"


def test_a_network_that_cannot_be_measured_is_said_and_the_work_is_shown(robuststack, tmp_path):
    text = SUITE.replace("[none, ", "['robustbench:Engstrom2019Robustness', ").replace(
        "tradeoff, options", "cifar10, options"
    )
    suite = text.replace("options: {images: 60, test_images: 30, size: 8, classes: 4}", "options: {}")
    (tmp_path / "small.yaml").write_text(suite)
    printed, said = robuststack("plan", "small.yaml", "--minutes", "--only", "robustbench:Engstrom2019Robustness")
    assert said.startswith("robuststack: note: a network's speed is not known: ")
    assert said.endswith("its defense brings it whole\n")
    assert "forward-pass pixels" in printed


def test_a_cache_that_cannot_be_written_is_said(robuststack, tmp_path):
    (tmp_path / "cache").write_text("a file")
    printed, said = robuststack("plan", "small.yaml", "--minutes", "--only", "none")
    assert "to do: about " in printed
    assert said.startswith("robuststack: note: the speed of this machine is not kept: cannot write ")
