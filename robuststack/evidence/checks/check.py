"""What a check is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import Any, ClassVar, Protocol, TypeVar

import numpy as np

from robuststack.evidence.checks.verdict import Verdict, Word
from robuststack.evidence.decisions import Side
from robuststack.plan.audit import Subject
from robuststack.plan.job import Job

T = TypeVar("T")


class Results(Protocol):
    """What the jobs of an audit came to."""

    def labels(self, job: Job) -> np.ndarray:
        """The labels of a judge job: signed integers [draws, n], -1 for no class."""

    def truth(self, job: Job) -> np.ndarray:
        """The true labels [n] of a judge job's images."""

    def side(self, jobs: Sequence[Job], *, pooled: bool = False) -> Side:
        """What the labels of judge jobs of the same images read: their worst or, pooled, the labels of one job whose
        judging draws they give in turn."""

    def facts(self, job: Job) -> dict[str, Any]:
        """What a probe job saw."""

    def seen(self, job: Job) -> dict[str, Any]:
        """What the host saw of an attack job: the fields of `robuststack.engine.attack.checks`."""

    def once(self, key: Hashable, work: Callable[[], T]) -> T:
        """What these results come to under a key, worked out when it is first asked for. It is kept: it must be small."""


class Check(ABC):
    """One question about a model of a row. A check says which jobs answer it, reads their results, and gives a verdict.

    Instances hold nothing: every method gets what it works on.
    """

    name: ClassVar[str]
    """In capitals, as the standard and `--checks` name it."""
    question: ClassVar[str]
    """What it asks, in one sentence."""
    by_gradients: ClassVar[bool] = False
    """Whether its attacks need gradients: it does not apply to a row that is attacked without any."""

    def inapplicable(self, subject: Subject) -> str:
        """Why the check does not apply to this model, in words; empty if it does."""
        return ""

    @abstractmethod
    def jobs(self, subject: Subject) -> Sequence[Job]:
        """The jobs that answer the question, each of them made by the subject: judge and probe jobs on its images, and the
        row's own attack jobs."""

    def confirming(self, subject: Subject, results: Results) -> Sequence[Job]:
        """The jobs, on other images of the row, that have to confirm what the first ones found; none if there is nothing to
        confirm. `results` are those of the first jobs."""
        return ()

    @abstractmethod
    def verdict(self, subject: Subject, results: Results) -> Verdict:
        """The verdict, from the results of all its jobs."""

    def stronger(self, subject: Subject, results: Results, images: Subject) -> Sequence[Job]:
        """The judge jobs of what lowers the row's figure, if the verdict is `weak`: they enter RA worst. `images` is the
        subject itself or its `others`, whose images they judge."""
        return ()

    def says(
        self,
        word: Word,
        text: str,
        jobs: Iterable[Job] = (),
        *,
        figure: float | None = None,
        threshold: float | None = None,
    ) -> Verdict:
        """A verdict of this check."""
        ids = tuple(dict.fromkeys(job.id for job in jobs))
        return Verdict(check=self.name, verdict=word, figure=figure, threshold=threshold, text=text, jobs=ids)


def reason_not(check: Check, subject: Subject) -> str:
    """Why a check does not apply to a model; empty if it does."""
    if check.by_gradients and not subject.differentiable:
        return "the row is attacked without gradients"
    return check.inapplicable(subject)
