"""Gradient attacks on the host's loop."""

from robuststack import hookimpl
from robuststack.registry import Register

HERE = "robuststack_plugins.attacks"


@hookimpl
def register_attack(register: Register) -> None:
    register("fgsm", f"{HERE}.fgsm:FGSM")
    register("pgd", f"{HERE}.pgd:PGD")
