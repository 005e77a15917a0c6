"""OAT: where FiLM goes, how lambda is encoded, and which lambdas a model has."""

from __future__ import annotations

import json

import pytest
import torch
from torch import nn

import robuststack as rs
from robuststack.layers.dual_norm import DualNorm
from robuststack.layers.film import FiLM
from robuststack.layers.roles import role_of
from robuststack.plugin.options import InvalidOptions
from robuststack.plugin.registry import Registry

REGISTRY = Registry()


def oat(**options: object) -> rs.Defense:
    return REGISTRY.create("defense", "oat", options)


def build(defense: rs.Defense, architecture: str = "resnet8", **options: object) -> nn.Module:
    torch.manual_seed(0)
    made = REGISTRY.create("architecture", architecture, options or {"width": 4})
    return defense.build(made, (3, 8, 8), 4).eval()


@pytest.mark.parametrize(
    ("architecture", "options"), [("resnet8", {"width": 4}), ("resnet18", {"width": 4}), ("wrn-16-1", {"dropout": 0.0})]
)
def test_film_follows_the_stem_and_the_blocks_norms_and_no_other(architecture, options):
    model = build(oat(dim=4), architecture, **options)
    duals = {path: module for path, module in model.named_modules() if isinstance(module, DualNorm)}
    followed = {
        f"{path}.0" for path, module in model.named_modules()
        if isinstance(module, nn.Sequential) and len(module) == 2 and isinstance(module[1], FiLM)
    }  # fmt: skip
    expected = {path for path, dual in duals.items() if role_of(dual) in ("stem", "block")}
    assert followed == expected
    roles = {role_of(dual) for dual in duals.values()}
    assert roles == {"resnet8": {"stem", "block"}, "resnet18": {"stem", "block", "shortcut"}}.get(
        architecture, {"block", "final"}
    )
    left = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    assert len(left) == 2 * len(duals)


@pytest.mark.parametrize("dim", [4, 128])
def test_the_codebook_has_orthogonal_rows_and_is_saved(dim):
    model = build(oat(dim=dim))
    torch.testing.assert_close(model.codebook @ model.codebook.T, torch.eye(dim), rtol=0, atol=1e-5)
    assert "codebook" in model.state_dict()
    assert "codebook" not in dict(model.named_parameters())


def test_each_trained_lambda_gets_its_own_row():
    defense = oat(dim=8)
    model = build(defense)
    for position, value in enumerate((0.0, 0.2, 0.7, 1.0)):
        view = defense.view(model, defense.setting({"lambda": value}))
        assert torch.equal(view.values["code"], model.codebook[position : position + 1])


@pytest.mark.parametrize("value", [0.0, 0.35, 1.0])
def test_one_dimension_is_lambda_itself(value):
    defense = oat(dim=1)
    model = build(defense)
    assert not hasattr(model, "codebook")
    view = defense.view(model, defense.setting({"lambda": value}))
    assert view.values["code"].tolist() == [[pytest.approx(value)]]


@pytest.mark.parametrize(("value", "branch"), [(0.0, 0), (0.2, 1), (0.7, 1), (1.0, 1)])
def test_only_lambda_zero_uses_the_clean_branch(value, branch):
    setting = oat().setting({"lambda": value})
    assert setting.values["branch"] == branch
    assert not setting.stochastic


@pytest.mark.parametrize("dim", [1, 4])
def test_a_lambda_written_as_a_whole_number_works(dim):
    defense, x = oat(dim=dim), torch.rand(2, 3, 8, 8)
    model = build(defense)
    for whole in (0, 1):
        assert torch.equal(
            defense.deploy(model, {"lambda": whole})(x), defense.deploy(model, {"lambda": float(whole)})(x)
        )


@pytest.mark.parametrize("dim", [1, 4])
def test_lambdas_differ_and_repeat_exactly(dim):
    defense, x = oat(dim=dim), torch.rand(2, 3, 8, 8)
    model = build(defense)
    outputs = [defense.deploy(model, {"lambda": value})(x) for value in (0.0, 0.2, 0.7, 1.0)]
    assert all(not torch.allclose(a, b) for i, a in enumerate(outputs) for b in outputs[:i])
    assert torch.equal(outputs[1], defense.deploy(model, {"lambda": 0.2})(x))


def test_a_lambda_without_a_row_is_refused():
    with pytest.raises(ValueError, match=r"lambda 0\.3 has no row in the codebook; trained: 0, 0\.2, 0\.7, 1 \(dim: 1"):
        oat(dim=128).check_point({"lambda": 0.3})
    oat(dim=128).check_point({"lambda": 0.2})
    oat(dim=1).check_point({"lambda": 0.3})


def test_a_suite_that_names_no_points_gets_the_trained_ones():
    assert oat(lambdas=[0.0, 0.5, 1.0]).operating_points() == [{"lambda": 0.0}, {"lambda": 0.5}, {"lambda": 1.0}]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"lambdas": [0.2, 1.0]}, "must rise, start at 0"),
        ({"lambdas": [0.0, 1.0, 0.5]}, "must rise, start at 0"),
        ({"lambdas": [0.0]}, "hold at least one more value"),
        ({"lambdas": [0.0, 1.5]}, r"must lie in \[0, 1\]"),
        ({"dim": 3}, "dim 3 cannot encode 4 lambdas"),
        ({"dim": 0}, "greater than or equal to 1"),
    ],
)
def test_options_that_cannot_work_are_refused(options, message):
    with pytest.raises(InvalidOptions, match=message):
        oat(**options)


def test_a_setting_survives_json():
    setting = oat(dim=1).setting({"lambda": 0.7})
    again = rs.Setting(**json.loads(json.dumps(setting.resolved())))
    assert again == setting


@pytest.mark.parametrize(("steps", "passes"), [(7, 3 + 0.75 * (3 + 2 * 7)), (1, 3 + 0.75 * 5)])
def test_the_work_of_a_step_is_counted(steps, passes):
    assert oat().image_passes(steps) == passes
