"""Python scripts in processes of their own that have imported torch already: forks of one server process.

Importing torch and what the commands need takes seconds; a test that kills a run five times would spend nearly all of its
time on it. The server has imported everything and has computed nothing, so a fork is as fresh as a new interpreter in all
but its imports. What a test says of hash seeds or variables of the environment needs `subprocess`.

A `light` script is a fork of another server, which has imported the command line and what makes plans: no component and no
torch. What such a script imports beyond that, it imports itself.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import TracebackType

ALL = """
import scipy.stats, torch, torch._dynamo  # The last is what the first gradient and the first optimizer import, in seconds.
import robuststack.cli.run, robuststack.cli.evaluate, robuststack.engine.jobs, robuststack.leaderboard.drawing
from robuststack.plugin.registry import Registry
for registration in Registry():
    if registration.plugin in ("architectures", "attacks", "datasets", "defenses"):
        registration.load()
"""
LIGHT = """
import robuststack.cli, robuststack.hardware, robuststack.plan.planner, robuststack.plugin.registry
"""
SERVER = """
import json, os, sys, traceback
{imports}
def exit_code(script):
    try:
        exec(compile(script, "<script>", "exec"), {{"__name__": "__main__"}})
    except SystemExit as caught:
        if isinstance(caught.code, str):
            print(caught.code, file=sys.stderr)
        return caught.code if isinstance(caught.code, int) else int(caught.code is not None)
    except BaseException:
        traceback.print_exc()
        return 1
    return 0

print("ready", flush=True)
for line in sys.stdin:
    asked = json.loads(line)
    child = os.fork()
    if child == 0:
        os.chdir(asked["cwd"])
        for number, path in ((0, os.devnull), (1, asked["stdout"]), (2, asked["stderr"])):
            os.dup2(os.open(path, os.O_RDWR), number)
        code = exit_code(asked["script"])
        for stream in (sys.stdout, sys.stderr):
            try:
                stream.flush()
            except ValueError:  # The command closes its output itself.
                pass
        os._exit(code)
    print(child, flush=True)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


@dataclass
class Forked:
    """A script that runs: its process, and what it has written."""

    pid: int
    server: subprocess.Popen[str]
    folder: tempfile.TemporaryDirectory[str]
    returncode: int | None = None
    stdout: str = ""
    stderr: str = ""

    @property
    def running(self) -> bool:
        return self.returncode is None and not select.select([self.server.stdout], [], [], 0)[0]

    def signal(self, number: int) -> None:
        if self.running:
            os.kill(self.pid, number)

    def wait(self) -> Forked:
        """Until it has ended; then `returncode`, `stdout` and `stderr` are known."""
        if self.returncode is None:
            self.returncode = int(_line(self.server))
            self.stdout, self.stderr = (Path(self.folder.name, name).read_text() for name in ("stdout", "stderr"))
            self.folder.cleanup()
        return self

    def __enter__(self) -> Forked:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        with contextlib.suppress(ProcessLookupError):
            if self.returncode is None and self.running:
                os.kill(self.pid, 9)
        self.wait()


def start(script: str, cwd: Path | None = None, *, light: bool = False) -> Forked:
    """The script in a fork of the server, or in one of the light server; one at a time of each."""
    server, folder = _server(LIGHT if light else ALL), tempfile.TemporaryDirectory()
    asked = {"script": script, "cwd": str(cwd or Path.cwd())}
    for name in ("stdout", "stderr"):
        path = Path(folder.name, name)
        path.touch()
        asked[name] = str(path)
    assert server.stdin is not None
    server.stdin.write(json.dumps(asked) + "\n")
    server.stdin.flush()
    return Forked(int(_line(server)), server, folder)


def run(script: str, cwd: Path | None = None, *, light: bool = False) -> Forked:
    """The script, to its end."""
    return start(script, cwd, light=light).wait()


@cache
def _server(imports: str) -> subprocess.Popen[str]:
    # It ends with this process, which closes its input.
    program = SERVER.format(imports=imports)
    server = subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert _line(server) == "ready"
    return server


def _line(server: subprocess.Popen[str]) -> str:
    assert server.stdout is not None
    return server.stdout.readline().strip()
