"""How soon the light commands answer: `python tests/benchmarks/light_commands.py`.

Seconds of the processor, user and system, the least of several processes each, in turn. Compiled modules, what source
files mean, and what the check has built are in place, as after any first start.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
SUITE = "suites/float_vs_oat.yaml"
PROGRAMS = {
    "python -c pass": ["-c", "pass"],
    "import robuststack": ["-c", "import robuststack"],
    **{
        f"robuststack {words}": ["-m", "robuststack", *words.split()]
        for words in ("--help", "list", f"check {SUITE}", f"check --quick {SUITE}", f"plan {SUITE}")
    },
}


def seconds(program: list[str]) -> float:
    """What a process takes of the processor."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, *program], check=True, cwd=ROOT, capture_output=True, env=environment)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    chosen = parser.parse_args()
    taken: dict[str, list[float]] = {name: [] for name in PROGRAMS}
    for number in range(chosen.rounds + 1):
        for name, program in PROGRAMS.items():
            if number:
                taken[name].append(seconds(program))
            else:
                seconds(program)  # It writes what the others find.
    print("| command | seconds |\n|---|---|")
    for name, measured in taken.items():
        print(f"| `{name}` | {min(measured):.2f} |")


if __name__ == "__main__":
    main()
