"""Undefended training, adversarial training, randomised defenses, and defenses that are tuned at deployment."""

from robuststack import hookimpl
from robuststack.plugin.registry import Register

HERE = "robuststack_plugins.defenses"


@hookimpl
def register_defense(register: Register) -> None:
    register("none", f"{HERE}.undefended:Undefended")
    register("pgd_at", f"{HERE}.pgd_at:PGDAdversarialTraining")
    register("trades", f"{HERE}.trades:Trades")
    register("mart", f"{HERE}.mart:Mart")
    register("pni", f"{HERE}.pni:ParametricNoise")
    register("input_noise", f"{HERE}.input_noise:InputNoise")
    register("rse", f"{HERE}.rse:RandomSelfEnsemble")
    register("rpf", f"{HERE}.rpf:RandomProjectionFilters")
    register("adv_bnn", f"{HERE}.adv_bnn:AdversarialBayesianNetwork")
    register("random_resize", f"{HERE}.random_resize:RandomResize")
    register("advprop", f"{HERE}.advprop:AdvProp")
    register("adapter_soup", f"{HERE}.adapter_soup:AdapterSoup")
    register("float", f"{HERE}.float:Float")
    register("floats", f"{HERE}.floats:FloatSlim")
    register("floats_sparse", f"{HERE}.floats_sparse:FloatSparse")
    register("oat", f"{HERE}.oat:OnceForAll")
    register("oats", f"{HERE}.oats:OnceForAllSlim")
    register("logit_mix", f"{HERE}.logit_mix:LogitMix")
    register("mixed_nuts", f"{HERE}.mixed_nuts:MixedNuts")
    register("weight_mix", f"{HERE}.weight_mix:WeightMix")
    register("yoto", f"{HERE}.yoto:YouOnlyTrainOnce")
    register("solar", f"{HERE}.solar:SwitchableOutputLayer")
