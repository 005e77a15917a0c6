"""Embedded, procedural and downloaded image sets."""

from robuststack import hookimpl
from robuststack.registry import Register

HERE = "robuststack_plugins.datasets"


@hookimpl
def register_dataset(register: Register) -> None:
    register("digits", f"{HERE}.digits:Digits")
    register("tradeoff", f"{HERE}.tradeoff:Tradeoff")
    register("cifar10", f"{HERE}.cifar10:Cifar10")
