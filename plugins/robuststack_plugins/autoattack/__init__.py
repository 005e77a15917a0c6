"""The official AutoAttack, through the package pyautoattack.

What is there natively too (`attacks.apgd`) has the library's name in front: it is the reference that the native attacks are
held against.
"""

from robuststack import hookimpl
from robuststack.plugin.registry import Register

HERE = "robuststack_plugins.autoattack.attacks"


@hookimpl
def register_attack(register: Register) -> None:
    register("autoattack_standard", f"{HERE}:AutoAttackStandard")
    register("pyautoattack:apgd_ce", f"{HERE}:APGDCE")
    register("pyautoattack:apgd_dlr", f"{HERE}:APGDDLR")
    register("pyautoattack:autoattack_rand", f"{HERE}:AutoAttackRand")
    register("square", f"{HERE}:Square")
