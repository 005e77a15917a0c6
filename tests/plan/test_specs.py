"""Specifications of jobs, written and read back."""

from __future__ import annotations

import json

import pytest

from robuststack.errors import StoreError
from robuststack.plan.job_id import job_id
from robuststack.plan.specs import parse_spec


def test_a_specification_is_the_same_record_when_it_is_read_back(plan):
    for job in plan("evaluate.protocols=[adaptive, published]", "train.eps=8/255", "threat.eps=0.1").jobs:
        stored = json.loads(json.dumps({"id": job.id, "kind": job.kind, "spec": job.spec.plain()}))
        spec = parse_spec(stored)
        assert type(spec) is type(job.spec)
        assert spec.plain() == job.spec.plain()
        assert job_id(spec.kind, spec) == job.id


@pytest.mark.parametrize("broken", [{"kind": "guess"}, {"spec": {"model": "x"}}, {"spec": None}])
def test_a_specification_that_is_none_is_one_line(plan, broken):
    job = plan().jobs[0]
    with pytest.raises(StoreError, match=f"job {job.id} has a specification that this version cannot read"):
        parse_spec({"id": job.id, "kind": job.kind, "spec": job.spec.plain(), **broken})
