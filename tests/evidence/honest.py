"""The campaign of the honest models: trains those of suites/honest.yaml, audits them, and writes what the checks say.

    python tests/evidence/honest.py leaderboard/honest.md

No check may call one of them `broken`, and none `weak`: the exit code is 1 if one does. Finished jobs are taken from the
store, so a campaign that was stopped goes on. Some 40 minutes for two processes; `--set seeds=0` is a third of it.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from tabulate import tabulate

import robuststack as rs
from robuststack.evidence.checks.catalogue import chosen
from robuststack.evidence.checks.verdict import BADGES, Verdict
from robuststack.leaderboard.audit import Audit, RowAudit
from robuststack.paths import STORE
from robuststack.plan.plan import Plan
from robuststack.plan.planner import make_plan
from robuststack.plugin.registry import Registry
from robuststack.processor import cpu_name
from robuststack.running.audit import audit_plan
from robuststack.running.store import Store
from robuststack.suite.loading import load_suite

SUITE = Path(__file__).parents[2] / "suites" / "honest.yaml"
TEXT = """# What the audit says of honest models

Six defenses that mask no gradient, with the training seeds and attacks of `suites/honest.yaml`: PGD-20 and AutoAttack-rand
with 100 iterations. Each training seed is audited, and the gravest verdict is the row's. No check may say `broken`, and
none `weak`. `tox -e honest` makes this file, on {images} images of each row.

**{broken} of {asked} verdicts are `broken`, {weak} `weak`.** {open} are `open`, {holds} `holds`.

{table}

{letters}. Minutes: of the jobs that the audit adds to the row, for each training seed, on one core of {machine}
in {precision}.
{reasons}"""


def report(audit: Audit, taken: Mapping[str, float]) -> str:
    """The verdicts as Markdown: a table of rows and checks, with the minutes that each row has `taken`, and the reason of
    each verdict that is broken or weak."""
    names = [check.name for check in audit.checks]
    body = [[row.label, *(row.by_check[name].badge for name in names), f"{taken[row.label]:.1f}"] for row in audit.rows]
    words = [verdict.verdict for row in audit.rows for verdict in row.verdicts if verdict.verdict != "none"]
    return TEXT.format(
        images=max(row.images for row in audit.rows),
        broken=words.count("broken"),
        weak=words.count("weak"),
        asked=len(words),
        machine=cpu_name(),
        precision=audit.precision,
        open=words.count("open"),
        holds=words.count("holds"),
        table=tabulate(body, ["row", *names, "minutes"], tablefmt="github", disable_numparse=True),
        letters=", ".join(f"{letter} {word}" for word, letter in BADGES.items() if word != "none")
        + ", - does not apply",
        reasons="".join(
            f"\n- {row.label}, {verdict.check} `{verdict.verdict}`: {verdict.text}\n" for row, verdict in faults(audit)
        ),
    )  # fmt: skip


def faults(audit: Audit) -> list[tuple[RowAudit, Verdict]]:
    """The rows and their verdicts that no honest model may have."""
    return [(row, verdict) for row in audit.rows for verdict in row.verdicts if verdict.verdict in ("broken", "weak")]


def minutes(label: str, plan: Plan, images: int, store: Store, registry: Registry) -> float:
    """The time of the jobs that the audit of a row adds to those of the suite, for each training seed."""
    audited = audit_plan(plan.of_rows([label]), chosen(), registry, images)
    seconds = [store.result(job.id)["seconds"] for job in audited.jobs if job.id not in plan.by_id]
    return float(sum(seconds)) / 60 / len(plan.suite.seeds.train)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output", type=Path)
    parser.add_argument("--store", default=STORE)
    parser.add_argument("--set", dest="overrides", action="append", default=[], metavar="K=V")
    parser.add_argument("--images", type=int, default=200)
    parser.add_argument("--workers", type=int, default=1)
    given = parser.parse_args(arguments)
    result = rs.audit(
        SUITE,
        images=given.images,
        store=given.store,
        leaderboard=None,
        overrides=given.overrides,
        workers=given.workers,
    )
    suite, registry, store = load_suite(SUITE, given.overrides), Registry(), Store(given.store)
    plan = make_plan(suite, registry, suite.hardware(workers=given.workers))
    taken = {row.label: minutes(row.label, plan, given.images, store, registry) for row in result.audit.rows}
    given.output.write_text(report(result.audit, taken), encoding="utf-8")
    for label, reason in result.failed.items():
        sys.stderr.write(f"failed: {label}: {reason}\n")
    for row, verdict in faults(result.audit):
        sys.stderr.write(f"{verdict.verdict} {verdict.check}: {row.label}: {verdict.text}\n")
    return 1 if result.failed or faults(result.audit) else 0


if __name__ == "__main__":
    sys.exit(main())
