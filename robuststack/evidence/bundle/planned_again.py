"""Whether the suite in a bundle makes the jobs and rows in it: planned anew, by the plugins that are installed here."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

from robuststack import __version__
from robuststack.errors import RobustStackError
from robuststack.evidence.bundle.derived import changes
from robuststack.evidence.bundle.opening import Bundle
from robuststack.evidence.bundle.records import PlanRecord
from robuststack.plan.job_id import ENGINE_REVISION
from robuststack.plan.plan import Plan
from robuststack.plan.planner import make_plan
from robuststack.plugin.options import marked
from robuststack.plugin.registry import Registry
from robuststack.suite.part import Part
from robuststack.suite.suite import Suite


class NotPlanned(RobustStackError):
    """The suite cannot be planned here."""


def plan_problems(bundle: Bundle, registry: Registry) -> list[str]:
    """Where the plan in a bundle is not that of its suite, a line each.

    Raises:
        NotPlanned: it cannot be told here, and why.
    """
    version = bundle.manifest.versions.get("robuststack")
    if (version, bundle.manifest.engine_revision) != (__version__, ENGINE_REVISION):
        raise NotPlanned(f"it was planned by robuststack {version}, this is {__version__}")
    try:
        whole = _whole(bundle, registry)
        plan = whole.of_rows([row.label for row in bundle.plan.rows])
    except NotPlanned:
        raise
    except Exception as error:  # A stranger's suite, in whatever plugins are installed here.
        raise NotPlanned(f"its suite cannot be planned here: {error}") from None
    _refuse_other_revisions(bundle.plan, plan)
    there, here = (_said(each, bundle.plan.complete) for each in (bundle.plan, plan))
    problems = [f"plan: {line}" for line in changes(there, here, "plan.json", "the suite")]
    present = {row.label for row in bundle.plan.rows}
    absent = [row.label for row in whole.rows if row.label not in present]
    if bundle.plan.complete and absent:
        problems.append(
            f"plan: it says that it is complete, and lacks {len(absent)} rows of its suite, {absent[0]!r} first"
        )
    return problems


def planned(bundle: Bundle, registry: Registry) -> Plan:
    """The plan of the suite in a bundle, made here.

    Raises:
        NotPlanned: it names what its author alone has.
        RobustStackError: it cannot be planned with the plugins that are installed.
    """
    return _whole(bundle, registry).of_rows([row.label for row in bundle.plan.rows])


def _whole(bundle: Bundle, registry: Registry) -> Plan:
    """The same with every row that the suite makes."""
    suite = bundle.plan.suite
    if brought := next(_brought(suite, registry), None):
        raise NotPlanned(f"its suite names what its author alone has: {brought}")
    return make_plan(suite, registry, bundle.plan.hardware)


def _brought(suite: Suite, registry: Registry) -> Iterator[str]:
    """The author's own files and functions that a suite names: no such file is opened here, and no such function called."""
    yield from (part.model.text for part in suite.defenses if part.model is not None)
    networks = [*suite.architectures, *(network for part in suite.datasets for network in part.architectures)]
    kinds: dict[str, Sequence[Part]] = {
        "dataset": suite.datasets,
        "architecture": networks,
        "defense": suite.defenses,
        "attack": suite.attacks,
    }
    for kind, parts in kinds.items():
        for part in parts:
            places = marked(registry.find(kind, part.name).load().Options, "place")
            yield from (
                str({**part.options, **part.sweep}[name]) for name in places if name in part.options | part.sweep
            )


def _refuse_other_revisions(there: Plan, here: Plan) -> None:
    """
    Raises:
        NotPlanned: a plugin has changed since, in what its results mean.
    """
    before, now = (dict(_revisions([job.spec.plain() for job in plan.jobs])) for plan in (there, here))
    for component, revision in before.items():
        if now.get(component, revision) != revision:
            name, plugin = component
            raise NotPlanned(f"{name!r} of {plugin} has revision {revision} in the bundle and {now[component]} here")


def _revisions(data: Any) -> Iterator[tuple[tuple[str, str], int]]:
    """The revision of every component in specifications, by its name and its plugin."""
    if isinstance(data, dict):
        if data.keys() >= {"name", "plugin", "revision"}:
            yield (data["name"], data["plugin"]), data["revision"]
        data = list(data.values())
    if isinstance(data, list):
        for part in data:
            yield from _revisions(part)


def _said(plan: Plan, complete: bool) -> dict[str, Any]:
    """A plan in which rows are found by their labels and jobs by their ids, without the digests of the source code."""
    plain = json.loads(PlanRecord.of(plan, complete).model_dump_json())
    return {
        **plain,
        "rows": {row["label"]: row for row in plain["rows"]},
        "jobs": {job["id"]: sorted(job["needs"]) for job in plain["jobs"]},
    }
