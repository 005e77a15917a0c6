"""The classes of torchattacks 3.5.1: those offered, with their own options and defaults, and why the others are not.

It is written down here so that a suite is checked, and its resolved options printed, without importing the library; a
test compares it with the library's signatures.
"""

from __future__ import annotations

from collections.abc import Mapping

from robuststack.plugin.threat import Norm

Default = bool | int | float | tuple[str, ...]
"""An option's default; a tuple holds the choices, the default first."""

PROBABILITIES = ("diversity_prob", "p_init", "prob", "rho")
LENGTHS = ("alpha", "delta", "eps_for_division", "eta", "lr", "resize_rate")
"""Options that are above 0; other numbers are at least 0."""

STEP, STEPS = 2 / 255, 10
PLAIN: Mapping[str, Default] = {"alpha": STEP, "steps": STEPS}
MOMENTUM: Mapping[str, Default] = {**PLAIN, "decay": 1.0}
DIVERSE: Mapping[str, Default] = {"resize_rate": 0.9, "diversity_prob": 0.5, "random_start": False}
PATCHES: Mapping[str, Default] = {"num_iter_set": 10, "momentum": 1.0, "amplification": 10.0, "prob": 0.7}

L2: Mapping[str, Default] = {"alpha": 0.2, "steps": STEPS, "eps_for_division": 1e-10}
SMOOTHED: Mapping[str, Default] = {
    "noise_type": ("guassian", "uniform"),  # The library's spelling.
    "noise_sd": 0.5,
    "noise_batch_size": 5,
    "batch_max": 2048,
}

ATTACKS: Mapping[str, Mapping[str, Default]] = {
    "APGD": {"steps": STEPS, "n_restarts": 1, "loss": ("ce", "dlr"), "eot_iter": 1, "rho": 0.75},
    "APGDT": {"steps": STEPS, "n_restarts": 1, "eot_iter": 1, "rho": 0.75},
    "BIM": PLAIN,
    "CW": {"c": 1.0, "kappa": 0.0, "steps": 50, "lr": 0.01},
    "DIFGSM": {**PLAIN, "decay": 0.0, **DIVERSE},
    "DeepFool": {"steps": 50, "overshoot": 0.02},
    "EOTPGD": {**PLAIN, "eot_iter": 2, "random_start": True},
    "FAB": {"steps": STEPS, "n_restarts": 1, "alpha_max": 0.1, "eta": 1.05, "beta": 0.9, "multi_targeted": False},
    "FFGSM": {"alpha": 10 / 255},
    "FGSM": {},
    "Jitter": {**PLAIN, "scale": 10.0, "std": 0.1, "random_start": True},
    "MIFGSM": MOMENTUM,
    "NIFGSM": MOMENTUM,
    "PGD": {**PLAIN, "random_start": True},
    "PGDL2": {**L2, "random_start": True},
    "PGDRS": {**PLAIN, **SMOOTHED},
    "PGDRSL2": {**L2, **SMOOTHED},
    "PIFGSM": PATCHES,
    "PIFGSMPP": {**PATCHES, "project_factor": 0.8},
    "RFGSM": PLAIN,
    "SINIFGSM": {**MOMENTUM, "m": 5},
    "SPSA": {"delta": 0.01, "lr": 0.01, "nb_iter": 1, "nb_sample": 128, "max_batch_size": 64},
    "Square": {
        "n_queries": 5000,
        "n_restarts": 1,
        "p_init": 0.8,
        "loss": ("margin", "ce"),
        "resc_schedule": True,
    },
    "TIFGSM": {
        **PLAIN,
        "decay": 0.0,
        "kernel_name": ("gaussian", "linear", "uniform"),
        "len_kernel": 15,
        "nsig": 3.0,
        **DIVERSE,
    },
    "TPGD": PLAIN,
    "UPGD": {**PLAIN, "random_start": False, "loss": ("ce", "dlr", "margin"), "decay": 1.0, "eot_iter": 1},
    "VMIFGSM": {**MOMENTUM, "N": 5, "beta": 1.5},
    "VNIFGSM": {**MOMENTUM, "N": 5, "beta": 1.5},
}

EXCLUDED: Mapping[str, str] = {
    "AutoAttack": "a bundle whose APGD makes 10 steps; use autoattack_standard or autoattack_rand, the official ones",
    "EADEN": "an elastic-net attack without a radius",
    "EADL1": "an L1 attack without a radius",
    "GN": "Gaussian noise without a radius; use noise",
    "JSMA": "an L0 attack",
    "LGV": "it trains surrogate models, and is no attack on one",
    "MultiAttack": "a chain of other attacks; list them in the suite",
    "OnePixel": "an L0 attack",
    "Pixle": "an L0 attack",
    "SparseFool": "an L0 attack",
    "VANILA": "the clean image",
}

SUPPLIED: Mapping[str, str] = {
    "model": "the model is the suite's",
    "eps": "the radius is the threat model's",
    "max_epsilon": "the radius is the threat model's",
    "norm": "the norm is the threat model's",
    "n_classes": "the number of classes is the model's",
    "seed": "the seeds are the suite's (seeds: {attack: ...})",
    "verbose": "attacks print nothing",
}
"""Parameters of the library's classes that are no options here."""

NORMS: Mapping[str, tuple[Norm, ...]] = {
    **dict.fromkeys(("APGD", "APGDT", "FAB", "Square"), ("linf", "l2")),
    **dict.fromkeys(("CW", "DeepFool", "PGDL2", "PGDRSL2"), ("l2",)),
}
"""The norms of an attack; what is absent is for linf."""
WITHOUT_RADIUS = frozenset({"CW", "DeepFool"})
"""They look for the nearest adversarial image, however far: one outside of the ball is moved onto its surface."""
GRADIENT_FREE = frozenset({"SPSA", "Square"})
THREE_CHANNELS = frozenset({"PIFGSM", "PIFGSMPP", "TIFGSM"})
"""Their kernels are made for three channels."""
SQUARE_IMAGES = frozenset({"DIFGSM", "TIFGSM"})
"""They resize images to squares of the width."""
COUNTS = ("steps", "num_iter_set", "nb_iter", "n_queries", "n_restarts", "eot_iter", "noise_batch_size", "N", "m")
"""Options that multiply an attack's work."""
