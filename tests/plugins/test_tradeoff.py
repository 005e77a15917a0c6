"""The procedural set does what its docstring promises: two features, at odds by construction."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import robuststack as rs
from robuststack.plugin.options import InvalidOptions
from robuststack.plugin.registry import Registry

NOWHERE = Path("nowhere")
SMALL = {"images": 200, "test_images": 2000, "size": 8, "classes": 5}


def tradeoff(**options: object) -> rs.Dataset:
    return Registry().create("dataset", "tradeoff", {**SMALL, **options})


def nearest(images: np.ndarray, patterns: np.ndarray) -> np.ndarray:
    """The class whose pattern correlates best with each image."""
    return np.einsum("nchw,kchw->nk", images - 0.5, patterns).argmax(1)


def percent(predicted: np.ndarray, labels: np.ndarray) -> float:
    return 100 * float((predicted == labels).mean())


def test_patterns_are_signs_and_every_class_has_its_own():
    for options in ({}, {"classes": 10, "size": 32}, {"classes": 2, "size": 4}):
        for patterns in tradeoff(**options).patterns():
            assert set(np.unique(patterns)) == {-1, 1}


@pytest.mark.parametrize("seed", range(5))
def test_the_default_classes_have_different_patterns(seed):
    dataset = Registry().create("dataset", "tradeoff", {"seed": seed})
    for patterns in dataset.patterns():
        assert len({pattern.tobytes() for pattern in patterns}) == dataset.num_classes


@pytest.mark.parametrize("size", [4, 8, 32])
def test_the_texture_sums_to_zero_in_every_block(size):
    _, fine = tradeoff(size=size).patterns()
    blocks = fine.reshape(*fine.shape[:2], size // 2, 2, size // 2, 2)
    assert np.all(blocks.sum((3, 5)) == 0)


@pytest.mark.parametrize("size", [4, 8, 32])
def test_the_smooth_pattern_is_even_in_every_quarter(size):
    smooth, _ = tradeoff(size=size).patterns()
    quarters = smooth.reshape(*smooth.shape[:2], 2, size // 2, 2, size // 2)
    assert np.all(np.ptp(quarters, axis=(3, 5)) == 0)


def test_the_two_features_do_not_interfere():
    smooth, fine = tradeoff().patterns()
    assert np.all(np.einsum("kchw,lchw->kl", smooth, fine) == 0)


def test_amplitudes_are_the_options():
    dataset = tradeoff(noise=0.0, robust_accuracy=1.0, robust_strength=0.2, nonrobust_strength=0.05)
    smooth, fine = dataset.patterns()
    test = dataset.load(NOWHERE)["test"]
    expected = 0.5 + 0.2 * smooth[test.labels] + 0.05 * fine[test.labels]
    np.testing.assert_allclose(test.images, expected, atol=1e-6)


def test_the_noise_has_the_options_standard_deviation():
    options = {"robust_strength": 0.1, "robust_accuracy": 1.0, "nonrobust_strength": 0.0}
    dataset = tradeoff(noise=0.05, **options)
    test = dataset.load(NOWHERE)["test"]
    residue = test.images - 0.5 - 0.1 * dataset.patterns()[0][test.labels]
    assert residue.std() == pytest.approx(0.05, rel=0.02)
    assert abs(residue.mean()) < 1e-3


@pytest.mark.parametrize("robust_accuracy", [0.0, 0.6, 0.85, 1.0])
def test_the_smooth_pattern_is_right_as_often_as_promised_and_an_adversary_cannot_change_that(robust_accuracy):
    dataset = tradeoff(robust_accuracy=robust_accuracy, size=16, nonrobust_strength=0.02)
    smooth, fine = dataset.patterns()
    test, eps = dataset.load(NOWHERE)["test"], 0.04
    clean = percent(nearest(test.images, smooth), test.labels)
    assert clean == pytest.approx(100 * robust_accuracy, abs=3)
    wrong = (test.labels + 1) % dataset.num_classes
    rewritten = (test.images + eps * (fine[wrong] - fine[test.labels]) / 2).clip(0, 1)
    # Whatever the texture says.
    assert percent(nearest(rewritten, smooth), test.labels) == pytest.approx(clean, abs=1)


def test_the_texture_is_always_right_until_it_is_rewritten():
    dataset = tradeoff(size=32, nonrobust_strength=5 / 255, test_images=500)
    _, fine = dataset.patterns()
    test, eps = dataset.load(NOWHERE)["test"], 8 / 255
    assert percent(nearest(test.images, fine), test.labels) > 99
    wrong = fine[(test.labels + 1) % dataset.num_classes]
    attacked = test.images + np.where(wrong != fine[test.labels], eps * wrong, 0)
    assert np.abs(attacked - test.images).max() <= eps + 1e-6
    assert percent(nearest(attacked.clip(0, 1), fine), test.labels) == 0


def test_a_wrong_smooth_pattern_is_of_another_class():
    dataset = tradeoff(robust_accuracy=0.0, noise=0.0, nonrobust_strength=0.0, classes=3)
    smooth, _ = dataset.patterns()
    test = dataset.load(NOWHERE)["test"]
    shown = nearest(test.images, smooth)
    assert np.all(shown != test.labels)
    counts = np.bincount((shown - test.labels) % 3, minlength=3)
    assert counts[0] == 0
    assert min(counts[1:]) > 0.45 * len(shown)


def test_images_are_floats_between_zero_and_one():
    dataset = tradeoff(noise=0.5, robust_strength=0.5)
    for part in dataset.load(NOWHERE).values():
        assert part.images.dtype == np.float32
        assert part.labels.dtype == np.int64
        assert part.images.min() >= 0
        assert part.images.max() <= 1


def test_sizes_and_classes_are_the_options():
    dataset = tradeoff(images=200, test_images=70, size=12, classes=7)
    splits = dataset.load(NOWHERE)
    assert {split: len(part.images) for split, part in splits.items()} == {
        "train": 200,
        "validation": 20,
        "test": 70,
    }
    assert all(len(part.labels) == dataset.size(split) for split, part in splits.items())
    assert splits["train"].images.shape[1:] == dataset.shape == (3, 12, 12)
    assert dataset.num_classes == 7
    assert set(splits["train"].labels) == set(range(7))


def test_the_same_options_draw_the_same_images_and_another_seed_others():
    first, again, other = (tradeoff(seed=seed).load(NOWHERE) for seed in (0, 0, 1))
    for split in first:
        assert np.array_equal(first[split].images, again[split].images)
        assert np.array_equal(first[split].labels, again[split].labels)
        assert not np.array_equal(first[split].images, other[split].images)


def test_the_splits_share_no_image():
    splits = tradeoff(test_images=200).load(NOWHERE)
    seen = [image.tobytes() for split in splits.values() for image in split.images]
    assert len(set(seen)) == len(seen)


def test_another_number_of_test_images_leaves_training_as_it_was():
    first, other = tradeoff(test_images=50).load(NOWHERE), tradeoff(test_images=70).load(NOWHERE)
    assert np.array_equal(first["train"].images, other["train"].images)


@pytest.mark.parametrize("seed", range(8))
def test_no_two_classes_share_a_pattern(seed):
    for patterns in tradeoff(classes=100, seed=seed).patterns():
        assert len(np.unique(patterns.reshape(100, -1), axis=0)) == 100


def test_patterns_that_are_all_distinct_are_those_of_the_first_draw():
    """Of ten classes, whose figures stand in leaderboards."""
    from robuststack_plugins.datasets.tradeoff import PATTERN_STREAM

    coarse = np.random.RandomState([PATTERN_STREAM, 0]).choice([-1.0, 1.0], size=(10, 3, 2, 2))
    smooth, _ = tradeoff(classes=10).patterns()
    half = smooth.shape[-1] // 2
    assert np.array_equal(smooth[:, :, ::half, ::half], coarse.astype(np.float32))


def test_strengths_may_be_fractions():
    assert tradeoff(nonrobust_strength="6/255").options.nonrobust_strength == pytest.approx(6 / 255)


@pytest.mark.parametrize(
    "options", [{"size": 6}, {"size": 0}, {"classes": 1}, {"robust_accuracy": 1.1}, {"robust_strength": 0.0}]
)
def test_options_outside_their_range_are_refused(options):
    with pytest.raises(InvalidOptions):
        tradeoff(**options)
