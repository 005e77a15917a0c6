"""Suite files: strict, explained with file, line and column, extended and overridden."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from robuststack.errors import SuiteError
from robuststack.hardware import Hardware
from robuststack.suite.loading import load_suite
from robuststack.suite.recipe import Recipe
from robuststack.suite.suite import Suite

BASE = "datasets: digits\narchitectures: resnet8\ndefenses: none\nattacks: fgsm\n"


def write(folder: Path, text: str, name: str = "mine.yaml") -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def error_of(path: Path, *overrides: str) -> str:
    """The message about a suite, without its folder."""
    with pytest.raises(SuiteError) as caught:
        load_suite(path, overrides)
    return str(caught.value).replace(f"{path.parent}/", "")


def dumped(suite: Suite) -> dict:
    return suite.model_dump(mode="json")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("suites")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("trian: {}", "5:1: unknown key 'trian': did you mean 'train'?"),
        ("train: {epoch: 3}", "5:9: unknown key 'epoch' in train.0: did you mean 'epochs'?"),
        ("train:\n  lr: 0.1\n  epoch: 3", "7:3: unknown key 'epoch' in train.0: did you mean 'epochs'?"),
        ("train:\n- lr: 0.1\n- epoch: 3", "7:3: unknown key 'epoch' in train.1: did you mean 'epochs'?"),
        ("train: {attack: {nam: pgd}}", "5:18: unknown key 'nam' in train.0.attack: did you mean 'name'?"),
        ("measure: {zzz: 3}", "5:11: unknown key 'zzz' in measure: valid: batch_size, latency, repeats, warmup"),
        ("train: {epochs: 1.5}", "5:9: train.0.epochs: must be a valid integer, not 1.5"),
        ("train: {epochs: '3'}", "5:9: train.0.epochs: must be a valid integer, not '3'"),
        ("train: {epochs: true}", "5:9: train.0.epochs: must be a valid integer, not True"),
        ("train: {epochs: 0}", "5:9: train.0.epochs: must be greater than or equal to 1, not 0"),
        ("train: {lr: fast}", "5:9: train.0.lr: must be a valid number, not 'fast'"),
        ("train: {nesterov: 1}", "5:9: train.0.nesterov: must be true or false, not 1"),
        ("train: {schedule: cosin}", "5:9: train.0.schedule: must be 'cosine', 'steps' or 'constant', not 'cosin'"),
        ("train: {milestones: [1, x]}", "5:25: train.0.milestones.1: must be a valid integer, not 'x'"),
        ("device: gpu", "5:1: device: must be 'auto', 'cpu' or 'cuda', not 'gpu'"),
        ("precision: bf17", "5:1: precision: must be 'auto', 'float32' or 'bf16', not 'bf17'"),
        ("threat: {eps: 8}", "5:10: threat.0.eps: 8 is outside (0, 1], the range of a pixel (was 8/255 meant?)"),
        ("threat: {eps: 0}", "5:10: threat.0.eps: 0 is outside (0, 1], the range of a pixel"),
        ("threat: {norm: l3}", "5:10: threat.0.norm: must be 'linf' or 'l2', not 'l3'"),
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
        ("datasets: {name: digits, train: {epochs: x}}", "datasets.0.train.epochs: must be a valid integer"),
        ("datasets: {nam: digits}", "unknown key 'nam' in datasets.0: did you mean 'name'?"),
        ("datasets: {}", "key 'name' in datasets.0 is missing"),
        ("datasets: {name: digits, option: {}}", "unknown key 'option' in datasets.0: did you mean 'options'?"),
        (
            "datasets: {name: digits, points: {}}",
            "unknown key 'points' in datasets.0: valid: architectures, name, options,",
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
    assert message.startswith("mine.yaml:5:10: threat.0.eps: ")
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


# --- extends


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


def test_the_name_is_not_inherited(tmp_path):
    assert extended(tmp_path, "", f"{BASE}name: known\n").name == "top"


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
    assert error_of(top).startswith("base.yaml:6:3: train.0.epochs")
    base.write_text(base.read_text().replace("1.5", "2"))
    assert error_of(top).startswith("top.yaml:3:9: train.0.lr")


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
    seeds=st.lists(st.integers(0), min_size=1, unique=True),
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
        ("train.epochs=x", "train.0.epochs: must be a valid integer, not 'x'"),
        ("threat.eps=8", "threat.0.eps: 8 is outside (0, 1], the range of a pixel (was 8/255 meant?)"),
        ("datasets.options.size=8", "datasets is 'digits', which has no keys"),
        ("epochs=3", "unknown key 'epochs': valid: architectures, attacks, claims, datasets, defenses, description,"
                     " device, evaluate, extends, figures, measure, name, precision, reference, seeds, threads, threat,"
                     " train"),
        ("trian.epochs=3", "unknown key 'trian': did you mean 'train'?"),
        ("train.epoch=3", "unknown key 'epoch' in train.0: did you mean 'epochs'?"),
        ("train.attack.optoins.steps=3", "unknown key 'optoins' in train.0.attack: did you mean 'options'?"),
        ("extends=other.yaml", "a suite's base is chosen in its file, not by --set"),
    ],
)  # fmt: skip
def test_an_override_that_does_not_fit_is_named(tmp_path, assignment, message):
    path = write(tmp_path, f"{BASE}train: {{attack: {{name: pgd}}}}\n")
    assert error_of(path, assignment) == f"--set {assignment}: {message}"


# --- names


def test_two_suites_of_one_name_in_a_folder_are_refused(tmp_path):
    write(tmp_path, f"{BASE}name: mine\n", "other.yaml")
    path = write(tmp_path, BASE)
    assert error_of(path) == "mine.yaml: other.yaml is a suite named 'mine' too; give one of them another `name:`"
    assert load_suite(path, ["name=yours"]).name == "yours"


def test_suites_of_several_names_live_in_one_folder(tmp_path):
    for name in ("mine.yaml", "yours.yaml"):
        assert load_suite(write(tmp_path, BASE, name)).name == name.removesuffix(".yaml")


def test_a_folder_or_a_dead_link_beside_a_suite_does_not_matter(tmp_path):
    (tmp_path / "old.yaml").mkdir()
    (tmp_path / "gone.yaml").symlink_to(tmp_path / "nowhere")
    assert load_suite(write(tmp_path, BASE)).name == "mine"


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


# --- files beside a suite, and their names


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("environment.yml", "name: mine\nchannels: [conda-forge]\ndependencies: [python=3.11]\n"),
        ("compose.yaml", "name: mine\nservices: {web: {image: mine}}\n"),
        ("broken.yaml", "name: mine\nattacks: [\n"),
        ("list.yaml", "- name: mine\n"),
        ("other.yaml", "description: of mine\ndatasets: digits\n"),
        ("folder.yaml/inside.yaml", "name: mine\ndatasets: digits\n"),
    ],
)
def test_what_is_no_suite_of_the_name_may_lie_beside_one(tmp_path, name, text):
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text(text)
    assert load_suite(write(tmp_path, BASE)).name == "mine"


@pytest.mark.parametrize("text", ["name: mine\nextends: mine.yaml\n", '"name": "mine"\ndatasets: digits\n',
                                  "{name: mine, attacks: fgsm}\n", "# no name\ndatasets: digits\n"])  # fmt: skip
def test_two_suites_of_one_name_are_refused_however_they_say_it(tmp_path, text):
    (tmp_path / ("mine.yml" if "no name" in text else "second.yaml")).write_text(text)
    with pytest.raises(SuiteError, match=r"is a suite named 'mine' too; give one of them another `name:`$"):
        load_suite(write(tmp_path, BASE))


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("my suite.yaml", "my-suite"),
        ("a (2).yaml", "a-2"),
        ("größe.yaml", "größe"),
        (" .yaml", "suite"),
        ("_x+y.yml", "x-y"),
    ],
)
def test_a_file_of_any_name_gives_its_board_a_plain_one(tmp_path, file, name):
    assert load_suite(write(tmp_path, BASE, file)).name == name


def test_a_name_that_yaml_1_1_reads_as_false_is_a_name(tmp_path):
    assert load_suite(write(tmp_path, BASE + "name: no")).name == "no"
    assert load_suite(write(tmp_path, BASE + "train: {epochs: 010}")).train[0].epochs == 10
