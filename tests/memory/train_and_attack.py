"""Every defense and network trained for two steps and attacked, on each instruction set that the processor has.

The parts are `slim` (a defense whose narrow shortcuts see images as large as the fault of torch needs), `defenses` (each on
one small network) and `networks` (each undefended); all of them unless some are named. This process loads what all need,
makes the plans and computes nothing; it is started with the variables of `checked.environment`.
"""

from __future__ import annotations

import argparse
import importlib
import json
import sys
import tempfile
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from checked import instruction_sets
from forks import Task, ended

from robuststack.errors import JobFailed
from robuststack.hardware import Hardware
from robuststack.paths import data_folder
from robuststack.plan.plan import Plan
from robuststack.plan.planner import make_plan
from robuststack.plugin.defense import Defense
from robuststack.plugin.options import marked
from robuststack.plugin.registry import Registry
from robuststack.running.executors.local import LocalExecutor
from robuststack.running.store import Store
from robuststack.suite.loading import load_suite

SUITE = """
name: {name}
precision: {precision}
device: cpu
threads: 1
datasets: {{name: tradeoff, options: {{images: 10, test_images: 10, size: {size}, classes: 3}}}}
architectures: [{networks}]
train: {{epochs: 1, batch_size: 4, attack: {{name: pgd, options: {{steps: 1, step: relative}}}}}}
defenses: [{defenses}]
attacks: [{{name: pgd, options: {{steps: 1}}}}]
evaluate: {{block: 2, limit: 2, draws: 2, keep_images: false, points: ends}}
"""
# Half the width of a slim one is 12 channels, which the shortcuts of its second stage get; a quarter is 6.
NARROW = "{name: wrn-10-1, options: {width: 24}}"
SLIM = "{name: floats, options: {widths: [0.25, 0.5, 1.0]}}"


@dataclass(frozen=True)
class Part:
    """A suite of which every model is trained and attacked, on images of `size` x `size`."""

    name: str
    networks: str
    defenses: str
    size: int = 8
    precision: str = "float32"

    def plan(self, registry: Registry) -> Plan:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "suite.yaml")
            path.write_text(
                SUITE.format(
                    name=self.name,
                    precision=self.precision,
                    size=self.size,
                    networks=self.networks,
                    defenses=self.defenses,
                )
            )
            return make_plan(load_suite(path), registry, Hardware("cpu", self.precision, threads=1))


def parts(registry: Registry) -> list[Part]:
    """Every defense and every network, and what is run on larger images."""
    single = [registry.create("defense", name) for name in registry.names("defense") if ":" not in name]
    defenses = [entry(defense) for defense in single if defense.trains]
    networks = [name for name in registry.names("architecture") if ":" not in name and "-" not in name]
    narrow = ", ".join(f"{{name: {name}, options: {{width: 4}}}}" for name in networks)
    return [
        Part("slim", NARROW, SLIM, size=96),
        Part("defenses", "{name: wrn-10-1, options: {width: 8}}", ", ".join(defenses)),
        Part("networks", narrow, "none"),
    ]


def entry(defense: Defense) -> str:
    """A defense as a suite lists it, with its options for short runs. Where a knob says how many draws an answer takes, two
    are enough."""
    points = {"ensemble": 2} if "ensemble" in type(defense).Knobs.model_fields else {}
    parts = {"options": marked(defense.options, "smoke"), "points": points}
    return json.dumps({"name": defense.name, **{key: value for key, value in parts.items() if value}})


def load_all() -> None:
    """Import what the first gradient, the first optimizer and the first job import, in seconds."""
    for name in ("torch._dynamo", "torch.fx.experimental.symbolic_shapes", "robuststack.engine.jobs"):
        importlib.import_module(name)


def work(plan: Plan, registry: Registry, guarded: bool) -> None:
    """The train and attack jobs of a plan, in this process.

    Raises:
        JobFailed: one of them failed.
    """
    if not guarded:
        for module in ("runtime", "phases"):  # Those that import the guard.
            importlib.import_module(f"robuststack.engine.{module}").avoid_faults = lambda model: None  # type: ignore[attr-defined]
    with (
        tempfile.TemporaryDirectory() as folder,
        LocalExecutor(registry, Store(Path(folder, "store")), data_folder(), plan.hardware) as executor,
    ):
        for job in plan.jobs:
            if job.kind in ("train", "attack"):
                executor.start(job)
                _, result = executor.finished(lambda event, **facts: None)
                if isinstance(result, JobFailed):
                    raise JobFailed(f"{job.label}: {result}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="PART")
    parser.add_argument("--planted", action="store_true", help="`slim` once more, without the guard")
    parser.add_argument("--isa", action="append", help="only this instruction set; repeatable")
    parser.add_argument("--processes", type=int, default=1, help="parts at a time")
    arguments = parser.parse_args()
    registry = Registry()
    plans = [
        (part.name, part.plan(registry), True)
        for part in parts(registry)
        if part.name in arguments.parts or not arguments.parts
    ]
    if arguments.planted:
        plans.append(("planted", parts(registry)[0].plan(registry), False))
    load_all()
    tasks = [
        Task(name, instruction_set, partial(work, plan, registry, guarded))
        for instruction_set in arguments.isa or instruction_sets()
        for name, plan, guarded in plans
    ]
    codes = []
    for task in ended(tasks, arguments.processes):
        print(task, flush=True)
        codes.append(task.code)
    return int(any(codes))


if __name__ == "__main__":
    sys.exit(main())
