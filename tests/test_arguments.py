"""Arguments of a wrong type, for each function of the Python API: a line that names the argument, before anything runs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import robuststack as rs

WRONG = {
    "nothing": None, "a number": 1.5, "bytes": b"x", "numbers": [1], "a mapping": {"a": 1}, "an object": object(),
    "a module": torch.nn.Linear(2, 2), "an array": np.zeros(3), "a truth": True,
}  # fmt: skip
FIRST: dict[str, tuple[Callable[..., Any], str, set[str]]] = {
    "run": (rs.run, "suite", {"a mapping"}),
    "audit": (rs.audit, "target", set()),
    "bundle": (rs.bundle, "target", set()),
    "verify": (rs.verify, "file", set()),
    "load_model": (rs.load_model, "job", set()),
}
OTHERS: list[tuple[Callable[..., Any], tuple[Any, ...], str, set[str]]] = [
    (rs.run, ({},), "overrides", {"nothing"}),
    (rs.run, ({},), "wait", {"a number"}),
    (rs.run, ({},), "workers", {"nothing"}),
    (rs.run, ({},), "store", set()),
    (rs.run, ({},), "executor", set()),
    (rs.audit, ("suite",), "checks", set()),
    (rs.audit, ("suite",), "images", set()),
    (rs.audit, ("suite",), "only", {"nothing"}),
    (rs.evaluate, (), "wait", {"a number"}),
    (rs.compare, ("board", "a", "b"), "reading", set()),
]


@pytest.mark.parametrize(
    ("name", "kind"), [(name, kind) for name in FIRST for kind in WRONG if kind not in FIRST[name][2]]
)
def test_what_comes_first_is_named(name: str, kind: str) -> None:
    function, argument, _ = FIRST[name]
    with pytest.raises(rs.RobustStackError, match=f"^{name}: {argument}=.*: must be ") as caught:
        function(WRONG[kind])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("function", "given", "argument", "kind"),
    [(*asked, kind) for *asked, right in OTHERS for kind in WRONG if kind not in right],
)
def test_any_other_is_named(function: Callable[..., Any], given: tuple[Any, ...], argument: str, kind: str) -> None:
    with pytest.raises(rs.RobustStackError, match=f"{argument}=.*: must be "):
        function(*given, **{argument: WRONG[kind]})


def test_numbers_of_numpy_are_numbers(tmp_path: Path) -> None:
    with pytest.raises(rs.RobustStackError, match="no leaderboard 'none'"):
        rs.audit("none", images=np.int64(20), wait=np.float32(0), workers=np.int8(1), leaderboard=tmp_path)


def test_an_audit_goes_where_the_result_is_and_reads_its_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(16, 3))
    images, labels = torch.rand(30, 1, 4, 4), torch.arange(30) % 3
    options: dict[str, Any] = {"data": (images, labels), "attacks": "fgsm", "eps": 0.1, "device": "cpu", "name": "mine"}
    kept = rs.evaluate(model, **options, store="own", leaderboard="boards", overrides=["measure.latency=false"])
    audited = rs.audit(kept, checks="LOGITS, steps", images=20)
    assert [check.name for check in audited.audit.checks] == ["LOGITS", "STEPS"]
    assert sorted(path.name for path in Path("boards").glob("*audit*")) == [
        "mine.partial.audit.json",
        "mine.partial.audit.md",
    ]
    only_read = rs.evaluate(model, **options, store="own", overrides=["measure.latency=false"])
    rs.audit(only_read, checks=["LOGITS"], images=20)
    assert not Path("leaderboard").exists()
    assert not Path(".robuststack").exists()


def test_a_folder_of_data_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(rs.RobustStackError, match=r"data .*gone: no such folder"):
        rs.verify(tmp_path / "some.bundle", data=tmp_path / "gone")


def test_a_leaderboard_without_a_suite_file_is_told_from_one_whose_file_is_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(16, 3))
    rs.evaluate(
        model, data=(torch.rand(9, 1, 4, 4), torch.arange(9) % 3), attacks="fgsm", eps=0.1, device="cpu", name="mine",
        leaderboard="leaderboard", overrides=["measure.latency=false"],
    )  # fmt: skip
    for ask in (rs.audit, rs.bundle):
        with pytest.raises(rs.RobustStackError, match=r"made by evaluate.*there is no suite file.*audit\(result\)"):
            ask("mine")
