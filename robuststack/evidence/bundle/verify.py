"""What can be said of a bundle without trusting its author."""

from __future__ import annotations

from pathlib import Path

from robuststack.evidence.bundle.archive import file_hash
from robuststack.evidence.bundle.derived import board_changes, derived_board, job_changes
from robuststack.evidence.bundle.images import check_images
from robuststack.evidence.bundle.links import broken_links
from robuststack.evidence.bundle.opening import BOARD, PLAN, Bundle, open_bundle, understood
from robuststack.evidence.bundle.planned_again import NotPlanned, plan_problems
from robuststack.evidence.bundle.verification import Verification
from robuststack.leaderboard.board_file import read_board
from robuststack.leaderboard.board_labels import read_labels
from robuststack.plan.specs import JudgeSpec
from robuststack.plugin.registry import Registry


def verify_bundle(
    path: Path, registry: Registry, data_folder: Path, *, own_data: Path | None = None, device: str = "auto",
    board: Path | None = None,
) -> Verification:  # fmt: skip
    """Check a bundle against itself, and against the data and the weights if they are there. Nothing that it names is
    fetched from a network, imported, called or unpickled, and nothing is unpacked.

    `data_folder` is where downloaded data sets lie; `own_data` holds, by their names, files and folders of the author's own
    data. `board` is a leaderboard file that must say what the bundle's does.

    Raises:
        LeaderboardError: `board` is no leaderboard.
        BundleError: the file is no bundle, is truncated, or a member was changed: which one.
    """
    published = None if board is None else read_board(board)
    bundle = open_bundle(path, own_data)
    members = bundle.archive.members
    report = Verification(path, file_hash(path), bundle.manifest.suite)
    report.agreed.append(f"{len(members)} members and their hashes")
    with understood(path, PLAN):
        problems = broken_links(bundle.plan, bundle.jobs, bundle.manifest.engine_revision)
    report.settle(
        f"{len(bundle.plan.jobs)} jobs: their ids, and the weights, images and labels that they used", problems
    )
    _derive(bundle, report)
    _audit(bundle, report)
    if published is not None:
        problems = board_changes(published, bundle.board, (str(board), "the bundle"))
        report.settle(f"the leaderboard {board}", problems)
    try:
        problems = plan_problems(bundle, registry)
        report.settle("the suite makes these jobs and rows", problems)
    except NotPlanned as reason:
        report.unchecked.append(f"whether the suite makes these jobs: {reason}")
    check_images(bundle, report, registry, data_folder, device)
    return report


def _derive(bundle: Bundle, report: Verification) -> None:
    """The leaderboard, from the labels."""
    board = bundle.board
    with understood(bundle.path, BOARD):
        derived = derived_board(bundle.plan, bundle.results, bundle.jobs, board)
        problems = job_changes(bundle.plan, bundle.results, bundle.jobs)
        judged = [job.id for job in bundle.plan.jobs if isinstance(job.spec, JudgeSpec)]
        labels = sum(read_labels(bundle.jobs, job, bundle.results[job]).labels.size for job in judged)
    parts = {"rows": board.rows, "entries": board.entries, "games": board.games}
    counted = ", ".join(f"{name} ({len(part)})" for name, part in parts.items() if part)
    report.settle(f"the leaderboard from {labels:,} labels: {counted}", [*problems, *board_changes(board, derived)])
    report.unchecked.append("times, counts and training curves, which follow from no label")
    kinds = {job.kind for job in bundle.plan.jobs}
    if "game" in kinds:
        report.unchecked.append(
            "labels of the rounds of games against their models: their images are not in the bundle"
        )
    if "draws" in kinds:
        report.unchecked.append("how `draws: auto` chose: the images of its probes are not in the bundle")
    if any(row.extra for row in board.rows):
        report.unchecked.append("columns that plugins added (`extra`)")


def _audit(bundle: Bundle, report: Verification) -> None:
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
    report.settle("the audit is of these rows", problems)
    report.unchecked.append("the verdicts of the audit: the jobs of its checks are not in the bundle")
