"""All checks, in the order of the standard."""

from __future__ import annotations

from collections.abc import Sequence

from robuststack.errors import RobustStackError
from robuststack.evidence.checks.batch import Batch
from robuststack.evidence.checks.binary import Binary
from robuststack.evidence.checks.blackbox import Blackbox
from robuststack.evidence.checks.box import Box
from robuststack.evidence.checks.check import Check
from robuststack.evidence.checks.cross import Cross
from robuststack.evidence.checks.eot import Eot
from robuststack.evidence.checks.eps import Eps
from robuststack.evidence.checks.fresh import Fresh
from robuststack.evidence.checks.grad import Grad
from robuststack.evidence.checks.ladder import Ladder
from robuststack.evidence.checks.logits import Logits
from robuststack.evidence.checks.mode import Mode
from robuststack.evidence.checks.order import Order
from robuststack.evidence.checks.stat import Stat
from robuststack.evidence.checks.steps import Steps
from robuststack.evidence.checks.stochastic import Stochastic
from robuststack.evidence.checks.stronger import Stronger

CHECKS: tuple[Check, ...] = (
    Box(),
    Logits(),
    Mode(),
    Batch(),
    Stochastic(),
    Fresh(),
    Eot(),
    Ladder(),
    Steps(),
    Stronger(),
    Cross(),
    Order(),
    Eps(),
    Blackbox(),
    Grad(),
    Binary(),
    Stat(),
)


def chosen(names: str | Sequence[str] = ()) -> list[Check]:
    """The checks of these names, in whichever case, in the order of the standard; all of them without names. A text may
    hold several, `STEPS,STRONGER`.

    Raises:
        RobustStackError: a name that no check has, with those that there are.
    """
    by_name = {check.name: check for check in CHECKS}
    texts = [names] if isinstance(names, str) else names
    wanted = [name.strip().upper() for text in texts for name in text.split(",") if name.strip()]
    for name in wanted:
        if name not in by_name:
            raise RobustStackError(f"no check is named {name}; valid: {', '.join(by_name)}")
    return [check for check in CHECKS if not wanted or check.name in wanted]
