"""What the safeguards of an attack cost: `python tests/benchmarks/safeguards.py`.

One block of images is attacked as a job attacks it, and then without what watches over its fast paths: the comparison of
folded and plain logits, what follows each pass through folded layers, the guard of convolutions, and the host's look at
weights, buffers and images. Both run in turn, in one process of one thread; times are processor time.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from tabulate import tabulate
from torch import Tensor, nn

import robuststack as rs
from robuststack.attacks.attacked_model import AttackedModel, Tally
from robuststack.attacks.frozen_eval import frozen_eval
from robuststack.engine import models, runtime
from robuststack.engine.attack import attack_block
from robuststack.engine.random_streams import generator, seeded
from robuststack.hardware import Hardware
from robuststack.layers.condition import View
from robuststack.layers.folding import Folding
from robuststack.plugin.registry import Registry

REGISTRY = Registry()
THREAT = rs.Threat(eps=8 / 255)
POINTS: dict[str, dict[str, float]] = {"none": {}, "float": {"lambda_n": 1.0}}


def attacked_view(defense: str, width: int, *, guarded: bool) -> View:
    """A network with statistics of its own, placed as a job does it, or without the guard of convolutions."""
    guard = runtime.avoid_faults
    if not guarded:
        runtime.avoid_faults = lambda model: None
    try:
        component: rs.Defense = REGISTRY.create("defense", defense)
        network = REGISTRY.create("architecture", "resnet8", {"width": width})
        place = runtime.Runtime(Hardware("cpu", "float32")).place
        model = place(models.build(component, network, (3, 32, 32), 10, 0))
    finally:
        runtime.avoid_faults = guard
    torch.manual_seed(0)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d) and module.running_mean is not None and module.running_var is not None:
            module.running_mean.normal_(std=0.1)
            module.running_var.uniform_(0.5, 1.5)
    return component.view(model.eval(), component.setting(component.whole_point(POINTS[defense])))


def bare(view: View, x: Tensor) -> View:
    """The view with folded layers that nothing follows: each convolution is the folded one, and its norm does nothing."""
    folded = Folding().of(view, x)
    for layer in folded.layers:  # type: ignore[attr-defined, union-attr]
        layer.conv.__dict__["forward"], layer.norm.__dict__["forward"] = layer, nn.Identity()
    return view


def tasks(defense: str, width: int, images: int, steps: int) -> dict[str, Callable[[], Tensor]]:
    """The same attack, guarded and bare."""
    x = torch.rand(images, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    x = x.contiguous(memory_format=torch.channels_last)
    attack: rs.Attack = REGISTRY.create("attack", "pgd", {"steps": steps, "draws": 1, "early_stop": False})
    place = runtime.Runtime(Hardware("cpu", "float32"))
    guarded, plain = (attacked_view(defense, width, guarded=safe) for safe in (True, False))
    y = torch.arange(images) % 10
    folding = Folding()

    def safe() -> Tensor:
        return attack_block(
            guarded, x, y, attack, THREAT, place, seed=0, number=0, early_stop=False, folding=folding
        )[0]  # fmt: skip

    with frozen_eval(plain):
        unwatched = bare(plain, x)

    def unsafe() -> Tensor:
        with frozen_eval(unwatched), seeded(0, "attack", 0):
            model = AttackedModel(unwatched, place, Tally(x.device), final=False)
            return attack.perturb(model, x.clone(), y.clone(), THREAT, generator(x.device, 0, "start", 0))

    return {"as a job": safe, "bare": unsafe}


def main() -> None:
    """Print a table: a row for each defense and width."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--images", type=int, default=100, help="images of the block")
    parser.add_argument("--steps", type=int, default=20, help="of PGD")
    parser.add_argument("--rounds", type=int, default=5, help="after one that warms up")
    parser.add_argument(
        "--widths", type=int, nargs="+", default=[16, 8], help="of resnet8; below 16 it has narrow shortcuts"
    )
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    rows = []
    for defense in POINTS:
        for width in arguments.widths:
            both = tasks(defense, width, arguments.images, arguments.steps)
            made = {name: task() for name, task in both.items()}
            same = (made["as a job"] - made["bare"]).abs().max().item()
            times: dict[str, list[float]] = {name: [] for name in both}
            for number in range(arguments.rounds):
                for name, task in list(both.items())[:: -1 if number % 2 else 1]:
                    started = time.process_time()
                    task()
                    times[name].append(time.process_time() - started)
            ratios = [safe / unsafe for safe, unsafe in zip(*times.values(), strict=True)]
            rows.append(
                [f"{defense}, resnet8 width={width}", *(f"{statistics.median(seen):.3f}" for seen in times.values()),
                 f"{100 * statistics.median(ratios) - 100:+.1f} %", f"{same:.1e}"]
            )  # fmt: skip
    print(tabulate(rows, ["model", *(f"{name}, s" for name in times), "cost", "images differ by"], tablefmt="github"))


if __name__ == "__main__":
    main()
