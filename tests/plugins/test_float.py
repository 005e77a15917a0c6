"""FLOAT: equations 4 and 5, the branch, and the two protocols."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import robuststack as rs
from robuststack.plugin.options import InvalidOptions, parse
from robuststack.plugin.registry import Registry

FLOAT = Registry().create("defense", "float")
unit = st.floats(0, 1)
below_one = st.floats(0, 0.999)


def setting(lambda_n: float, lambda_th: float) -> tuple[int, float, bool]:
    chosen = FLOAT.setting({"lambda_n": lambda_n, "lambda_th": lambda_th})
    return chosen.values["branch"], chosen.values["noise"], chosen.stochastic


@pytest.mark.parametrize(
    ("lambda_n", "lambda_th", "branch", "noise"),
    [
        # Equation 4: lambda_th = 0, alpha scaled by lambda_n.
        (0.0, 0.0, 0, 0.0), (0.2, 0.0, 1, 0.2), (0.7, 0.0, 1, 0.7), (1.0, 0.0, 1, 1.0),
        # Equation 5: lambda_th = 0.5. 0.2 and 0.7 give 0.4 both, on different branches.
        (0.0, 0.5, 0, 0.0), (0.2, 0.5, 0, 0.4), (0.5, 0.5, 0, 1.0), (0.7, 0.5, 1, 0.4), (1.0, 0.5, 1, 1.0),
        # Any other threshold.
        (0.1, 0.2, 0, 0.5), (0.2, 0.2, 0, 1.0), (0.6, 0.2, 1, 0.5), (0.9, 0.8, 1, 0.5),
    ],
)  # fmt: skip
def test_branch_and_noise_are_the_papers(lambda_n, lambda_th, branch, noise):
    assert setting(lambda_n, lambda_th) == (branch, pytest.approx(noise, abs=1e-9), noise > 0)


@given(unit, below_one)
def test_the_general_rule_holds_everywhere(lambda_n, lambda_th):
    branch, noise, stochastic = setting(lambda_n, lambda_th)
    assert branch == (lambda_n > lambda_th)
    assert 0 <= noise <= 1
    assert stochastic == (noise > 0)
    if branch:
        assert lambda_th + noise * (1 - lambda_th) == pytest.approx(lambda_n, abs=1e-9)
    else:
        assert noise * lambda_th == pytest.approx(lambda_n, abs=1e-9)


@given(unit)
def test_the_general_rule_yields_both_published_cases(lambda_n):
    assert setting(lambda_n, 0.0)[1] == pytest.approx(lambda_n, abs=1e-9)
    expected = 2 * lambda_n if lambda_n <= 0.5 else 2 * (lambda_n - 0.5)
    assert setting(lambda_n, 0.5)[1] == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("knobs", [{"lambda_n": 1.1}, {"lambda_n": -0.1}, {"lambda_th": 1.0}, {"lambda": 0.5}])
def test_knobs_outside_their_range_are_refused(knobs):
    with pytest.raises(InvalidOptions):
        parse(type(FLOAT).Knobs, knobs)


def test_a_suite_that_names_no_points_gets_the_papers():
    assert FLOAT.operating_points() == [{"lambda_n": value, "lambda_th": 0.0} for value in (0.0, 0.2, 0.7, 1.0)]


@given(unit, below_one)
def test_the_headline_attacker_sees_what_is_deployed(lambda_n, lambda_th):
    point = {"lambda_n": lambda_n, "lambda_th": lambda_th}
    deployed = FLOAT.setting(point)
    assert FLOAT.protocols(point)["adaptive"] == rs.Scoring(deployed, deployed, deployed)


@pytest.mark.parametrize(
    ("lambda_n", "lambda_th", "clean", "victim", "branch"),
    [
        # A transfer attack on a noise-free victim.
        (0.0, 0.0, 0.0, 0.0, 0), (0.0, 0.5, 0.0, 0.0, 0),
        # Clean accuracy follows lambda_n, robust accuracy is scored at full noise; the branch always follows.
        (0.2, 0.0, 0.2, 1.0, 1), (0.2, 0.5, 0.4, 1.0, 0), (0.7, 0.5, 0.4, 1.0, 1),
        (1.0, 0.0, 1.0, 1.0, 1), (1.0, 0.5, 1.0, 1.0, 1),
    ],
)  # fmt: skip
def test_the_published_protocol_is_the_reference_codes(lambda_n, lambda_th, clean, victim, branch):
    scoring = FLOAT.protocols({"lambda_n": lambda_n, "lambda_th": lambda_th})["published"]
    noises = [scored.values["noise"] for scored in (scoring.clean, scoring.attacker, scoring.victim)]
    assert noises == [pytest.approx(clean), 1.0, pytest.approx(victim)]
    assert scoring.draws == 1
    assert {scored.values["branch"] for scored in (scoring.clean, scoring.attacker, scoring.victim)} == {branch}
    assert [scored.stochastic for scored in (scoring.clean, scoring.attacker, scoring.victim)] == [
        clean > 0, True, victim > 0,
    ]  # fmt: skip


def test_a_point_runs_with_its_noise_and_branch():
    torch.manual_seed(0)
    model = FLOAT.build(Registry().create("architecture", "resnet8", {"width": 4}), (3, 8, 8), 4).eval()
    for module in model.modules():
        if hasattr(module, "branches"):
            torch.nn.init.uniform_(module.branches[1].weight)
    x = torch.rand(3, 3, 8, 8)
    clean = FLOAT.deploy(model, {"lambda_n": 0.0, "lambda_th": 0.0})
    assert not clean.stochastic
    assert torch.equal(clean(x), clean(x))
    for point in ({"lambda_n": 0.2, "lambda_th": 0.5}, {"lambda_n": 0.7, "lambda_th": 0.5}):
        view = FLOAT.deploy(model, point)
        assert view.stochastic
        assert not torch.equal(view(x), view(x))

    @torch.no_grad()
    def spread(lambda_n: float) -> float:
        torch.manual_seed(1)
        view = FLOAT.deploy(model, {"lambda_n": lambda_n, "lambda_th": 0.0})
        return float(torch.stack([view(x) for _ in range(30)]).var(0).mean())

    assert spread(0.2) < spread(0.7) < spread(1.0)


@pytest.mark.parametrize(
    ("recipe", "steps", "passes"), [("paper", 7, 0.5 * 3 + 0.5 * (3 + 2 * 7)), ("code", 7, 3 + 0.5 * (3 + 2 * 7))]
)
def test_the_work_of_a_step_is_counted(recipe, steps, passes):
    assert Registry().create("defense", "float", {"recipe": recipe}).image_passes(steps) == passes
