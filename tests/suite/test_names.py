"""The names of suites, and what else lies in their folder."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from robuststack.cli import call
from robuststack.errors import SuiteError
from robuststack.suite.loading import load_suite
from suite_files import BASE, error_of, write


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


def test_a_name_that_is_too_long_for_files_is_one_line(tmp_path):
    assert load_suite(write(tmp_path, f"{BASE}name: {'a' * 180}\n")).name == "a" * 180
    message = error_of(write(tmp_path, f"{BASE}name: {'ö' * 91}\n"))
    assert message.endswith(f"name: '{'ö' * 20}'... has 182 bytes; valid: at most 180")
    assert "\n" not in message


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="a system without named pipes")
def test_a_named_pipe_beside_a_suite_is_not_waited_for(tmp_path):
    """Its reader would wait for a writer, for ever."""
    os.mkfifo(tmp_path / "pipe.yaml")
    holder = os.open(tmp_path / "pipe.yaml", os.O_RDWR)  # Without the guard the read finds the text below.
    try:
        os.write(holder, b"name: mine\ndatasets: digits\n")
        assert load_suite(write(tmp_path, BASE)).name == "mine"
        assert os.read(holder, 4) == b"name", "nothing was read"
    finally:
        os.close(holder)


def test_a_namesake_hides_no_other_mistake(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    suite = "name: mine\ndatasets: digits\ndefenses: none\nattacks: fgsm\n"
    Path("other.yaml").write_text(suite)
    Path("mine.yaml").write_text(f"{suite}epochs: 3\n".replace("fgsm", "fgsmm"))
    assert call(["check", "mine.yaml"]) == 2
    told = capsys.readouterr().err
    for mistake in ("unknown key 'epochs'", "unknown attack 'fgsmm'", "other.yaml is a suite named 'mine' too"):
        assert mistake in told


def test_an_empty_file_is_called_empty(tmp_path):
    path = tmp_path / "mine.yaml"
    for text in ("", "# nothing yet\n"):
        path.write_text(text)
        with pytest.raises(
            SuiteError, match=r"mine\.yaml: is empty; a suite has at least the keys datasets, defenses and"
        ):
            load_suite(path)
