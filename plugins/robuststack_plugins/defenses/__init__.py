"""Undefended training, adversarial training, and two defenses that are tuned at deployment."""

from robuststack import hookimpl
from robuststack.registry import Register

HERE = "robuststack_plugins.defenses"


@hookimpl
def register_defense(register: Register) -> None:
    register("none", f"{HERE}.undefended:Undefended")
    register("pgd_at", f"{HERE}.pgd_at:PGDAdversarialTraining")
    register("float", f"{HERE}.float:Float")
    register("oat", f"{HERE}.oat:OnceForAll")
