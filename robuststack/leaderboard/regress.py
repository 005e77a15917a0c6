"""Whether a leaderboard that was run again still says what the committed one says.

What does not depend on the machine must be equal. On the same processor and software every figure and outcome must be, too.
Elsewhere rounding may turn single images: McNemar's exact test, at a family-wise level, tells that from a real change.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from robuststack.errors import LeaderboardError
from robuststack.hardware import Hardware
from robuststack.leaderboard.comparing import Outcomes
from robuststack.leaderboard.keys import Row
from robuststack.statistics import mcnemar

FAMILY_LEVEL = 0.001
"""Probability that any of all tests of a comparison calls equal models different."""
FLIPS = 1.0, 3.0
"""How many points more than this many times the smaller one the larger of two label-flip rates may be. Training on another
processor ends at other weights: the same suite gave rates of 0.44 to 1.62 times those of the first machine."""
SLOWER = 3.0
"""Training and latency, each relative to the undefended network of the same run, may grow by this factor: what else a
shared machine does while one of the two is timed can double a ratio."""
EXACT = (
    "options", "point", "threat", "recipe", "dataset_options", "split", "architecture_options", "attacks", "n", "draws",
    "stochastic", "parameters", "nonzero_parameters", "macs", "effort",
)  # fmt: skip


@dataclass(frozen=True)
class Regression:
    """One thing of one row that is not as it was."""

    label: str
    what: str
    old: str
    new: str


def regressions(
    old: Mapping[str, Any], new: Mapping[str, Any], old_outcomes: Outcomes, new_outcomes: Outcomes
) -> list[Regression]:
    """Everything in which the new leaderboard falls outside of what the old one allows.

    Raises:
        LeaderboardError: the baseline is of another suite, or has no per-sample outcomes.
    """
    if old["suite"] != new["suite"]:
        raise LeaderboardError(f"the baseline is of suite {old['suite']!r}, not {new['suite']!r}")
    before, after = ({row["label"]: row for row in board["rows"]} for board in (old, new))
    found = [Regression(label, "row", "there", "missing") for label in before if label not in after]
    found += [Regression(label, "row", "missing", "there") for label in after if label not in before]
    both = [(before[label], after[label]) for label in before if label in after]
    tests = sum(len(_ids(row)) for row, _ in both)
    for first, second in both:
        here = same_platform(first, second)
        found += [
            Regression(first["label"], key, _short(before), _short(after))
            for key in EXACT
            # A baseline of an earlier version may not have recorded it.
            if key in first and (before := _exact(first, key, here)) != (after := _exact(second, key, here))
        ]
        found += [
            Regression(first["label"], f"attacks ({name})", _short(one["attacks"]), _short(other.get("attacks")))
            for name, one in first["protocols"].items()
            if "attacks" in one and (other := second["protocols"].get(name, {})).get("attacks") != one["attacks"]
        ]
        found += _figures(first, second, old_outcomes, new_outcomes, tests)
        found += _times(first, second, old["rows"], new["rows"])
    return found


def _exact(row: Row, key: str, here: bool) -> Any:
    """What has to be equal wherever a row is computed. How often an attack calls the model is so only `here`, on the same
    platform: it ends where rounding lets the last image break."""
    found = row.get(key)
    if here or not isinstance(found, Mapping):
        return found
    return {name: one for name, one in found.items() if (key, name) != ("effort", "calls")}


def refuse_unusable(old: Mapping[str, Any], kept: Outcomes, suite: str, hardware: Hardware) -> None:
    """Refuse, before any compute, a baseline that a run of `suite` on `hardware` cannot be held against.

    Raises:
        LeaderboardError: it is of another suite, device or precision, or has no per-sample outcomes.
    """
    if old["suite"] != suite:
        raise LeaderboardError(f"the baseline is of suite {old['suite']!r}, not {suite!r}")
    made, now = (old["device"], old["precision"]), (hardware.kind, hardware.precision)
    if made != now:
        raise LeaderboardError(
            f"the baseline was made on {made[0]} in {made[1]}, this run is on {now[0]} in {now[1]}; pin device and"
            " precision in the suite, or accept this one with --update"
        )
    for row in old["rows"]:
        for name, jobs in _ids(row).items():
            if not kept.keys() >= set(jobs.values()):
                figure = "CA" if name == "ca" else f"RA {name}"
                raise LeaderboardError(f"{row['label']}: the baseline has no per-sample outcomes of {figure}")


def same_platform(first: Row, second: Row) -> bool:
    """Whether both rows were computed by the same software on the same kind of processor, with as many threads."""
    software = ("torch", "numpy")
    return all(first["machine"][name] == second["machine"][name] for name in ("device", "threads")) and all(
        first["versions"][name] == second["versions"][name] for name in software
    )


def _ids(row: Row) -> dict[str, Mapping[str, str]]:
    """Figure -> seeds -> the attack job behind it."""
    jobs: dict[str, Mapping[str, str]] = row["jobs"][row["protocol"]]
    return jobs


def _figures(first: Row, second: Row, old: Outcomes, new: Outcomes, tests: int) -> Iterator[Regression]:
    exact = same_platform(first, second)
    for name, jobs in _ids(first).items():
        figure = "CA" if name == "ca" else f"RA {name}"
        for seeds, job in jobs.items():
            other = _ids(second).get(name, {}).get(seeds)
            if other is None or job not in old or other not in new:
                raise LeaderboardError(f"{first['label']}: the baseline has no per-sample outcomes of {figure}")
            a, b = old[job], new[other]
            if a.shape != b.shape:
                yield Regression(first["label"], f"{figure}, outcomes", str(a.shape), str(b.shape))
                continue
            where = first["label"], f"{figure} (seeds {seeds})"
            if exact:
                turned = int((a != b).sum())
                if turned:
                    yield Regression(*where, _percent(a), f"{_percent(b)}, {turned} outcomes differ on this machine")
                continue
            p = mcnemar(_majority(a), _majority(b))
            if p < FAMILY_LEVEL / tests:
                yield Regression(*where, _percent(a), f"{_percent(b)} (McNemar p = {p:.1g})")
            before, after = flip_rate(a), flip_rate(b)
            if max(before, after) > FLIPS[0] + FLIPS[1] * min(before, after):
                yield Regression(first["label"], f"{figure}, label flips %", f"{before:.2f}", f"{after:.2f}")


def _majority(outcomes: np.ndarray) -> np.ndarray:
    return np.asarray(outcomes.mean(0) >= 0.5)


def flip_rate(outcomes: np.ndarray) -> float:
    """How often two noise draws disagree on an image, in percent: outcomes bool [draws, n]; 0 for one draw."""
    draws = len(outcomes)
    if draws < 2:
        return 0.0
    share = outcomes.mean(0)
    return 100 * float((2 * share * (1 - share)).mean() * draws / (draws - 1))


def _times(first: Row, second: Row, old_rows: list[Row], new_rows: list[Row]) -> Iterator[Regression]:
    for what, key in (("training time", "train_seconds_per_epoch"), ("latency", "latency_ms")):
        before, after = _relative(first, old_rows, key), _relative(second, new_rows, key)
        if before and after and after > SLOWER * before:
            yield Regression(first["label"], f"{what}, times the undefended network's", f"{before:.2f}", f"{after:.2f}")


def _relative(row: Row, rows: list[Row], key: str) -> float | None:
    """A time of the row by that of the undefended network of its table; None where there is none."""
    plain = next((one for one in rows if one.get("undefended") and one["variant"] == row["variant"]), None)
    if plain is None or not plain[key] or not row[key]:
        return None
    if key == "latency_ms":
        batch = list(plain[key])[-1]
        # Measured in turn with the undefended network, where the row knows it.
        relative = row[key][batch].get("relative")
        return float(relative or row[key][batch]["median"] / plain[key][batch]["median"])
    return float(row[key] / plain[key])


def _percent(outcomes: np.ndarray) -> str:
    return f"{100 * outcomes.mean():.2f} %"


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 120 else f"{text[:117]}..."
