"""The conformance kit: what RobustStack relies on in a plugin, as checks that its author runs with pytest.

    from robuststack.testing import DefenseConformance

    class TestMine(DefenseConformance):
        component = "mine"

is a whole test module. Every check is a method; a subclass may add its own, or replace one with the reason why. The
built-in components pass the same checks.
"""

from __future__ import annotations

from robuststack.errors import RobustStackError

try:
    import pytest
except ImportError:
    raise RobustStackError("robuststack.testing needs pytest: python -m pip install pytest") from None

# Before they are imported: a failing check then shows the values it compared, as in a test module.
pytest.register_assert_rewrite(
    *(f"robuststack.testing.{name}" for name in ("component", "architecture", "attack", "dataset", "defense"))
)

from robuststack.testing.architecture import ArchitectureConformance  # noqa: E402
from robuststack.testing.attack import AttackConformance  # noqa: E402
from robuststack.testing.collecting import conformance  # noqa: E402
from robuststack.testing.component import ComponentConformance  # noqa: E402
from robuststack.testing.dataset import DatasetConformance  # noqa: E402
from robuststack.testing.defense import DefenseConformance  # noqa: E402

__all__ = [
    "ArchitectureConformance",
    "AttackConformance",
    "ComponentConformance",
    "DatasetConformance",
    "DefenseConformance",
    "conformance",
]
