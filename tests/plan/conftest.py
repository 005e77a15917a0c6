"""Fixtures: what plugins registered, a plan of the suite with changes, and the error that refuses one."""

from __future__ import annotations

import pytest

from planned_suites import CPU, SUITE
from robuststack.errors import SuiteError
from robuststack.hardware import Hardware
from robuststack.plan.plan import Plan
from robuststack.plan.planner import make_plan
from robuststack.plugin.registry import Registry
from robuststack.suite.loading import load_suite


@pytest.fixture(scope="module")
def registry():
    return Registry()


@pytest.fixture
def plan(tmp_path, registry):
    """SUITE, or another text, with overrides -> Plan."""

    def make(*overrides: str, text: str = SUITE, hardware: Hardware = CPU, registry: Registry = registry) -> Plan:
        path = tmp_path / "mine.yaml"
        path.write_text(text)
        return make_plan(load_suite(path, overrides), registry, hardware)

    return make


@pytest.fixture
def error(plan, tmp_path):
    """The message about a suite, without its folder."""

    def make(*overrides: str, text: str = SUITE) -> str:
        with pytest.raises(SuiteError) as caught:
            plan(*overrides, text=text)
        return str(caught.value).replace(f"{tmp_path}/", "")

    return make
