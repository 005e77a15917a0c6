"""What makes a cell impossible, found before any compute."""

from __future__ import annotations

import math
from collections.abc import Mapping

from robuststack.errors import Problems
from robuststack.paths import absolute
from robuststack.plugin.attack import Attack
from robuststack.plugin.dataset import Dataset
from robuststack.plugin.defense import Defense
from robuststack.plugin.registry import Registry
from robuststack.plugin.threat import Threat, check_radius
from robuststack.suite.cell import Cell
from robuststack.suite.exported import unlike_network
from robuststack.suite.phases import planned_phases
from robuststack.suite.suite import Suite
from robuststack.suite.variant import Variant


class CellChecks:
    """Refuses what the parts of a cell cannot do together."""

    def __init__(self, suite: Suite, registry: Registry, problems: Problems) -> None:
        self.suite = suite
        self.registry = registry
        self.problems = problems

    def check(self, cell: Cell, attacks: Mapping[str, Variant]) -> None:
        """Refuse a cell that could not run; what an attack cannot do is collected.

        Raises:
            SuiteError: with the place in the file.
        """
        data: Dataset = cell.dataset.component
        defense: Defense = cell.defense.component
        problem = data.training_problem() if cell.trains else ""
        if problem:
            raise self.suite.error(
                f"no model can be trained on dataset {data.name!r}: it {problem}", *cell.dataset.path
            )
        if cell.user_model and cell.user_model.source.load and cell.architecture:
            file = cell.user_model.source.text
            if message := unlike_network(absolute(file), file, cell.architecture.component):
                raise self.suite.error(message, *cell.architecture.path)
        self._radius(cell)
        split = self.suite.evaluate.split
        if data.size(split) == 0:
            raise self.suite.error(f"split {split}: dataset {data.name!r} has no {split} images", "evaluate", "split")
        if cell.trains:
            self._recipes(cell)
            self._training_threat(cell)
            if defense.needs_validation and data.size("validation") == 0:
                message = f"defense {defense.name!r} is calibrated on the validation split, and dataset {data.name!r}"
                raise self.suite.error(f"{message} has no validation images", *cell.defense.path)
        for variant in attacks.values():
            with self.problems.collected():
                self._attack(variant, cell)

    def _radius(self, cell: Cell) -> None:
        """A ball around an image that holds all images is no threat model."""
        eps, shape = cell.threat.eps, cell.dataset.component.shape
        farthest = math.sqrt(math.prod(shape))
        if cell.threat.norm == "l2" and eps > farthest:
            hint = f" (was {eps:g}/255 meant?)" if eps / 255 <= farthest else ""
            images = f"two images {' x '.join(map(str, shape))}"
            raise self.suite.error(
                f"threat: l2 eps {eps:g}: no {images} are further apart than {farthest:.4g}{hint}", "threat"
            )

    def _recipes(self, cell: Cell) -> None:
        data: Dataset = cell.dataset.component
        for planned in planned_phases(cell.defense.component, cell.training.recipe):
            size, name, trainer = planned.recipe.batch_size, planned.phase.name, planned.phase.trainer
            place = cell.training.place("phases", name, "batch_size") if name else cell.training.place("batch_size")
            if size > data.size("train"):
                images = f"the {data.size('train')} training images of {data.name}"
                raise self.suite.error(f"batch_size {size} is more than {images}: an epoch would have no step", *place)
            who = f"defense {cell.defense.component.name!r}" + (f", phase {name!r}" if name else "")
            if size < trainer.min_batch:
                raise self.suite.error(
                    f"batch_size {size}: {who} needs batches of at least {trainer.min_batch}", *place
                )
            try:
                trainer.check_recipe(planned.recipe)
            except ValueError as error:
                raise self.suite.error(f"{who}: {error}", *cell.defense.path) from None

    def _attack(self, variant: Variant, cell: Cell) -> None:
        data: Dataset = cell.dataset.component
        defense: Defense = cell.defense.component
        attack: Attack = variant.component
        if attack.training_only:
            message = f"attack {attack.name!r} serves training only; give it as train.attack, and score with another"
            raise self.suite.error(message, *variant.path)
        if data.num_classes < attack.min_classes:
            message = f"attack {attack.name!r} needs at least {attack.min_classes} classes, {data.name} has "
            raise self.suite.error(f"{message}{data.num_classes}", *variant.path)
        try:
            attack.check_shape(data.shape)
        except ValueError as error:
            raise self.suite.error(f"attack {attack.name!r}: {error}", *variant.path) from None
        if not attack.natural:
            self._norm(attack, cell.threat, variant.path)
        if attack.needs_gradients and not defense.differentiable:
            message = f"attack {attack.name!r} needs gradients, and defense {defense.name!r} gives none"
            raise self.suite.error(f"{message}; {self.registry.gradient_free()}", *variant.path)

    def _training_threat(self, cell: Cell) -> None:
        recipe, training = cell.training.recipe, cell.training
        if recipe.eps is not None:
            try:
                check_radius(recipe.eps, cell.threat.norm)
            except ValueError as error:
                raise self.suite.error(f"train.eps: {error}", *training.place("eps")) from None
        self._norm(cell.attack, cell.threat, training.place("attack"), "train.attack: ")

    def _norm(self, attack: Attack, threat: Threat, path: tuple[str | int, ...], before: str = "") -> None:
        if threat.norm not in attack.norms:
            others = self.registry.attacks_for(threat.norm)
            message = f"attack {attack.name!r} knows {', '.join(attack.norms)} only; these know {threat.norm}: {others}"
            raise self.suite.error(f"{before}{message}", *path)
        try:
            attack.check_threat(threat)
        except ValueError as error:
            raise self.suite.error(f"{before}attack {attack.name!r}: {error}", *path, "options") from None
