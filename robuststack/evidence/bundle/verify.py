"""What can be said of a bundle without trusting its author."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from robuststack.evidence.bundle.archive import file_hash
from robuststack.evidence.bundle.audited import audit_again
from robuststack.evidence.bundle.derived import board_changes, derived_board, job_changes
from robuststack.evidence.bundle.images import check_images
from robuststack.evidence.bundle.links import broken_links
from robuststack.evidence.bundle.opening import AUDIT, BOARD, PLAN, Bundle, open_bundle, understood
from robuststack.evidence.bundle.planned_again import NotPlanned, plan_problems, planned
from robuststack.evidence.bundle.verification import Verification
from robuststack.evidence.checks.catalogue import CHECKS
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
        every = replace(bundle.plan, jobs=(*bundle.plan.jobs, *bundle.audited))
        problems = broken_links(every, bundle.jobs, bundle.manifest.engine_revision)
    report.settle(f"{len(every.jobs)} jobs: their ids, and the weights, images and labels that they used", problems)
    _derive(bundle, report)
    if published is not None:
        if published.suite == bundle.board.suite:
            problems = board_changes(published, bundle.board, (str(board), "the bundle"))
        else:
            problems = [f"{board} is the leaderboard of {published.suite}, the bundle has that of {bundle.board.suite}"]
        report.settle(f"the leaderboard {board}", problems)
    try:
        problems = plan_problems(bundle, registry)
        report.settle("the suite makes these jobs and rows", problems)
        reason = ""
    except NotPlanned as error:
        reason = str(error)
        report.unchecked.append(f"whether the suite makes these jobs: {reason}")
    _audit(bundle, report, registry, reason)
    check_images(bundle, report, registry, data_folder, device)
    return report


def _derive(bundle: Bundle, report: Verification) -> None:
    """The leaderboard, from the labels."""
    board = bundle.board
    with understood(bundle.path, BOARD):
        derived = derived_board(bundle.plan, bundle.results, bundle.jobs, board)
        problems = job_changes((*bundle.plan.jobs, *bundle.audited), bundle.results, bundle.jobs)
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


def _audit(bundle: Bundle, report: Verification, registry: Registry, reason: str) -> None:
    """The audit, from the jobs of its checks; on trust, with the reason, if the suite cannot be planned here."""
    audit = bundle.audit
    if audit is None:
        return
    there = bundle.board.by_label
    problems = [
        f"{label!r} is audited by other jobs than its row has, or they came to other labels"
        for label, audited in audit.by_label.items()
        if label not in there or not audited.is_of(there[label])
    ]
    if audit.suite != bundle.board.suite:
        problems.append(f"the audit is of {audit.suite!r}")
    listed = {check.name for check in audit.checks}
    problems += [
        f"the verdicts of {label!r} are not of the checks that the audit lists"
        for label, audited in audit.by_label.items()
        if audited.by_check.keys() != listed
    ]
    if audit.complete and (listed != {check.name for check in CHECKS} or audit.by_label.keys() != there.keys()):
        problems.append("the audit says that it is complete, and lacks checks or rows")
    report.settle("the audit is of these rows", problems)
    if reason or problems:
        report.unchecked.append(f"the verdicts of the audit: {reason or 'it is of other rows'}")
        return
    with understood(bundle.path, AUDIT):
        again = audit_again(planned(bundle, registry), audit, bundle.results, bundle.jobs, registry)
    asked = again.verdicts + again.trusted
    if again.verdicts or again.problems:
        rows = f"RA of {again.figures} of {len(audit.rows)} rows"
        told = f"the audit from its jobs: {again.verdicts} of {asked} verdicts, {rows}"
        report.settle(told, again.problems)
    if again.trusted:
        report.unchecked.append(
            f"{again.trusted} of {asked} verdicts of the audit: jobs of theirs are not in the bundle"
        )
    if again.verdicts:
        report.unchecked.append("what probes and attacks saw (`facts`, `checks`), which verdicts of the audit rest on")
