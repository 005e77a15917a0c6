"""What is said of how data was read, by every command; what cannot train; and what data is known by."""

from __future__ import annotations

from pathlib import Path

import pytest

import robuststack as rs
from made_data import (
    as_bytes,
    class_file,
    classes_folder,
    evaluated,
    flat,
    levels,
    npz,
    only_tests,
    picture,
    trained_on,
)
from robuststack.cli import call

SUITE = """
datasets: {{name: {name}, options: {{path: {path}}}}}
architectures: {{name: resnet8, options: {{width: 4}}}}
train: {{epochs: 1, batch_size: 2}}
defenses: none
attacks: fgsm
"""


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (lambda: only_tests(4), "has no train images; it can only score finished models"),
        (lambda: classes_folder(["a", "b"]), "has no train images; it can only score finished models"),
        (lambda: trained_on([0, 1, 3] * 3, [0, 1, 2, 3]), "has no training image of class 2, which y_test has"),
    ],
)  # fmt: skip
def test_data_that_cannot_train_is_refused_by_check(data, problem, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    name, path = data().split()[:2]
    Path("mine.yaml").write_text(SUITE.format(name=name, path=path.partition("=")[2]))
    assert call(["check", "mine.yaml", "--device", "cpu"]) == 2
    assert capsys.readouterr().err == (
        f"robuststack: error: mine.yaml:2:1: no model can be trained on dataset {name!r}: it {problem}\n"
    )


def test_check_prints_the_notes(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    trained_on([0, 2, 4, 6] * 4, [0, 2, 4, 6])
    Path("mine.yaml").write_text(SUITE.format(name="npz", path="mine.npz"))
    assert call(["check", "mine.yaml", "--device", "cpu"]) == 0
    assert capsys.readouterr().err == (
        "robuststack: note: dataset 'npz': 7 classes, and these labels never occur: 1, 3, 5\n"
    )


def test_python_hears_the_notes_before_any_compute_and_keeps_them(tmp_path, monkeypatch, caplog):
    monkeypatch.chdir(tmp_path)
    labels, brightness = levels(4)
    dataset = npz(x_test=as_bytes(flat(brightness)), y_test=2 * labels)
    note = "dataset 'npz': 7 classes, and these labels never occur: 1, 3, 5"
    options = {"attacks": ["fgsm"], "device": "cpu", "overrides": ["measure.latency=false"]}
    result = rs.evaluate(dataset=dataset, python="users_models:seven", **options)
    assert note in result.notes
    assert note in caplog.messages
    caplog.clear()
    with pytest.raises(rs.RobustStackError, match="7 classes"):
        rs.evaluate(dataset=dataset, python="users_models:ten", **options)
    assert note in caplog.messages


def test_the_terminal_prints_a_note_once(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    labels, brightness = levels(4)
    _, _, lines = evaluated(capsys, npz(x_test=as_bytes(flat(brightness)), y_test=2 * labels), "seven")
    assert lines.count("robuststack: note: dataset 'npz': 7 classes, and these labels never occur: 1, 3, 5") == 1


# --- what it is known by


def changed_order() -> None:
    Path("order.txt").write_text("day\ndusk\nnight\n")


def changed_pixels() -> None:
    for path in Path("mine/test/night").iterdir():
        picture(0.9).save(path)


@pytest.mark.parametrize(("change", "after"), [(changed_order, 100 / 3), (changed_pixels, 200 / 3)])
def test_whatever_changes_what_is_read_is_scored_anew(change, after, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    dataset = class_file()
    figures = [evaluated(capsys, dataset, "three")[1]["ca"]["value"]]
    change()
    figures.append(evaluated(capsys, dataset, "three")[1]["ca"]["value"])
    assert figures == [100.0, pytest.approx(after, abs=1e-3)]
