"""`--set`: values that replace those of the suite file."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from robuststack.suite.loading import load_suite
from robuststack.suite.recipe import Recipe
from suite_files import BASE, dumped, error_of, write


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("suites")


# --- --set


def test_an_override_wins_over_the_file_and_over_what_it_extends(tmp_path):
    write(tmp_path, f"{BASE}train: {{epochs: 1, lr: 0.5}}\n", "base.yaml")
    top = write(tmp_path, "extends: base.yaml\ntrain: {epochs: 2}\n", "top.yaml")
    suite = load_suite(top, ["train.epochs=3"])
    assert (suite.train[0].epochs, suite.train[0].lr) == (3, 0.5)
    assert suite.overrides == ("train.epochs=3",)


SECTIONS = """
datasets:
- {name: digits, threat: {eps: 0.2}, train: {epochs: 5, lr: 0.5}}
- tradeoff
architectures: resnet8
defenses: {name: none, train: {epochs: 6, lr: 0.6}}
attacks: fgsm
train: {epochs: 4}
"""


@pytest.mark.parametrize("assignment", ["train.epochs=3", "train={epochs: 3}", "train=[{epochs: 3}]"])
def test_an_override_of_the_recipe_wins_over_single_datasets_and_defenses(tmp_path, assignment):
    suite = load_suite(write(tmp_path, SECTIONS), [assignment])
    assert suite.train[0].epochs == 3
    assert suite.datasets[0].train.written() == {"lr": 0.5}
    assert suite.defenses[0].train.written() == {"lr": 0.6}


@pytest.mark.parametrize("assignment", ["threat.eps=8/255", "threat={eps: 8/255}"])
def test_an_override_of_the_threat_wins_over_single_datasets(tmp_path, assignment):
    suite = load_suite(write(tmp_path, SECTIONS), [assignment])
    assert suite.threat[0].eps == pytest.approx(8 / 255)
    assert suite.datasets[0].threat.eps is None


def test_an_override_of_one_dataset_changes_that_one(tmp_path):
    suite = load_suite(write(tmp_path, SECTIONS), ["datasets.0.threat.eps=0.3", "datasets.0.options.size=3"])
    assert (suite.datasets[0].threat.eps, suite.datasets[0].options) == (0.3, {"size": 3})
    assert suite.train[0].epochs == 4


def test_later_overrides_win(tmp_path):
    suite = load_suite(write(tmp_path, BASE), ["train.epochs=3", "train.epochs=4", "name=renamed"])
    assert (suite.train[0].epochs, suite.name) == (4, "renamed")


@given(
    epochs=st.integers(1, 999),
    lr=st.floats(1e-6, 1e6),
    nesterov=st.booleans(),
    seeds=st.lists(st.integers(0, 2**63 - 1), min_size=1, unique=True),
)
def test_an_override_reads_back_from_the_suite(folder, epochs, lr, nesterov, seeds):
    overrides = [
        f"train.epochs={epochs}",
        f"train.lr={lr!r}",
        f"train.nesterov={str(nesterov).lower()}",
        f"seeds={seeds}",
    ]
    suite = load_suite(write(folder, BASE), overrides)
    expected = Recipe(epochs=epochs, lr=lr, nesterov=nesterov)
    assert (suite.train, suite.seeds.train) == ([expected], seeds)
    assert dumped(load_suite(write(folder, BASE), overrides * 2)) == dumped(suite)


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ("epochs", "write KEY=VALUE, for example --set train.epochs=3"),
        ("train.epochs=x", "train.epochs: must be a valid integer, not 'x'"),
        ("threat.eps=8", "threat.eps: 8 is outside (0, 1], the range of a pixel (was 8/255 meant?)"),
        ("datasets.options.size=8", "datasets is 'digits', which has no keys"),
        ("epochs=3", "unknown key 'epochs': valid: architectures, attacks, claims, datasets, defenses, description,"
                     " device, evaluate, extends, figures, measure, name, precision, ranked, reference, resources, seeds,"
                     " threads, threat, title, train"),
        ("trian.epochs=3", "unknown key 'trian': did you mean 'train'?"),
        ("train.epoch=3", "unknown key 'epoch' in train: did you mean 'epochs'?"),
        ("train.attack.optoins.steps=3", "unknown key 'optoins' in train.attack: did you mean 'options'?"),
        ("extends=other.yaml", "a suite's base is chosen in its file, not by --set"),
    ],
)  # fmt: skip
def test_an_override_that_does_not_fit_is_named(tmp_path, assignment, message):
    path = write(tmp_path, f"{BASE}train: {{attack: {{name: pgd}}}}\n")
    assert error_of(path, assignment) == f"--set {assignment}: {message}"
