"""MixedNUTS: two networks mixed, the robust one more confident where it is right."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import robuststack as rs
from robuststack_plugins.defenses.logit_mix import LogitMix

if TYPE_CHECKING:
    from torch import nn

    from robuststack.layers.condition import Condition


class MixedNuts(LogitMix):
    """A mix of two networks, in which the robust one is made more confident where it is right.

    It is `logit_mix` with the robust network's logits through s |GELU(LN(g) + c)|^p, the sign kept, and the clean network's
    probabilities at 0 and 1.
    s, p and c are found on the validation split by the published grid search: of all (s, p, c), those at which the fewest
    images that the robust network gets wrong are as confident as all but 100 - `robust` percent of the attacked images
    that it gets right. The map is not monotone, and of these no more may change their label. The alpha at which that share
    of the robust accuracy is kept is shown with them. The search takes the images of the training attack (of PGD-10 if
    that takes one step or none), the publication those of AutoAttack.
    At alpha 0.5 and below, the label is the clean network's. The forward pass is exact; attacks take their loss of the
    published surrogate, which goes around the transformation, as the published attacks do. Libraries that call the model
    themselves get the surrogate's gradient at the exact value, as on RobustBench: where the mix is certain, cross-entropy
    then has none.
    """

    paper = (
        "Bai et al., MixedNUTS: Training-Free Accuracy-Robustness Balance via Nonlinearly Mixed Classifiers, TMLR 2024,"
        " arXiv 2402.02263; code: Bai-YT/MixedNUTS"
    )
    needs_validation = True

    class Options(rs.Options):
        robust: float = rs.option(
            98.5, "Percent of the robust network's robust accuracy that the search wants to keep.", gt=0, le=100
        )

    class Knobs(rs.Options):
        alpha: float = rs.option(
            0.9, "Weight of the robust network: 0 is the clean network alone, 1 the robust one.", ge=0, le=1
        )

    def operating_points(self) -> list[rs.Point]:
        return [{"alpha": value} for value in (0.0, 0.6, 0.8, 0.9, 0.99, 1.0)]

    def mixture(self, clean: nn.Module, robust: nn.Module, condition: Condition) -> nn.Module:
        from robuststack.layers.mixing import NonlinearMix

        return NonlinearMix(clean, robust, condition)

    def calibrate(self, model: nn.Module, calibration: rs.Calibration) -> None:
        """The grid search. Without an image of either kind there is nothing to search, and s = p = 1, c = 0 stay."""
        import torch

        from robuststack.layers.condition import View
        from robuststack_plugins.defenses.margins import search

        robust = View(model.get_submodule("robust"))
        right, wrong = [], []
        with torch.no_grad():
            for x, y in calibration.validation():
                clean, attacked = robust(x).float(), robust(calibration.attack(robust, x, y)).float()
                wrong.append(clean[clean.argmax(1) != y])
                right.append(attacked[attacked.argmax(1) == y])
            best = search(torch.cat(right), torch.cat(wrong), self.options.robust)
        if best is not None:
            state = {
                "transformation.scale": best.scale, "transformation.power": best.power,
                "transformation.shift": best.shift, "calibrated_mix": best.mix, "plain_mix": best.plain_mix,
            }  # fmt: skip
            for path, value in state.items():
                model.get_buffer(path).fill_(value)

    def inspect(self, model: nn.Module) -> Mapping[str, Mapping[str, float]]:
        buffers = {"s": "transformation.scale", "p": "transformation.power", "c": "transformation.shift",
                   "alpha": "calibrated_mix"}  # fmt: skip
        return {"calibrated": {name: float(model.get_buffer(path)) for name, path in buffers.items()}}
