"""A train job's phases, one after another, and what is calibrated behind the last."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass, field
from typing import Any

import safetensors.torch
import torch
from torch import Tensor, nn

from robuststack.engine import models
from robuststack.engine import train as training
from robuststack.engine.best_checkpoint import BestCheckpoint
from robuststack.engine.calibration import CalibrationData
from robuststack.engine.data import Data
from robuststack.engine.overfitting import beyond_one_step
from robuststack.engine.random_streams import seeded, stream_seed
from robuststack.engine.runtime import Runtime, device_of
from robuststack.engine.user_checkpoint import misfit
from robuststack.errors import PluginError
from robuststack.layers.safe_convolutions import avoid_faults
from robuststack.plugin.attack import GradientAttack
from robuststack.plugin.dataset import Augmentation, Split
from robuststack.plugin.defense import Defense
from robuststack.plugin.phase import Phase
from robuststack.plugin.threat import Threat
from robuststack.running.store import Checkpoint
from robuststack.suite.phases import PlannedPhase

EpochSaved = Callable[[int, Mapping[str, bytes], Mapping[str, Any], Mapping[str, float]], None]
"""Called after each epoch with its number over all phases (from 1), the files and facts that a killed job goes on from, and
the epoch's metrics."""


@dataclass
class Progress:
    """What is behind a job: the epochs of all phases with what they showed, and the epoch that each finished phase kept."""

    history: list[dict[str, float]] = field(default_factory=list)
    kept: list[int] = field(default_factory=list)


@dataclass(frozen=True)
class Training:
    """What the phases of a job share. `splits` are the data set's, and `threat` is that of the training attack."""

    defense: Defense
    phases: Sequence[PlannedPhase]
    splits: Mapping[Split, Data]
    augmentation: Augmentation
    attack: GradientAttack
    threat: Threat
    runtime: Runtime
    seed: int

    def run(self, model: nn.Module, saved: Checkpoint | None, epoch_saved: EpochSaved) -> Progress:
        """Train the model through all phases, from a checkpoint if there is one, and calibrate it.

        Raises:
            PluginError: a phase trains a part that the model does not have, or starts from another network's weights;
            JobFailed: a loss that is not finite; StoreError: the checkpoint is of another network.
        """
        parts = [part_of(model, planned.phase, self.defense) for planned in self.phases]
        # Before a checkpoint is read: a run that was killed fails as it would have done.
        finite = [training.finite_state(part) for part in parts]
        progress, position, state = Progress(), 0, None
        if saved:
            progress = Progress(list(saved.meta["history"]), list(saved.meta["kept"]))
            position = len(progress.kept)
            models.restore(model, saved.files["model.safetensors"], saved.folder / "model.safetensors")
            state = self._resumed(parts[position], self.phases[position], saved, progress)
        for number in range(position, len(self.phases)):
            planned, part = self.phases[number], parts[number]
            if state is None:
                self._inherit(number, parts)
                state = training.begin(planned.phase.trainer, part, planned.recipe)
            self._train(number, model, state, progress, epoch_saved, finite[number])
            progress.kept.append(state.best.epoch if state.best else planned.recipe.epochs)
            state = None
        self._calibrate(model)
        return progress

    def _train(
        self,
        number: int,
        model: nn.Module,
        state: training.State,
        progress: Progress,
        epoch_saved: EpochSaved,
        finite: Set[str],
    ) -> None:
        planned, before = self.phases[number], list(progress.history[: len(progress.history) - state.epoch])
        total = sum(phase.recipe.epochs for phase in self.phases)

        def epoch_done(epoch: int, metrics: Mapping[str, float]) -> None:
            progress.history = [*before, *state.history]
            done = len(progress.history)
            files = _files(model, state) if done < total else {}
            facts = {"history": progress.history, "kept": progress.kept}
            if state.average:
                facts["averaged"] = state.average.count
            if state.best:
                facts["best"] = {"ra": state.best.ra, "epoch": state.best.epoch}
            epoch_saved(done, files, facts, metrics)

        training.train(
            state, planned.phase.trainer, self.splits["train"], self.attack, self.threat, planned.recipe, self.runtime,
            seed=self._seed(number), augmentation=self.augmentation, epoch_done=epoch_done,
            finite=finite, validation=self.splits["validation"],
        )  # fmt: skip

    def _seed(self, number: int) -> int:
        """The seed of a phase: the job's own where it is the first on its part, so that it trains what a job of its trainer
        alone would; one named by the phase where it goes on from another, whose streams it must not repeat."""
        phase = self.phases[number].phase
        earlier = any(planned.phase.part == phase.part for planned in self.phases[:number])
        return stream_seed(self.seed, "phase", phase.name) if phase.parent or earlier else self.seed

    def _inherit(self, number: int, parts: Sequence[nn.Module]) -> None:
        phase = self.phases[number].phase
        if phase.parent is None:
            return
        parent = next(earlier for earlier, planned in enumerate(self.phases) if planned.phase.name == phase.parent)
        state = parts[parent].state_dict()
        reason = misfit(parts[number], state)
        if reason:
            raise PluginError(
                f"defense {self.defense.name!r}, phase {phase.name!r}: the weights of its parent {phase.parent!r} do not"
                f" fit: {reason}"
            )
        parts[number].load_state_dict(state)

    def _resumed(self, part: nn.Module, planned: PlannedPhase, saved: Checkpoint, progress: Progress) -> training.State:
        """The state of the phase that the checkpoint stands in."""
        state = training.begin(planned.phase.trainer, part, planned.recipe)
        optimizer_state = torch.load(io.BytesIO(saved.files["optimizer.pt"]), weights_only=True, map_location="cpu")
        state.optimizer.load_state_dict(optimizer_state)
        finished = sum(phase.recipe.epochs for phase in self.phases[: len(progress.kept)])
        state.history = progress.history[finished:]
        state.epoch = len(state.history)
        if state.average:
            models.restore(
                state.average.model, saved.files["average.safetensors"], saved.folder / "average.safetensors"
            )
            state.average.count = saved.meta["averaged"]
        if "best.safetensors" in saved.files:
            weights = safetensors.torch.load(saved.files["best.safetensors"])
            state.best = BestCheckpoint(**saved.meta["best"], weights=weights)
        return state

    def _calibrate(self, model: nn.Module) -> None:
        model.eval()
        data = CalibrationData(
            self.splits, self.augmentation, self.phases[-1].recipe.batch_size, beyond_one_step(self.attack), self.threat,
            self.runtime, stream_seed(self.seed, "calibration"),
        )  # fmt: skip
        before = {name: buffer.clone() for name, buffer in _unstored(model).items()}
        with seeded(self.seed, "calibrate"), self.runtime.float32():
            self.defense.calibrate(model, data)
        for name, buffer in _unstored(model).items():
            if name not in before or not torch.equal(buffer.nan_to_num(), before[name].nan_to_num()):
                raise PluginError(
                    f"defense {self.defense.name!r}: calibrate sets {name}, a buffer that is not stored with the weights;"
                    " register it without persistent=False"
                )


def _unstored(model: nn.Module) -> dict[str, Tensor]:
    """Its buffers that no file of weights holds."""
    stored = model.state_dict().keys()
    return {name: buffer for name, buffer in model.named_buffers() if name not in stored}


def part_of(model: nn.Module, phase: Phase, defense: Defense) -> nn.Module:
    """The part of a placed model that a phase trains.

    Raises:
        PluginError: the model has none at that path.
    """
    try:
        part = model.get_submodule(phase.part)
    except AttributeError:
        children = ", ".join(name for name, _ in model.named_children()) or "none"
        raise PluginError(
            f"defense {defense.name!r}, phase {phase.name!r}: the model has no part {phase.part!r}; its parts: {children}"
        ) from None
    if device_of(part).type == "cpu":
        avoid_faults(part)  # What guards the whole model is not entered if a part of it is called.
    return part


def _files(model: nn.Module, state: training.State) -> dict[str, bytes]:
    """What a killed job goes on from, as files."""
    optimizer = io.BytesIO()
    torch.save(state.optimizer.state_dict(), optimizer)
    files = {"model.safetensors": models.packed(model), "optimizer.pt": optimizer.getvalue()}
    if state.average:
        files["average.safetensors"] = models.packed(state.average.model)
    if state.best:
        files["best.safetensors"] = models.packed_state(state.best.weights)
    return files
