"""A bundle, opened: every member whole, and what the JSON ones say."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from pydantic import ValidationError

from robuststack.errors import BundleError, RobustStackError
from robuststack.evidence.bundle.archive import Archive
from robuststack.evidence.bundle.jobs import RESULT, BundledJobs, member, read_json
from robuststack.evidence.bundle.records import BUNDLE_SCHEMA, Manifest, PlanRecord, SuiteRecord
from robuststack.leaderboard.audit import Audit
from robuststack.leaderboard.board import Board
from robuststack.leaderboard.record import Record
from robuststack.plan.job import IMAGES, LABELS, WEIGHTS, Job
from robuststack.plan.plan import Plan
from robuststack.plan.specs import GameSpec, JudgeSpec, parse_spec
from robuststack.plugin.options import first_problem

MANIFEST, SUITE, PLAN, BOARD, AUDIT = "manifest.json", "suite.json", "plan.json", "board.json", "audit.json"
NAMES = re.compile(
    rf"{MANIFEST}|{SUITE}|{PLAN}|{BOARD}|{AUDIT}|jobs/[a-z]+-[0-9a-f]{{16}}/({RESULT}|{LABELS}|{IMAGES}|{WEIGHTS})"
)
"""What members may be named."""
R = TypeVar("R", bound=Record)


@dataclass(frozen=True)
class Bundle:
    """A bundle of which every member is what the manifest says."""

    archive: Archive
    manifest: Manifest
    plan: Plan
    board: Board
    audit: Audit | None
    jobs: BundledJobs
    results: dict[str, dict[str, Any]]
    """Job of the plan, or of the audit -> its result."""
    audited: tuple[Job, ...]
    """The jobs of the audit that are not of the plan."""

    @property
    def path(self) -> Path:
        return self.archive.path


def open_bundle(path: Path, data: Path | None = None) -> Bundle:
    """Open a bundle and check the hash of every member; files of the author's own data are looked for in `data`.

    Raises:
        BundleError: it is no bundle, or is truncated, or a member was changed, is missing, or says nothing that a bundle
            says: which one.
    """
    archive = Archive.open(path)
    for name in archive.members:
        if not NAMES.fullmatch(name):
            raise BundleError(f"{path} has a member {name!r}, which no bundle has")
    for name in (MANIFEST, SUITE, PLAN, BOARD):
        if name not in archive.members:
            raise BundleError(f"{path} is no bundle: {name} is missing")
    manifest = _manifest(archive)
    for name in archive.members.keys() | manifest.members.keys():
        if name != MANIFEST:
            _refuse_changed(archive, manifest, name)
    jobs = BundledJobs(archive, data)
    with understood(path, PLAN):
        suite = _record(archive, SUITE, SuiteRecord).suite()
        planned = _record(archive, PLAN, PlanRecord)
        results = {job.id: jobs.result(job.id) for job in (*planned.jobs, *planned.audit)}
        specs = {job: parse_spec(result) for job, result in results.items()}
        plan = planned.plan(suite, specs)
        audited = tuple(job.job(specs) for job in planned.audit)
    board = _record(archive, BOARD, Board)
    audit = _record(archive, AUDIT, Audit) if AUDIT in archive.members else None
    bundle = Bundle(archive, manifest, plan, board, audit, jobs, results, audited)
    _refuse_other_members(bundle)
    return bundle


@contextmanager
def understood(path: Path, what: str) -> Iterator[None]:
    """What reads members that a stranger wrote: whatever is not as it has to be becomes one line.

    Raises:
        BundleError: with the reason.
    """
    try:
        yield
    except BundleError:
        raise
    except Exception as error:  # Functions that were written for what this version wrote get what anybody may have.
        reason = str(error) if isinstance(error, RobustStackError) else f"{type(error).__name__}: {error}"
        raise BundleError(f"{path}: {what} is not as this version of robuststack writes it: {reason}") from None


def _manifest(archive: Archive) -> Manifest:
    content = read_json(archive, MANIFEST)
    if not isinstance(content, dict) or content.get("format") != Manifest.model_fields["format"].default:
        raise BundleError(f"{archive.path} is no bundle: {MANIFEST} does not say that it is one")
    if content.get("schema") != BUNDLE_SCHEMA:
        raise BundleError(f"{archive.path} has schema {content.get('schema')}, this version reads {BUNDLE_SCHEMA}")
    return _record(archive, MANIFEST, Manifest)


def _record(archive: Archive, name: str, kind: type[R]) -> R:
    try:
        return kind.model_validate_json(archive.read(name))
    except ValidationError as error:
        problem = first_problem(kind, error, read_json(archive, name))
        raise BundleError(f"{archive.path}: {name}: {problem}") from None


def _refuse_changed(archive: Archive, manifest: Manifest, name: str) -> None:
    there, written = archive.members.get(name), manifest.members.get(name)
    if there is None:
        raise BundleError(f"{archive.path}: {name} is missing, which {MANIFEST} names")
    if written is None:
        raise BundleError(f"{archive.path}: {name} was added: {MANIFEST} does not name it")
    if there.size != written.size or archive.sha256(name) != written.sha256:
        raise BundleError(f"{archive.path}: {name} was changed or is damaged: its hash is not that in {MANIFEST}")


def _refuse_other_members(bundle: Bundle) -> None:
    """Refuse a file that its job did not write, a job that the plan does not have, and labels of another shape."""
    path, jobs = bundle.path, bundle.jobs
    for name in bundle.archive.members:
        _, _, inside = name.partition("jobs/")
        job, _, file = inside.partition("/")
        if not job:
            continue
        if job not in bundle.results:
            raise BundleError(f"{path}: {name} is of a job that {PLAN} does not have")
        expected = bundle.results[job]["files"].get(file)
        if file != RESULT and bundle.manifest.members[name].sha256 != expected:
            raise BundleError(f"{path}: {name} is not the file that {member(job, RESULT)} is about: its hash differs")
    for planned in (*bundle.plan.jobs, *bundle.audited):
        spec, labels, images = planned.spec, member(planned.id, LABELS), member(planned.id, IMAGES)
        if isinstance(spec, JudgeSpec | GameSpec):
            if labels not in bundle.archive.members:
                raise BundleError(f"{path}: {labels} is missing")
            with understood(path, labels):
                _check_labels(spec, jobs.read(planned.id, LABELS), bundle.results[planned.id]["n"])
        elif planned.id in bundle.plan.by_id and planned.kind == "attack" and images not in bundle.archive.members:
            raise BundleError(f"{path}: {images} is missing")


def _check_labels(spec: JudgeSpec | GameSpec, content: bytes, n: int) -> None:
    """
    Raises:
        ValueError: the labels are of another shape or type than such a job keeps.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        tensors = load(content)
    except SafetensorError as error:
        raise ValueError(f"no safetensors: {error}") from None
    truth = tensors.pop("truth")
    if truth.shape != (n,) or (isinstance(spec, JudgeSpec) and tensors.keys() != {"labels"}):
        raise ValueError(f"labels of {n} images are needed")
    for labels in tensors.values():
        draws = spec.draws if isinstance(spec, JudgeSpec) else len(labels)
        if labels.shape != (draws, n) or not np.issubdtype(labels.dtype, np.signedinteger) or draws < 1:
            raise ValueError(f"labels are {labels.dtype} {labels.shape}; {draws} draws of {n} images are needed")
