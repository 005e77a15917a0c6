"""A suite that does not say how many draws judge leaves that to its readings, in every kind of job."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from robuststack.hardware import Hardware
from robuststack.plan.planner import make_plan
from robuststack.plan.specs import DrawsSpec, GameSpec, JudgeSpec
from robuststack.plugin.registry import Registry
from robuststack.suite.loading import load_suite


@pytest.mark.parametrize(("more", "draws"), [({}, 20), ({"readings": ["majority 7"]}, 28), ({"draws": 8}, 8)])
def test_every_job_that_judges_draws_as_many(tmp_path: Path, more: dict[str, Any], draws: int) -> None:
    suite = {
        "datasets": "digits",
        "architectures": "resnet8",
        "defenses": {"name": "float", "points": {"lambda_n": [0.5, 1]}},
        "attacks": {"name": "pgd", "options": {"draws": "auto"}},
        "evaluate": {"game": True, **more},
    }
    (tmp_path / "suite.yaml").write_text(yaml.safe_dump(suite))
    plan = make_plan(load_suite(tmp_path / "suite.yaml"), Registry(), Hardware("cpu", "float32"))
    judged = {
        "draws": {job.spec.judged for job in plan.jobs if isinstance(job.spec, DrawsSpec)},
        "game": {job.spec.draws for job in plan.jobs if isinstance(job.spec, GameSpec)},
        "judge": {job.spec.draws for job in plan.jobs if isinstance(job.spec, JudgeSpec)},
    }
    assert judged == {kind: {draws} for kind in judged}
