"""Gradient attacks on the host's loop, those of one step that train cheaply, the noise they have to beat,
and what happens to images without an attacker."""

from robuststack import hookimpl
from robuststack.plugin.registry import Register

HERE = "robuststack_plugins.attacks"


@hookimpl
def register_attack(register: Register) -> None:
    register("apgd_ce", f"{HERE}.apgd:APGDCE")
    register("apgd_dlr", f"{HERE}.apgd:APGDDLR")
    register("autoattack_rand", f"{HERE}.apgd:AutoAttackRand")
    register("cw_inf", f"{HERE}.cw_inf:CWInf")
    register("fgsm", f"{HERE}.fgsm:FGSM")
    register("fgsm_rs", f"{HERE}.fgsm_rs:FGSMRS")
    register("free", f"{HERE}.free:Free")
    register("n_fgsm", f"{HERE}.n_fgsm:NFGSM")
    register("noise", f"{HERE}.noise:Noise")
    register("pgd", f"{HERE}.pgd:PGD")
    register(
        "corruption:NAME",
        "robuststack_plugins.corruptions.corruption:Corruption",
        pattern=r"corruption:(?P<corruption>\w+)",
    )
