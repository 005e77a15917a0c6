"""The workflows: ours call commands and environments that exist, and a release is refused unless all of it is ready; the
sample workflow of the example package says what the command line understands."""

from __future__ import annotations

import configparser
import os
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import click
import pytest
import yaml
from packaging.specifiers import SpecifierSet

from robuststack.cli.regress import command
from robuststack.leaderboard import board_labels
from robuststack.leaderboard.board_file import read_board
from robuststack.suite.loading import load_suite

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "plugins" / "robuststack-alp"
FOLDER = ROOT / ".github" / "workflows"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
WORKFLOWS = {path.name: yaml.safe_load(path.read_text(encoding="utf-8")) for path in sorted(FOLDER.glob("*.yml"))}
SAMPLE = yaml.safe_load((PACKAGE / ".github" / "workflows" / "regress.yml").read_text(encoding="utf-8"))
BOARD = yaml.safe_load((ROOT / "docs" / "board-repository" / "verify.yml").read_text(encoding="utf-8"))
Job = dict[str, Any]


def triggers(workflow: dict[Any, Any]) -> Any:
    return workflow[True]  # YAML 1.1 reads the key `on` as true.


def steps(job: Job) -> list[dict[str, Any]]:
    return list(job.get("steps", []))


def lines(job: Job) -> list[str]:
    return [step["run"] for step in steps(job) if "run" in step]


def tox_environments(line: str) -> set[str]:
    """The environments that a shell line asks of tox."""
    return {name for match in re.findall(r"\btox\b[^&;|]*? -e ([\w,]+)", line) for name in match.split(",")}


def known_environments() -> set[str]:
    tox = configparser.ConfigParser(interpolation=None)
    tox.read(ROOT / "tox.ini", encoding="utf-8")
    return {section.removeprefix("testenv:") for section in tox.sections() if section.startswith("testenv:")}


def python_versions(job: Job) -> list[Any]:
    """What a job's setup of Python asks for, with the matrix filled in."""
    matrix = job.get("strategy", {}).get("matrix", {})
    asked = [step["with"]["python-version"] for step in steps(job) if "actions/setup-python@" in step.get("uses", "")]
    return [
        version for value in asked for version in (matrix["python"] if value == "${{ matrix.python }}" else [value])
    ]


EACH = [
    pytest.param(workflow, id=name) for name, workflow in (*WORKFLOWS.items(), ("sample", SAMPLE), ("board", BOARD))
]


@pytest.mark.parametrize("workflow", EACH)
def test_each_job_has_a_runner_and_each_step_one_thing_to_do(workflow):
    assert triggers(workflow)
    for job in workflow["jobs"].values():
        if "uses" in job:
            called = WORKFLOWS[job["uses"].removeprefix("./.github/workflows/")]
            assert "workflow_call" in triggers(called)
            continue
        assert job["runs-on"] == "ubuntu-latest"
        assert steps(job)
        for step in steps(job):
            assert len({"run", "uses"} & step.keys()) == 1
            assert "@" in step.get("uses", "@"), "an action without a version changes under us"
        needs = job.get("needs", [])
        assert {*([needs] if isinstance(needs, str) else needs)} <= workflow["jobs"].keys()


@pytest.mark.parametrize("workflow", EACH)
def test_python_is_a_version_that_the_package_allows_and_names(workflow):
    named = {text.rpartition(" ")[2] for text in PROJECT["classifiers"] if text.startswith("Programming Language ::")}
    versions = [version for job in workflow["jobs"].values() for version in python_versions(job)]
    assert all(isinstance(version, str) for version in versions), "YAML reads 3.10 without quotes as 3.1"
    assert {*versions} <= named
    assert all(version in SpecifierSet(PROJECT["requires-python"]) for version in versions)


def test_ci_takes_the_oldest_and_the_newest_python():
    named = [text.rpartition(" ")[2] for text in PROJECT["classifiers"] if text.startswith("Programming Language ::")]
    assert python_versions(WORKFLOWS["ci.yml"]["jobs"]["tests"]) == [named[0], named[-1]]


def test_ci_runs_the_two_commands_of_the_readme():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    jobs = WORKFLOWS["ci.yml"]["jobs"]
    assert lines(jobs["tests"]) == [".ci/run"]
    assert os.access(ROOT / ".ci" / "run", os.X_OK)
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    assert "    python -m pip install tox && tox\n" in readme
    assert re.search(r"python\" -m pip install .*tox\n.*tox\"$", script, re.MULTILINE)
    (main_job,) = lines(jobs["main-job"])
    assert f"    {main_job}\n" in readme


def test_the_environments_of_tox_that_are_asked_for_exist():
    asked = {name for workflow in WORKFLOWS.values() for job in workflow["jobs"].values() for line in lines(job)
             for name in tox_environments(line)}  # fmt: skip
    assert asked
    assert asked <= known_environments()
    assert tox_environments("python -m pip install tox && tox -e docs,nowhere -- --site-dir site") - (
        known_environments()
    ) == {"nowhere"}


def test_the_site_that_is_built_is_the_one_that_is_published():
    build, publish = WORKFLOWS["docs.yml"]["jobs"].values()
    (line,) = lines(build)
    (upload,) = [step for step in steps(build) if step.get("uses", "").startswith("actions/upload-pages-artifact@")]
    assert line.endswith(f"-- --site-dir {upload['with']['path']}")
    assert publish["permissions"] == {"pages": "write", "id-token": "write"}


@pytest.mark.parametrize("name", WORKFLOWS)
def test_no_workflow_has_a_secret_or_more_rights_than_it_needs(name):
    workflow = WORKFLOWS[name]
    assert workflow["permissions"] == {"contents": "read"}
    assert "secrets." not in (FOLDER / name).read_text(encoding="utf-8")
    assert "pull_request_target" not in triggers(workflow)
    for job_name, job in workflow["jobs"].items():
        assert ("permissions" in job) == (job_name == "publish")


def test_a_release_is_published_from_a_tag_after_ci_and_with_what_was_built():
    release = WORKFLOWS["release.yml"]
    assert triggers(release) == {"push": {"tags": ["v*"]}}
    build, publish = release["jobs"]["build"], release["jobs"]["publish"]
    assert {*publish["needs"]} == {"ci", "build"}
    assert (publish["environment"], publish["permissions"]) == ("release", {"id-token": "write"})
    (upload,) = [step["with"] for step in steps(build) if step.get("uses", "").startswith("actions/upload-artifact@")]
    download, push = steps(publish)
    assert {**download["with"], "if-no-files-found": "error"} == upload
    assert push["uses"].startswith("pypa/gh-action-pypi-publish@")
    assert "with" not in push, "a password would take the place of trusted publishing"


@pytest.mark.parametrize(
    ("tag", "heading", "refusal"),
    [
        ("v1.2.0", "## 1.2.0 (2026-11-28)", ""),
        ("v1.2.1", "## 1.2.0 (2026-11-28)", "tag v1.2.1, but pyproject.toml: 1.2.0"),
        ("1.2.0", "## 1.2.0 (2026-11-28)", "tag 1.2.0, but pyproject.toml: 1.2.0"),
        ("v1.2.0", "## 1.2.0 (unreleased)", "CHANGELOG.md needs the heading: ## 1.2.0 (YYYY-MM-DD)"),
        ("v1.2.0", "## 1x2.0 (2026-11-28)", "CHANGELOG.md needs the heading: ## 1.2.0 (YYYY-MM-DD)"),
    ],
)
def test_a_release_is_refused_unless_version_and_changelog_are_those_of_the_tag(tag, heading, refusal, tmp_path):
    (line,) = [line for line in lines(WORKFLOWS["release.yml"]["jobs"]["build"]) if "GITHUB_REF_NAME" in line]
    (tmp_path / "pyproject.toml").write_text('[project]\nversion = "1.2.0"\n')
    (tmp_path / "CHANGELOG.md").write_text(f"# Changelog\n\n{heading}\n\n- A line.\n")
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-e", "-c", line],  # As GitHub's runner calls it.
        cwd=tmp_path,
        env={**os.environ, "PATH": path, "GITHUB_REF_NAME": tag},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout.strip()) == (1 if refusal else 0, refusal)


# The sample workflow


def arguments(line: str) -> list[str]:
    program, name, *rest = shlex.split(line)
    assert (program, name) == ("robuststack", "regress")
    return rest


def test_the_command_of_the_sample_is_one_that_regress_understands():
    (job,) = SAMPLE["jobs"].values()
    (line,) = [line for line in lines(job) if line.startswith("robuststack ")]
    given = command.make_context("regress", arguments(line)).params
    assert (PACKAGE / given["suite"]).is_file()
    assert load_suite(PACKAGE / given["suite"]).hardware().kind == "cpu"
    assert job["env"]["OMP_NUM_THREADS"] == "1"
    with pytest.raises(click.NoSuchOption):
        command.make_context("regress", arguments(f"{line} --accept"))


def test_the_baseline_of_the_sample_is_a_leaderboard_with_outcomes_made_on_one_thread():
    path = PACKAGE / "leaderboard" / "alp_regress.json"
    board = read_board(path)
    assert {row.defense for row in board.rows} == {"none", "alp"}
    assert {row.machine.threads for row in board.rows} == {"1"}
    kept = board_labels.load_correct(path, board.rows)
    assert {job for row in board.rows for job in row.jobs.scores["adaptive"]["ca"].values()} <= kept.keys()
