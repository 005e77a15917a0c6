"""Any suite file is planned, or refused in lines that name the file or what was given: never a traceback, never a hang."""

from __future__ import annotations

import io
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from damage import damaged_bytes, damaged_data, fuzzed, no_hang
from robuststack.cli import call
from robuststack.suite.yaml_source import read
from trained import SMALL_SUITE

FULL = """
name: all
title: All keys
description: Every section of a suite file.
datasets:
  - {name: digits, train: {lr: 0.05}, threat: {eps: 16/255}, architectures: [resnet8]}
  - {name: tradeoff, options: {size: 8, classes: 4}, sweep: {noise: [0.1, 0.2]}}
architectures: [{name: resnet8, sweep: {width: [4, 8]}}]
threat: {norm: linf, eps: 8/255}
train:
  epochs: 3
  batch_size: 50
  optimizer: {name: sgd}
  attack: {name: pgd, options: {steps: 3, step: relative}}
defenses:
  - none
  - {name: pgd_at, sweep: {lambda: [0.5, 1.0]}, train: {epochs: 2}}
  - {name: float, points: {lambda_n: [0, 0.5, 1]}}
  - {name: oat, options: {dim: 4}, points: [{lambda: [0, 1]}]}
attacks: [fgsm, {name: pgd, label: strong, options: {steps: 5, draws: 2}}, {name: pgd, sweep: {steps: [7, 9]}}]
seeds: {train: [0, 1], attack: 0}
evaluate: {draws: 8, readings: [expected, majority 3], ladder: true, limit: 100, block: 50, game: {ca: 50}}
measure: {repeats: 3, warmup: 1}
precision: float32
threads: 1
resources: {a100: 1}
"""
COMMITTED = [
    path for path in sorted(Path("suites").rglob("*.yaml")) if "extends" not in yaml.safe_load(path.read_text())
]
TEXTS = [SMALL_SUITE, FULL, *(path.read_text() for path in COMMITTED)]


def planned(folder: Path, content: bytes, *more: str) -> list[str]:
    """Plan the suite and return its errors: each is a line that names the file, or what was given in its place."""
    path = folder / "suite.yaml"
    path.write_bytes(content)
    said, printed = io.StringIO(), io.StringIO()
    with no_hang(), redirect_stderr(said), redirect_stdout(printed):
        code = call(["plan", str(path), "--device", "cpu", "--store", str(folder / "absent"), *more])
    lines = said.getvalue().splitlines()
    errors = [line for line in lines if line.startswith("robuststack: error: ")]
    assert all(line.startswith(("robuststack: note: ", "robuststack: error: ")) for line in lines), lines
    assert code == (2 if errors else 0), lines
    assert bool(errors) != bool(printed.getvalue()), (lines, printed.getvalue())
    for line in errors:
        assert str(folder) in line or any(text.partition("=")[0] in line for text in more), line
    return errors


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fuzzed")


def test_the_undamaged_suites_are_planned(folder: Path) -> None:
    for text in TEXTS[:2]:
        planned(folder, text.encode())


@fuzzed
@given(st.data())
def test_any_bytes(folder: Path, data: st.DataObject) -> None:
    text = data.draw(st.sampled_from(TEXTS)).encode()
    planned(folder, data.draw(damaged_bytes(text)))


@fuzzed
@given(st.binary(max_size=60))
def test_bytes_that_are_no_suite(folder: Path, content: bytes) -> None:
    planned(folder, content)


@fuzzed
@given(st.data())
def test_any_value_at_any_key(folder: Path, data: st.DataObject) -> None:
    suite = _written(folder, data.draw(st.sampled_from(TEXTS)))
    damaged = yaml.safe_dump(data.draw(damaged_data(suite)), allow_unicode=data.draw(st.booleans()))
    planned(folder, damaged.encode(errors="surrogatepass"), *data.draw(st.sampled_from([(), ("--smoke",)])))


def _written(folder: Path, text: str) -> dict[str, Any]:
    path = folder / "whole.yaml"
    path.write_text(text)
    try:
        return read(path).data
    finally:
        path.unlink()


BOMB = "".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]\n" for i in range(1, 9))
MERGED = "".join(
    f"a{i}: &a{i} {{<<: [{', '.join([f'*a{i - 1}', f'*b{i - 1}'])}]}}\nb{i}: &b{i} {{<<: *a{i}}}\n"
    for i in range(1, 40)
)


@pytest.mark.parametrize(
    "text",
    [
        f"a0: &a0 [x]\n{BOMB}",
        f"a0: &a0 {{k: 1}}\nb0: &b0 {{l: 1}}\n{MERGED}",
        "a: " + "[" * 3000 + "]" * 3000,
        "".join(f"{' ' * depth}a:\n" for depth in range(1000)),
        f"{SMALL_SUITE}seeds: 0x{'f' * 50_000}\n",
        f"{SMALL_SUITE}seeds: {'9' * 5_000}\n",
        SMALL_SUITE.replace("eps: 0.1", "eps: '1e999999999'"),
        SMALL_SUITE.replace("[1.0]", f"{[*range(200)]}, detach: {[*range(200)]}"),
        SMALL_SUITE.replace("lambda_n: [0, 1]", f"lambda_n: {[*range(200)]}, more: {[*range(200)]}"),
    ],
    ids=["aliases", "merges", "brackets", "depth", "hexadecimal", "digits", "exponent", "sweep", "points"],
)  # fmt: skip
def test_a_few_lines_that_stand_for_more_than_any_machine_can_do_are_refused_soon(folder: Path, text: str) -> None:
    (line, *_) = planned(folder, text.encode())
    assert line.startswith("robuststack: error: ")


@pytest.mark.parametrize(
    ("limit", "message"),
    [
        (
            "robuststack.suite.resolve.MOST_COMBINATIONS",
            "more than 3 combinations of datasets, networks, recipes and defenses",
        ),
        (
            "robuststack.plan.suite_jobs.MOST_JOBS",
            "the suite asks for more than 3 jobs; give it fewer seeds, points or sweeps",
        ),
    ],
)
def test_a_product_that_nobody_could_run_is_refused(
    folder: Path, limit: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limit, 3)
    (line,) = planned(folder, SMALL_SUITE.encode())
    place = ":2:1" if "COMBINATIONS" in limit else ""
    assert line == f"robuststack: error: {folder / 'suite.yaml'}{place}: {message}"
