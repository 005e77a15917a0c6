"""The JSON schema of suites: valid itself, true to the suites that are shipped, and strict."""

from __future__ import annotations

from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

from robuststack.plugin.registry import Registry
from robuststack.suite.json_schema import PARTS, suite_schema
from robuststack.suite.suite import Suite
from robuststack.suite.yaml_source import read

SUITES = sorted((Path(__file__).parents[2] / "suites").rglob("*.yaml"))
BASE = "datasets: digits\narchitectures: resnet8\ndefenses: none\nattacks: fgsm\n"


@pytest.fixture(scope="module")
def schema():
    return suite_schema(Registry())


@pytest.fixture
def problems(schema, tmp_path):
    """What the schema says against a suite's text."""

    def find(text: str) -> list[str]:
        path = tmp_path / "suite.yaml"
        path.write_text(text)
        return [str(error.message) for error in Draft202012Validator(schema).iter_errors(read(path).data)]

    return find


def replaced(line: str) -> str:
    """BASE with one of its lines replaced, or one more."""
    key = line.partition(":")[0]
    return (
        "".join(written for written in BASE.splitlines(keepends=True) if not written.startswith(f"{key}:"))
        + line
        + "\n"
    )


def test_the_schema_is_a_schema(schema):
    Draft202012Validator.check_schema(schema)


def test_there_are_suites_to_validate():
    assert len(SUITES) >= 2
    assert any("extends" in read(path).data for path in SUITES)


@pytest.mark.parametrize("path", SUITES, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_the_shipped_suites_are_valid(schema, path):
    assert list(Draft202012Validator(schema).iter_errors(read(path).data)) == []


def test_the_suite_of_these_tests_is_valid(problems, small_suite):
    assert problems(small_suite.read_text()) == []


@pytest.mark.parametrize(
    "line",
    [
        "datasets: digits",
        "datasets: [digits, {name: tradeoff, options: {size: 8}, threat: {eps: 8/255}, train: {epochs: 3}}]",
        "architectures: wrn-16-4",
        "architectures: [resnet8, {name: wrn-10-1}]",
        "defenses: [none, {name: oat, options: {dim: 1}, points: {lambda: 0.3}}]",
        "defenses: {name: oat, points: [{lambda: [0, 1]}, {lambda: 0.2}]}",
        "defenses: {name: pgd_at, sweep: {lambda: [0, 1]}}",
        "attacks: {name: pgd, options: {step: 2/255, steps: 3}, label: mine}",
        "attacks: {name: pgd, options: {step: oat}}",
        "threat: {eps: 8/255}",
        "threat: [{eps: 0.1}, {eps: 0.2}]",
        "train: {weight_decay: 5e-4, attack: pgd}",
        "train: [{attack: {name: pgd, options: {steps: 7}}}, {}]",
        "seeds: 3",
        "seeds: [0, 1]",
        "seeds: {train: 0, attack: [1, 2]}",
        "evaluate: {protocols: adaptive}",
        "extends: other.yaml",
    ],
)
def test_what_a_suite_may_say_is_valid(problems, line):
    assert problems(replaced(line)) == []


@pytest.mark.parametrize(
    "line",
    [
        "trian: {}",
        "train: {epoch: 3}",
        "train: {epochs: three}",
        "train: {schedule: cosin}",
        "datasets: digit",
        "datasets: [digits, digit]",
        "architectures: wrn-16",
        "defenses: flot",
        "defenses: {name: flot}",
        "defenses: [none, {name: flot}]",
        "defenses: {nam: float}",
        "defenses: {name: float, options: {recipes: code}}",
        "defenses: {name: float, options: {recipe: codes}}",
        "defenses: {name: float, points: {lambda: 1}}",
        "defenses: {name: float, points: {lambda_n: 2}}",
        "defenses: []",
        "attacks: {name: pgd, options: {steps: 0}}",
        "attacks: {name: pgd, labels: mine}",
        "precision: bf17",
        "seeds: yes",
    ],
)
def test_what_a_suite_may_not_say_is_rejected(problems, line):
    assert problems(replaced(line))


def test_every_key_has_a_description_for_the_editor(schema):
    assert set(schema["properties"]) == set(Suite.model_fields)
    for described in schema["properties"].values():
        # pydantic leaves it out where the referenced part says the same.
        assert described.get("description") or schema["$defs"][described["$ref"].rsplit("/", 1)[-1]]["description"]


def test_every_plain_name_is_offered(schema):
    registry = Registry()
    for key, (kind, _) in PARTS.items():
        (offered,) = (
            choices["enum"] for choices in schema["properties"][key]["anyOf"][0]["anyOf"] if "enum" in choices
        )
        assert set(offered) == {
            registration.name for registration in registry if registration.kind == kind and not registration.pattern
        }
