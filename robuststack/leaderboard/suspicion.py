"""What makes figures doubtful: what the host saw in a row's training and attacks, what a model predicts, rows that are
all alike."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from robuststack.evidence.overfitting import Overfitting
from robuststack.leaderboard.row import Row

SUSPICIOUS_ZERO_GRADIENTS = 5.0  # Percent; a saturated loss gives some far from the boundary.
CONSTANT = 99.0
"""Percent of clean images that one class is named for: above, the model hardly looks at them."""
HELPED = 1.0
"""Percent of the images that attacks may turn right: a step that overshoots does so to a few."""
SUSPICIOUS_CLIPPING = 1e-5  # Rounding in float32 stays below.


def suspicions(row: Row) -> list[str]:
    """Each doubt in words."""
    checks = row.checks
    doubts = {
        f"an attack left the ball by {checks.clipped:.3g} and was clipped": checks.clipped > SUSPICIOUS_CLIPPING,
        f"an attack returned {checks.not_finite:.0f} pixels that are not finite": checks.not_finite > 0,
        "an attack changed the model's mode or buffers, which were put back": not checks.state_kept,
        f"{checks.gradients_not_finite:.3g} % of gradients are not finite": checks.gradients_not_finite > 0,
        f"{checks.gradients_zero:.3g} % of gradients are zero": checks.gradients_zero > SUSPICIOUS_ZERO_GRADIENTS,
    }
    return [
        *(text for text, suspicious in doubts.items() if suspicious),
        *_of_steps(row),
        *_of_training(row),
        *_of_predictions(row),
        *_of_counts(row),
    ]


def _of_steps(row: Row) -> list[str]:
    """Attacks whose steps together are shorter than the radius: they stop inside of the ball."""
    doubts = []
    for label, options in row.attacks.items():
        step, steps = options.get("step", options.get("alpha")), options.get("steps")
        if isinstance(step, int | float) and isinstance(steps, int) and steps * step < row.threat.eps * (1 - 1e-6):
            reach = f"{steps} steps of {step:.3g} are {steps * step:.3g}"
            doubts.append(f"{label} cannot reach the edge of the ball: {reach}, and eps is {row.threat.eps:.3g}")
    return doubts


def _of_training(row: Row) -> list[str]:
    seeds = {seed: Overfitting(**record.model_dump()).text for seed, record in row.overfitting.items()}
    return [f"{text} (training seed {seed})" for seed, text in seeds.items()]


def _of_predictions(row: Row) -> list[str]:
    seen = row.predictions
    if seen is None:
        return []
    if seen.most_named >= CONSTANT:
        return [f"{seen.most_named:.1f} % of clean images are given the same class"]
    if seen.helped > HELPED:
        return [f"{seen.helped:.1f} % of the images are wrong when clean and right under every attack: RA counts them"]
    if row.ca.low <= seen.chance:
        return [f"clean accuracy {row.ca.text} is no better than always naming one class ({seen.chance:.1f})"]
    return []


def _of_counts(row: Row) -> list[str]:
    """A count of 0: a model may hold parameters where nobody sees them. One without multiply-accumulates is sound."""
    if row.parameters == 0:
        return ["no parameter was found: 0 is a lower bound (plain tensors and arrays are not counted)"]
    return []


def doubtful_rows(rows: Iterable[Row]) -> list[str]:
    """A line for each row that has doubts, its label and all of them, then a line for each saturated comparison. Whatever
    prints figures prints these lines too."""
    rows = list(rows)
    return [f"{row.label}: {'; '.join(doubts)}" for row in rows if (doubts := suspicions(row))] + saturated(rows)


def saturated(rows: Iterable[Row]) -> list[str]:
    """A line for each table in which the most robust rows of all defenses are alike, clean and attacked, to within one
    image: its data or its attacks cannot tell methods apart."""
    tables: dict[str, dict[str, list[Row]]] = {}
    for row in rows:
        if not row.undefended:
            tables.setdefault(row.heading, {}).setdefault(row.title, []).append(row)
    lines = []
    for heading, by_defense in tables.items():
        best = [max(group, key=lambda row: (row.worst.value, row.ca.value)) for group in by_defense.values()]
        one_image = 100 / min(row.n for row in best)
        apart = max(np.ptp([(row.worst.value, row.ca.value) for row in best], axis=0))
        if len(best) > 1 and apart < one_image:
            lines.append(
                f"{heading}: the most robust rows of {', '.join(by_defense)} are alike (CA {best[0].ca.value:.1f}, RA"
                f" {best[0].worst.value:.1f}); this comparison is saturated and cannot tell them apart"
            )
    return lines
