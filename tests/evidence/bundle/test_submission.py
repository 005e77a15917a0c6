"""`robuststack submit`: a branch of a real git repository, which is pushed, and which the board's sample workflow accepts
or refuses."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import forging
import pytest
import yaml
from bundled_run import BundledRun

import robuststack as rs
from robuststack.api.submissions import SubmissionError, submit
from robuststack.cli import call
from robuststack.evidence.bundle.opening import open_bundle
from robuststack.leaderboard.board import board_json

ROOT = Path(__file__).parents[3]
TEMPLATE = ROOT / "docs" / "board-repository" / "verify.yml"
RULES = [step["run"] for step in yaml.safe_load(TEMPLATE.read_text())["jobs"]["verify"]["steps"] if "name" in step]
IDENTITY = {"GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_NOSYSTEM": "1"} | {
    f"GIT_{role}_{key}": value for role in ("AUTHOR", "COMMITTER") for key, value in (("NAME", "A"), ("EMAIL", "a@b.c"))
}


def git(folder: Path, *arguments: str) -> str:
    done = subprocess.run(["git", "-C", folder, *arguments], capture_output=True, text=True, check=True)
    return done.stdout.strip()


@pytest.fixture(scope="session")
def light(finished: BundledRun, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundle without weights, which is quick to verify."""
    path = tmp_path_factory.mktemp("light") / "tiny.bundle"
    return rs.bundle(finished.suite, path, store=finished.store, leaderboard=finished.leaderboard).path


@pytest.fixture
def board(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout of a board repository, whose remote is another repository on this disk; a file in it is being edited."""
    for name, value in IDENTITY.items():
        monkeypatch.setenv(name, value)
    folder = tmp_path / "board"
    git(tmp_path, "init", "-q", "--bare", "remote")
    git(tmp_path, "init", "-q", "-b", "main", "board")
    (folder / "README.md").write_text("# Board\n")
    git(folder, "add", ".")
    git(folder, "commit", "-q", "-m", "First")
    git(folder, "remote", "add", "origin", str(tmp_path / "remote"))
    git(folder, "push", "-q", "origin", "main")
    (folder / "README.md").write_text("# Board, edited\n")
    monkeypatch.chdir(tmp_path)
    return folder


OURS = f'exec {shlex.quote(sys.executable)} -P -m robuststack "$@"'


def accepted(
    folder: Path, branch: str, tmp_path: Path, rules: Sequence[str] = RULES, robuststack: str = OURS
) -> tuple[bool, str]:
    """What steps of the workflow make of a branch: they are run as GitHub's runner does. `robuststack` is the shell script
    that the command of this name is."""
    tools = tmp_path / "bin"
    tools.mkdir(exist_ok=True)
    (tools / "robuststack").write_text(f"#!/bin/sh\n{robuststack}\n")
    (tools / "robuststack").chmod(0o755)
    git(folder, "checkout", "-qf", branch)
    environment = {**os.environ, "PATH": f"{tools}{os.pathsep}{os.environ['PATH']}", "BASE": "origin/main"}
    told = ""
    for rule in rules:
        command = ["bash", "-e", "-c", rule]
        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
        told += done.stdout + done.stderr
        if done.returncode:
            return False, told
    return True, told


def test_a_bundle_becomes_a_branch_that_is_pushed_and_that_the_board_accepts(light, board, tmp_path, capsys):
    head = git(board, "rev-parse", "HEAD")
    assert call(["submit", str(light), "--board", "board"]) == 0
    lines = capsys.readouterr().out.splitlines()
    (branch,) = re.findall(r"submit/tiny-[0-9a-f]{8}", lines[1])
    name = branch.removeprefix("submit/")
    files = [f"bundles/{name}.bundle", f"leaderboard/{name}.json"]
    assert lines[0] == "verified: consistent"
    assert lines[1] == f"made the branch {branch} from main, which adds {files[0]} and {files[1]}"
    assert git(board, "diff", "--name-status", "main", branch).splitlines() == [f"A\t{file}" for file in files]
    assert git(board, "rev-parse", "HEAD") == git(board, "rev-parse", f"{branch}^") == head
    assert (git(board, "symbolic-ref", "--short", "HEAD"), git(board, "diff", "--cached")) == ("main", "")
    assert (board / "README.md").read_text() == "# Board, edited\n"
    assert {path.name for path in board.iterdir()} == {".git", "README.md"}
    message = git(board, "log", "-1", "--format=%B", branch)
    assert message.startswith(f"Add the leaderboard {name}\n\n3 rows of the suite tiny.")
    assert "`robuststack verify` says: consistent." in message
    command = lines[-1].strip()
    assert command == f"git -C board push -u origin {branch}"
    subprocess.run(shlex.split(command), check=True, capture_output=True)
    assert git(tmp_path / "remote", "rev-parse", branch) == git(board, "rev-parse", branch)
    git(board, "cat-file", "-e", f"{branch}:{files[0]}")
    holds, told = accepted(board, branch, tmp_path)
    assert holds, told
    assert (board / files[0]).read_bytes() == light.read_bytes()
    # Once it is merged it is not submitted again.
    git(board, "checkout", "-q", "main")
    with pytest.raises(
        SubmissionError, match=rf"board has the branch {branch} already: push it, or delete it with `git br"
    ):
        submit(light, "board")
    git(board, "merge", "-q", branch)
    with pytest.raises(SubmissionError, match=rf"board has {files[0]} already: this bundle was accepted before"):
        submit(light, "board")


def committed(board: Path, files: dict[str, bytes]) -> str:
    """A branch that adds these files."""
    git(board, "checkout", "-qfB", "theirs", "main")
    for name, content in files.items():
        (board / name).parent.mkdir(parents=True, exist_ok=True)
        (board / name).write_bytes(content)
    git(board, "add", ".")
    git(board, "commit", "-q", "-m", "Theirs")
    return "theirs"


@pytest.mark.parametrize(
    ("added", "reason"),
    [
        ({"bundles/a.bundle": b"", "leaderboard/a.json": b"", "README.md": b"# Mine"}, "M\tREADME.md"),
        ({"bundles/a.bundle": b"", ".github/workflows/verify.yml": b""}, "A\t.github/workflows/verify.yml"),
        ({"bundles/a b.bundle": b""}, "A\tbundles/a b.bundle"),
        ({}, ""),
    ],
)
def test_a_pull_request_that_changes_anything_else_is_refused(board, tmp_path, added, reason):
    git(board, "checkout", "-qf", "main")
    branch = committed(board, added) if added else "main"
    holds, told = accepted(board, branch, tmp_path, RULES[:1])
    assert not holds
    assert reason in told
    sound = committed(board, {"bundles/a.bundle": b"", "leaderboard/a.json": b""})
    assert accepted(board, sound, tmp_path, RULES[:1])[0]


def test_a_leaderboard_that_is_not_the_bundles_does_not_verify(light, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    written = json.loads(board_json(open_bundle(light).board))
    written["rows"][0]["ca"]["value"] += 1
    Path("mine.json").write_text(json.dumps(written))
    assert call(["verify", str(light), "--board", "mine.json"]) == 1
    told = capsys.readouterr().out.splitlines()
    (line,) = [line for line in told if line.startswith("disagrees:")]
    assert re.search(r"rows\..*\.ca\.value is [\d.]+ in mine\.json and [\d.]+ by the bundle$", line)
    assert told[-1] == "disagrees"
    assert call(["verify", str(light), "--board", "nothing.json"]) == 2
    assert "nothing.json" in capsys.readouterr().err


def test_the_leaderboard_of_another_suite_is_one_line(light, capsys):
    other = ROOT / "leaderboard" / "regress.json"
    assert call(["verify", str(light), "--board", str(other)]) == 1
    told = capsys.readouterr().out
    assert told.count("disagrees") == 2
    assert f"disagrees:   {other} is the leaderboard of regress, the bundle has that of tiny\n" in told
    assert told.endswith("disagrees\n")


def test_a_pull_request_is_refused_if_one_of_its_bundles_does_not_verify(board, tmp_path):
    files = {f"{folder}/{name}": b"" for name in "ab" for folder, name in
             (("bundles", f"{name}.bundle"), ("leaderboard", f"{name}.json"))}  # fmt: skip
    branch = committed(board, files)
    script = 'echo "$@"; test "$2" != bundles/{}.bundle'
    for wrong in "ab":
        holds, told = accepted(board, branch, tmp_path, robuststack=script.format(wrong))
        assert not holds
        assert f"verify bundles/{wrong}.bundle --board leaderboard/{wrong}.json" in told
    assert accepted(board, branch, tmp_path, robuststack=script.format("c"))[0]


def test_a_bundle_that_does_not_hold_is_one_line_and_nothing_is_made(light, board, tmp_path, capsys):
    members = forging.contents(light)
    claimed = json.loads(members["board.json"])
    claimed["rows"][0]["ca"]["value"] += 1
    claimed["rows"][1]["ca"]["value"] += 1
    members["board.json"] = json.dumps(claimed).encode()
    forging.forged(tmp_path / "forged.bundle", members)
    assert call(["submit", "forged.bundle", "--board", "board"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("robuststack: error: forged.bundle does not hold: rows.")
    assert line.endswith(" more: `robuststack verify forged.bundle`)")
    assert git(board, "branch", "--list") == "* main"


def test_what_is_no_board_repository_is_one_line_before_anything_is_verified(light, board, tmp_path, monkeypatch):
    for folder, reason in (("nowhere", "nowhere is no checkout of a git repository"),
                           ("bin", "bin is no checkout of a git repository"),
                           ("empty", "empty has no commit yet: make one first")):  # fmt: skip
        (tmp_path / "bin").mkdir(exist_ok=True)
        git(tmp_path, "init", "-q", "empty")
        with pytest.raises(SubmissionError, match=re.escape(reason)):
            submit(light, folder)
    with pytest.raises(rs.RobustStackError, match=r"nothing\.bundle"):
        submit("nothing.bundle", "board")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SubmissionError, match="a submission needs git, which cannot be run: "):
        submit(light, "board")


def test_the_workflow_on_the_page_is_the_file_beside_it():
    text = (ROOT / "docs" / "submit.md").read_text(encoding="utf-8")
    assert f"`.github/workflows/verify.yml`:\n\n```yaml\n{TEMPLATE.read_text(encoding='utf-8')}```\n" in text
    assert len(RULES) == 2
