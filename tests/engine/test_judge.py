"""The predicted label of every draw: which logits name a class, whose noise it is, and that images stay as they are."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from robuststack.engine.judge import NO_CLASS, judge_block, predictions
from robuststack.errors import ModelError
from robuststack.layers import normal
from robuststack.layers.condition import View

INF, NAN = float("inf"), float("nan")


class Logits(nn.Module):
    """A model that says the same of every batch."""

    def __init__(self, rows: list[list[float]]) -> None:
        super().__init__()
        self.rows = torch.tensor(rows)

    def forward(self, x: Tensor) -> Tensor:
        return self.rows


@pytest.mark.parametrize(
    ("row", "label"),
    [
        ([1.0, 3.0, 2.0], 1),
        ([-INF, 3.0, 2.0], 1),
        ([-INF, -INF, 2.0], 2),
        ([0.0, 1.0, NAN], NO_CLASS),
        ([NAN, 1.0, 0.0], NO_CLASS),
        ([INF, 1.0, 0.0], NO_CLASS),
        ([-INF, -INF, -INF], NO_CLASS),
    ],
)
def test_the_largest_logit_counts_where_it_is_a_number(row: list[float], label: int) -> None:
    labels = predictions(View(Logits([row, [5.0, 0.0, 0.0]])), torch.rand(2, 1, 2, 2), 2)
    assert labels.tolist() == [[label, 0], [label, 0]]


class Writing(nn.Module):
    """A model that writes into its input."""

    def forward(self, x: Tensor) -> Tensor:
        x.sub_(0.5)
        return torch.stack([x.mean((1, 2, 3)), torch.zeros(len(x))], 1)


def test_a_model_that_writes_into_its_input_moves_neither_the_images_nor_the_next_draw() -> None:
    x = torch.full((4, 1, 2, 2), 0.7)
    before = x.clone()
    assert predictions(View(Writing()), x, 3).tolist() == [[0] * 4] * 3
    assert torch.equal(x, before)


class Noisy(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return normal.standard_normal(torch.empty(len(x), 5))


def test_noise_is_that_of_the_block_and_the_stream_alone() -> None:
    view, x = View(Noisy(), stochastic=True), torch.rand(50, 1, 2, 2)
    settings = {"seed": 3, "stream": "judge", "number": 2}
    first = judge_block(view, x, 4, **settings)
    torch.manual_seed(1)
    assert torch.equal(first, judge_block(view, 1 - x, 4, **settings)), "the same for whatever images"
    assert len({tuple(draw.tolist()) for draw in first}) == 4
    for changed in ({"seed": 4}, {"stream": "rejudge"}, {"number": 3}):
        assert not torch.equal(first, judge_block(view, x, 4, **{**settings, **changed}))


def test_judging_draws_from_torchs_generators_and_not_from_the_table(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(normal, "MANY", 1)
    looked_up: list[int] = []
    table = normal._looked_up
    monkeypatch.setattr(normal, "_looked_up", lambda count: looked_up.append(count) or table(count))
    predictions(View(Noisy(), stochastic=True), torch.rand(2, 1, 2, 2), 2)
    assert looked_up == []
    with normal.quantile_table():
        Noisy()(torch.rand(2, 1, 2, 2))
    assert looked_up == [10], "training and attacks take the table"


def test_8_bits_are_multiples_of_one_255th() -> None:
    class Mean(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            seen.append(x)
            return torch.zeros(len(x), 2)

    seen: list[Tensor] = []
    x = torch.rand(3, 1, 4, 4)
    judge_block(View(Mean()), x, 1, seed=0, stream="judge", number=0, eight_bit=True)
    assert torch.equal(seen[0], (x * 255).round() / 255)
    assert not torch.equal(seen[0], x)


class Dropping(nn.Module):
    """A model that draws noise for dark images alone, of which its labels depend or not."""

    def __init__(self, size: float) -> None:
        super().__init__()
        self.size = size

    def forward(self, x: Tensor) -> Tensor:
        score = x.mean((1, 2, 3)) - 0.5
        if bool((score < 0).any()):
            score = score + self.size * torch.randn(len(x))
        return torch.stack([score, -score], 1)


def test_noise_that_nobody_declared_is_refused_if_another_seed_gives_other_labels() -> None:
    settings = {"seed": 0, "stream": "judge", "number": 0}
    bright, dark = torch.full((40, 1, 2, 2), 0.9), torch.full((40, 1, 2, 2), 0.1)
    judge_block(View(Dropping(1)), bright, 1, **settings)
    judge_block(View(Dropping(1e-6)), dark, 1, **settings)
    with pytest.raises(
        ModelError, match=r"^a model draws noise for some of these images, .*; declare it with `stochastic: true`"
    ):
        judge_block(View(Dropping(1)), dark, 1, **settings)
    judge_block(View(Dropping(1), stochastic=True), dark, 1, **settings)


def test_a_model_is_called_once_if_it_draws_nothing() -> None:
    class Counting(nn.Module):
        calls = 0

        def forward(self, x: Tensor) -> Tensor:
            Counting.calls += 1
            return torch.zeros(len(x), 2)

    judge_block(View(Counting()), torch.rand(3, 1, 2, 2), 1, seed=0, stream="judge", number=0)
    assert Counting.calls == 1


@pytest.mark.parametrize(
    ("returned", "shown"),
    [
        (torch.zeros(2, 3), r"\[2, 3\]"),
        (torch.zeros(1, 3), r"\[1, 3\]"),
        (torch.zeros(4), r"\[4\]"),
        (torch.zeros(4, 3, 1), r"\[4, 3, 1\]"),
        ((torch.zeros(4, 3),), "tuple"),
    ],
    ids=str,
)
def test_logits_of_a_wrong_shape_are_refused(returned: object, shown: str) -> None:
    class Wrong(nn.Module):
        def forward(self, x: Tensor) -> object:
            return returned

    with pytest.raises(ModelError, match=rf"^a model returns {shown} for 4 images; valid: logits \[4, K\]$"):
        predictions(View(Wrong()), torch.rand(4, 1, 2, 2), 1)
