"""Convolutions to search: each number of channels in those that networks have, and draws from all others."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, replace

Pair = tuple[int, int]
LARGE = 5e6
"""So many multiplications are quick in double precision; none of the draws has more."""


@dataclass(frozen=True)
class Shape:
    """A convolution, or a `transposed` one, and the size [H, W] and number of its images."""

    transposed: bool
    inputs: int
    outputs: int
    kernel: Pair
    stride: Pair
    padding: Pair
    dilation: Pair
    groups: int
    batch: int
    size: Pair
    bias: bool

    @property
    def valid(self) -> bool:
        """Whether there is such a convolution."""
        spans = [dilation * (kernel - 1) for dilation, kernel in zip(self.dilation, self.kernel, strict=True)]
        sides = zip(self.size, self.padding, self.stride, spans, strict=True)
        if self.transposed:
            whole = all((size - 1) * stride - 2 * padding + span >= 0 for size, padding, stride, span in sides)
        else:
            whole = all(size + 2 * padding > span for size, padding, _, span in sides)
        return whole and self.inputs % self.groups == 0 == self.outputs % self.groups

    @property
    def multiplications(self) -> float:
        """How many a forward pass has."""
        work = self.batch * self.size[0] * self.size[1] * self.outputs * (self.inputs // self.groups)
        window = self.kernel[0] * self.kernel[1]
        return work * window / (1 if self.transposed else self.stride[0] * self.stride[1])

    @property
    def kind(self) -> str:
        """What it is called in the table."""
        sort = "depthwise" if 1 < self.groups == self.inputs else "grouped" if self.groups > 1 else "plain"
        window = "1 x 1" if self.kernel == (1, 1) else "wider"
        step = "stride 1" if max(self.stride) == 1 else "strided"
        return f"{'transposed ' if self.transposed else ''}{sort}, {window}, {step}"


@dataclass(frozen=True)
class Case:
    """How a convolution is computed.

    `layout`, `weight_layout` and `gradient_layout`: `default` or `last` (channels-last). `precision`: `float32` or `bf16`.
    `path`: `plain`, `slim` (the first half of the weights of a layer that is twice as wide), `folded` (with a batch norm
    merged into it), `functional` (a module that calls the function with the weight of a child), or `scripted`.
    """

    shape: Shape
    layout: str = "last"
    weight_layout: str = "last"
    gradient_layout: str = "last"
    precision: str = "float32"
    path: str = "plain"
    threads: int = 1

    @property
    def valid(self) -> bool:
        """Whether this path has such a convolution."""
        shape = self.shape
        if self.path == "slim":
            return not shape.transposed and shape.groups in (1, shape.inputs)
        return self.path != "folded" or not shape.transposed


def known() -> Iterator[Case]:
    """One of each kind that oneDNN has been seen to get wrong from AVX512_CORE_BF16 on, but for strided 1 x 1 ones."""
    dilated = Shape(False, 12, 12, (1, 3), (1, 1), (0, 0), (3, 3), 12, 5, (64, 64), False)
    yield Case(dilated, precision="bf16")
    yield Case(Shape(False, 22, 2, (1, 3), (1, 1), (0, 1), (3, 3), 1, 2, (96, 96), False), precision="bf16")
    yield Case(Shape(True, 13, 29, (3, 3), (1, 1), (0, 0), (2, 2), 1, 4, (2, 35), False), precision="bf16")
    yield from _in_both_precisions(Shape(True, 20, 1, (3, 3), (1, 2), (0, 0), (1, 1), 1, 5, (37, 1), False))
    yield Case(Shape(False, 28, 2, (3, 3), (1, 2), (1, 1), (1, 1), 1, 2, (40, 1), False), precision="bf16")


def known_with_amx() -> Iterator[Case]:
    """One of each kind that oneDNN has been seen to get wrong where it uses AMX, in bf16."""
    patches = Shape(False, 16, 8, (4, 4), (4, 4), (0, 0), (1, 1), 1, 4, (12, 12), False)
    yield Case(patches, precision="bf16")
    yield Case(replace(patches, inputs=8, kernel=(3, 8), stride=(1, 1), padding=(1, 7), batch=2), precision="bf16")
    yield Case(replace(patches, kernel=(3, 3), stride=(2, 2), size=(16, 4)), precision="bf16")
    one_way = replace(patches, inputs=17, outputs=1, kernel=(3, 3), stride=(2, 1), batch=1, size=(64, 64))
    yield Case(one_way, precision="bf16")


def lattice(full: bool) -> Iterator[Case]:
    """Each number of channels, in the convolutions that networks have. The known fault needs images of 48 x 48 and more.

    Those that are not `full` are strided 1 x 1 ones alone, up to 17 channels.
    """
    if not full:
        for inputs in range(1, 18):
            yield from _in_both_precisions(_square(inputs, 8, 1, 2, 96))
        return
    for channels in range(1, 41):
        for size in (7, 64, 96):
            for stride in (2, 3):
                for outputs in (8, 24):
                    yield from _in_both_precisions(_square(channels, outputs, 1, stride, size))
        for kernel, stride, size in (
            (1, 1, 9),
            (1, 1, 64),
            (2, 2, 64),
            (3, 1, 9),
            (3, 1, 48),
            (3, 2, 9),
            (3, 2, 96),
            (5, 2, 33),
        ):
            yield from _in_both_precisions(_square(channels, 8, kernel, stride, size))
        for kernel, stride, size in ((2, 2, 16), (4, 4, 16), (4, 1, 12), (8, 4, 24), (3, 2, 17)):
            yield Case(replace(_square(channels, 8, kernel, stride, size), padding=(0, 0)), precision="bf16")
        for kernel, stride, size in ((1, 2, 48), (2, 2, 48), (3, 1, 32), (3, 2, 9), (4, 2, 32)):
            for inputs, outputs in ((channels, 8), (8, channels)):
                yield from _in_both_precisions(_square(inputs, outputs, kernel, stride, size, transposed=True))
        for kernel, stride, size in ((1, 2, 64), (1, 2, 96), (3, 1, 9), (3, 2, 64)):
            yield from _in_both_precisions(_square(channels, channels, kernel, stride, size, groups=channels))
            # As many channels in each of two groups.
            yield from _in_both_precisions(_square(2 * channels, 8, kernel, stride, size, groups=2))


def _square(
    inputs: int, outputs: int, kernel: int, stride: int, size: int, *, groups: int = 1, transposed: bool = False
) -> Shape:
    padding = kernel // 2
    return Shape(
        transposed, inputs, outputs, (kernel, kernel), (stride, stride), (padding, padding), (1, 1), groups, 4,
        (size, size), False,
    )  # fmt: skip


def _in_both_precisions(shape: Shape) -> Iterator[Case]:
    return (Case(shape, precision=precision) for precision in ("float32", "bf16"))


def drawn(count: int, seed: int) -> Iterator[Case]:
    """At least `count` cases drawn at random from all there are: shapes, each computed in four ways."""
    source = random.Random(seed)
    while count > 0:
        shape = _drawn_shape(source)
        if not shape.valid or shape.multiplications > LARGE:
            continue
        for case in dict.fromkeys(_drawn_way(shape, source) for _ in range(4)):
            if case.valid:
                count -= 1
                yield case


def _drawn_shape(source: random.Random) -> Shape:
    """A shape, which may not be `valid`; a half of them are strided 1 x 1."""
    inputs = source.randint(1, 40)
    pointwise = source.random() < 0.5
    windows = [(1, 1), (1, 3), (3, 1), (2, 2), (3, 3), (3, 3), (5, 5), (7, 7), (4, 4), (1, 8), (5, 6), (9, 9)]
    kernel = (1, 1) if pointwise else source.choice(windows)
    groups = source.choice([1, 1, 1, inputs, source.choice([d for d in range(1, 41) if inputs % d == 0])])
    return Shape(
        transposed=source.random() < 0.25,
        inputs=inputs,
        outputs=source.choice([groups, 2 * groups, groups * source.randint(1, max(1, 40 // groups))]),
        kernel=kernel,
        stride=source.choice([(4, 4) if pointwise else (1, 1), (2, 2), (3, 3), (1, 2), (2, 1), kernel]),
        padding=source.choice([(0, 0), (0, 0), (kernel[0] // 2, kernel[1] // 2), (1, 1)]),
        dilation=source.choice([(1, 1), (1, 1), (2, 2), (3, 3), (1, 2)]),
        groups=groups,
        batch=source.choice([1, 2, 4, 5, 100]),
        size=source.choice(
            [
                (source.randint(1, 40), source.randint(1, 40)),
                (1, source.randint(1, 200)),
                (source.randint(1, 40), source.randint(1, 3)),
                (64, 64),
                (96, 96),
                (17, 64),
            ]
        ),
        bias=source.random() < 0.5,
    )


def _drawn_way(shape: Shape, source: random.Random) -> Case:
    return Case(
        shape,
        layout=source.choice(["last", "last", "default"]),
        weight_layout=source.choice(["last", "last", "default"]),
        gradient_layout=source.choice(["last", "default"]),
        precision=source.choice(["float32", "float32", "bf16"]),
        path=source.choice(["plain", "plain", "slim", "folded", "functional", "scripted"]),
        threads=source.choice([1, 1, 1, 2]),
    )


def all_cases(full: bool, count: int | None, seed: int) -> list[Case]:
    """What is known to be wrong by itself, the lattice, and the draws; the full search has more of the last two."""
    count = (4000 if full else 200) if count is None else count
    return [*known(), *known_with_amx(), *lattice(full), *drawn(count, seed)]


def placed(case: Case) -> Case:
    """The case as the host places it: weights are channels-last, unless the host's guard says otherwise."""
    return replace(case, weight_layout="last")
