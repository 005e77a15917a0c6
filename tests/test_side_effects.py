"""What a run leaves in the process of a program that calls it: results, and nothing else."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import forked
from robuststack.cli import call
from robuststack.running import process_memory

SUITE = """
name: small
threads: THREADS
datasets: {name: tradeoff, options: {images: 40, test_images: 12, size: 8, classes: 3}, threat: {eps: 0.1}}
architectures: {name: resnet8, options: {width: 4}}
train: {epochs: 1, batch_size: 20, checkpoint: best, attack: {name: pgd, options: {steps: 1}}}
defenses: [{name: float, points: {lambda_n: [0, 1]}}]
attacks: [{name: pgd, options: {steps: 2, draws: 2}}, {name: autoattack_rand, options: {iterations: 2, draws: 1}}]
evaluate: {draws: 2}
measure: {repeats: 3, warmup: 0}
"""
MODEL = """
import torch
def make():
    torch.manual_seed(5)
    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(192, 3))
"""
PROGRAM = """
import ctypes, hashlib, json, logging, os, pickle, random, signal, sys, warnings
import numpy, torch
libraries, load = [], ctypes.CDLL.__init__
def loading(self, name, *args, **kwargs):
    libraries.append(name)
    load(self, name, *args, **kwargs)
ctypes.CDLL.__init__ = loading

def state():
    backends = torch.backends
    return {
        "threads": torch.get_num_threads(),
        "matmul": torch.get_float32_matmul_precision(),
        "cudnn": [getattr(backends.cudnn, name) for name in ("deterministic", "benchmark", "allow_tf32", "enabled")],
        "mkldnn": [backends.mkldnn.enabled],
        "grad": [torch.is_grad_enabled(), torch.is_inference_mode_enabled(), torch.is_anomaly_enabled()],
        "autocast": [torch.is_autocast_enabled("cpu"), torch.is_autocast_cache_enabled()],
        "dtype": str(torch.get_default_dtype()),
        "device": str(torch.get_default_device()),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "torch": hashlib.sha256(torch.get_rng_state().numpy().tobytes()).hexdigest(),
        "numpy": hashlib.sha256(pickle.dumps(numpy.random.get_state())).hexdigest(),
        "random": hashlib.sha256(pickle.dumps(random.getstate())).hexdigest(),
        "errors": numpy.geterr(),
        "path": list(sys.path),
        "folder": os.getcwd(),
        "environment": {key: hashlib.sha256(value.encode()).hexdigest() for key, value in os.environ.items()},
        "signals": [str(signal.getsignal(number)) for number in (signal.SIGINT, signal.SIGTERM)],
        "streams": [sys.stdout is sys.__stdout__, sys.stderr is sys.__stderr__],
        "logging": [logging.root.level, logging.root.manager.disable, len(logging.root.handlers)],
        "warnings": [str(rule) for rule in warnings.filters],
        "recursion": sys.getrecursionlimit(),
    }

def difference(before, after):
    if isinstance(before, dict):
        return sorted(key for key in before.keys() | after.keys() if before.get(key) != after.get(key))
    if isinstance(before, list):
        return [[value for value in before if value not in after], [value for value in after if value not in before]]
    return [before, after]

sys.path = [entry for entry in sys.path if entry not in ("", os.getcwd())]
torch.manual_seed(1), numpy.random.seed(1), random.seed(1)
torch.set_num_threads(2)
torch.set_float32_matmul_precision("medium")
import robuststack as rs, robuststack.api.runs, matplotlib, scipy.stats, torch._dynamo  # As any program may.
before = state()
if CALL == "run":
    result = rs.run("suite.yaml", store="store", leaderboard="boards")
else:
    result = rs.evaluate(
        python="mine:make", dataset="tradeoff images=40 test_images=12 size=8 classes=3", attacks=["pgd steps=2"], eps=0.1,
        store="store", overrides=["measure.repeats=3", "measure.warmup=0"],
    )
after = state()
assert result.rows and not result.failed, result.failed
changed = {key: difference(before[key], after[key]) for key in before if before[key] != after[key]}
print("\\n" + json.dumps({"changed": changed, "process": libraries.count(None)}))
"""


@pytest.mark.parametrize("call", ["run", "evaluate"])
def test_a_run_puts_back_what_it_sets(tmp_path: Path, call: str) -> None:
    (tmp_path / "suite.yaml").write_text(SUITE.replace("THREADS", "1"))
    (tmp_path / "mine.py").write_text(MODEL)
    done = forked.run(PROGRAM.replace("CALL", repr(call)), tmp_path)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout.splitlines()[-1])
    assert report["changed"] == {}
    assert report["process"] == 0, "only the command may change how the process keeps its memory"


def test_the_command_keeps_its_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is the whole process's owner. (That the program above would see it: `keep_memory` opens the process itself.)"""
    opened = []
    monkeypatch.setattr(
        process_memory.ctypes, "CDLL", lambda name: opened.append(name) or type("C", (), {"mallopt": print})
    )
    (tmp_path / "suite.yaml").write_text("name: small\n")
    for command in (["evaluate", "--dataset", "nothing"], ["run", str(tmp_path / "suite.yaml")]):
        assert call(command) == 2
    assert opened == [None, None]
