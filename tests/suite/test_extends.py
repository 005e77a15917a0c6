"""`extends`: a suite file on top of another."""

from __future__ import annotations

from pathlib import Path

import pytest

from robuststack.suite.loading import load_suite, suite_from_texts, suite_texts
from robuststack.suite.suite import Suite
from suite_files import BASE, error_of, write

SUITES = Path(__file__).parents[2] / "suites"


def extended(folder: Path, top: str, base: str = BASE) -> Suite:
    write(folder, base, "base.yaml")
    return load_suite(write(folder, f"extends: base.yaml\n{top}", "top.yaml"))


def test_an_extending_suite_merges_mappings_and_replaces_lists(tmp_path):
    base = f"{BASE}train: {{epochs: 3, lr: 0.5}}\nseeds: [0, 1, 2]\n"
    suite = extended(tmp_path, "train: {epochs: 4}\nseeds: [7]\nattacks: [pgd]\n", base)
    assert (suite.train[0].epochs, suite.train[0].lr) == (4, 0.5)
    assert suite.seeds.train == [7]
    assert [attack.name for attack in suite.attacks] == ["pgd"]
    assert [dataset.name for dataset in suite.datasets] == ["digits"]


def test_the_name_and_the_title_are_not_inherited(tmp_path):
    suite = extended(tmp_path, "", f"{BASE}name: known\ntitle: What is known\n")
    assert (suite.name, suite.title) == ("top", "")


def test_extends_is_relative_to_the_file_and_chains(tmp_path, monkeypatch):
    write(tmp_path, f"{BASE}train: {{epochs: 9}}\n", "base.yaml")
    write(tmp_path, "extends: ../base.yaml\nthreat: {eps: 0.1}\n", "in/middle.yaml")
    write(tmp_path, "extends: middle.yaml\nattacks: pgd\n", "in/top.yaml")
    monkeypatch.chdir("/")
    suite = load_suite(tmp_path / "in/top.yaml")
    assert (suite.train[0].epochs, suite.threat[0].eps, suite.attacks[0].name) == (9, 0.1, "pgd")


def test_an_error_names_the_file_that_wrote_the_key(tmp_path):
    base = write(tmp_path, f"{BASE}train:\n  epochs: 1.5\n  lr: 1.0\n", "base.yaml")
    top = write(tmp_path, "extends: base.yaml\n\ntrain: {lr: x}\n", "top.yaml")
    assert error_of(top).startswith("base.yaml:6:3: train.epochs")
    base.write_text(base.read_text().replace("1.5", "2"))
    assert error_of(top).startswith("top.yaml:3:9: train.lr")


def test_a_key_that_no_file_has_is_missing_in_the_one_that_was_named(tmp_path):
    write(tmp_path, BASE.replace("attacks: fgsm\n", ""), "base.yaml")
    top = write(tmp_path, "extends: base.yaml\n", "top.yaml")
    assert error_of(top) == "top.yaml:1:1: key 'attacks' is missing"


def test_errors_in_replaced_lists_name_the_extending_file(tmp_path):
    write(tmp_path, f"{BASE}train: [{{epochs: 1}}]\n", "base.yaml")
    top = write(tmp_path, "extends: base.yaml\ntrain:\n- {lr: 1.0}\n- {lr: x}\n", "top.yaml")
    assert error_of(top).startswith("top.yaml:4:4: train.1.lr")


@pytest.mark.parametrize("loop", [["a.yaml"], ["b.yaml", "a.yaml"], ["b.yaml", "sub/../c.yaml", "a.yaml"]])
def test_a_cycle_of_files_is_refused(tmp_path, loop):
    (tmp_path / "sub").mkdir()
    for name, target in zip(["a.yaml", *(Path(path).name for path in loop)], loop, strict=False):
        write(tmp_path, f"extends: {target}\n", name)
    message = error_of(tmp_path / "a.yaml")
    assert message.endswith("a.yaml extends itself")
    assert ":1:1: " in message


@pytest.mark.parametrize(
    ("value", "message"),
    [("gone.yaml", "extends: no such file: gone.yaml"), ("[base.yaml]", "extends: must be a file name, not ['base.yaml']"),
     (".", "extends: no such file: ")],
)  # fmt: skip
def test_a_base_that_is_no_file_is_refused(tmp_path, value, message):
    assert error_of(write(tmp_path, f"# a comment\nextends: {value}\n")).startswith(f"mine.yaml:2:1: {message}")


def test_an_error_in_the_base_is_named_there(tmp_path):
    write(tmp_path, "a: [1\n", "base.yaml")
    assert error_of(write(tmp_path, "extends: base.yaml\n")).startswith("base.yaml:2:1: not valid YAML")


def test_the_texts_of_a_suite_say_the_same_without_its_files(tmp_path):
    """Three files, of which the middle one replaces a mapping by a value: what is merged first matters."""
    write(tmp_path, f"{BASE}name: base\ntrain: {{epochs: 9}}\n", "base.yaml")
    write(tmp_path, "extends: ../base.yaml\ntrain: [{lr: 0.5}]\n", "in/middle.yaml")
    top = write(tmp_path, "extends: middle.yaml\ntrain: {lr: 0.25}\n", "in/top.yaml")
    texts = suite_texts(top)
    assert list(texts) == ["top.yaml", "middle.yaml", "../base.yaml"]
    suite = load_suite(top, ["seeds=[1, 2]"])
    for file in (tmp_path / "base.yaml", tmp_path / "in/middle.yaml", top):
        file.unlink()
    again = suite_from_texts(texts, ["seeds=[1, 2]"])
    assert again.model_dump() == suite.model_dump()
    assert (again.name, again.overrides, again.train[0].epochs) == ("top", ("seeds=[1, 2]",), suite.train[0].epochs)


def test_fashion_at_full_length_scores_the_whole_split_and_not_as_many_images_as_its_base():
    small, full = (load_suite(SUITES / f"{name}.yaml") for name in ("fashion", "paper_fashion"))
    assert (small.evaluate.limit, full.evaluate.limit) == (1000, None)


@pytest.mark.parametrize("path", sorted(SUITES.rglob("*.yaml")), ids=lambda path: path.stem)
def test_the_texts_of_every_suite_say_what_its_files_do(path):
    assert suite_from_texts(suite_texts(path)).model_dump() == load_suite(path).model_dump()
