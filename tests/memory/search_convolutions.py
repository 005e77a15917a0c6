"""Search for convolutions that write past the end of memory, or are wrong: `python tests/memory/search_convolutions.py`.

Each case is a convolution's forward pass and its gradients for input and weight, against double precision. A batch of
cases has a process of its own, forked from one that has imported torch, whose allocator has guard pages or the checks of
the C library. Where a batch dies, the case that did it is found by running fewer. By default the convolutions are as the
host places them, and the exit code is 1 if any is at fault; `--unguarded` shows what torch makes of them by itself.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

from cases import Case, Shape, all_cases, known, known_with_amx, placed
from checked import UNLIMITED, environment, instruction_sets, watched
from forks import Task, ended

if TYPE_CHECKING:
    import torch
    from convolution import Exact

BATCH = 64
LONGEST = 60
"""CPU seconds of a batch; one that takes longer is killed."""
STEPS = ("forward", "input gradient", "weight gradient")
TOLERANCE = {"float32": 1e-4, "bf16": 2.0**-4}
"""How far a value may be off, relative to the largest one of its tensor. Without oneDNN, under AVX2, torch adds up in bf16:
a weight gradient was off by 0.035."""


@dataclass(frozen=True)
class Fault:
    """A case and what went wrong in it: in which of `STEPS`, and how."""

    case: Case
    step: str
    how: str

    @classmethod
    def read(cls, line: str) -> tuple[str, Fault]:
        """The instruction set and the fault of a line that a worker wrote."""
        fields = json.loads(line)
        case = fields["case"]
        shape = {key: tuple(value) if isinstance(value, list) else value for key, value in case["shape"].items()}
        return fields["instruction_set"], cls(Case(**case | {"shape": Shape(**shape)}), fields["step"], fields["how"])


def run(case: Case, right: Exact, guarded: bool, tell: int) -> list[tuple[str, str]]:
    """The steps of a case that give wrong values, and how far they are off. Writes each step to `tell` before it."""
    import torch
    from convolution import arithmetic, convolution, in_layout

    torch.set_num_threads(case.threads)
    wrong: list[tuple[str, str]] = []

    def begin(step: str) -> None:
        os.write(tell, f"{STEPS.index(step)}".encode())

    def compare(step: str, ours: torch.Tensor, theirs: torch.Tensor) -> None:
        part = ours.detach()[tuple(slice(size) for size in theirs.shape)]
        off = float((part.double() - theirs).abs().max() / theirs.abs().max().clamp_min(1e-12))
        # What a slim layer does not use gets no gradient.
        rest = ours.numel() > part.numel() and bool(ours.count_nonzero() > part.count_nonzero())
        if rest or not off <= TOLERANCE[case.precision]:
            wrong.append((step, f"wrong by {off:.2g}"))

    module = convolution(case, right, guarded)
    x = in_layout(right.x, case.layout).requires_grad_()
    weights = [parameter for parameter in module.parameters() if parameter.requires_grad]
    begin("forward")
    with arithmetic(case.precision, guarded):
        # One pixel for each channel looks like logits with two dimensions too many, which are taken off.
        result = module(x).reshape(right.result.shape)
    compare("forward", result, right.result)
    cotangent = in_layout(right.cotangent, case.gradient_layout).to(result.dtype)
    for step, asked, theirs in (
        ("input gradient", [x], [right.x_gradient]),
        ("weight gradient", weights, [right.weight_gradient, right.bias_gradient]),
    ):
        if not asked:
            continue  # The weights are frozen.
        begin(step)
        for gradient, expected in zip(
            torch.autograd.grad(result, asked, cotangent, retain_graph=True), theirs, strict=False
        ):
            compare(step, gradient, expected)
    return wrong


def batch(cases: Sequence[Case], guarded: bool) -> tuple[list[Fault], int | None, str, str]:
    """Run cases in a forked process: the wrong ones, and if it died the number of the case, the step, and how."""
    from convolution import exact

    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # The allocator's last words.
        resource.setrlimit(resource.RLIMIT_CPU, (LONGEST, LONGEST))  # Threads can wait for each other for ever.
        for shape, ways in groupby(cases, key=lambda case: case.shape):
            right = exact(shape)
            for case in ways:
                try:
                    wrong = run(case, right, guarded, writing)
                except Exception as error:
                    wrong = [("any step", f"raised {error!r}")]
                os.write(writing, (json.dumps(wrong) + "\n").encode())
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        *lines, last = pipe.read().split("\n")
    status = os.waitpid(child, 0)[1]
    faults = [
        Fault(case, step, how)
        for case, line in zip(cases, lines, strict=False)
        for step, how in json.loads(line[line.index("[") :])
    ]
    if status == 0:
        return faults, None, "", ""
    how = signal.Signals(os.WTERMSIG(status)).name if os.WIFSIGNALED(status) else f"exit code {os.WEXITSTATUS(status)}"
    step = STEPS[int(last[-1])] if last else "the end"
    return faults, min(len(lines), len(cases) - 1), step, how


def search(cases: Sequence[Case], guarded: bool) -> Iterator[Fault]:
    """What is at fault among the cases."""
    waiting = [list(cases[start : start + BATCH]) for start in range(0, len(cases), BATCH)]
    while waiting:
        group = waiting.pop()
        faults, position, step, how = batch(group, guarded)
        if position is None:
            yield from faults
            continue
        culprit = group[position]
        died = batch([culprit], guarded)[1]
        if died is not None:
            yield from faults
            yield Fault(culprit, step, how)
            waiting += [group[position + 1 :]] if position + 1 < len(group) else []
            continue
        # Another case before it did the harm.
        half = (position + 1) // 2
        if half == 0 or (
            batch(group[:half], guarded)[1] is None and batch(group[half : position + 1], guarded)[1] is None
        ):
            yield from faults
            yield Fault(culprit, step, f"{how}, only after others")
            waiting += [group[position + 1 :]] if position + 1 < len(group) else []
        else:
            waiting += [part for part in (group[:half], group[half : position + 1], group[position + 1 :]) if part]


def table(faults: Sequence[tuple[str, Fault]]) -> str:
    """The faults by instruction set and kind: how many died and were wrong, and their numbers of channels."""
    rows: dict[tuple[str, str, str, str, str], list[Case]] = {}
    for instruction_set, fault in faults:
        how = fault.how.partition(" ")[0] if fault.how.startswith(("wrong", "raised")) else "crash"
        layout = "channels-last" if "last" in (fault.case.layout, fault.case.weight_layout) else "default"
        kind = f"{fault.case.shape.kind}, {fault.case.precision}"
        rows.setdefault((instruction_set, kind, layout, fault.step, how), []).append(fault.case)
    lines = [
        "| instructions | convolution | layout | step | fault | cases | channels in a group | ways in |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for key, cases in sorted(rows.items()):
        channels = sorted({case.shape.inputs // case.shape.groups for case in cases})
        paths = ", ".join(f"{path} {count}" for path, count in Counter(case.path for case in cases).most_common())
        lines.append(f"| {' | '.join(key)} | {len(cases)} | {ranges(channels)} | {paths} |")
    return "\n".join(lines)


def ranges(numbers: Sequence[int]) -> str:
    """1, 2, 3, 5 as `1-3, 5`."""
    parts: list[list[int]] = []
    for number in numbers:
        if parts and number == parts[-1][1] + 1:
            parts[-1][1] = number
        else:
            parts.append([number, number])
    return ", ".join(f"{first}-{last}" if first < last else f"{first}" for first, last in parts)


def searched(instruction_set: str, cases: Sequence[Case], guarded: bool) -> None:
    """Print what is at fault among the cases, in a process that is limited to the instruction set."""
    from convolution import warm

    warm(cases[0].shape)
    for fault in search(cases, guarded):
        print(json.dumps({"instruction_set": instruction_set, **asdict(fault)}), flush=True)


def worked(arguments: argparse.Namespace, cases: Sequence[Case]) -> int:
    """The search in a process of its own, whose allocator is watched."""
    import convolution  # noqa: F401  # Loads torch, once for all that are forked.

    tasks = [
        Task("search", name, partial(searched, name, cases, not arguments.unguarded))
        for name in arguments.isa or instruction_sets()
    ]
    codes = []
    for task in ended(tasks, arguments.processes):
        print(task, file=sys.stderr, flush=True)
        codes.append(task.code)
    return int(any(codes))


def main(given: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--full", action="store_true", help="some 7,000 cases instead of some 230")
    parser.add_argument("--known", action="store_true", help="only those that have been seen to be wrong by themselves")
    parser.add_argument(
        "--known-with-amx", action="store_true", help="only those that have been seen to be wrong with AMX"
    )
    parser.add_argument("--unguarded", action="store_true", help="as torch computes them by itself")
    parser.add_argument("--count", type=int, help="how many cases are drawn beside the lattice")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--isa", action="append", help="only this instruction set; repeatable")
    parser.add_argument("--processes", type=int, default=1, help="instruction sets at a time")
    parser.add_argument(
        "--glibc", action="store_true", help="the C library's checks, also where guard pages can be had"
    )
    parser.add_argument("--trust", action="store_true", help="do not try first whether writes past an end are seen")
    parser.add_argument("--list", action="store_true", help="print each case at fault, too")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    given = sys.argv[1:] if given is None else given
    arguments = parser.parse_args(given)
    seen = [*(known() if arguments.known else ()), *(known_with_amx() if arguments.known_with_amx else ())]
    cases = seen or all_cases(arguments.full, arguments.count, arguments.seed)
    if not arguments.unguarded:
        cases = list(dict.fromkeys(placed(case) for case in cases))
    if arguments.worker:
        return worked(arguments, cases)
    if not arguments.trust and not watched(pages=not arguments.glibc):
        print("this system's C library does not watch over memory: only wrong values and hard crashes are seen")
    sets = arguments.isa or instruction_sets()
    done = subprocess.run(
        [sys.executable, str(Path(__file__).resolve()), *given, "--worker"],
        env=environment(UNLIMITED, pages=not arguments.glibc), stdout=subprocess.PIPE, text=True, check=False,
    )  # fmt: skip
    faults = [Fault.read(line) for line in done.stdout.splitlines()]
    if arguments.list:
        for name, fault in faults:
            print(name, fault.step, fault.how, fault.case)
    if faults:
        print(table(faults))
    at_fault = len({(name, fault.case) for name, fault in faults})
    print(f"{len(cases)} cases on each of {', '.join(sets)}: {at_fault} at fault")
    return 1 if faults or done.returncode else 0


if __name__ == "__main__":
    sys.exit(main())
