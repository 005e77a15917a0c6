"""What a defense implements."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from robuststack.errors import PluginError
from robuststack.plugin.architecture import Architecture
from robuststack.plugin.component import Component
from robuststack.plugin.operating_point import Point, Scoring, Setting
from robuststack.plugin.options import Options, parse
from robuststack.plugin.phase import Phase
from robuststack.plugin.training_step import TrainStep

if TYPE_CHECKING:
    from torch import nn
    from torch.optim import Optimizer

    from robuststack.layers.condition import View
    from robuststack.plugin.calibration import Calibration
    from robuststack.suite.recipe import PhaseRecipe


class Defense(Component):
    """A way to train a robust model and to run it. It rewrites any architecture that marks its norm layers."""

    kind = "defense"
    trains: ClassVar[bool] = True
    """False for a model that is only evaluated: `load` is called instead of `build`, and there is no train job."""

    undefended: ClassVar[bool] = False
    """True for plain training: what the times of the defenses are held against."""

    differentiable: ClassVar[bool] = True
    """False for a model that gives no gradients: attacks that need them are refused."""

    freezable: ClassVar[bool] = True
    """False for a defense with noise of which no single draw can be kept: what needs a frozen draw, such as the rungs
    `surrogate` and `frozen_known` of the ladder, does not apply to it, and its rows say so."""

    needs_validation: ClassVar[bool] = False
    """True for a defense whose `calibrate` reads the validation split: a dataset without one is refused."""

    min_batch: ClassVar[int] = 1
    """The smallest training batch that `training_step` can work with."""

    class Knobs(Options):
        """What can be tuned at deployment without training again: one field a knob, with its range."""

    def recipe(self) -> Mapping[str, Any]:
        """Keys of a suite's `train` section whose defaults this defense changes; the suite's own values win."""
        return {}

    def image_passes(self, steps: int) -> float:
        """Work of a training step per image, in forward passes (a backward pass to weights and input counts 2, to the
        input alone 1), with an attack of `steps` steps. It feeds the estimate of `plan` and the time left."""
        return 3.0

    def build(self, architecture: Architecture, shape: tuple[int, int, int], num_classes: int) -> nn.Module:
        """The model to train: the architecture's module, rewritten."""
        return architecture.build(shape, num_classes)

    def load(self, folder: Path, shape: tuple[int, int, int], num_classes: int) -> nn.Module:
        """The finished model of a defense that does not train. `folder` is the data folder, where downloads go."""
        raise NotImplementedError

    def phases(self, recipe: PhaseRecipe) -> Sequence[Phase]:
        """The phases of training, in order; empty for a defense that trains the whole model at once, by its own
        `training_step`. `recipe` is the suite's, before any phase changes it: what a phase changes may be a share of it.

        A phase without a parent, on a part that no earlier one trains, draws from the random streams of a job that does
        nothing else: a network that `none` trains in a phase gets the weights that `none` alone gives it.
        """
        return ()

    def check_recipe(self, recipe: PhaseRecipe) -> None:
        """Refuse a recipe, that of a phase that this defense trains, by which its training would not be what it says.

        Raises:
            ValueError: with what would be valid.
        """

    def calibrate(self, model: nn.Module, calibration: Calibration) -> None:
        """Called once, after the last phase, with the trained model in eval mode: to set buffers by the validation split,
        or to estimate batch statistics on the training images. It leaves the trained weights alone. Its buffers are stored
        with them. Noise comes from torch's default generator, which the host seeds. By default nothing is calibrated."""

    def parameter_groups(self, model: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
        """The optimiser's parameter groups; by default one, all parameters decayed alike. A group's own `lr` is where its
        learning rate starts; it follows the recipe's schedule, as that of the others does."""
        return [{"params": list(model.parameters()), "weight_decay": weight_decay}]

    def training_step(self, step: TrainStep) -> None:
        """Forward and backward passes of one batch; the host clears gradients before and steps the optimiser after."""
        raise NotImplementedError

    def after_step(self, model: nn.Module, optimizer: Optimizer) -> None:
        """Called after each optimiser step (to apply masks, say)."""

    def after_epoch(self, model: nn.Module, optimizer: Optimizer, epoch: int, epochs: int) -> None:
        """Called after each epoch (0-based), before its checkpoint. What it decides may depend on the states of model and
        optimiser, which a resumed run restores, and on nothing else."""

    def operating_points(self) -> list[Point]:
        """The points of a suite that names none: by default one, every knob at its default."""
        return [{}]

    def reference_point(self) -> Point:
        """The one point that stands for the defense: its robust end, as it is meant to be deployed. A model is probed and
        its multiply-accumulates are counted there, `checkpoint: best` chooses an epoch by it, and the other points are
        held against it. By default every knob is at its own default."""
        return {}

    def reference_setting(self) -> Setting:
        """How the model runs at the reference point.

        Raises:
            PluginError: the defense declares a point that it does not have.
        """
        return self.setting(self.whole_point(self.reference_point()))

    def quiet(self, setting: Setting) -> Setting | None:
        """`setting` with all of its noise off, everything else as it is; None if it has none, or none that can be switched
        off.

        By default a randomised setting is quiet with the field `noise` at 0, the scale of the noise that RobustStack's own
        layers draw. A defense with noise besides, or under another name, overrides this.
        """
        if not setting.stochastic or "noise" not in setting.values:
            return None
        return Setting({**setting.values, "noise": 0.0})

    def whole_point(self, knobs: Point) -> dict[str, Any]:
        """An operating point with every knob; those that are not named keep their defaults.

        Raises:
            PluginError: the defense has no such knob or point.
        """
        try:
            point = parse(self.Knobs, knobs).resolved()
            self.check_point(point)
        except (PluginError, ValueError) as error:
            raise PluginError(f"{self.name}: {error}") from None
        return point

    def check_point(self, point: Point) -> None:
        """Refuse a point that the knobs' ranges allow but this model does not have.

        Raises:
            ValueError: with what would be valid.
        """

    def setting(self, point: Point) -> Setting:
        """How the model runs at `point` (all knobs given)."""
        return Setting()

    def protocols(self, point: Point) -> dict[str, Scoring]:
        """The ways to score `point`, by name. `adaptive`, where the attacker sees what is deployed, is the headline."""
        setting = self.setting(point)
        return {"adaptive": Scoring(clean=setting, attacker=setting, victim=setting)}

    def view(self, model: nn.Module, setting: Setting) -> View:
        """`model` under `setting`, sharing its weights."""
        from robuststack.layers.condition import View

        return View(model, setting.values, stochastic=setting.stochastic)

    def deploy(self, model: nn.Module, point: Point, *, frozen: bool = False) -> nn.Module:
        """The model at `point`: a view that shares the weights or, `frozen`, an independent copy with one draw of all its
        noise, which is then deterministic. A layer that draws noise brings a method `freeze()` for this
        (`robuststack.layers.freezing`); if one has none, the first forward pass of the copy raises a ModelError."""
        view = self.view(model, self.setting(point))
        if not frozen:
            return view
        from robuststack.layers.freezing import freeze

        return freeze(view)

    def forward_passes(self, setting: Setting) -> float:
        """Forward passes of the network that one answer at `setting` takes, for the estimate of `plan`; by default 1."""
        return 1.0

    def parameters(self, model: nn.Module, setting: Setting) -> int:
        """How many parameters the model has at `setting`; by default all of them."""
        return sum(parameter.numel() for parameter in model.parameters())

    def nonzero_parameters(self, model: nn.Module, setting: Setting) -> int:
        """How many of them are not fixed at zero; by default none is. It must be known before training: it is counted on
        an untrained model."""
        return self.parameters(model, setting)

    def inspect(self, model: nn.Module) -> Mapping[str, Mapping[str, float]]:
        """What is worth seeing inside a trained model: title -> name -> value, for example alpha by layer."""
        return {}
