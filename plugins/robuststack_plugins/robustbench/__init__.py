"""Models of RobustBench's zoo, to be evaluated as they are."""

from robuststack import hookimpl
from robuststack.plugin.registry import Register


@hookimpl
def register_defense(register: Register) -> None:
    register(
        "robustbench:MODEL",
        "robuststack_plugins.robustbench.defense:RobustBench",
        pattern=r"robustbench:(?P<model>[\w-]+)",
    )
