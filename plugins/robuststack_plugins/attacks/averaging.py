"""The option that says what an attack averages over noise draws."""

from __future__ import annotations

from typing import Any

import robuststack as rs


def average_option() -> Any:
    return rs.option(
        "loss",
        "EOT: what is averaged over the draws: `loss` climbs the mean loss, `probabilities` the loss of the mean"
        " probabilities, which fits a victim that votes or averages. With one draw they are the same.",
    )
