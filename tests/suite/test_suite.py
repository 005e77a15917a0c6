"""Suite files: strict, and explained with file, line and column."""

from __future__ import annotations

import re

import pytest

from robuststack.errors import SuiteError
from robuststack.hardware import Hardware
from robuststack.suite.loading import load_suite
from suite_files import BASE, dumped, error_of, write


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("trian: {}", "5:1: unknown key 'trian': did you mean 'train'?"),
        ("train: {epoch: 3}", "5:9: unknown key 'epoch' in train: did you mean 'epochs'?"),
        ("train:\n  lr: 0.1\n  epoch: 3", "7:3: unknown key 'epoch' in train: did you mean 'epochs'?"),
        ("train:\n- lr: 0.1\n- epoch: 3", "7:3: unknown key 'epoch' in train.1: did you mean 'epochs'?"),
        ("train: {attack: {nam: pgd}}", "5:18: unknown key 'nam' in train.attack: did you mean 'name'?"),
        (
            "train: {attack: {name: pgd, steps: 5}}",
            "5:29: unknown key 'steps' in train.attack: did you mean 'sweep'? (an option goes under `options:`)",
        ),
        ("measure: {zzz: 3}", "5:11: unknown key 'zzz' in measure: valid: batch_size, latency, repeats, warmup"),
        ("train: {epochs: 1.5}", "5:9: train.epochs: must be a valid integer, not 1.5"),
        ("train: {epochs: '3'}", "5:9: train.epochs: must be a valid integer, not '3'"),
        ("train: {epochs: true}", "5:9: train.epochs: must be a valid integer, not True"),
        ("train: {epochs: 0}", "5:9: train.epochs: must be greater than or equal to 1, not 0"),
        ("train: {lr: fast}", "5:9: train.lr: must be a valid number, not 'fast'"),
        ("train: {nesterov: 1}", "5:9: train.nesterov: must be true or false, not 1"),
        ("train: {schedule: cosin}", "5:9: train.schedule: must be 'cosine', 'steps' or 'constant', not 'cosin'"),
        ("train: {milestones: [1, x]}", "5:25: train.milestones.1: must be a valid integer, not 'x'"),
        ("device: gpu", "5:1: device: must be 'auto', 'cpu' or 'cuda', not 'gpu'"),
        ("precision: bf17", "5:1: precision: must be 'auto', 'float32' or 'bf16', not 'bf17'"),
        ("threat: {eps: 8}", "5:10: threat.eps: 8 is outside (0, 1], the range of a pixel (was 8/255 meant?)"),
        ("threat: {eps: 0}", "5:10: threat.eps: 0 is outside (0, 1], the range of a pixel"),
        ("threat: {norm: l3}", "5:10: threat.norm: must be 'linf' or 'l2', not 'l3'"),
        ("evaluate: {draws: 0}", "5:12: evaluate.draws: must be greater than or equal to 2, not 0"),
        ("name: my suite", "5:1: name: 'my suite' cannot name a file; use letters, digits, '.', '_' and '-'"),
        ("name: ../up", "5:1: name: '../up' cannot name a file; use letters, digits, '.', '_' and '-'"),
        ("attacks: pgd", "5:1: not valid YAML: key 'attacks' is written twice"),
        ("train: {epochs: 3", "6:1: not valid YAML: did not find expected ',' or '}'"),
    ],
)  # fmt: skip
def test_what_is_wrong_in_a_suite_is_said_with_file_line_and_column(tmp_path, text, message):
    assert error_of(write(tmp_path, BASE + text + "\n")) == f"mine.yaml:{message}"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "datasets: [digits, {name: tradeoff, threat: {norm: linf, eps: 8}}]",
            "datasets.1.threat.eps: 8 is outside (0, 1]",
        ),
        ("datasets: {name: digits, train: {epochs: x}}", "datasets.train.epochs: must be a valid integer"),
        ("datasets: {nam: digits}", "unknown key 'nam' in datasets: did you mean 'name'?"),
        ("datasets: {}", "key 'name' in datasets is missing"),
        ("datasets: {name: digits, option: {}}", "unknown key 'option' in datasets: did you mean 'options'?"),
        (
            "datasets: tradeoff size=8 classes=4",
            "datasets: 'tradeoff size=8 classes=4' is a name with options; write {name: tradeoff, options: {size: 8,"
            " classes: 4}}",
        ),
        (
            "datasets: {name: digits, points: {}}",
            "unknown key 'points' in datasets: valid: architectures, name, options,",
        ),
    ],
)
def test_parts_of_a_suite_are_checked_too(tmp_path, text, message):
    rest = "architectures: resnet8\ndefenses: none\nattacks: fgsm\n"
    assert error_of(write(tmp_path, f"{text}\n{rest}")).partition(": ")[2].startswith(message)


@pytest.mark.parametrize("key", ["datasets", "defenses", "attacks"])
def test_a_missing_part_is_named(tmp_path, key):
    text = "".join(line for line in BASE.splitlines(keepends=True) if not line.startswith(key))
    assert error_of(write(tmp_path, text)) == f"mine.yaml:1:1: key {key!r} is missing"


@pytest.mark.parametrize("text", ["attacks: []", "seeds: []", "train: []", "evaluate: {protocols: []}"])
def test_an_empty_list_is_refused_in_words(tmp_path, text):
    key = {"evaluate: {protocols: []}": "evaluate.protocols"}.get(text, text.partition(":")[0])
    base = BASE.replace("attacks: fgsm\n", "") if key == "attacks" else BASE
    message = error_of(write(tmp_path, f"{base}{text}\n"))
    assert message.endswith(f": {key}: must have at least 1 item, not 0")


@pytest.mark.parametrize("text", ["train: 3", "threat: x", "evaluate: [1]", "measure: true", "seeds: true"])
def test_a_value_in_place_of_a_mapping_is_refused_without_python_words(tmp_path, text):
    message = error_of(write(tmp_path, f"{BASE}{text}\n"))
    assert ": must be a mapping, not " in message
    assert "instance" not in message


@pytest.mark.parametrize("text", ["train: {1: 2}", "evaluate: {1: 2}", "1: 2"])
def test_a_number_for_a_key_is_an_unknown_key(tmp_path, text):
    assert "unknown key '1'" in error_of(write(tmp_path, f"{BASE}{text}\n"))
    assert "unknown key '1'" in error_of(write(tmp_path, BASE), text.replace(": ", "=", 1))


@pytest.mark.parametrize(("text", "eps"), [("8/255", 8 / 255), ("0.1", 0.1), ("'8 / 255'", 8 / 255), ("1", 1.0)])
def test_eps_is_a_number_or_a_fraction(tmp_path, text, eps):
    suite = load_suite(write(tmp_path, f"{BASE}threat: {{eps: {text}}}\n"))
    assert suite.threat[0].eps == pytest.approx(eps)


@pytest.mark.parametrize("text", ["'8/0'", "eight", "8/255/2"])
def test_an_eps_that_is_neither_says_so(tmp_path, text):
    message = error_of(write(tmp_path, f"{BASE}threat: {{eps: {text}}}\n"))
    assert message.startswith("mine.yaml:5:10: threat.eps: ")
    assert "a fraction such as 8/255" in message


def test_a_number_with_an_exponent_needs_no_dot(tmp_path):
    suite = load_suite(write(tmp_path, f"{BASE}train: {{weight_decay: 5e-4, lr: 1e-2}}\n"))
    assert (suite.train[0].weight_decay, suite.train[0].lr) == (5e-4, 1e-2)


@pytest.mark.parametrize(
    "text",
    [
        "datasets: [digits]\narchitectures: [resnet8]\ndefenses: [none]\nattacks: [fgsm]\n",
        "datasets: {name: digits}\narchitectures: {name: resnet8}\ndefenses: {name: none}\nattacks: {name: fgsm}\n",
        "datasets: [{name: digits}]\narchitectures: [{name: resnet8}]\ndefenses: [{name: none}]\nattacks: [{name: fgsm}]\n",
    ],
)
def test_one_component_is_written_bare_as_a_mapping_or_in_a_list(tmp_path, text):
    assert dumped(load_suite(write(tmp_path, text))) == dumped(load_suite(write(tmp_path, BASE)))


@pytest.mark.parametrize(
    ("single", "many"),
    [
        ("train: {epochs: 3}", "train: [{epochs: 3}]"),
        ("threat: {eps: 0.1}", "threat: [{eps: 0.1}]"),
        ("train: {attack: pgd}", "train: [{attack: {name: pgd}}]"),
        ("seeds: 3", "seeds: [3]"),
        ("seeds: [0, 1]", "seeds: {train: [0, 1], attack: 0}"),
        ("seeds: {train: 1, attack: 2}", "seeds: {train: [1], attack: [2]}"),
        ("evaluate: {protocols: adaptive}", "evaluate: {protocols: [adaptive]}"),
    ],
)
def test_one_is_a_list_of_one_everywhere(tmp_path, single, many):
    first, second = (dumped(load_suite(write(tmp_path, f"{BASE}{text}\n"))) for text in (single, many))
    assert first == second


def test_points_are_one_mapping_or_a_list_of_them_with_values_or_lists(tmp_path):
    forms = ["{lambda: 1}", "{lambda: [1]}", "[{lambda: 1}]", "[{lambda: [1]}]"]
    text = BASE.replace("defenses: none", "defenses: {name: oat, points: %s}")
    points = [load_suite(write(tmp_path, text % form)).defenses[0].points for form in forms]
    assert points == [[{"lambda": [1]}]] * 4


@pytest.mark.parametrize("points", ["3", "[3]", "{lambda: []}"])
def test_points_of_another_form_are_refused_where_they_are_written(tmp_path, points):
    text = f"defenses:\n- name: oat\n  points: {points}\ndatasets: digits\narchitectures: resnet8\nattacks: fgsm\n"
    assert error_of(write(tmp_path, text)).startswith("mine.yaml:3:")


def test_a_suite_without_a_name_has_its_files(tmp_path):
    assert load_suite(write(tmp_path, BASE, "own.yaml")).name == "own"
    assert load_suite(write(tmp_path, f"{BASE}name: other\n", "own.yaml")).name == "other"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("attacks: {name: pgd, label: worst}", "'worst' is a name of the leaderboard's own"),
        ("seeds: [1, 1]", r"seeds: \[1, 1\] names a seed twice"),
        ("train: {nesterov: true, momentum: 0.0}", "nesterov needs a momentum above 0"),
        ("train: {milestones: [-1]}", "must be greater than or equal to 1"),
    ],
)
def test_what_would_say_nothing_or_the_wrong_thing_is_refused(tmp_path, text, message):
    path = tmp_path / "suite.yaml"
    base = {"datasets": "digits", "architectures": "resnet8", "defenses": "none", "attacks": "fgsm"}
    lines = [f"{key}: {value}" for key, value in base.items() if not text.startswith(key)]
    path.write_text("\n".join([*lines, text]))
    with pytest.raises(SuiteError, match=message):
        load_suite(path)


# --- device and precision, pinned


def test_a_suite_says_where_it_is_computed(tmp_path):
    suite = load_suite(write(tmp_path, f"{BASE}device: cpu\nprecision: float32\n"))
    assert {suite.hardware(device) for device in ("auto", "cpu")} == {Hardware("cpu", "float32")}
    message = "mine.yaml:5:1: the suite is for device cpu, not cuda:0; leave --device out, or add --set device=auto"
    with pytest.raises(SuiteError, match=re.escape(message)):
        suite.hardware("cuda:0")
    freed = load_suite(suite.file, ["device=auto"])
    assert freed.hardware("cpu") == Hardware("cpu", "float32")
