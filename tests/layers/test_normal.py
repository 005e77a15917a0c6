"""Normal draws: their distribution, their order in memory, and what they depend on; few numbers and many."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

import pytest
import scipy.stats
import torch

from robuststack.layers.normal import BLOCK, MANY, TableUse, quantile_table, standard_normal

MANY_SHAPES = [(512, 64, 3, 3), (513, 521), (1024, 2 * BLOCK // 1024 + 3)]
"""More than one block, and counts that no block and no word of random bits divides."""


@pytest.fixture(autouse=True)
def table() -> Iterator[None]:
    """As in training and attacks."""
    with quantile_table():
        yield


@pytest.mark.parametrize(
    ("shape", "layout"),
    [
        (shape, layout)
        for shape in [(32, 16, 3, 3), (64, 32, 1, 1), (10, 64), *MANY_SHAPES]
        for layout in [torch.contiguous_format, torch.channels_last][: 2 if len(shape) == 4 else 1]
    ],
)
def test_draws_are_standard_normal_and_lie_in_the_memory_order_of_the_weight(shape, layout):
    weight = torch.zeros(shape)
    if len(shape) == 4:
        weight = weight.contiguous(memory_format=layout)
    torch.manual_seed(0)
    draws = torch.stack([standard_normal(weight).flatten() for _ in range(50 if weight.numel() < MANY else 4)])
    draw = standard_normal(weight)
    assert draw.shape == weight.shape
    in_order = [stride for stride, size in zip(weight.stride(), shape, strict=True) if size > 1]
    assert [stride for stride, size in zip(draw.stride(), shape, strict=True) if size > 1] == in_order
    count = draws.numel()
    assert abs(float(draws.mean())) < 5 / count**0.5
    assert float(draws.var()) == pytest.approx(1, abs=5 * (2 / count) ** 0.5)
    assert float(draws.pow(4).mean()) == pytest.approx(3, abs=5 * (96 / count) ** 0.5)
    assert scipy.stats.kstest(draws.flatten().numpy(), "norm").pvalue > 1e-4
    correlation = torch.corrcoef(draws) - torch.eye(len(draws))
    assert float(correlation.abs().max()) < 6 / draws.shape[1] ** 0.5


@pytest.mark.parametrize("lag", [1, 2, 3, 4, 5, 8, 9, 512, BLOCK])
def test_numbers_of_one_draw_do_not_depend_on_each_other(lag):
    torch.manual_seed(1)
    draw = standard_normal(torch.empty(8 * BLOCK))
    for numbers in (draw, draw.square() - 1, draw.abs() - draw.abs().mean()):
        correlation = float((numbers[lag:] * numbers[:-lag]).mean() / numbers.square().mean())
        assert abs(correlation) < 5 / (len(draw) - lag) ** 0.5


def test_tails_reach_as_far_as_those_of_a_normal_distribution_but_for_fifteen_in_a_million():
    torch.manual_seed(2)
    draw = standard_normal(torch.empty(1 << 24)).abs()
    for bound in (2.0, 3.0, 3.5, 4.0):
        expected = 2 * scipy.stats.norm.sf(bound)
        share = float((draw > bound).double().mean())
        # A bound falls somewhere within a share of 2^-16, on either side.
        assert abs(share - expected) < 5 * (expected / len(draw)) ** 0.5 + 2**-16
    assert float(draw.max()) == pytest.approx(4.325, abs=0.001)


@pytest.mark.parametrize("count", [1000, MANY])
def test_a_draw_is_that_of_torchs_seed_whatever_the_threads(count):
    before, threads = torch.get_rng_state(), torch.get_num_threads()
    try:
        torch.manual_seed(3)
        first = standard_normal(torch.empty(count))
        second = standard_normal(torch.empty(count))
        torch.set_num_threads(1 if threads > 1 else 2)
        torch.manual_seed(3)
        assert torch.equal(standard_normal(torch.empty(count)), first)
        assert not torch.equal(first, second)
    finally:
        torch.set_num_threads(threads)
        torch.set_rng_state(before)


def test_other_types_are_drawn_in_their_own():
    assert standard_normal(torch.empty(MANY, dtype=torch.float64)).dtype == torch.float64
    with torch.inference_mode():
        standard_normal(torch.empty(MANY))
    weight = torch.ones(MANY, requires_grad=True)
    (weight * standard_normal(weight)).sum().backward()
    assert weight.grad is not None


class Noise(torch.nn.Module):
    """Noise of a layer with so many weights that it is looked up."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(MANY))

    def forward(self, x):
        return x + standard_normal(self.weight)[: len(x)]


@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")
@pytest.mark.parametrize("how", ["exported", "traced"])
def test_a_program_draws_anew_in_every_call(how):
    x = torch.zeros(1000)
    if how == "exported":
        program = torch.export.export(Noise(), (x,), strict=False).module()
    else:
        program = torch.jit.trace(Noise(), (x,), check_trace=False)
    first, second = program(x), program(x)
    assert not torch.equal(first, second)
    assert float(torch.cat([first, second]).std()) == pytest.approx(1, abs=0.1)


def test_defaults_of_the_program_around_do_not_matter():
    like = torch.empty(MANY)
    torch.manual_seed(4)
    expected = standard_normal(like)
    torch.set_default_dtype(torch.float64)
    try:
        torch.manual_seed(4)
        assert torch.equal(standard_normal(like), expected)
    finally:
        torch.set_default_dtype(torch.float32)


def in_a_thread(work):
    """What `work` returns in a thread of its own, which is in no context of this one's."""
    results = []
    thread = threading.Thread(target=lambda: results.append(work()))
    thread.start()
    thread.join()
    return results[0]


@pytest.mark.parametrize("shape", [(1000,), (MANY,), (512, 64, 3, 3)])
def test_outside_of_training_and_attacks_torch_draws(shape):
    like = torch.empty(shape)

    def drawn():
        torch.manual_seed(5)
        return standard_normal(like)

    torch.manual_seed(5)
    expected = torch.randn(shape)
    assert torch.equal(in_a_thread(drawn), expected)
    few = like.numel() < MANY
    assert torch.equal(drawn(), expected) == few, "the table serves large draws inside, and no small ones"


def test_the_table_serves_until_its_block_ends_whatever_ends_it():
    def drawn():
        torch.manual_seed(5)
        return standard_normal(torch.empty(MANY))

    def work():
        plain = drawn()
        with contextlib.suppress(ZeroDivisionError), quantile_table():
            inside = drawn()
            raise ZeroDivisionError
        return torch.equal(drawn(), plain) and not torch.equal(inside, plain)

    assert in_a_thread(work)


def test_draws_from_the_table_are_counted_by_the_block_that_asks():
    use, large = TableUse(), torch.empty(MANY)
    with quantile_table(use):
        standard_normal(large)
        with quantile_table():
            standard_normal(large)
        standard_normal(torch.empty(MANY - 1))
    standard_normal(large)
    assert use.draws == 2
