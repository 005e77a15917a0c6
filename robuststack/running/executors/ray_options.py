"""How a run uses a Ray cluster."""

from __future__ import annotations

from dataclasses import dataclass

from robuststack.errors import RobustStackError


@dataclass(frozen=True)
class RayOptions:
    """How a run uses a Ray cluster: `robuststack.run(suite, executor=RayOptions(address="auto"))`."""

    address: str | None = None
    """Where the cluster is: `HOST:PORT`, `ray://HOST:PORT`, or `auto` for the one that this machine is a node of. None: a
    cluster of this machine alone is started, and ended with the run."""
    gpus_per_job: float = 1.0
    """How much of a card a job gets on `cuda`: up to 1, or whole cards."""
    retries: int = 2
    """How often a job is tried again if its worker or node dies."""
    measure_on: str | None = None
    """A custom resource of Ray: what is timed runs only on nodes that have it."""

    def __post_init__(self) -> None:
        if self.retries < 0:
            raise RobustStackError(f"--retries {self.retries}: at least 0 is meant")
        if not (0 < self.gpus_per_job <= 1 or (self.gpus_per_job > 1 and float(self.gpus_per_job).is_integer())):
            raise RobustStackError(
                f"--gpus-per-job {self.gpus_per_job:g}: a part of one card, such as 0.25, or a whole number is meant"
            )
