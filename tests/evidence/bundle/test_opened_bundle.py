"""What a bundle holds, and which files are refused as none."""

from __future__ import annotations

import contextlib
import json
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from bundled_run import BundledRun
from forging import contents, edited, forged, write
from hypothesis import given, settings
from hypothesis import strategies as st

import robuststack as rs
from robuststack.errors import BundleError
from robuststack.evidence.bundle.archive import Archive
from robuststack.evidence.bundle.jobs import BundledJobs, named_places
from robuststack.evidence.bundle.opening import open_bundle
from robuststack.leaderboard.board_file import read_board
from robuststack.plan.specs import AttackSpec, JudgeSpec
from robuststack.plugin.registry import Registry
from robuststack.running.store import Store


def refused(path: Path) -> str:
    with pytest.raises(BundleError) as error:
        open_bundle(path)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_all_that_is_behind_the_leaderboard_is_in_it(bundled: Path, finished: BundledRun) -> None:
    bundle = open_bundle(bundled)
    store = Store(finished.store)
    assert bundle.board == read_board(finished.leaderboard / "tiny.json")
    assert bundle.audit is None
    assert {job.id for job in bundle.plan.jobs} == {job.id for job in finished.result.plan.jobs}
    for job in bundle.plan.jobs:
        assert job.spec.plain() == finished.result.plan.by_id[job.id].spec.plain()
        assert bundle.results[job.id] == store.result(job.id)
        files = bundle.results[job.id]["files"]
        assert all(bundle.jobs.read(job.id, name) == store.read(job.id, name) for name in files)
    assert [row.label for row in bundle.plan.rows] == [row.label for row in finished.result.plan.rows]
    assert bundle.plan.suite.model_dump() == finished.result.plan.suite.model_dump()
    assert {"robuststack", "torch", "numpy", "safetensors"} == bundle.manifest.versions.keys()


def test_it_is_json_and_safetensors_alone(bundled: Path) -> None:
    names = list(Archive.open(bundled).members)
    assert {name.rpartition(".")[2] for name in names} == {"json", "safetensors"}
    assert all(json.loads(content) for name, content in contents(bundled).items() if name.endswith(".json"))


def test_without_weights_it_holds_their_hashes(bundled: Path, finished: BundledRun, tmp_path: Path) -> None:
    light = rs.bundle(finished.suite, tmp_path / "light.bundle", store=finished.store, leaderboard=finished.leaderboard)
    (gone,) = {name.rpartition("/")[2] for name in contents(bundled).keys() - contents(light.path).keys()}
    assert gone == "model.safetensors"
    again = rs.bundle(finished.leaderboard / "tiny.json", tmp_path / "again.bundle", store=finished.store)
    assert again.sha256 == light.sha256, "the same contents make the same bytes"


@settings(max_examples=25)
@given(chosen=st.data())
def test_a_changed_byte_in_any_member_is_refused_with_its_name(
    bundled: Path, tmp_path_factory: pytest.TempPathFactory, chosen: st.DataObject
) -> None:
    members = Archive.open(bundled).members
    member = members[chosen.draw(st.sampled_from(list(members)))]
    changed = bytearray(bundled.read_bytes())
    changed[chosen.draw(st.integers(member.start, member.end - 1))] ^= chosen.draw(st.integers(1, 255))
    path = tmp_path_factory.getbasetemp() / "changed.bundle"
    path.write_bytes(changed)
    assert member.name in refused(path)


VALUES = (None, 0, -1, 1e308, "x", "", [], {}, True, 10**18, [1], {"a": 1}, "../x", 3.7)


@settings(max_examples=15)
@given(chosen=st.data())
def test_whatever_a_member_says_is_a_verdict_or_one_line(
    bundled: Path, tmp_path_factory: pytest.TempPathFactory, chosen: st.DataObject
) -> None:
    """A stranger's JSON with a manifest that fits it, in which something is another thing or gone."""
    members = contents(bundled)
    name = chosen.draw(st.sampled_from([name for name in members if name.endswith(".json")]))
    content = json.loads(members[name])
    place, key = chosen.draw(st.sampled_from(list(places(content))))
    if chosen.draw(st.booleans()):
        place[key] = chosen.draw(st.sampled_from(VALUES))
    else:
        del place[key]
    path = tmp_path_factory.getbasetemp() / "strange.bundle"
    if name == "manifest.json":
        write(path, {**members, name: json.dumps(content).encode()})
    else:
        forged(path, {**members, name: json.dumps(content).encode()})
    with contextlib.suppress(BundleError):  # Without plugins: nothing can be judged again.
        assert rs.verify(path, registry=Registry(sources=[]), device="cpu").verdict in ("disagrees", "consistent")


def places(data: Any) -> Iterator[tuple[Any, Any]]:
    """Every mapping or list in JSON data, with each of its keys."""
    if isinstance(data, dict | list):
        for key in list(data) if isinstance(data, dict) else range(len(data)):
            yield data, key
            yield from places(data[key])


def test_what_no_bundle_has_is_refused(bundled: Path, tmp_path: Path) -> None:
    members = contents(bundled)
    path = tmp_path / "other.bundle"
    for name in ("../outside.json", "/etc/passwd", "jobs/../x.json", "model.pkl", "jobs/judge-0/labels.safetensors"):
        assert f"has a member {name!r}, which no bundle has" in refused(write(path, {**members, name: b"{}"}))
    assert "plan.json is missing" in refused(
        write(path, {name: members[name] for name in members if name != "plan.json"})
    )
    absent = next(name for name in members if name.endswith("images.safetensors"))
    kept = {name: members[name] for name in members if name != absent}
    assert f"{absent} is missing, which manifest.json names" in refused(write(path, kept))
    assert f"{absent} is missing" in refused(forged(path, kept))
    added = "jobs/judge-0123456789abcdef/result.json"
    assert f"{added} was added" in refused(write(path, {**members, added: b"{}"}))
    assert "is of a job that plan.json does not have" in refused(forged(path, {**members, added: b"{}"}))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("manifest.json", b"[]", "manifest.json does not say that it is one"),
        ("manifest.json", b"{", "manifest.json is no JSON"),
        ("manifest.json", b"[" * 100_000, "manifest.json is no JSON"),
        ("manifest.json", b'{"format": "robuststack bundle", "schema": 99}', "has schema 99, this version reads 1"),
        ("manifest.json", b'{"format": "robuststack bundle", "schema": 1}', "manifest.json: key "),
    ],
)
def test_a_manifest_that_says_nothing_is_refused(bundled, tmp_path, name, content, message):
    assert message in refused(write(tmp_path / "other.bundle", {**contents(bundled), name: content}))


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("plan.json", lambda plan: plan.pop("rows"), "plan.json: key 'rows' is missing"),
        ("plan.json", lambda plan: plan["jobs"][0].update(id="train-01"), "has no job train-01"),
        ("suite.json", lambda suite: suite["texts"].update({"tiny.yaml": "a: ["}), "not valid YAML"),
        ("suite.json", lambda suite: suite["texts"].clear(), "plan.json is not as this version of robuststack writes it"),
        ("board.json", lambda board: board.pop("rows"), "board.json: key 'rows' is missing"),
    ],
)  # fmt: skip
def test_a_member_that_says_nothing_is_refused(bundled, tmp_path, name, change, message):
    members = contents(bundled)
    assert message in refused(forged(tmp_path / "other.bundle", {**members, name: edited(members[name], change)}))


class Dangerous:
    def __reduce__(self):
        return open, ("unpickled", "w")


def test_nothing_is_unpickled(bundled, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    members = contents(bundled)
    name = next(name for name in members if name.endswith("labels.safetensors"))
    told = refused(forged(tmp_path / "other.bundle", {**members, name: pickle.dumps(Dangerous())}))
    assert f"{name} is not as this version of robuststack writes it" in told
    assert "no safetensors" in told
    assert {path.name for path in tmp_path.iterdir()} == {"other.bundle"}


def test_labels_of_another_shape_are_refused(bundled, tmp_path):
    members = contents(bundled)
    first, other = (name for name in _one_of_each_draws(bundled))
    told = refused(forged(tmp_path / "other.bundle", {**members, first: members[other]}))
    assert "draws of 60 images are needed" in told


def _one_of_each_draws(path: Path) -> list[str]:
    """Labels of a deterministic and of a randomised point."""
    jobs = [job for job in open_bundle(path).plan.jobs if isinstance(job.spec, JudgeSpec)]
    return [next(f"jobs/{job.id}/labels.safetensors" for job in jobs if job.spec.draws == draws) for draws in (1, 4)]


def test_places_of_the_author_become_names_below_a_folder(bundled, tmp_path):
    result = {"spec": {"model": {"dataset": {"places": {"path": "/home/author/data.npz", "other": None}}}}, "files": {}}
    named = named_places(result)
    assert named["spec"]["model"]["dataset"]["places"] == {"path": "data.npz", "other": None}
    hostile = json.loads(json.dumps(result).replace("/home/author/data.npz", "../../etc/passwd"))
    path = write(tmp_path / "named.bundle", {"jobs/train-0/result.json": json.dumps(hostile).encode()})

    def place(data: Path | None) -> str:
        placed: str = BundledJobs(Archive.open(path), data).result("train-0")["spec"]["model"]["dataset"]["places"][
            "path"
        ]
        return placed

    assert place(None) == ""
    assert place(tmp_path) == str(tmp_path / "passwd")


def test_attack_jobs_have_their_images(bundled):
    bundle = open_bundle(bundled)
    attacks = [job for job in bundle.plan.jobs if isinstance(job.spec, AttackSpec)]
    assert len(attacks) == 9
    assert all(bundle.jobs.has_file(job.id, "images.safetensors") for job in attacks)
