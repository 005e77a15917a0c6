"""Make a bundle from a leaderboard, its suite and the store behind it."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from robuststack import __version__
from robuststack.errors import BundleError, StoreError
from robuststack.evidence.bundle.archive import ArchiveWriter, file_hash
from robuststack.evidence.bundle.audited import audit_again
from robuststack.evidence.bundle.data import data_record, scored_images
from robuststack.evidence.bundle.derived import board_changes, derived_board
from robuststack.evidence.bundle.jobs import RESULT, member, named_places
from robuststack.evidence.bundle.links import broken_links
from robuststack.evidence.bundle.opening import AUDIT, BOARD, MANIFEST, PLAN, SUITE, understood
from robuststack.evidence.bundle.records import (
    BUNDLE_SCHEMA,
    DataRecord,
    Manifest,
    MemberRecord,
    PlanRecord,
    SuiteRecord,
    in_order,
)
from robuststack.hardware import Hardware
from robuststack.leaderboard.audit import Audit
from robuststack.leaderboard.audit_file import audit_path, find_audit, read_audit
from robuststack.leaderboard.audit_target import audit_target
from robuststack.leaderboard.board import Board
from robuststack.leaderboard.board_file import read_board, suite_place
from robuststack.leaderboard.record import file_json
from robuststack.plan.job import IMAGES, LABELS, WEIGHTS, Job
from robuststack.plan.job_id import ENGINE_REVISION
from robuststack.plan.plan import Plan
from robuststack.plan.planner import make_plan
from robuststack.plugin.registry import Registry
from robuststack.running.atomic_files import whole_file
from robuststack.running.store import Store
from robuststack.suite.loading import load_suite, suite_texts

NAMED = 3
"""How many jobs an error names."""


@dataclass(frozen=True)
class Contents:
    """What a bundle is made of."""

    plan: Plan
    board: Board
    audit: Audit | None
    results: dict[str, dict[str, Any]]
    store: Store
    weights: bool
    audited: tuple[Job, ...] = ()
    """The jobs of the audit that are not of the plan."""

    def files(self) -> Iterator[tuple[str, str]]:
        """The files of jobs that the bundle holds beside their results: job, name."""
        kept = {"judge": LABELS, "game": LABELS, "attack": IMAGES, **({"train": WEIGHTS} if self.weights else {})}
        yield from ((job.id, kept[job.kind]) for job in self.plan.jobs if job.kind in kept)
        yield from ((job.id, LABELS) for job in self.audited if job.kind == "judge")


def gather(target: str | Path, folder: Path, store: Store, registry: Registry, *, weights: bool) -> Contents:
    """What a bundle of a suite or of a leaderboard is made of, found to agree.

    Raises:
        BundleError: there is no leaderboard of the suite, or the store lacks a job or its images, or says otherwise than
            the leaderboard.
        RobustStackError: the suite or the leaderboard cannot be read.
    """
    named = audit_target(target, folder)
    file = named.board or folder / f"{named.suite.name}.json"
    if not file.is_file():
        raise BundleError(f"no leaderboard {file} of {named.suite.file}: run the suite first")
    board = read_board(file)
    suite = named.suite if named.board else load_suite(named.suite.file, board.overrides)
    plan = make_plan(suite, registry, Hardware(board.device, board.precision))
    if board.suite_file != suite_place(plan, file.parent):
        raise BundleError(f"{file} is the leaderboard of {board.suite_file}, not of {suite.file}")
    rows = replace(named, suite=suite, labels=tuple(row.label for row in board.rows), board=file).rows(plan)
    planned = {row.label: row for row in rows}
    for row in board.rows:
        if not planned[row.label].jobs() >= {*row.jobs.scored(), *row.jobs.train.values()}:
            raise BundleError(f"{file} {row.label} was made by other jobs than its suite makes now: run it again")
    plan = replace(plan.of_rows(list(planned)), complete=board.complete)
    results = _results(plan, store, file)
    _refuse_absent_images(plan, results)
    contents = Contents(plan, board, _audit(file, board), results, store, weights)
    _refuse_contradictions(contents, file)
    return _with_audited_jobs(contents, registry, file)


def write_bundle(contents: Contents, path: Path, registry: Registry, data_folder: Path) -> str:
    """Write a bundle; the same contents make the same bytes. Returns the hash of the file.

    Raises:
        BundleError: a file of a job is gone.
        DatasetError: the data, whose hash the bundle holds, cannot be had.
        StoreError: the bundle cannot be written.
    """
    data = _data(contents, registry, data_folder)
    plan, board, suite = contents.plan, contents.board, contents.plan.suite
    said = SuiteRecord(texts=suite_texts(suite.file), overrides=suite.overrides)
    members = {
        BOARD: file_json(board).encode(),
        PLAN: in_order(PlanRecord.of(plan, board.complete, contents.audited)),
        SUITE: in_order(said),
        **({AUDIT: file_json(contents.audit).encode()} if contents.audit else {}),
        **{member(job, RESULT): _result(result) for job, result in contents.results.items()},
    }
    files = {member(job, name): (job, name) for job, name in contents.files()}
    written = {name: _record(content) for name, content in members.items()}
    with whole_file(path) as file:
        archive = ArchiveWriter(file)
        for name in sorted([*members, *files, MANIFEST]):
            if name == MANIFEST:
                content = file_json(_manifest(contents, data, written)).encode()
            else:
                content = members[name] if name in members else contents.store.read(*files[name])
                written[name] = _record(content)
            archive.add(name, content)
        archive.finish()
    return file_hash(path)


def _results(plan: Plan, store: Store, board: Path) -> dict[str, dict[str, Any]]:
    results, missing = {}, []
    for job in plan.jobs:
        try:
            results[job.id] = store.result(job.id)
        except StoreError:
            missing.append(job.id)
    if missing:
        raise BundleError(f"{store.root} lacks {_listed(missing)} behind {board}: run the suite there first")
    return results


def _refuse_absent_images(plan: Plan, results: Mapping[str, Mapping[str, Any]]) -> None:
    gone = [job.id for job in plan.jobs if job.kind == "attack" and IMAGES not in results[job.id]["files"]]
    if gone:
        raise BundleError(
            f"the images of {_listed(gone)} were not kept; run the suite again with `keep_images: true` under `evaluate`,"
            " which runs these jobs again"
        )


def _listed(jobs: list[str]) -> str:
    more = f" and {len(jobs) - NAMED} more" if len(jobs) > NAMED else ""
    return f"{len(jobs)} job{'s' * (len(jobs) > 1)} ({', '.join(jobs[:NAMED])}{more})"


def _audit(board_file: Path, board: Board) -> Audit | None:
    """The audit beside a leaderboard, if it is of the rows that stand there now."""
    path = audit_path(board_file)
    if not path.is_file():
        return None
    audit = read_audit(path)
    return audit if find_audit(board_file, board.rows).keys() == audit.by_label.keys() else None


def _refuse_contradictions(contents: Contents, file: Path) -> None:
    """A bundle that its own verification would find at odds is not written."""
    plan, results, store = contents.plan, contents.results, contents.store
    with understood(store.root, f"what its jobs behind {file} say"):  # Another version may have run them.
        problems = broken_links(plan, store) or board_changes(
            contents.board, derived_board(plan, results, store, contents.board)
        )
    if problems:
        raise BundleError(f"{file} is not what its jobs in {store.root} come to: {problems[0]}; run the suite again")


def _with_audited_jobs(contents: Contents, registry: Registry, file: Path) -> Contents:
    """The same with the jobs behind the audit that the store has.

    Raises:
        BundleError: the audit is not what they come to.
    """
    audit, plan, store = contents.audit, contents.plan, contents.store
    if audit is None:
        return contents
    done = {path.parent.name for path in store.root.glob("*/*/result.json")}
    every = _Done(store, done)
    with understood(store.root, f"what the jobs of the audit of {file} say"):
        again = audit_again(plan, audit, every, store, registry)
        jobs = tuple(job for job in again.jobs if job.id not in plan.by_id)
        problems = broken_links(replace(plan, jobs=jobs), store) or again.problems
    if problems:
        raise BundleError(
            f"{audit_path(file)} is not what its jobs in {store.root} come to: {problems[0]}; audit again"
        )
    return replace(contents, audited=jobs, results=contents.results | {job.id: every[job.id] for job in jobs})


class _Done(Mapping[str, dict[str, Any]]):
    """The results of the jobs that a store has, read when they are asked for."""

    def __init__(self, store: Store, done: Set[str]) -> None:
        self._store = store
        self._done = done

    def __getitem__(self, job: str) -> dict[str, Any]:
        if job not in self._done:
            raise KeyError(job)
        return self._store.result(job)

    def __iter__(self) -> Iterator[str]:
        return iter(self._done)

    def __len__(self) -> int:
        return len(self._done)


def _data(contents: Contents, registry: Registry, folder: Path) -> tuple[DataRecord, ...]:
    scored = scored_images(contents.plan, contents.results, contents.store)
    return tuple(data_record(scored[name], registry, folder) for name in sorted(scored))


def _result(result: Mapping[str, Any]) -> bytes:
    return json.dumps(named_places(result), indent=1, sort_keys=True).encode()


def _record(content: bytes) -> MemberRecord:
    return MemberRecord(sha256=hashlib.sha256(content).hexdigest(), size=len(content))


def _manifest(contents: Contents, data: tuple[DataRecord, ...], members: dict[str, MemberRecord]) -> Manifest:
    libraries = {name: importlib.metadata.version(name) for name in ("torch", "numpy", "safetensors")}
    return Manifest(
        schema_=BUNDLE_SCHEMA,
        suite=contents.plan.suite.name,
        versions={"robuststack": __version__, **libraries},
        engine_revision=ENGINE_REVISION,
        weights=contents.weights,
        data=data,
        members=members,
    )
