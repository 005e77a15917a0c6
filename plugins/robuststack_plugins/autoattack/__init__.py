"""The official AutoAttack, through the package pyautoattack."""

from robuststack import hookimpl
from robuststack.registry import Register

HERE = "robuststack_plugins.autoattack.attacks"


@hookimpl
def register_attack(register: Register) -> None:
    register("apgd_ce", f"{HERE}:APGDCE")
    register("apgd_dlr", f"{HERE}:APGDDLR")
    register("autoattack_rand", f"{HERE}:AutoAttackRand")
    register("autoattack_standard", f"{HERE}:AutoAttackStandard")
    register("square", f"{HERE}:Square")
