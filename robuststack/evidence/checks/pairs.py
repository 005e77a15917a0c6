"""Checks that hold two readings of one model against each other: rule 6 of the standard.

A fall counts if it is above one point with p < 0.01 on the check's images, and again with p < 0.05 on other images of the
row. Where the row has hardly any other images, p has to stay below the product of both.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

from robuststack.evidence.checks.check import Check, Results
from robuststack.evidence.checks.verdict import Verdict
from robuststack.evidence.decisions import CONFIRMS, FALL, FIRES, HOLDS, Fall, fall_between
from robuststack.plan.audit import Subject
from robuststack.plan.job import Job

ENOUGH_OTHERS = 20
"""Other images that can confirm a finding: of fewer, not even a large fall is sure to reach p < 0.05."""


@dataclass(frozen=True)
class Pair:
    """Two readings: the judge jobs that each is the worst over. The check asks whether the second is lower."""

    name: str
    """What is tried, as the verdict names it: `PGD-40x5`."""
    before: tuple[Job, ...]
    after: tuple[Job, ...]
    pooled: bool = False
    """Whether the second reading is the mean over its jobs in place of their worst: one job for each baked draw."""

    @property
    def jobs(self) -> tuple[Job, ...]:
        return (*self.before, *self.after)


@dataclass(frozen=True)
class Finding:
    """What rule 6 says of a pair."""

    pair: Pair
    first: Fall
    figures: tuple[float, float]
    """Both readings on the check's images, in percent."""
    second: Fall | None = None
    """On other images, if the first fires and there are enough."""
    others: int = 0
    confirming: tuple[Job, ...] = ()
    """The jobs of the second."""

    @property
    def stands(self) -> bool:
        """Whether the fall counts."""
        if not self.first.fires:
            return False
        return self.second.confirms if self.second else self.first.p < FIRES * CONFIRMS

    @property
    def points(self) -> float:
        return 100 * self.first.estimate.value

    def __str__(self) -> str:
        before, after = self.figures
        text = f"{self.pair.name}: {before:.1f} to {after:.1f} %, p = {self.first.p:.2g}"
        if self.second:
            again = 100 * self.second.estimate.value
            text += f"; a fall of {again:.1f} points on {self.others} other images, p = {self.second.p:.2g}"
        return text


class PairCheck(Check):
    """A check by rule 6: `pairs` says what is compared, `fires_as` what a fall means."""

    fires_as: ClassVar[Literal["weak", "broken"]] = "weak"
    fall_means: ClassVar[str]
    """What a fall says, as the verdict's text begins: `a stronger attack finds more`."""
    holds_means: ClassVar[str]
    """What it says if none falls."""

    @abstractmethod
    def pairs(self, subject: Subject) -> Sequence[Pair]:
        """What is compared, by the same names on whichever images the subject has."""

    def compared(self, subject: Subject) -> Sequence[Pair]:
        """What `pairs` says of a subject, asked once."""
        return subject.once(self.name, lambda: self.pairs(subject))

    def jobs(self, subject: Subject) -> Sequence[Job]:
        return [job for pair in self.compared(subject) for job in pair.jobs]

    def confirming(self, subject: Subject, results: Results) -> Sequence[Job]:
        fired = {pair.name for pair in self.compared(subject) if _read(pair, results).fall.fires}
        others = subject.others
        if not fired or others.count < ENOUGH_OTHERS:
            return ()
        jobs = [job for pair in self.compared(others) if pair.name in fired for job in pair.jobs]
        # RA worst is read on all of these images.
        return [*jobs, *others.all_own()]

    def verdict(self, subject: Subject, results: Results) -> Verdict:
        return self.judge(self.findings(subject, results))

    def judge(self, findings: Sequence[Finding]) -> Verdict:
        """The verdict of what rule 6 says of each pair."""
        jobs = [job for finding in findings for job in (*finding.pair.jobs, *finding.confirming)]
        largest = max(findings, key=lambda finding: finding.points)
        figure, threshold = round(largest.points, 2), 100 * FALL
        standing = sorted((finding for finding in findings if finding.stands), key=lambda finding: -finding.points)
        if standing:
            told = "; ".join(map(str, standing))
            text = f"{self.fall_means}: {told}"
            return self.says(self.fires_as, text, jobs, figure=round(standing[0].points, 2), threshold=threshold)
        unconfirmed = [finding for finding in findings if finding.first.fires]
        if unconfirmed:
            text = f"not confirmed: {'; '.join(map(str, unconfirmed))}"
            return self.says("open", text, jobs, figure=figure, threshold=threshold)
        limit = max(finding.first.limit for finding in findings)
        if limit <= HOLDS:
            text = f"{self.holds_means}: the fall is at most {100 * limit:.1f} points"
            return self.says("holds", text, jobs, figure=figure, threshold=threshold)
        text = (
            f"the largest fall is {largest.points:.1f} points ({largest.pair.name});"
            f" up to {100 * limit:.1f} points cannot be excluded with these images"
        )
        return self.says("open", text, jobs, figure=figure, threshold=threshold)

    def stronger(self, subject: Subject, results: Results, images: Subject) -> Sequence[Job]:
        if self.fires_as != "weak":
            return ()
        standing = {finding.pair.name for finding in self.findings(subject, results) if finding.stands}
        pairs = [pair for pair in self.compared(images) if pair.name in standing]
        return [job for pair in pairs for job in pair.after if job.id not in {own.id for own in pair.before}]

    def findings(self, subject: Subject, results: Results) -> list[Finding]:
        """What rule 6 says of each pair, on the check's images and, for those that fire, on others."""
        said = []
        for pair in self.compared(subject):
            read = _read(pair, results)
            first = read.fall
            finding = Finding(pair, first, read.figures)
            others = subject.others
            if first.fires and others.count >= ENOUGH_OTHERS:
                (same,) = (other for other in self.compared(others) if other.name == pair.name)
                finding = replace(finding, second=_read(same, results).fall, others=others.count, confirming=same.jobs)
            said.append(finding)
        return said


def with_others(subject: Subject, name: str, *jobs: Job) -> Pair:
    """The row's own attacks, before and after others are added to them."""
    own = subject.all_own()
    return Pair(name, own, (*own, *jobs))


@dataclass(frozen=True)
class _Read:
    """What a pair comes to on the images of its jobs."""

    fall: Fall
    figures: tuple[float, float]
    """Both readings, in percent."""


def _read(pair: Pair, results: Results) -> _Read:
    def work() -> _Read:
        before, after = results.side(pair.before), results.side(pair.after, pooled=pair.pooled)
        figures = [100 * float(side.per_image.mean()) for side in (before, after)]
        return _Read(fall_between(before, after), (figures[0], figures[1]))

    key = (*(job.id for job in pair.before), pair.pooled, *(job.id for job in pair.after))
    return results.once(key, work)
