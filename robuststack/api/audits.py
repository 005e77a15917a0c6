"""Ask whether figures can be believed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from robuststack.api.arguments import EXECUTOR, PLACE, REGISTRY, SECONDS, TEXT, TEXTS, WHOLE, checked, of_types
from robuststack.api.result import Result
from robuststack.errors import RobustStackError
from robuststack.evidence.checks.catalogue import chosen
from robuststack.leaderboard.audit import AUDIT_SCHEMA, Audit, CheckQuestion
from robuststack.leaderboard.audit_file import write_audit
from robuststack.leaderboard.audit_table import audit_table
from robuststack.leaderboard.audit_target import audit_target
from robuststack.leaderboard.board_file import claim, suite_place
from robuststack.paths import LEADERBOARD, STORE, absolute, data_folder
from robuststack.plan.audit import IMAGES as AUDITED_IMAGES
from robuststack.plan.planner import make_plan
from robuststack.plugin.registry import Registry
from robuststack.plugin.tracker import tracked
from robuststack.running.audit import run_audit
from robuststack.running.executors.places import Where, place
from robuststack.running.store import Store
from robuststack.suite.loading import assignments
from robuststack.suite.suite import Suite
from robuststack.suite.user_model import user_modules

AS_MADE = "as made"
"""The folder that a result was written to, or else `leaderboard`."""


@dataclass
class AuditResult:
    """What an audit gives back. `audit.rows` are its rows, each with a verdict of every check."""

    audit: Audit
    failed: dict[str, str]
    """Label of each failed job -> why. A check that needs one is `open`."""
    files: list[Path] = field(default_factory=list)

    def table(self, style: str = "simple") -> str:
        """The verdicts as text: a table of rows and checks in one of tabulate's formats, then the reasons."""
        return audit_table(self.audit, style)


@checked(
    target=of_types(
        "a suite or its file, a leaderboard or its name, or what run or evaluate gave back, such as"
        " audit(evaluate(model, data=(images, labels)))", str, Path, Suite, Result,
    ),
    only=TEXT.or_none(), checks=TEXTS, images=WHOLE, store=PLACE.or_none(), leaderboard=PLACE.or_none(),
    overrides=TEXTS.or_none(), wait=SECONDS, workers=WHOLE.or_none(), executor=EXECUTOR, track=PLACE.or_none(),
    registry=REGISTRY,
)  # fmt: skip
def audit(
    target: str | Path | Suite | Result,
    *,
    only: str | None = None,
    checks: str | Sequence[str] = (),
    images: int = AUDITED_IMAGES,
    store: str | Path | None = None,
    leaderboard: str | Path | None = AS_MADE,
    device: str = "auto",
    overrides: Sequence[str] = (),
    wait: float = 0.0,
    workers: int | None = 1,
    executor: Where = "local",
    track: str | Path | None = None,
    registry: Registry | None = None,
) -> AuditResult:
    """Ask whether the figures of a suite, a leaderboard or a model can be believed: the checks of the standard.

    `target` is a suite or its file, the JSON file of a leaderboard or the name that it has in the folder `leaderboard`, or
    what `run` or `evaluate` gave back: `audit(evaluate(model, data=(images, labels)))` audits a model of your own. A
    leaderboard is audited on its suite with the overrides that it was made with. `only` is a pattern of row labels,
    `checks` names of checks, by default all that apply; each looks at a seeded sample of `images` images of the row.
    What the store has is taken from there; models and attacks of the suite that it lacks are made first.

    The audit is written beside the leaderboard, to `<suite>.audit.json` and `<suite>.audit.md`, or to
    `<suite>.partial.audit.json` and `.md` if rows or checks are left out. If `leaderboard` is not given it is the folder
    that a result was written to (nothing is written if it was not), and `leaderboard` for anything else; None writes
    nothing. `store` is that of the result, or `.robuststack`. The other arguments are those of `run`; a result is audited
    with its own overrides, device and workers.

    Raises:
        RobustStackError: an unknown check, overrides of what was run already, or the suite, the leaderboard, a plugin, the
            data or the store cannot be used.
    """
    asked, overrides = chosen(checks), assignments(overrides)
    made = target if isinstance(target, Result) else None
    store = store or (made.store if made else STORE)
    if leaderboard == AS_MADE:
        leaderboard = made.leaderboard if made else LEADERBOARD
    if images < 1:
        raise RobustStackError(f"images {images}: at least one image is needed")
    registry = registry or (made.registry if made else None) or Registry()
    folder = None if leaderboard is None else absolute(leaderboard)
    with place(executor) as where:
        if isinstance(target, Result):
            if overrides:
                raise RobustStackError(
                    f"overrides {overrides[0]}: a result is audited as it was run; name its suite instead"
                )
            plan, rows = target.plan, list(target.plan.rows)
            wanted = plan.only(only).rows if only else rows
        else:
            named = audit_target(target, absolute(LEADERBOARD) if folder is None else folder, overrides)
            folder = None if folder is None else named.folder
            plan = make_plan(named.suite, registry, where.hardware(named.suite, device, workers))
            rows = named.rows(plan)
            wanted = [row for row in plan.only(only).rows if row in rows] if only else rows
        if folder is not None:
            claim(plan, folder)
        storage = Store(store)
        with (
            user_modules(),
            tracked(registry, track),
            where.executor(plan, registry, storage, data_folder()) as running,
        ):
            audited = run_audit(plan, wanted, asked, storage, running, registry, images=images, wait=wait)
    record = Audit(
        schema_=AUDIT_SCHEMA,
        suite=plan.suite.name,
        suite_file=None if folder is None else suite_place(plan, folder),
        overrides=tuple(plan.suite.overrides),
        complete=plan.complete and len(wanted) == len(plan.rows) and asked == chosen(),
        device=plan.hardware.kind,
        precision=plan.hardware.precision,
        checks=tuple(CheckQuestion(name=check.name, question=check.question) for check in asked),
        rows=tuple(audited.rows),
    )
    return AuditResult(record, audited.failed, [] if folder is None else write_audit(record, folder))
