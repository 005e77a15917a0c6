"""What docs/cluster.md says to type starts a cluster that runs a suite."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hosts import Host, two_hosts, wait_for_nodes

from clusters import ENVIRONMENT
from stores import contents

pytestmark = pytest.mark.faults
DOCUMENT = (Path(__file__).parents[2] / "docs" / "cluster.md").read_text()
BESIDE = f"{Path(sys.executable).parent}:{os.environ['PATH']}"


def stand_ins(folder: Path, **commands: str) -> str:
    """A `PATH` on which these commands come first."""
    for name, text in commands.items():
        (folder / name).write_text(f"#!/bin/sh\n{text}\n")
        (folder / name).chmod(0o755)
    return f"{folder}:{BESIDE}"


def test_the_file_for_slurm_runs_on_the_loopback_address(
    suite: Path, undisturbed: dict[str, Any], tmp_path: Path
) -> None:
    """`srun` and `scontrol` are stand-ins that run on this machine what they are given."""
    script = re.search(r"```bash\n(.*?)```", DOCUMENT, re.DOTALL)
    assert script
    (tmp_path / "job.sbatch").write_text(script[1])
    path = stand_ins(
        tmp_path,
        scontrol="echo 127.0.0.1; echo 127.0.0.1",
        srun='while [ "${1#--}" != "$1" ]; do shift; done; exec "$@" --num-cpus=1',
        robuststack=f'exec {sys.executable} -m robuststack "$@" --store {tmp_path}/store --leaderboard {tmp_path}',
    )
    slurm = {"SLURM_JOB_NODELIST": "n[1-2]", "SLURM_JOB_NUM_NODES": "2", "RAY_PORT": "26379", "PATH": path}
    said = tmp_path / "said.txt"
    with said.open("wb") as log, subprocess.Popen(
        ["bash", str(tmp_path / "job.sbatch"), str(suite)],
        env={**os.environ, **ENVIRONMENT, **slurm}, start_new_session=True, stdout=log, stderr=log,
    ) as process:  # fmt: skip
        try:
            code = process.wait(timeout=400)
        finally:  # The nodes, as Slurm ends what a job has left.
            os.killpg(process.pid, signal.SIGKILL)
    assert code == 0, said.read_text()
    assert contents(tmp_path / "store") == undisturbed


def test_the_commands_for_machines_that_are_reached_by_ssh(
    suite: Path, undisturbed: dict[str, Any], tmp_path: Path
) -> None:
    """Two hosts with networks of their own; what `ssh` is given is run on the second."""
    section = DOCUMENT[DOCUMENT.index("## Machines that you reach by SSH") :]
    said = tmp_path / "said.txt"
    head, other = re.findall(r"^    (.*ray start.*)$", section, re.MULTILINE)
    with two_hosts(tmp_path) as (first, second):
        path = stand_ins(
            tmp_path, ray=f'[ "$1" != start ] || set -- "$@" --num-cpus=1; exec {Path(sys.executable).parent}/ray "$@"'
        )

        def typed(host: Host, line: str) -> None:
            words = host.command("sh", "-c", line.replace("10.0.0.1", first.address))
            with said.open("ab") as log:  # A pipe would stay open as long as the nodes that `ray start` leaves.
                done = subprocess.run(words, env=host.environment(PATH=path), stdout=log, stderr=log, check=False)
            assert done.returncode == 0, said.read_text()

        typed(first, head)
        remote = re.fullmatch(r'ssh node2 "(.*)"', other)
        assert remote
        typed(second, remote[1])
        wait_for_nodes(first, 2)
        typed(
            first,
            f"{sys.executable} -m robuststack run {suite} --executor ray --address auto --store store --leaderboard board",
        )
        assert contents(first.folder / "store") == undisturbed
