"""Each optimiser has its keys and defaults in a recipe, and takes no other's."""

from __future__ import annotations

import pytest

from robuststack.errors import SuiteError

OPTIMISERS = """
datasets: {name: digits, train: {lr: 0.5}}
architectures: resnet8
train: {SUITE}
defenses: {name: none, train: {OWN}}
attacks: fgsm
"""


@pytest.mark.parametrize(
    ("suite", "own", "message"),
    [
        ("optimizer: adamw, momentum: 0.5", "", "4:27: momentum is a key of optimizer sgd, and this recipe has adamw"),
        ("betas: [0.8, 0.9]", "", "4:9: betas is a key of optimizer adamw, and this recipe has sgd"),
        ("optimizer: adamw", "nesterov: true", "5:32: nesterov is a key of optimizer sgd, and this recipe has adamw"),
        ("momentum: 0.5", "optimizer: adamw", "4:9: momentum is a key of optimizer sgd, and this recipe has adamw"),
    ],
)
def test_a_key_of_another_optimiser_is_refused_at_its_place(error, suite, own, message):
    text = OPTIMISERS.replace("SUITE", suite).replace("OWN", own)
    valid = "momentum, nesterov" if "has sgd" in message else "betas"
    assert error(text=text) == f"mine.yaml:{message}; it knows {valid}, lr, weight_decay"


def test_each_optimiser_has_its_defaults_and_only_its_keys(plan):
    sgd = plan("defenses=none").rows[0].facts["recipe"]
    adamw = plan("defenses=none", "train.optimizer=adamw").rows[0].facts["recipe"]
    assert (sgd["lr"], sgd["weight_decay"], sgd["momentum"], sgd["nesterov"]) == (0.1, 5e-4, 0.9, False)
    assert (adamw["lr"], adamw["weight_decay"], adamw["betas"]) == (1e-3, 1e-2, [0.9, 0.999])
    assert "betas" not in sgd
    assert not {"momentum", "nesterov"} & set(adamw)
    given = plan("defenses=none", "train={optimizer: adamw, lr: 0.1, weight_decay: 0}").rows[0].facts["recipe"]
    assert (given["lr"], given["weight_decay"]) == (0.1, 0)
    strongest = plan("train={lr: 0.05}", "defenses={name: none, train: {optimizer: adamw}}").rows[0].facts["recipe"]
    assert strongest["lr"] == 0.05, "what the suite wrote stands, whatever the optimiser"


def test_a_defenses_own_recipe_goes_with_the_optimiser_that_it_is_for(plan):
    """PNI's are Nesterov's momentum and a weight decay for SGD."""
    pni = plan("defenses=pni", "train.epochs=6").rows[0].facts["recipe"]
    assert (pni["nesterov"], pni["weight_decay"]) == (True, 3e-4)
    adamw = plan("defenses=pni", "train.epochs=6", "train.optimizer=adamw").rows[0].facts["recipe"]
    assert (adamw["weight_decay"], adamw["lr"]) == (1e-2, 1e-3)


@pytest.mark.parametrize(
    ("own", "train", "message"),
    [
        ("name: pni", "epochs: 5", "'pni': warmup_epochs 5: no image would be attacked in training; valid: less than"),
        (
            "name: floats_sparse",
            "momentum: 0.0",
            "'floats_sparse': weights regrow by their momentum: train.momentum must",
        ),
    ],
)
def test_a_recipe_by_which_a_defense_cannot_train_is_refused_at_its_place(error, own, train, message):
    text = OPTIMISERS.replace("name: none, train: {OWN}", own).replace("SUITE", train)
    assert error(text=text).startswith(f"mine.yaml:5:1: defense {message}")


def test_keys_that_do_not_fit_together_are_refused_at_their_place(plan):
    with pytest.raises(SuiteError, match=r"the recipe of defense 'none': nesterov needs a momentum above 0$"):
        plan("train={nesterov: true}", "defenses={name: none, train: {momentum: 0}}")
