"""Completion, in the shells themselves: each is typed at as a user would."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import shutil
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from robuststack.cli import call
from robuststack.cli.completing import keys_of
from robuststack.suite.loading import load_suite
from robuststack.suite.suite import Suite

STARTS = {
    "bash": (["bash", "--norc", "--noprofile", "-i"], 'eval "$(robuststack completion bash)"'),
    "zsh": (
        ["zsh", "-f", "-i"],
        'bindkey -e; autoload -Uz compinit; compinit -u -D; eval "$(robuststack completion zsh)"',
    ),
    "fish": (["fish", "--no-config", "-i"], "robuststack completion fish | source"),
}
PATIENCE = 120.0
"""Seconds for an answer, on a machine that does other things."""


class Terminal:
    """A shell at a terminal."""

    def __init__(self, shell: str, folder: Path) -> None:
        program = folder / "bin" / "robuststack"
        program.parent.mkdir()
        program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m robuststack "$@"\n')
        program.chmod(0o755)
        command, setting_up = STARTS[shell]
        path = os.pathsep.join([str(program.parent), os.environ["PATH"]])
        environment = {**os.environ, "PATH": path, "HOME": str(folder), "TERM": "xterm", "PS1": "> "}
        ours, theirs = pty.openpty()
        self._file = ours
        self._process = subprocess.Popen(
            command, stdin=theirs, stdout=theirs, stderr=theirs, cwd=folder, env=environment, start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),  # fish refuses to be interactive without one.
        )  # fmt: skip
        os.close(theirs)
        self.type(f"{setting_up}; echo REA''DY\n")
        self.until(r"READY\r?\n")

    def type(self, text: str) -> None:
        os.write(self._file, text.encode())

    def until(self, pattern: str) -> str:
        """What it prints until a pattern is there, as the match's group."""
        seen, deadline = "", time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            if select.select([self._file], [], [], 1.0)[0]:
                seen += os.read(self._file, 1 << 16).decode(errors="replace")
                if match := re.search(pattern, seen):
                    return match[match.re.groups]
        raise AssertionError(f"nothing like {pattern} in {seen!r}")

    def completed(self, line: str) -> str:
        """What a line becomes by a TAB and an X behind it."""
        self.type(f"{line}\tX\x01echo DO''NE:\n")
        return self.until(r"[\r\n]DONE:([^\r\n]*)[\r\n]")

    def close(self) -> None:
        os.close(self._file)
        self._process.kill()
        self._process.wait()


@pytest.fixture(params=STARTS)
def terminal(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Terminal]:
    if shutil.which(request.param) is None and "CI" not in os.environ:
        pytest.skip(f"{request.param} is not installed")
    board = tmp_path / "leaderboard" / "results.json"
    job = tmp_path / ".robuststack" / "train" / "train-0123456789abcdef" / "result.json"
    for file in (board, job):
        file.parent.mkdir(parents=True)
        file.write_text("{}")
    terminal = Terminal(request.param, tmp_path)
    yield terminal
    terminal.close()


def test_each_shell_completes_what_users_type(terminal):
    for line, completed in (
        ("robuststack descr", "robuststack describe X"),
        ("robuststack show attack apgd_dl", "robuststack show attack apgd_dlr X"),
        ("robuststack show pyautoattack:autoa", "robuststack show pyautoattack:autoattack_rand X"),
        ("robuststack run suite.yaml --set evaluate.bl", "robuststack run suite.yaml --set evaluate.block=X"),
        ("robuststack export train-0", "robuststack export train-0123456789abcdef X"),
        ("robuststack show nothing-like-i", "robuststack show nothing-like-iX"),
    ):
        assert terminal.completed(line) == completed


def test_every_suite_key_is_offered_and_can_be_set(small_suite):
    keys = list(keys_of(Suite))
    assert {"train.epochs=", "threat.eps=", "evaluate.game.ca=", "seeds.attack=", "attacks="} <= set(keys)
    assert len(keys) == len(set(keys)) > 40
    for key in ("train.epochs=2", "evaluate.block=7", "measure.latency=false", "precision=bf16"):
        load_suite(small_suite, [key])


def test_an_unknown_shell_is_one_line(capsys):
    assert call(["completion", "tcsh"]) == 2
    assert "'tcsh' is not one of 'bash', 'zsh', 'fish'" in capsys.readouterr().err
