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
import random
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

from checked import environment, instruction_sets, watched

BATCH = 32
STEPS = ("forward", "input gradient", "weight gradient", "both gradients")
TOLERANCE = {"float32": 1e-4, "bf16": 2.0**-5}
"""How far a value may be off, relative to the largest one of its tensor."""


@dataclass(frozen=True)
class Case:
    """A convolution, and the layouts of what it gets.

    `layout`, `weight_layout` and `gradient_layout`: `default` or `last`. `path`: `plain`, `slim` (the first half of the
    weights of a layer that is twice as wide), `folded` (with a batch norm merged into it), `functional` (a module that
    calls the function), or `scripted`.
    """

    inputs: int
    outputs: int
    kernel: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[int, int]
    dilation: tuple[int, int]
    groups: int
    batch: int
    size: tuple[int, int]
    layout: str
    weight_layout: str
    gradient_layout: str
    precision: str
    path: str
    bias: bool

    @property
    def kind(self) -> str:
        """What it is called in the table."""
        sort = "depthwise" if 1 < self.groups == self.inputs else "grouped" if self.groups > 1 else "plain"
        window = "1 x 1" if self.kernel == (1, 1) else "wider"
        step = "stride 1" if max(self.stride) == 1 else "strided"
        return f"{sort}, {window}, {step}, {self.precision}"

    @property
    def valid(self) -> bool:
        """Whether there is such a convolution."""
        spans = zip(self.size, self.padding, self.dilation, self.kernel, strict=True)
        whole = all(size + 2 * padding > dilation * (kernel - 1) for size, padding, dilation, kernel in spans)
        sliced = self.path != "slim" or self.groups in (1, self.inputs)
        work = self.batch * self.size[0] * self.size[1] * self.outputs * (self.inputs // self.groups)
        # Double precision is slow, and large images are for the convolutions whose memory is laid out by pages.
        quick = work * self.kernel[0] * self.kernel[1] / (self.stride[0] * self.stride[1]) < 5e6
        return quick and whole and sliced and self.inputs % self.groups == 0 == self.outputs % self.groups


@dataclass(frozen=True)
class Fault:
    """A case and what went wrong in it: in which of `STEPS`, and how."""

    case: Case
    step: str
    how: str


def lattice(full: bool) -> Iterator[Case]:
    """Each number of channels, in the convolutions that networks have; the fault shows on large images."""
    for inputs in range(1, 41 if full else 18):
        for kernel in (1, 3) if full else (1,):
            for stride in (1, 2) if full else (2,):
                for size in ((7, 9), (96, 96)) if full else ((96, 96),):
                    for precision in ("float32", "bf16"):
                        yield Case(
                            inputs, 8, (kernel, kernel), (stride, stride), (kernel // 2, kernel // 2), (1, 1), 1, 4, size,
                            "last", "last", "last", precision, "plain", False,
                        )  # fmt: skip


def drawn(count: int, seed: int) -> Iterator[Case]:
    """Convolutions drawn at random from all there are, half of them strided 1 x 1."""
    source = random.Random(seed)
    found = 0
    while found < count:
        inputs = source.randint(1, 40)
        pointwise = source.random() < 0.5
        kernel = (
            (1, 1) if pointwise else source.choice([(1, 1), (1, 3), (3, 1), (2, 2), (3, 3), (3, 3), (5, 5), (7, 7)])
        )
        groups = source.choice([1, 1, 1, inputs, source.choice([d for d in range(1, 41) if inputs % d == 0])])
        case = Case(
            inputs,
            source.choice([groups, 2 * groups, groups * source.randint(1, max(1, 40 // groups))]),
            kernel,
            source.choice([(4, 4) if pointwise else (1, 1), (2, 2), (3, 3), (1, 2), (2, 1)]),
            source.choice([(0, 0), (0, 0), (kernel[0] // 2, kernel[1] // 2), (1, 1)]),
            source.choice([(1, 1), (1, 1), (2, 2), (3, 3), (1, 2)]),
            groups,
            source.choice([1, 2, 4, 5]),
            source.choice([(source.randint(1, 40), source.randint(1, 40)), (32, 32), (96, 96), (17, 64)]),
            source.choice(["last", "last", "default"]),
            source.choice(["last", "last", "default"]),
            source.choice(["last", "default"]),
            source.choice(["float32", "float32", "bf16"]),
            source.choice(["plain", "plain", "slim", "folded", "functional", "scripted"]),
            source.random() < 0.5,
        )  # fmt: skip
        if case.valid:
            found += 1
            yield case


def all_cases(full: bool, count: int | None, seed: int) -> list[Case]:
    """The lattice and the draws, of which the full search has more."""
    return [*lattice(full), *drawn(count if count is not None else 1500 if full else 200, seed)]


def run(case: Case, guarded: bool, tell: int) -> list[tuple[str, str]]:
    """The steps of a case that give wrong values, and how far they are off. Writes each step to `tell` before it."""
    import torch
    from convolution import convolution, images

    torch.manual_seed(case.inputs * 1000 + case.outputs)
    module, exact = convolution(case, guarded)
    x = images(case)
    wide = x.detach().double().requires_grad_()
    expected = exact(wide)
    weights, exact_weights = (
        [p for p in module.parameters() if p.requires_grad],
        [p for p in exact.parameters() if p.requires_grad],
    )
    cotangent = torch.randn(expected.shape)
    if case.precision == "bf16":
        cotangent = cotangent.bfloat16().float()
    if case.gradient_layout == "last":
        cotangent = cotangent.contiguous(memory_format=torch.channels_last)
    wrong: list[tuple[str, str]] = []

    def compare(step: str, ours: Sequence[torch.Tensor], theirs: Sequence[torch.Tensor]) -> None:
        for mine, right in zip(ours, theirs, strict=True):
            off = float(
                (mine.detach().double() - right.detach()).abs().max() / right.detach().abs().max().clamp_min(1e-12)
            )
            if not off <= TOLERANCE[case.precision]:
                wrong.append((step, f"wrong by {off:.2g}"))

    def begin(step: str) -> None:
        os.write(tell, f"{STEPS.index(step)}".encode())

    begin("forward")
    with torch.autocast("cpu", torch.bfloat16, enabled=case.precision == "bf16"):
        result = module(x)
    compare("forward", [result], [expected])
    cotangent = cotangent.to(result.dtype)
    for step, asked, right in (
        ("input gradient", [x], [wide]),
        ("weight gradient", weights, exact_weights),
        ("both gradients", [x, *weights], [wide, *exact_weights]),
    ):
        if not asked:
            continue  # The weights are frozen.
        begin(step)
        ours = torch.autograd.grad(result, asked, cotangent, retain_graph=True)
        compare(step, ours, torch.autograd.grad(expected, right, cotangent.double(), retain_graph=True))
        del ours
    return wrong


def batch(cases: Sequence[Case], guarded: bool) -> tuple[list[Fault], int | None, str, str]:
    """Run cases in a forked process: the wrong ones, and if it died the number of the case, the step, and how."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # The allocator's last words.
        for case in cases:
            wrong = run(case, guarded, writing)
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
        how = "wrong value" if fault.how.startswith("wrong") else "crash"
        layout = fault.case.layout, fault.case.weight_layout
        last = "channels-last" if "last" in layout else "default"
        rows.setdefault((instruction_set, fault.case.kind, last, fault.step, how), []).append(fault.case)
    lines = [
        "| instructions | convolution | layout | step | fault | cases | channels in | ways in |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for key, cases in sorted(rows.items()):
        channels = sorted({case.inputs // case.groups for case in cases})
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


def searched(instruction_set: str, arguments: argparse.Namespace) -> tuple[list[Fault], str]:
    """The search in a process of its own, on one instruction set: the faults, and what the process said if it failed."""
    command = [sys.executable, str(Path(__file__).resolve()), "--worker", "--seed", str(arguments.seed)]
    command += ["--full"] if arguments.full else []
    command += ["--unguarded"] if arguments.unguarded else []
    command += ["--count", str(arguments.count)] if arguments.count is not None else []
    done = subprocess.run(
        command,
        env=environment(instruction_set, pages=not arguments.glibc),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        return [], done.stderr or f"exit code {done.returncode}"
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    pairs = {"kernel", "stride", "padding", "dilation", "size"}
    cases = [
        Case(**{key: tuple(value) if key in pairs else value for key, value in line["case"].items()}) for line in lines
    ]
    return [Fault(case, line["step"], line["how"]) for case, line in zip(cases, lines, strict=True)], ""


def main(given: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--full", action="store_true", help="2,140 cases instead of 234")
    parser.add_argument("--unguarded", action="store_true", help="as torch computes them by itself")
    parser.add_argument("--count", type=int, help="how many cases are drawn beside the lattice")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--isa", action="append", help="only this instruction set; repeatable")
    parser.add_argument("--processes", type=int, default=1, help="instruction sets at a time")
    parser.add_argument(
        "--glibc", action="store_true", help="the C library's checks, also where guard pages can be had"
    )
    parser.add_argument("--list", action="store_true", help="print each case at fault, too")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args(given)
    cases = all_cases(arguments.full, arguments.count, arguments.seed)
    if arguments.worker:
        from convolution import warm

        warm(cases[0])

        for fault in search(cases, not arguments.unguarded):
            print(json.dumps(asdict(fault)), flush=True)
        return 0
    if not watched(pages=not arguments.glibc):
        print("this system's C library does not watch over memory: only wrong values and hard crashes are seen")
    sets = arguments.isa or instruction_sets()
    with ThreadPoolExecutor(arguments.processes) as pool:
        results = list(pool.map(lambda name: searched(name, arguments), sets))
    found = [(name, fault) for name, (faults, _) in zip(sets, results, strict=True) for fault in faults]
    failed = [(name, said) for name, (_, said) in zip(sets, results, strict=True) if said]
    for name, said in failed:
        print(f"{name}: the search itself failed: {said}", file=sys.stderr)
    if arguments.list:
        for name, fault in found:
            print(name, fault.step, fault.how, fault.case)
    if found:
        print(table(found))
    print(f"{len(cases)} cases on each of {', '.join(sets)}: {len({(name, f.case) for name, f in found})} at fault")
    return 1 if found or failed else 0


if __name__ == "__main__":
    sys.exit(main())
