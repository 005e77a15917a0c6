"""The rounds of a game: attack the mixture of settings that is worth most, judge the images, and solve the game again."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import safetensors.numpy
import torch
from torch import Tensor

from robuststack.attacks.mixture import Mixture
from robuststack.engine import blocks
from robuststack.engine.attack import Seen, attack_block, checks
from robuststack.engine.judge import judge_block
from robuststack.engine.stages import Content, Reporter, Stages
from robuststack.engine.workspace import Workspace
from robuststack.errors import JobFailed
from robuststack.evidence.game import MOST_ROUNDS, Mixtures, ModelGame, is_pure, settled
from robuststack.layers.condition import View
from robuststack.plan.job import LABELS, Job
from robuststack.plan.played import model_game
from robuststack.plan.specs import GameSpec
from robuststack.plugin.attack import Attack

WON = 1e-9
"""An image whose chance to be right under the mixture is no more than this is attacked no further."""


def play(job: Job, spec: GameSpec, workspace: Workspace, report: Reporter) -> tuple[dict[str, Any], dict[str, bytes]]:
    """The result and files of a game job. Its rounds end once another one lowers the worth of the best mixture by less than
    half a point, if each half's mixture is a single setting, or after three.

    Raises:
        JobFailed: no mixture has the clean accuracy that the suite asks for.
    """
    basis = blocks.basis(job, workspace)
    stages = Stages(job, workspace, report, basis)
    store = workspace.store
    game = model_game(spec, {judge: safetensors.numpy.load(store.read(judge, LABELS)) for judge in spec.judged})
    mixtures = _mixtures(game)
    values = [float(game.hidden(mixtures).mean())]
    rounds: list[dict[str, Any]] = []
    files: dict[str, np.ndarray] = {"truth": game.truth}
    while len(rounds) < MOST_ROUNDS and not is_pure(mixtures) and not settled(values):
        attack = _strongest(game, spec, mixtures)
        turn = _Round(job, spec, workspace, game, mixtures, attack)
        made = stages.run(turn.block)
        labels = [safetensors.numpy.load(block.content) for block in made]
        told = [np.concatenate([block[str(place)] for block in labels], 1) for place in range(len(spec.settings))]
        files |= {f"{len(rounds) + 1}/{place}": kept for place, kept in enumerate(told)}
        facts = [block.facts for block in made]
        rounds.append({
            "attack": attack,
            "mixtures": [mixture.tolist() for mixture in mixtures],
            "attacked": sum(block["attacked"] for block in facts),
            "seconds": sum(block["seconds"] for block in facts),
            "checks": checks([Seen(**seen) for block in facts for seen in block["seen"]]),
        })  # fmt: skip
        game = game.with_row(told)
        mixtures = _mixtures(game)
        values.append(float(game.hidden(mixtures).mean()))
    result = {
        **basis,
        "n": len(game.truth),
        "rounds": rounds,
        "values": values,
        "upper_bound": not (is_pure(mixtures) or settled(values)),
        "seconds": sum(turn["seconds"] for turn in rounds),
        **({"devices": sorted(stages.devices)} if rounds else {}),
    }
    return result, {LABELS: safetensors.numpy.save(files)}


def _mixtures(game: ModelGame) -> Mixtures:
    """The mixture of each half of the images.

    Raises:
        JobFailed: none has the clean accuracy that the suite asks for.
    """
    try:
        return game.mixtures()
    except ValueError as error:
        raise JobFailed(f"evaluate.game.ca: {error}") from None


def _strongest(game: ModelGame, spec: GameSpec, mixtures: Mixtures) -> int:
    """Which attack has the setting whose images hurt the mixtures most, over the whole data set."""
    mean = game.outcomes.mean(0)[: len(spec.rows)] @ np.mean(mixtures, axis=0)
    return spec.rows[int(mean.argmin())].attack


@dataclass(frozen=True)
class _Round:
    """One round: an attack on the mixture of each half of the images."""

    job: Job
    spec: GameSpec
    workspace: Workspace
    game: ModelGame
    mixtures: Mixtures
    attack: int

    def block(self, number: int) -> Content:
        """The labels of the block's images at every setting, after an attack on those that are not lost yet."""
        started = time.perf_counter()
        spec, workspace = self.spec, self.workspace
        made = workspace.made(spec, self.job.digest)
        defense, model = workspace.model(made)
        rows = slice(number * spec.block, (number + 1) * spec.block)
        x, y = workspace.selected(made.spec.dataset, spec.selection).batch(rows)
        views = [defense.view(model, setting) for setting in spec.settings]
        images, seen, attacked = x.clone(), [], np.zeros(len(y), bool)
        for half, mixture in enumerate(self.mixtures):
            left = self._left(rows, half, mixture)
            if not len(left):
                continue
            attacked[left] = True
            index = torch.from_numpy(left).to(x.device)
            crafted, facts = self._craft(views, mixture, x[index], y[index], number)
            images[index] = crafted
            seen.append(asdict(facts))
        kept = self._best_rows(rows)
        content = {}
        for place, view in enumerate(views):
            draws, seed = (spec.draws, spec.seed) if view.stochastic else (1, 0)
            # On the noise that the rows of the game were judged on.
            labels = judge_block(view, images, draws, seed=seed, stream="judge", number=number)
            before = self.game.labels[place][kept, :, np.arange(len(self.game.truth))[rows]].T
            content[str(place)] = np.where(attacked, labels.cpu().numpy(), before).astype(before.dtype)
        facts_of_block = {
            "attacked": int(attacked.sum()), "seen": seen, "seconds": time.perf_counter() - started,
        }  # fmt: skip
        return safetensors.numpy.save(content), facts_of_block

    def _left(self, rows: slice, half: int, mixture: np.ndarray) -> np.ndarray:
        """The positions in the block of the images of a half that are still right now and then: [M]."""
        positions = np.arange(len(self.game.truth))[rows]
        worth = (self.game.outcomes[rows] @ mixture).min(1)
        return np.flatnonzero((positions % 2 == half) & (worth > WON))

    def _best_rows(self, rows: slice) -> np.ndarray:
        """The row of the game that hurts each image of the block most, [N]: it stands for what is not attacked."""
        even, odd = (self.game.outcomes[rows] @ mixture for mixture in self.mixtures)
        positions = np.arange(len(self.game.truth))[rows]
        return np.asarray(np.where(positions[:, None] % 2 == 0, even, odd).argmin(1))

    def _craft(
        self, views: Sequence[View], mixture: np.ndarray, x: Tensor, y: Tensor, number: int
    ) -> tuple[Tensor, Seen]:
        spec, workspace = self.spec, self.workspace
        places = [int(place) for place in np.flatnonzero(mixture)]
        attack: Attack = workspace.component("attack", spec.attacks[self.attack])
        if attack.chooses_draws:
            attack = attack.with_draws(self._draws(places))
        attacker = Mixture(tuple(views[place] for place in places), tuple(float(mixture[place]) for place in places))
        return attack_block(
            attacker, x, y, attack, spec.threat, workspace.runtime,
            seed=spec.seed, number=number, early_stop=False, folding=workspace.folding,
        )  # fmt: skip

    def _draws(self, places: Sequence[int]) -> int:
        """The most draws that were chosen for the attack at one of these settings."""
        store = self.workspace.store
        chosen = [
            store.result(row.draws_from)["draws"]
            for row in self.spec.rows
            if row.attack == self.attack and row.setting in places and row.draws_from
        ]
        return max(chosen, default=1)
