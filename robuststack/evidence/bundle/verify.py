"""What can be said of a bundle without trusting its author."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from robuststack.errors import DatasetError
from robuststack.evidence.bundle.data import (
    Scored,
    ball_problems,
    data_hash,
    dataset_of,
    image_problems,
    scored_images,
    why_not_there,
)
from robuststack.evidence.bundle.derived import board_changes, derived_board
from robuststack.evidence.bundle.links import broken_links
from robuststack.evidence.bundle.opening import BOARD, PLAN, WEIGHTS, Bundle, open_bundle, understood
from robuststack.evidence.bundle.planned_again import NotPlanned, plan_problems
from robuststack.hardware import Hardware, resolve
from robuststack.leaderboard.board_labels import read_labels
from robuststack.plan.job import LABELS, Job
from robuststack.plan.specs import AttackSpec, JudgeSpec
from robuststack.plugin.registry import Registry

if TYPE_CHECKING:
    from robuststack.engine.workspace import Workspace
    from robuststack.evidence.bundle.judging_again import JudgedAgain

Word = Literal["disagrees", "consistent", "re-judged"]


@dataclass
class Verification:
    """What was found of a bundle, a line for each question."""

    file: Path
    sha256: str
    """The hash of the file."""
    suite: str
    agreed: list[str] = field(default_factory=list)
    """What agrees."""
    unchecked: list[str] = field(default_factory=list)
    """What was not checked, and why."""
    disagreements: list[str] = field(default_factory=list)
    """Where the bundle says one thing in one place and another in another."""
    judged_again: bool = False
    """Whether a share of the images of every judge job was judged again."""

    @property
    def verdict(self) -> Word:
        """`disagrees`, if anything does; `re-judged`, if the weights and the data gave the same labels again for a share of
        the images of every judge job; else `consistent`: what the bundle says of itself fits together."""
        if self.disagreements:
            return "disagrees"
        return "re-judged" if self.judged_again else "consistent"

    def settle(self, question: str, problems: list[str]) -> None:
        """Keep what a question came to."""
        self.disagreements += problems
        if not problems:
            self.agreed.append(question)


def verify_bundle(
    path: Path, registry: Registry, data_folder: Path, *, own_data: Path | None = None, device: str = "auto"
) -> Verification:
    """Check a bundle against itself, and against the data and the weights if they are there. Nothing that it names is
    fetched from a network, imported, called or unpickled, and nothing is unpacked.

    `data_folder` is where downloaded data sets lie; `own_data` holds, by their names, files and folders of the author's own
    data.

    Raises:
        BundleError: the file is no bundle, is truncated, or a member was changed: which one.
    """
    bundle = open_bundle(path, own_data)
    members = bundle.archive.members
    found = Verification(path, _hash(path), bundle.manifest.suite)
    found.agreed.append(f"{len(members)} members and their hashes")
    with understood(path, PLAN):
        problems = broken_links(bundle.plan, bundle.results, bundle.manifest.engine_revision)
    found.settle(
        f"{len(bundle.plan.jobs)} jobs: their ids, and the weights, images and labels that they used", problems
    )
    _derive(bundle, found)
    _audit(bundle, found)
    try:
        with understood(path, PLAN):
            problems = plan_problems(bundle, registry)
        found.settle("the suite makes these jobs and rows", problems)
    except NotPlanned as reason:
        found.unchecked.append(f"whether the suite makes these jobs: {reason}")
    _look_at_images(bundle, found, registry, data_folder, device)
    return found


def _hash(path: Path) -> str:
    import hashlib

    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _derive(bundle: Bundle, found: Verification) -> None:
    """The leaderboard, from the labels."""
    board = bundle.board
    with understood(bundle.path, BOARD):
        derived = derived_board(bundle.plan, bundle.results, bundle.jobs, board)
        judged = [job.id for job in bundle.plan.jobs if isinstance(job.spec, JudgeSpec)]
        labels = sum(read_labels(bundle.jobs, job, bundle.results[job]).labels.size for job in judged)
    counted = f"{len(board.rows)} rows, {len(board.entries)} entries and {len(board.games)} games"
    found.settle(f"{counted} of the leaderboard, from {labels:,} labels", board_changes(board, derived))
    found.unchecked.append(
        "times, counts and training curves: they stand in the jobs' results, and follow from no label"
    )
    if any(row.extra for row in board.rows):
        found.unchecked.append("columns that plugins added (`extra`)")


def _audit(bundle: Bundle, found: Verification) -> None:
    audit = bundle.audit
    if audit is None:
        return
    scored = {row.label: set(row.jobs.scored()) for row in bundle.board.rows}
    problems = [
        f"{label!r} is audited by other jobs than its row has"
        for label, row in audit.by_label.items()
        if not set(row.jobs) <= scored.get(label, set())
    ]
    if audit.suite != bundle.board.suite:
        problems.append(f"the audit is of {audit.suite!r}")
    found.settle("the audit is of these rows", problems)
    found.unchecked.append("the verdicts of the audit: the jobs of its checks are not in the bundle")


def _look_at_images(bundle: Bundle, found: Verification, registry: Registry, data_folder: Path, device: str) -> None:
    """Adversarial images against [0, 1] and, if the data is there, against the ball; then a share of them judged again."""
    from robuststack.engine.workspace import Workspace

    workspace = Workspace(registry, bundle.jobs, data_folder, Hardware(resolve(device, "float32").device, "float32"))
    with understood(bundle.path, "its data"):
        selections = scored_images(bundle.plan, bundle.results, bundle.jobs)
        there = {name for name, scored in selections.items() if _has_data(scored, bundle, found, workspace)}
        attacks = [job for job in bundle.plan.jobs if isinstance(job.spec, AttackSpec)]
        judges = [job for job in bundle.plan.jobs if isinstance(job.spec, JudgeSpec)]
        of_job = {job.id: read_labels(bundle.jobs, job.id, bundle.results[job.id]).selection for job in judges}
        images = {job.spec.images: of_job[job.id] for job in judges if isinstance(job.spec, JudgeSpec)}
        problems = [line for job in attacks for line in _of_images(job, bundle, workspace, images.get(job.id) in there)]
    with_data = [job for job in attacks if images.get(job.id) in there]
    if attacks:
        found.settle(f"images of {len(attacks)} attack jobs in [0, 1], and of {len(with_data)} in the ball", problems)
    if len(with_data) < len(attacks):
        found.unchecked.append(f"the ball around the clean images of {len(attacks) - len(with_data)} attack jobs")
    if problems:
        found.unchecked.append("images judged again: there is something wrong with them")
        return
    _judge_again(bundle, found, workspace, [job for job in judges if of_job[job.id] in there], judges)


def _has_data(scored: Scored, bundle: Bundle, found: Verification, workspace: Workspace) -> bool:
    """Whether the clean images are there, and are those that the author had."""
    name = f"dataset {scored.dataset.name!r}"
    reason = why_not_there(workspace.registry, scored.dataset, workspace.data_folder)
    try:
        data = None if reason else workspace.selected(scored.dataset, scored.selection)
    except DatasetError as error:
        reason, data = str(error), None
    if data is None:
        found.unchecked.append(f"the images against the data: {name}: {reason}")
        return False
    records = [record for record in bundle.manifest.data if record.selection == scored.name]
    truth = data.labels.cpu().numpy()
    same = [record.sha256 for record in records] == [data_hash(data.images.cpu().numpy(), truth)]
    problems = [] if same else [f"{name}: its images are others here"]
    problems += [
        f"{job.id}: its true labels are not those of {name}"
        for job in bundle.plan.jobs
        if isinstance(job.spec, JudgeSpec)
        and (judged := read_labels(bundle.jobs, job.id, bundle.results[job.id])).selection == scored.name
        and judged.truth.tolist() != truth.tolist()
    ]
    found.settle(f"{len(data)} images of {name} and their labels", problems)
    return not problems


def _of_images(job: Job, bundle: Bundle, workspace: Workspace, with_data: bool) -> Iterator[str]:
    """What is wrong with the images of an attack job."""
    spec = job.spec
    assert isinstance(spec, AttackSpec)
    images, _ = workspace.images(job.id)
    data = workspace.selected(dataset_of(bundle.plan, spec), spec.selection) if with_data else None
    problems = list(image_problems(images, tuple(data.images.shape[1:]) if data else (), bundle.results[job.id]["n"]))
    if data and not problems:
        problems = list(ball_problems(images, data, spec))
    yield from (f"{job.id}: {line}" for line in problems)


def _judge_again(
    bundle: Bundle, found: Verification, workspace: Workspace, with_data: list[Job], judges: list[Job]
) -> None:
    from robuststack.evidence.bundle.judging_again import SHARE, judge_again

    able = [job for job in with_data if bundle.jobs.has_file(_model(job), WEIGHTS)]
    # The jobs of a model, and of an attack, one after another: each is loaded once.
    able.sort(key=lambda job: (_model(job), _images(job) or ""))
    judged: list[JudgedAgain] = []
    with understood(bundle.path, "its weights"):
        judged += [judge_again(job, bundle.results[job.id], workspace) for job in able]
    if judged:
        rounded, redrawn = sum(job.rounded for job in judged), sum(job.redrawn for job in judged)
        labels = sum(job.labels for job in judged)
        told = f"{labels:,} labels of {len(judged)} judge jobs, {100 * SHARE:.0f} % of the images"
        told += f", judged again ({rounded} differ by rounding)" if rounded else ", judged again"
        told += f"; of {redrawn} with other random numbers, within the interval of the draws" if redrawn else ""
        found.settle(told, [job.problem for job in judged if job.problem])
    left = len(judges) - len(able)
    if left:
        reason = "their weights or their data are not there" if bundle.manifest.weights else (
            "the bundle has no weights (`robuststack bundle --weights`)"
        )  # fmt: skip
        found.unchecked.append(f"{LABELS} of {left} judge jobs against their models: {reason}")
    found.judged_again = bool(judged) and not left


def _model(job: Job) -> str:
    assert isinstance(job.spec, JudgeSpec)
    return job.spec.model


def _images(job: Job) -> str | None:
    assert isinstance(job.spec, JudgeSpec)
    return job.spec.images
