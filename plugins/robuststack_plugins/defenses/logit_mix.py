"""Two networks, one clean and one robust, whose probabilities are mixed at deployment."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import robuststack as rs
from robuststack_plugins.defenses.pgd_at import PGDAdversarialTraining
from robuststack_plugins.defenses.undefended import Undefended

if TYPE_CHECKING:
    from torch import nn

    from robuststack.layers.condition import Condition


class LogitMix(rs.Defense):
    """Adaptive smoothing with a constant weight: log((1 - alpha) softmax(f) + alpha softmax(g)).

    f is trained as `none` and g as `pgd_at` with lambda 1, in the phases `clean` and `robust`. Both start from the same
    weights: at alpha 0 and 1 the model is, to the bit, what those two train with the same seed. Between the ends it has
    twice the parameters and multiply-accumulates.
    With `checkpoint: best` the phase `clean` keeps its last epoch: no epoch of it is robust.
    """

    paper = (
        "Bai et al., Improving the Accuracy-Robustness Trade-Off of Classifiers via Adaptive Smoothing, arXiv 2301.12554;"
        " code: Bai-YT/AdaptiveSmoothing"
    )

    class Knobs(rs.Options):
        alpha: float = rs.option(
            0.5, "Weight of the robust network: 0 is the clean network alone, 1 the robust one.", ge=0, le=1
        )

    def phases(self, recipe: rs.PhaseRecipe) -> Sequence[rs.Phase]:
        clean = rs.Phase("clean", trainer=Undefended(), part="clean", recipe={"checkpoint": "last"})
        return [clean, robust_phase()]

    def operating_points(self) -> list[rs.Point]:
        return [{"alpha": value} for value in (0.0, 0.5, 0.7, 0.9, 1.0)]

    def build(self, architecture: rs.Architecture, shape: tuple[int, int, int], num_classes: int) -> nn.Module:
        import copy

        from robuststack.layers.condition import Condition, attach

        condition = Condition("mix")
        clean = architecture.build(shape, num_classes)
        return attach(self.mixture(clean, copy.deepcopy(clean), condition), condition)

    def mixture(self, clean: nn.Module, robust: nn.Module, condition: Condition) -> nn.Module:
        """The layer that mixes the two networks, which are its parts `clean` and `robust`."""
        from robuststack.layers.mixing import LogitMix as Mixed

        return Mixed(clean, robust, condition)

    def setting(self, point: rs.Point) -> rs.Setting:
        return rs.Setting({"mix": point["alpha"]})

    def parameters(self, model: nn.Module, setting: rs.Setting) -> int:
        """Those of the networks that run."""
        networks = [model.get_submodule(name) for name in _running(setting)]
        return sum(weight.numel() for network in networks for weight in network.parameters())

    def forward_passes(self, setting: rs.Setting) -> float:
        return float(len(_running(setting)))


def robust_phase() -> rs.Phase:
    """The phase that trains the part `robust` as `pgd_at` with lambda 1 does."""
    return rs.Phase(
        "robust",
        trainer=PGDAdversarialTraining(PGDAdversarialTraining.Options(lambda_=1.0)),
        part="robust",
    )


def _running(setting: rs.Setting) -> list[str]:
    """The parts that run at a setting: both if `mix` is between 0 and 1."""
    mix = setting.values["mix"]
    return [name for name, runs in (("clean", mix < 1), ("robust", mix > 0)) if runs]
