"""Every defense and network trained for three steps and attacked, in this process.

    train_and_attack.py [--unguarded] [PART ...]

The parts are `large` (a slim network with narrow shortcuts on large images, where the fault of torch shows), `defenses` and
`networks`; all of them unless some are named.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import robuststack as rs
from robuststack.engine import runtime
from robuststack.plugin.registry import Registry

SUITE = """
name: {name}
precision: {precision}
device: cpu
threads: 1
datasets: {{name: tradeoff, options: {{images: 27, test_images: 10, size: {size}, classes: 3}}}}
architectures: [{networks}]
train: {{epochs: 1, batch_size: 8, attack: {{name: pgd, options: {{steps: 2, step: relative}}}}}}
defenses: [{defenses}]
attacks: [{{name: pgd, options: {{steps: 2}}}}]
evaluate: {{block: 8, draws: 2, keep_images: false, points: ends}}
measure: {{latency: false}}
"""
# Half the width of a slim one is 12 channels, which the shortcuts of its second stage get.
NARROW = "{name: wrn-10-1, options: {width: 24}}"
LIBRARIES = "'torchvision:resnet18'"


def suites(registry: Registry) -> list[tuple[str, str, int, str, str]]:
    """Name, precision, size of the images, networks and defenses of what is run: every defense, and every network."""
    single = (name for name in registry.names("defense") if ":" not in name)
    defenses = [name for name in single if registry.create("defense", name).trains]
    networks = [name for name in registry.names("architecture") if ":" not in name and "-" not in name]
    narrow = ", ".join(f"{{name: {name}, options: {{width: 12}}}}" for name in networks)
    return [
        ("large", "float32", 96, NARROW, "floats"),
        ("defenses", "float32", 8, NARROW, ", ".join(defenses)),
        ("networks", "float32", 8, f"{narrow}, {LIBRARIES}", "none"),
    ]


def main() -> int:
    if "--unguarded" in sys.argv:
        runtime.avoid_fault = lambda model: None
    registry = Registry()
    wanted = [argument for argument in sys.argv[1:] if not argument.startswith("-")]
    for name, precision, size, networks, defenses in suites(registry):
        if wanted and name not in wanted:
            continue
        with tempfile.TemporaryDirectory() as scratch:
            path = Path(scratch, "suite.yaml")
            path.write_text(
                SUITE.format(name=name, precision=precision, size=size, networks=networks, defenses=defenses)
            )
            result = rs.run(path, store=Path(scratch, "store"), leaderboard=None, device="cpu", registry=registry)
        for label, reason in result.failed.items():
            print(f"{label}: {reason}", file=sys.stderr)
        if result.failed:
            return 1
        print(f"{name}: {len(result.plan.jobs)} jobs", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
