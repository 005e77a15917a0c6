"""What torch says of images that do not fit is one line; faults of a plugin keep their traceback."""

from __future__ import annotations

import pytest
import torch

import robuststack as rs
from robuststack.engine import models
from robuststack.engine.build import fitting, network
from robuststack.engine.measure import blueprint


class Failing(rs.Architecture):
    """Raises what it is told to."""

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.name, self.error = "failing", error

    def build(self, shape, num_classes):
        raise self.error


BUILDERS = {
    "network": lambda architecture: network(rs.Defense(), architecture, (3, 8, 9), 10),
    "training": lambda architecture: models.build(rs.Defense(), architecture, (3, 8, 9), 10, 0),
    "blueprint": lambda architecture: blueprint(rs.Defense(), architecture, (3, 8, 9), 10),
}


@pytest.mark.parametrize("build", BUILDERS.values(), ids=BUILDERS)
@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (RuntimeError("Output size\n  is too small"), "Output size is too small"),
        (ValueError("Expected more than 1 value per channel"), "Expected more than 1 value per channel"),
        (AssertionError(), "AssertionError"),
    ],
)
def test_images_that_do_not_fit_are_one_line(build, error, reason):
    with pytest.raises(rs.PluginError) as caught:
        build(Failing(error))
    assert str(caught.value) == f"architecture 'failing' does not work for images of 3 x 8 x 9: {reason}"
    assert caught.value.__cause__ is error


@pytest.mark.parametrize("build", BUILDERS.values(), ids=BUILDERS)
@pytest.mark.parametrize("error", [TypeError("no"), rs.PluginError("no"), torch.OutOfMemoryError("no")])
def test_any_other_error_is_left_alone(build, error):
    with pytest.raises(type(error), match=r"^no$") as caught:
        build(Failing(error))
    assert caught.value is error


def test_what_fits_passes():
    with fitting(Failing(TypeError()), (3, 8, 8)):
        pass
