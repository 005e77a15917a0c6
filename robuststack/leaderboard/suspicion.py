"""What the host saw in a row's attacks that makes its robust accuracy doubtful."""

from __future__ import annotations

from collections.abc import Iterable

from robuststack.leaderboard.row import Row

SUSPICIOUS_ZERO_GRADIENTS = 5.0  # Percent; a saturated loss gives some far from the boundary.
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
    return [text for text, suspicious in doubts.items() if suspicious]


def doubtful_rows(rows: Iterable[Row]) -> list[str]:
    """A line for each row that has doubts: its label and all of them. Whatever prints figures prints these lines too."""
    return [f"{row.label}: {'; '.join(doubts)}" for row in rows if (doubts := suspicions(row))]
