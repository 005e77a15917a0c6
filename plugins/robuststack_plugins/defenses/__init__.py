"""Undefended training, adversarial training, weight noise, and defenses that are tuned at deployment."""

from robuststack import hookimpl
from robuststack.plugin.registry import Register

HERE = "robuststack_plugins.defenses"


@hookimpl
def register_defense(register: Register) -> None:
    register("none", f"{HERE}.undefended:Undefended")
    register("pgd_at", f"{HERE}.pgd_at:PGDAdversarialTraining")
    register("pni", f"{HERE}.pni:ParametricNoise")
    register("random_resize", f"{HERE}.random_resize:RandomResize")
    register("advprop", f"{HERE}.advprop:AdvProp")
    register("adapter_soup", f"{HERE}.adapter_soup:AdapterSoup")
    register("float", f"{HERE}.float:Float")
    register("floats", f"{HERE}.floats:FloatSlim")
    register("floats_sparse", f"{HERE}.floats_sparse:FloatSparse")
    register("oat", f"{HERE}.oat:OnceForAll")
    register("oats", f"{HERE}.oats:OnceForAllSlim")
