"""The adversarial images of a bundle against the data, and against the models that judged them."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

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
from robuststack.evidence.bundle.opening import Bundle, understood
from robuststack.evidence.bundle.verification import Verification
from robuststack.hardware import resolve
from robuststack.leaderboard.board_labels import read_labels, selection_name
from robuststack.plan.job import LABELS, WEIGHTS, Job
from robuststack.plan.specs import AttackSpec, JudgeSpec
from robuststack.plugin.registry import Registry

if TYPE_CHECKING:
    from robuststack.engine.workspace import Workspace
    from robuststack.evidence.bundle.judging_again import JudgedAgain


def check_images(bundle: Bundle, report: Verification, registry: Registry, data_folder: Path, device: str) -> None:
    """Adversarial images against [0, 1] and, if the data is there, against the ball; then a share of them judged again."""
    from robuststack.engine.workspace import Workspace

    workspace = Workspace(registry, bundle.jobs, data_folder, resolve(device, "float32"))
    with understood(bundle.path, "its data"):
        attacks = [job for job in bundle.plan.jobs if isinstance(job.spec, AttackSpec)]
        judges = [job for job in bundle.plan.jobs if isinstance(job.spec, JudgeSpec)]
        of_job = {job.id: selection_name(bundle.jobs, bundle.results[job.id]) for job in judges}
        there = {
            name
            for name, scored in scored_images(bundle.plan, bundle.results, bundle.jobs).items()
            if _has_data(scored, [job for job in judges if of_job[job.id] == name], bundle, report, workspace)
        }
        images = {job.spec.images: of_job[job.id] for job in judges if isinstance(job.spec, JudgeSpec)}
        natural = _natural(bundle)
        known = {job.id for job in attacks if images.get(job.id) in there}
        problems = [line for job in attacks for line in _of_images(job, bundle, workspace, job.id in known, natural)]
    inside = len(known - natural)
    if attacks:
        report.settle(f"images of {len(attacks)} attack jobs in [0, 1], and of {inside} in the ball", problems)
    if left := len(attacks) - len(natural) - inside:
        report.unchecked.append(f"the ball around the clean images of {left} attack jobs")
    if problems:
        report.unchecked.append("images judged again: there is something wrong with them")
        return
    _judge_again(bundle, report, workspace, [job for job in judges if of_job[job.id] in there], judges)


def _has_data(scored: Scored, judges: list[Job], bundle: Bundle, report: Verification, workspace: Workspace) -> bool:
    """Whether the clean images are there, and are those that the author had and that the `judges` of them scored."""
    name = f"dataset {scored.dataset.name!r}"
    reason = why_not_there(workspace.registry, scored.dataset, workspace.data_folder)
    try:
        data = None if reason else workspace.selected(scored.dataset, scored.selection)
    except DatasetError as error:
        reason, data = str(error), None
    if data is None:
        report.unchecked.append(f"the images against the data: {name}: {reason}")
        return False
    records = [record for record in bundle.manifest.data if record.selection == scored.name]
    truth = data.labels.cpu().numpy()
    same = [record.sha256 for record in records] == [data_hash(data.images.cpu().numpy(), truth)]
    problems = [] if same else [f"{name}: its images are others here"]
    problems += [
        f"{job.id}: its true labels are not those of {name}"
        for job in judges
        if read_labels(bundle.jobs, job.id, bundle.results[job.id]).truth.tolist() != truth.tolist()
    ]
    report.settle(f"{len(data)} images of {name} and their labels", problems)
    return not problems


def _natural(bundle: Bundle) -> set[str]:
    """The jobs that made images of natural shifts, which know no ball."""
    rows = bundle.plan.rows
    return {row.images[judge] for row in rows for score in row.shift.values() for judge in score.jobs.values()}


def _of_images(
    job: Job, bundle: Bundle, workspace: Workspace, with_data: bool, natural: Collection[str]
) -> Iterator[str]:
    """What is wrong with the images of an attack job; those in `natural` are in no ball."""
    spec = job.spec
    assert isinstance(spec, AttackSpec)
    images, _ = workspace.images(job.id)
    data = workspace.selected(dataset_of(bundle.plan, spec), spec.selection) if with_data else None
    problems = list(image_problems(images, tuple(data.images.shape[1:]) if data else (), bundle.results[job.id]["n"]))
    if data and not problems and job.id not in natural:
        problems = list(ball_problems(images, data, spec))
    yield from (f"{job.id}: {line}" for line in problems)


def _judge_again(
    bundle: Bundle, report: Verification, workspace: Workspace, with_data: list[Job], judges: list[Job]
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
        report.settle(told, [job.problem for job in judged if job.problem])
    left = len(judges) - len(able)
    if left:
        reason = "their weights or their data are not there" if bundle.manifest.weights else (
            "the bundle has no weights (`robuststack bundle --weights`)"
        )  # fmt: skip
        report.unchecked.append(f"{LABELS} of {left} judge jobs against their models: {reason}")
    report.judged_again = bool(judged) and not left


def _model(job: Job) -> str:
    assert isinstance(job.spec, JudgeSpec)
    return job.spec.model


def _images(job: Job) -> str | None:
    assert isinstance(job.spec, JudgeSpec)
    return job.spec.images
