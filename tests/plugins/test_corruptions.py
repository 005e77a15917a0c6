"""Corruptions: held against other implementations, and what a row makes of them."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import ndimage
from torch import Tensor

import robuststack as rs
from peers import REGISTRY
from robuststack.cli import call
from robuststack.errors import SuiteError
from robuststack.hardware import Hardware
from robuststack.leaderboard.board_labels import load_correct
from robuststack.leaderboard.regress import regressions
from robuststack.plan.planner import make_plan
from robuststack.plan.specs import AttackSpec
from robuststack.suite.loading import load_suite
from robuststack_plugins.corruptions.images import CORRUPTIONS

NAMES = list(CORRUPTIONS)


def images(channels: int = 3, height: int = 12, width: int = 16) -> Tensor:
    source = torch.Generator().manual_seed(0)
    return torch.rand(4, channels, height, width, generator=source)


def corrupted(name: str, x: Tensor, severity: int) -> Tensor:
    return CORRUPTIONS[name](x, severity, torch.Generator().manual_seed(1))


def in_8_bits(image: Tensor) -> Image.Image:
    return Image.fromarray((image.permute(1, 2, 0).numpy() * 255).round().astype(np.uint8))


@pytest.mark.parametrize("severity", [1, 5])
def test_blur_is_scipys(severity):
    x = images()
    sigma = {1: 0.4, 5: 1.0}[severity]
    expected = [[ndimage.gaussian_filter(plane, sigma, mode="nearest") for plane in image] for image in x.numpy()]
    torch.testing.assert_close(corrupted("gaussian_blur", x, severity), torch.tensor(np.array(expected)))


def test_contrast_keeps_the_mean_of_each_channel():
    x = images()
    shifted = corrupted("contrast", x, 5)
    torch.testing.assert_close(shifted.mean((2, 3)), x.mean((2, 3)))
    torch.testing.assert_close(shifted.std((2, 3)), 0.15 * x.std((2, 3)))


def test_brightness_raises_the_value_and_keeps_the_hue():
    x = 0.5 * images()
    shifted = corrupted("brightness", x, 3)
    torch.testing.assert_close(shifted.amax(1), x.amax(1) + 0.15)
    torch.testing.assert_close(shifted / shifted.amax(1, keepdim=True), x / x.amax(1, keepdim=True))
    assert torch.equal(corrupted("brightness", torch.zeros(1, 1, 2, 2), 3), torch.full((1, 1, 2, 2), 0.15))


def test_pixelation_averages_over_boxes():
    x = images(height=20, width=20)
    for image, made in zip(x, corrupted("pixelate", x, 4), strict=True):
        small = in_8_bits(image).resize((15, 15), Image.Resampling.BOX).resize((20, 20), Image.Resampling.BOX)
        assert np.array_equal(np.asarray(small), (made * 255).round().permute(1, 2, 0).numpy())
        assert len(np.unique(made[0].numpy().round(4), axis=0)) <= 15
    assert torch.equal(corrupted("pixelate", torch.full((1, 1, 9, 7), 0.2), 5), torch.full((1, 1, 9, 7), 0.2))


@pytest.mark.parametrize("channels", [1, 3])
def test_jpeg_is_what_pillow_writes(channels):
    x = images(channels)
    for image, made in zip(x, corrupted("jpeg", x, 5), strict=True):
        values = (image * 255).round().to(torch.uint8).permute(1, 2, 0).numpy()
        file = io.BytesIO()
        Image.fromarray(values.squeeze()).save(file, "JPEG", quality=40)
        expected = np.asarray(Image.open(file)).reshape(values.shape)
        assert np.array_equal((made * 255).round().permute(1, 2, 0).numpy(), expected)


def test_noise_has_its_deviation_and_comes_from_the_generator():
    x = torch.full((8, 3, 32, 32), 0.5)
    noise = corrupted("gaussian_noise", x, 5) - x
    assert float(noise.std()) == pytest.approx(0.1, rel=0.03)
    assert torch.equal(corrupted("gaussian_noise", x, 5) - x, noise)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("channels", [1, 2, 3])
def test_every_severity_keeps_the_shape_and_moves_further(name, channels):
    x = images(channels)
    moved = [float((corrupted(name, x, severity) - x).abs().mean()) for severity in range(1, 6)]
    assert all(corrupted(name, x, severity).shape == x.shape for severity in (1, 5))
    assert moved[0] > 0
    assert moved[4] > moved[0]


SUITE = """
datasets: {name: tradeoff, options: {images: 60, test_images: 30, size: 8, classes: 4}, threat: {eps: 0.1}}
architectures: {name: resnet8, options: {width: 4}}
train: {epochs: 1, batch_size: 20}
defenses: [none, {name: float, points: {lambda_n: 1}}]
attacks:
  - fgsm
  - {name: "corruption:contrast", sweep: {severity: [1, 5]}}
  - {name: "corruption:gaussian_noise", options: {severity: 5}}
evaluate: {draws: 4}
measure: {latency: false}
"""
LABELS = ["contrast 1", "contrast 5", "gaussian_noise 5"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shift")
    (folder / "suite.yaml").write_text(SUITE)
    return folder


@pytest.fixture(scope="module")
def result(folder: Path) -> Any:
    return rs.run(folder / "suite.yaml", store=folder / "store", leaderboard=folder)


def test_a_row_has_natural_shift_beside_adversarial_and_not_in_it(result, folder):
    for row in result.rows:
        assert list(row.shift) == LABELS
        assert list(row.ra) == ["FGSM", "worst"]
        assert row.worst.value == row.ra["FGSM"].value
        assert list(row.attacks) == ["FGSM"]
        assert row.checks.clipped == 0, "what leaves the ball is no fault of a shift"
    text = (folder / "suite.md").read_text()
    assert "CA gaussian_noise 5 %" in text


def test_the_board_keeps_its_figures_and_the_labels_behind_them(result, folder):
    board = rs.load_board(folder / "suite.json")
    assert [row.shift for row in board.rows] == [row.shift for row in result.rows]
    kept = load_correct(folder / "suite.json", board.rows)
    for row in board.rows:
        for label, jobs in row.jobs.shift.items():
            correct = [np.asarray(kept[job]) for job in jobs.values()]
            assert 100 * np.mean(correct) == pytest.approx(row.shift[label].value, abs=0.01)


def test_rows_and_leaderboards_are_compared_by_shifts_too(result, folder):
    board = folder / "suite.json"
    labels = [row.label for row in rs.load_board(board).rows]
    assert [figure.figure for figure in rs.compare(board, *labels).figures] == [
        "CA", *(f"CA {label}" for label in LABELS), "RA worst",
    ]  # fmt: skip


def test_a_shift_that_moves_is_a_regression(result, folder):
    board = rs.load_board(folder / "suite.json")
    old = load_correct(folder / "suite.json", board.rows)
    (job,) = board.rows[0].jobs.shift["contrast 5"].values()
    new = {**old, job: ~old[job]}
    assert regressions(board, board, old, old) == []
    (regression,) = regressions(board, board, old, new)
    assert (regression.label, regression.what) == (board.rows[0].label, "CA contrast 5 (seeds 0/0)")


def test_every_model_meets_the_same_noise(result, folder):
    plan = make_plan(load_suite(folder / "suite.yaml"), REGISTRY, Hardware("cpu", "float32"))
    specs = [
        job.spec for job in plan.jobs if isinstance(job.spec, AttackSpec) and job.spec.attack.name.startswith("corr")
    ]
    assert len({spec.seed for spec in specs}) == 1
    assert len(specs) == 6


@pytest.mark.parametrize(
    ("attacks", "message"),
    [
        (
            "corruption:contrast",
            "suite.yaml:6:1: these are natural shifts alone; robust accuracy needs an attack such as pgd",
        ),
        ("corruption:fog", "corruption: must be 'gaussian_noise', 'gaussian_blur', 'contrast', 'brightness'"),
        ("{name: 'corruption:contrast', options: {severity: 6}}", "severity: must be less than or equal to 5, not 6"),
    ],
)
def test_what_is_not_there_is_refused_in_one_line(tmp_path, attacks, message):
    head = SUITE.partition("attacks:")[0]
    (tmp_path / "suite.yaml").write_text(f"{head}attacks:\n  - {attacks}\n")
    with pytest.raises(SuiteError) as error:
        make_plan(load_suite(tmp_path / "suite.yaml"), REGISTRY, Hardware("cpu", "float32"))
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_a_shift_cannot_train(tmp_path, capsys):
    (tmp_path / "suite.yaml").write_text(SUITE.replace("batch_size: 20}", "batch_size: 20, attack: 'corruption:jpeg'}"))
    assert call(["check", "--quick", str(tmp_path / "suite.yaml")]) == 2
    assert "train.attack: 'corruption:jpeg' is no gradient attack, so it cannot train" in capsys.readouterr().err
