"""How long the main job takes, how much memory, and how quick the command line is: `python tests/benchmarks/main_job.py`.

Every time is that of a whole process. Run it on a machine that does nothing else.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

from tabulate import tabulate

ROOT = Path(__file__).parent.parent.parent
SUITE = ROOT / "suites" / "float_vs_oat.yaml"


def timed(*arguments: str) -> tuple[float, float]:
    """Seconds and peak MiB of one process."""
    started = time.perf_counter()
    quiet = [(os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0)]
    # Compiled modules are kept, as they are for users: the first process of each kind warms up.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    process = os.posix_spawn(sys.executable, [sys.executable, *arguments], environment, file_actions=quiet)
    _, status, usage = os.wait4(process, 0)
    if status:
        sys.exit(f"{' '.join(arguments)} failed with status {status}")
    return time.perf_counter() - started, usage.ru_maxrss / 1024


def median(repeats: int, *arguments: str) -> float:
    """The median of several processes, after one that warms the file cache."""
    timed(*arguments)
    return statistics.median(timed(*arguments)[0] for _ in range(repeats))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--light", action="store_true", help="leave the main job out")
    light = parser.parse_args().light
    words = ("--help", "list", f"check --quick {SUITE}", f"plan {SUITE}")
    rows = [
        [
            f"robuststack {command.replace(f'{ROOT}/', '')}",
            f"{median(5, '-m', 'robuststack', *command.split()):.2f} s",
            "",
        ]
        for command in words
    ]
    torch = median(3, "-c", "import torch")
    rows.append(["python -c 'import torch'", f"{torch:.2f} s", ""])
    if not light:
        with tempfile.TemporaryDirectory() as folder:
            run = [
                "-m",
                "robuststack",
                "run",
                str(SUITE),
                "--store",
                f"{folder}/store",
                "--leaderboard",
                f"{folder}/board",
            ]
            for name in ("the main job, from nothing", "the main job, all cached"):
                seconds, memory = timed(*run)
                rows.append([name, f"{seconds:.1f} s", f"{memory:.0f} MiB"])
    print(tabulate(rows, ["process", "time", "peak memory"], tablefmt="github", disable_numparse=True))


if __name__ == "__main__":
    main()
