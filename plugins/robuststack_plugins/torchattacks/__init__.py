"""Attacks of the torchattacks library."""

from robuststack import hookimpl
from robuststack.plugin.registry import Register


@hookimpl
def register_attack(register: Register) -> None:
    register(
        "torchattacks:NAME",
        "robuststack_plugins.torchattacks.attack:TorchAttack",
        pattern=r"torchattacks:(?P<attack>\w+)",
    )
