"""A bundle of figures on data of the author's own: where it lay stays private, and a verifier brings it by its name."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from forging import contents

import robuststack as rs

SUITE = """
datasets: {{name: npz, options: {{path: {path}, eps: 0.1}}}}
architectures: {{name: resnet8, options: {{width: 4}}}}
train: {{epochs: 1, batch_size: 20}}
defenses: none
attacks: fgsm
measure: {{latency: false}}
precision: float32
"""


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle with weights, whose data lies in `private/data.npz` beside it."""
    folder = tmp_path_factory.mktemp("own")
    data = folder / "private" / "data.npz"
    data.parent.mkdir()
    random = np.random.RandomState(0)
    splits = {"train": 40, "test": 30}
    arrays = {f"x_{split}": random.randint(256, size=(n, 3, 8, 8)).astype(np.uint8) for split, n in splits.items()}
    np.savez(data, **arrays, **{f"y_{split}": np.arange(n) % 3 for split, n in splits.items()})
    suite = folder / "own.yaml"
    suite.write_text(SUITE.format(path=data))
    where = {"store": folder / "store", "leaderboard": folder / "leaderboard"}
    rs.run(suite, **where, device="cpu")
    return rs.bundle(suite, folder / "own.bundle", weights=True, **where).path


def test_results_do_not_tell_where_the_data_lay(own):
    results = [content for name, content in contents(own).items() if name.endswith("result.json")]
    assert any(b'"path": "data.npz"' in content for content in results)
    assert not any(str(own.parent).encode() in content for content in results)


def test_without_the_data_figures_are_checked_and_images_are_not(own):
    report = rs.verify(own, device="cpu")
    assert report.verdict == "consistent"
    told = "\n".join(report.unchecked)
    assert "whether the suite makes these jobs: its suite names what its author alone has: " in told
    assert "dataset 'npz': it is the author's own; name with --data the folder that holds it" in told
    assert "the ball around the clean images of 1 attack jobs" in told


def test_the_data_is_found_by_its_name(own, tmp_path):
    report = rs.verify(own, data=own.parent / "private", device="cpu")
    assert report.verdict == "re-judged"
    assert "30 images of dataset 'npz' and their labels" in report.agreed
    with np.load(own.parent / "private" / "data.npz") as stored:
        arrays = dict(stored)
    arrays["x_test"] = 255 - arrays["x_test"]
    np.savez(tmp_path / "data.npz", **arrays)
    other = rs.verify(own, data=tmp_path, device="cpu")
    assert other.verdict == "consistent"
    assert "the images against the data: dataset 'npz': what is there has another fingerprint" in other.unchecked
