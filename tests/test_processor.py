"""What a machine allows a run: the quota of its control groups."""

from __future__ import annotations

import pytest

from robuststack import processor
from robuststack.processor import cpu_quota, cpu_threads, quota_threads
from robuststack.suite.loading import load_suite

CGROUPS = [
    ({"cpu.max": "150000 100000\n"}, "", 2),
    ({"cpu.max": "50000 100000"}, "", 1),
    ({"cpu.max": "400000 100000"}, "", 4),
    ({"cpu.max": "max 100000"}, "", None),
    ({"cpu.max": ""}, "", None),
    ({}, "", None),
    ({"job/cpu.max": "200000 100000"}, "0::/job\n", 2),
    ({"job/cpu.max": "max 100000", "cpu.max": "300000 100000"}, "0::/job\n", 3),
    ({"a/cpu.max": "200000 100000", "a/b/cpu.max": "500000 100000"}, "0::/a/b\n", 2),
    ({"other/cpu.max": "100000 100000"}, "0::/job\n", None),
    ({"cpu.max": "200000 100000"}, "0::/../../seen/from/outside\n", 2),
    ({"cpu/cpu.cfs_quota_us": "250000", "cpu/cpu.cfs_period_us": "100000"}, "", 3),
    ({"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, "", None),
    ({"cpu/cpu.cfs_quota_us": "100000"}, "", None),
    ({"cpu,cpuacct/box/cpu.cfs_quota_us": "100000", "cpu,cpuacct/box/cpu.cfs_period_us": "100000"},
     "5:memory:/box\n4:cpu,cpuacct:/box\n", 1),
]  # fmt: skip


@pytest.mark.parametrize(("files", "own", "quota"), CGROUPS)
def test_a_quota_of_processor_time_is_rounded_up(tmp_path, files, own, quota):
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    (tmp_path / "own").write_text(own)
    assert cpu_quota(tmp_path, tmp_path / "own") == quota


@pytest.fixture
def box(tmp_path, monkeypatch):
    """A machine of 8 processors whose control group allows 2.5 of them."""
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(processor, "CGROUPS", tmp_path)
    monkeypatch.setattr(processor, "OWN_CGROUPS", tmp_path / "own")
    monkeypatch.setattr(processor.os, "sched_getaffinity", lambda process: set(range(8)))
    (tmp_path / "cpu.max").write_text("250000 100000")
    return tmp_path


def test_threads_and_workers_follow_the_quota(box, small_suite):
    assert cpu_threads() == quota_threads() == 3
    suite = load_suite(small_suite)
    assert suite.hardware("cpu", 1).threads == 3
    assert suite.hardware("cpu", 3).threads == 1
    one_thread = load_suite(small_suite, ["threads=1"]).hardware("cpu")
    assert (one_thread.workers, one_thread.threads) == (3, 1)
    assert load_suite(small_suite, ["threads=5"]).hardware("cpu", 1).threads == 5, "what the suite says"


def test_without_a_quota_torch_decides(box, small_suite):
    (box / "cpu.max").write_text("max 100000")
    assert (cpu_threads(), quota_threads()) == (8, None)
    assert load_suite(small_suite).hardware("cpu", 1).threads is None
    (box / "cpu.max").write_text("900000 100000")
    assert (cpu_threads(), quota_threads()) == (8, None), "more than there are"


def test_the_environment_wins_over_the_quota(box, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "5")
    assert (cpu_threads(), quota_threads()) == (5, None)


def test_a_processor_under_a_bound_has_another_name(monkeypatch):
    # It rounds as another one does: a comparison bit by bit would call every figure changed.
    for variable in processor.INSTRUCTION_BOUNDS:
        monkeypatch.delenv(variable, raising=False)
    name = processor.cpu_name.__wrapped__
    whole = name()
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX2")
    assert name() == whole.removesuffix(")") + ", ONEDNN_MAX_CPU_ISA=AVX2)"
