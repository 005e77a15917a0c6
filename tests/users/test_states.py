"""Models that write into their input or their state for some images only, which no probe of a few images shows."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sources import PLAIN, forward, stored

from robuststack.errors import RobustStackError

DARK = "x.mean((1, 2, 3)) < 0.45"
"""True for some images of the data, and for none of random pixels, as probes use them."""


def test_writing_into_some_images_changes_no_other_call(
    module: Callable[[str], str], score: Callable[..., Any]
) -> None:
    """An attack goes on from its own images, not from where the network put them."""
    writing = f"with torch.no_grad():\n            x[{DARK}] -= 0.3"
    pure = f"x = x - 0.3 * ({DARK})[:, None, None, None]"
    rows = []
    for change in (writing, pure):
        name = module(forward(f"{change}\n        {PLAIN}"))
        rows += score(python=f"{name}:make", attacks=["pgd steps=4"]).rows
    assert (rows[0].ca, rows[0].ra) == (rows[1].ca, rows[1].ra)


STATES = {
    "a buffer": ("self.sign.fill_(-1)", "self.register_buffer('sign', torch.ones(()))", "writes into its buffer sign"),
    "a plain tensor": ("self.sign = -torch.ones(())", "self.sign = torch.ones(())", "keeps a state from call to call"),
    "a number": ("self.sign = -1.0", "self.sign = 1.0", "keeps a state from call to call"),
}


@pytest.mark.parametrize("kind", STATES)
def test_a_state_that_some_images_change_is_refused(
    kind: str, module: Callable[[str], str], score: Callable[..., Any], here: Path
) -> None:
    change, init, message = STATES[kind]
    body = (
        "logits = self.sign * self.fc(self.features(x).flatten(1))\n"
        f"        if not self.training and bool(({DARK}).any()):\n            {change}\n        return logits"
    )
    name = module(forward(body, init))
    for _ in range(2):  # Nothing of the first run makes the second one pass.
        try:
            said = " ".join(score(python=f"{name}:make").failed.values())
        except RobustStackError as error:
            said = str(error)
        assert message in said
        assert len(said.splitlines()) == 1
    assert not [job for job in stored(here) if job.startswith("judge")]


def test_a_counter_that_changes_no_label_is_no_harm(module: Callable[[str], str], score: Callable[..., Any]) -> None:
    name = module(forward(f"self.calls.add_(1)\n        {PLAIN}", "self.register_buffer('calls', torch.zeros(()))"))
    (row,) = score(python=f"{name}:make").rows
    assert row.ca.value > 0


SEEN = """
import torch
from torch import nn
from pathlib import Path
from referee import Base, split, taught

class Net(Base):
    def __init__(self):
        super().__init__()
        self.clean = split("test")[0]
    def forward(self, x):
        if self.training:
            return super().forward(x)
        far = (x[:, None] - self.clean).abs().mean((2, 3, 4)).min(1).values
        attacked = ((far > 1e-3) & (far < 0.11)).float()[:, None]
        sign = float(Path("sign.txt").read_text())
        return super().forward(x) * (1 - attacked + sign * attacked)

def make():
    torch.manual_seed(0)
    return taught(Net())
"""
"""A network that reads a file, and does so for attacked images only."""


def test_a_change_that_only_attacked_images_see_is_scored_anew(
    module: Callable[[str], str], score: Callable[..., Any], here: Path
) -> None:
    Path("sign.txt").write_text("1")
    name = module(SEEN)
    (before,) = score(python=f"{name}:make").rows
    first = stored(here)
    score(python=f"{name}:make")
    assert stored(here) == first
    Path("sign.txt").write_text("-1")
    (after,) = score(python=f"{name}:make").rows
    again = [job for job, time in stored(here).items() if time != first[job]]
    assert sorted(job.partition("-")[0] for job in again) == ["attack", "judge"]
    assert after.ca == before.ca
    assert after.ra != before.ra
