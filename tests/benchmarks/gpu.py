"""Training and attacks at paper scale on a CUDA card, in one command of a few minutes: `python tests/benchmarks/gpu.py`.

ResNet-34 on 50,000 CIFAR-shaped images: seconds an epoch of FLOAT, OAT and PGD-AT, and the throughput of PGD-20 and
AutoAttack-rand beside torchattacks and pyautoattack, where those are installed. Without a card, or with `--miniature`, it
runs a small network on a few images, and says so.
"""

from __future__ import annotations

import argparse
import importlib.util
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from tabulate import tabulate
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parent))

import robuststack as rs
from robuststack.attacks.frozen_eval import frozen_eval
from robuststack.engine import data
from robuststack.engine import train as training
from robuststack.engine.measure import macs
from robuststack.engine.runtime import Runtime, current_card
from robuststack.layers.condition import View
from robuststack.running.process_memory import keep_memory
from robuststack.suite.recipe import Recipe
from workloads import EPS, REGISTRY, built, here, in_turn, ours, right, synchronise

STEPS = 7


def matmul_rate(runtime: Runtime, size: int) -> float:
    """Floating-point operations a second of a square matrix product in the job's precision."""
    kind = torch.bfloat16 if runtime.precision == "bf16" else torch.float32
    a, b = (torch.randn(size, size, device=runtime.device).to(kind) for _ in range(2))
    return 2 * size**3 / in_turn({"product": lambda: a @ b}, runtime.device, rounds=10)["product"]


def epoch(name: str, architecture: str, images: int, batch: int, runtime: Runtime) -> tuple[float, float]:
    """Seconds of an epoch after a short one that warms up, and the arithmetic in it, in floating-point operations."""
    options: dict[str, Any] = {"lambda": 0.5} if name == "pgd_at" else {}
    defense: rs.Defense = REGISTRY.create("defense", name, options)
    model = built(defense, architecture, (3, 32, 32), runtime)
    operations = 2 * macs(defense.view(model, defense.reference_setting()), (3, 32, 32))
    pixels = torch.randint(256, (images, 3, 32, 32), dtype=torch.uint8, device=runtime.device)
    whole = data.Data(pixels, torch.randint(10, (images,), device=runtime.device))
    attack = REGISTRY.create("attack", "pgd", {"steps": STEPS, "draws": 1})
    seconds = 0.0
    for part in (data.Data(whole.images[: 4 * batch], whole.labels[: 4 * batch]), whole):
        recipe = Recipe(epochs=1, batch_size=batch, lr=0.01)
        state = training.begin(defense, model, recipe)
        synchronise(runtime.device)
        started = time.perf_counter()
        with current_card(runtime.device):
            training.train(
                state, defense, part, attack, rs.Threat(eps=EPS), recipe, runtime,
                seed=0, augmentation=rs.Augmentation(pad=4, flip=True), epoch_done=lambda *_: None,
            )  # fmt: skip
        synchronise(runtime.device)
        seconds = time.perf_counter() - started
    return seconds, operations * defense.image_passes(STEPS) * (images // batch * batch)


def attacks(architecture: str, batch: int, runtime: Runtime, iterations: int, draws: int) -> list[list[str]]:
    """Rows of throughput in images a second, with robust accuracy beside it."""
    rows = []
    x = torch.rand(batch, 3, 32, 32, device=runtime.device).contiguous(memory_format=torch.channels_last)
    for defense_name, work in (
        ("none", "PGD-20"),
        ("float", f"AutoAttack-rand, {iterations} iterations, {draws} draws"),
    ):
        defense: rs.Defense = REGISTRY.create("defense", defense_name)
        model = built(defense, architecture, (3, 32, 32), runtime).eval()
        view = defense.view(model, defense.reference_setting())
        with torch.no_grad():
            y = view(x).argmax(1)
        tasks: dict[str, Callable[[], Tensor]] = {}
        if defense_name == "none":
            options = {"steps": 20, "step": 2 / 255, "early_stop": False}
            tasks["robuststack"] = lambda v=view, y=y, o=options: ours(v, x, y, runtime, "pgd", **o)
            if importlib.util.find_spec("torchattacks"):
                import torchattacks

                tasks["torchattacks"] = lambda v=view, y=y: torchattacks.PGD(v, EPS, 2 / 255, 20)(x, y)
        else:
            options = {"iterations": iterations, "draws": draws}
            tasks["robuststack"] = lambda v=view, y=y, o=options: ours(v, x, y, runtime, "autoattack_rand", **o)
            if importlib.util.find_spec("pyautoattack"):
                from pyautoattack.autopgd_base import APGDAttack

                def official(v: View = view, y: Tensor = y) -> Tensor:
                    candidates = []
                    for loss in ("ce", "dlr"):
                        attack = APGDAttack(
                            v, n_iter=iterations, eps=EPS, loss=loss, eot_iter=draws, seed=0, device=x.device
                        )
                        with frozen_eval(v):
                            candidates.append(attack.perturb(x.contiguous(), y, best_loss=True))
                    # The better of the two, told by as many draws as ours tells it by.
                    ce, dlr = (right(v, candidate, y, draws, seed=1) for candidate in candidates)
                    return torch.where((ce > dlr)[:, None, None, None], candidates[1], candidates[0])

                tasks["pyautoattack"] = official
        adversarial: dict[str, Tensor] = {}
        timed = {name: (lambda f=adversarial, n=name, t=task: f.__setitem__(n, t())) for name, task in tasks.items()}
        seconds = in_turn(timed, runtime.device, rounds=2)
        for name, spent in seconds.items():
            ra = 100 * float(right(view, adversarial[name], y, 20, seed=0).mean())
            ratio = spent / seconds["robuststack"]
            rows.append([work, name, f"{batch / spent:.1f} images/s", f"{ratio:.2f}", f"{ra:.1f}"])
    return rows


def main() -> None:
    """Measure, and print the tables."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--miniature", action="store_true", help="a small network and few images")
    small = parser.parse_args().miniature or not torch.cuda.is_available()
    keep_memory()
    runtime = here()
    architecture, images, batch = ("resnet20", 256, 64) if small else ("resnet34", 50_000, 128)
    rate = matmul_rate(runtime, 1024 if small else 8192)
    name = torch.cuda.get_device_name() if runtime.device.type == "cuda" else "CPU"
    print(f"{name}, torch {torch.__version__}, {runtime.precision}: matrix product {rate / 1e12:.3g} TFLOP/s")
    if small:
        print(f"miniature: {architecture}, {images} images; these are no figures of a card")
    if runtime.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    rows = []
    for name in ("float", "oat", "pgd_at"):
        seconds, operations = epoch(name, architecture, images, batch, runtime)
        rows.append([name, f"{seconds:.2f}", f"{seconds * 200 / 60:.1f}", f"{operations / seconds / rate:.1%}"])
    header = ["defense", "s an epoch", "min for 200 epochs", "of the matrix product's rate"]
    print("\n" + tabulate(rows, header, tablefmt="github", disable_numparse=True))
    if runtime.device.type == "cuda":
        print(f"\nmost memory held in training: {torch.cuda.max_memory_allocated() / 2**30:.1f} GiB")
    body = attacks(architecture, 32 if small else 512, runtime, *((3, 2) if small else (20, 20)))
    header = ["attack", "by", "throughput", "times ours", "RA %"]
    print("\n" + tabulate(body, header, tablefmt="github", disable_numparse=True))


if __name__ == "__main__":
    main()
