"""Convolutions that torch gets wrong leave channels-last, or bf16.

That they are right then, `tests/memory/` finds out: what would crash ends a process of its own there.
"""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import _get_current_function_mode_stack

from robuststack.engine.fitted import fit
from robuststack.engine.runtime import Runtime
from robuststack.hardware import Hardware
from robuststack.layers.condition import Condition, View
from robuststack.layers.folding import FoldedView, Folding
from robuststack.layers.noise import add_noise
from robuststack.layers.safe_convolutions import convolves_unseen
from robuststack.layers.slimmable import SlimConv2d

RUNTIME = Runtime(Hardware("cpu", "float32"))


def images(size: int = 32) -> Tensor:
    torch.manual_seed(1)
    return torch.rand(4, 3, size, size).contiguous(memory_format=torch.channels_last)


def network(channels: int) -> nn.Sequential:
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, channels, 3, padding=1),
        nn.Conv2d(channels, 8, 1, stride=2),
        nn.BatchNorm2d(8),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(8, 5),
    )
    RUNTIME.place(model.eval())
    return model


def layout_is_kept(conv: nn.Module, x: Tensor) -> bool:
    """Whether the convolution gets the image channels-last, and computes a result that is."""
    seen: list[bool] = []

    def note(_: nn.Module, arguments: tuple[Tensor, ...], result: Tensor) -> None:
        seen.extend(tensor.is_contiguous(memory_format=torch.channels_last) for tensor in (arguments[0], result))

    handle = conv.register_forward_hook(note)
    conv(x)
    handle.remove()
    assert len(set(seen)) == 1
    return seen[0]


@pytest.mark.parametrize(
    ("channels", "kept"), [(2, False), (7, False), (8, False), (15, False), (16, True), (24, True)]
)
def test_only_narrow_ones_leave_the_layout(channels: int, kept: bool) -> None:
    model = network(channels)
    for placed in (model, copy.deepcopy(model)):
        assert layout_is_kept(placed[1], placed[0](images())) == kept


@pytest.mark.parametrize(("width", "kept"), [(0.25, False), (0.5, True), (1.0, True)])
def test_the_narrow_part_of_a_slim_one_leaves_it_too(width: float, kept: bool) -> None:
    condition = Condition("width")
    conv = SlimConv2d(nn.Conv2d(32, 8, 1, stride=2, bias=False), (0.25, 0.5, 1.0), condition)
    RUNTIME.place(conv)
    with condition.holding({"width": width}):
        x = torch.rand(4, round(32 * width), 32, 32).contiguous(memory_format=torch.channels_last)
        assert layout_is_kept(conv, x) == kept


def test_the_layout_is_left_in_bf16_and_with_noise_and_with_parametrised_weights() -> None:
    x = torch.rand(4, 12, 32, 32).contiguous(memory_format=torch.channels_last)
    plain = nn.Conv2d(12, 24, 1, stride=(1, 2))
    condition = Condition("noise")
    noisy = add_noise(nn.Sequential(copy.deepcopy(plain)), condition)
    parametrised = torch.nn.utils.parametrizations.weight_norm(copy.deepcopy(plain))
    for model in (plain, noisy, parametrised):
        RUNTIME.place(model)
        for precision in (torch.float32, torch.bfloat16):
            bf16 = torch.autocast("cpu", torch.bfloat16, enabled=precision is torch.bfloat16)
            with bf16, condition.holding({"noise": 1.0}):
                result = model(x)
            assert result.dtype is precision
            assert result.is_contiguous()


class Functional(nn.Module):
    """A user's module that calls the function, behind a layer in channels-last."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, channels, 3, padding=1)
        self.weight = nn.Parameter(torch.rand(24, channels, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return functional.conv2d(self.first(x), self.weight, stride=2)


class WithChild(nn.Module):
    """One that calls the function with the weight of a layer, which is never called."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, channels, 3, padding=1)
        self.child = nn.Conv2d(channels, 24, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return functional.conv2d(input=self.first(x), weight=self.child.weight, stride=(2, 2))


Program = Callable[[nn.Module, Tensor], nn.Module]


def plain(module: nn.Module, x: Tensor) -> nn.Module:
    return nn.Sequential(module)


def followed(module: nn.Module, x: Tensor) -> nn.Module:
    return torch.fx.symbolic_trace(nn.Sequential(module))


def exported(module: nn.Module, x: Tensor) -> nn.Module:
    return torch.export.export(module, (x,)).module()


def decomposed(module: nn.Module, x: Tensor) -> nn.Module:
    return torch.export.export(module, (x,)).run_decompositions().module()


def compiled(module: nn.Module, x: Tensor) -> nn.Module:
    return torch.compile(module, backend="aot_eager")  # type: ignore[return-value]


def scripted(module: nn.Module, x: Tensor) -> nn.Module:
    return torch.jit.script(module)  # type: ignore[no-any-return]


def traced(module: nn.Module, x: Tensor) -> nn.Module:
    return torch.jit.trace(module, x)  # type: ignore[no-any-return]


PROGRAMS = [plain, followed, exported, decomposed, compiled]
"""What Python calls the convolutions of."""
CONCEALED = [scripted, traced]
"""What TorchScript calls them of."""


@pytest.mark.parametrize(
    ("kind", "channels", "program", "kept"),
    [
        *((Functional, 12, program, False) for program in (plain, scripted, traced)),
        *((WithChild, 12, program, False) for program in (*PROGRAMS, *CONCEALED)),
        *((WithChild, 16, program, True) for program in (plain, followed, scripted)),
        (Functional, 16, plain, True),
    ],
)
def test_functions_leave_it_whoever_calls_them(
    kind: type[nn.Module], channels: int, program: Program, kept: bool
) -> None:
    model = program(kind(channels), images())
    RUNTIME.place(model)
    assert model(images()).is_contiguous(memory_format=torch.channels_last) == kept
    # What surrounds the call stays as it was.
    after = functional.conv2d(images(), torch.rand(24, 3, 1, 1), stride=2)
    assert after.is_contiguous(memory_format=torch.channels_last)


def test_the_guard_ends_with_a_forward_pass_that_fails() -> None:
    model = nn.Sequential(Functional(12), nn.Linear(1, 1))
    RUNTIME.place(model)
    with pytest.raises(RuntimeError):
        model(images())
    assert not _get_current_function_mode_stack()


def test_the_guard_leaves_the_mode_of_others_alone_if_a_hook_of_the_model_fails() -> None:
    def fail(*_: object) -> None:
        raise ValueError("too many")

    model = Functional(12)
    model.register_forward_pre_hook(fail)
    RUNTIME.place(model)
    with torch.device("cpu"):  # A mode, too.
        before = _get_current_function_mode_stack()
        with pytest.raises(ValueError, match="too many"):
            model(images())
        assert _get_current_function_mode_stack() == before


def test_a_narrow_image_without_a_batch_leaves_the_layout() -> None:
    conv = nn.Conv2d(12, 24, 1, stride=2)
    RUNTIME.place(conv)
    handed: list[Tensor] = []
    conv.register_forward_hook(lambda _, arguments, result: handed.append(arguments[0]))
    conv(torch.rand(4, 12, 32, 32).contiguous(memory_format=torch.channels_last)[0])
    assert handed[0].is_contiguous()


def test_a_model_without_such_weights_pays_nothing() -> None:
    model = nn.Sequential(
        nn.Conv2d(3, 32, 3), nn.Conv2d(32, 8, 1, stride=2), nn.Conv2d(8, 8, 3, groups=8), nn.ConvTranspose2d(8, 2, 2)
    )
    model.register_buffer("mean", torch.zeros(1, 3, 1, 1))
    RUNTIME.place(model)
    hooks = [module for module in model.modules() if module._forward_pre_hooks or module._forward_hooks]
    assert hooks == [model[1]]


def test_a_frozen_program_leaves_it() -> None:
    model = torch.jit.freeze(torch.jit.script(Functional(12)).eval())
    RUNTIME.place(model)
    assert model(images()).is_contiguous()


def test_a_transposed_one_of_one_output_channel_leaves_it() -> None:
    x = torch.rand(2, 8, 9, 1).contiguous(memory_format=torch.channels_last)
    conv = nn.ConvTranspose2d(8, 1, 3, stride=(1, 2))
    RUNTIME.place(conv)
    handed: list[tuple[int, ...]] = []
    conv.register_forward_hook(lambda _, arguments, result: handed.append(arguments[0].stride()))
    conv(x)
    assert handed == [(72, 9, 1, 1)]


WRONG_IN_BF16 = {
    "dilated": nn.Conv2d(8, 8, 3, dilation=2, groups=8),
    "dilated without gaps": nn.Conv2d(8, 8, 1, dilation=3, groups=8),
    "transposed": nn.ConvTranspose2d(8, 4, 3, stride=2),
    "as large as the image": nn.Conv2d(8, 4, 3, stride=2, padding=1),
    "named": nn.Conv2d(8, 8, 3, dilation=(1, 3), padding="same"),
    "even": nn.Conv2d(8, 8, (1, 8)),
    "patches": nn.Conv2d(8, 4, 4, stride=4),
    "strided without padding": nn.Conv2d(8, 4, 3, stride=2, padding="valid"),
    "strided with more padding": nn.Conv2d(8, 4, 3, stride=2, padding=2),
    "strided along one side": nn.Conv2d(8, 4, 3, stride=(2, 1), padding=1),
    "one column": nn.Conv2d(8, 4, (3, 1), stride=4, padding=(1, 0)),
    "even, of one dimension": nn.Conv1d(8, 4, 2, stride=2),
}
RIGHT_IN_BF16 = {
    "plain": (nn.Conv2d(8, 8, 3), 9),
    "strided": (nn.Conv2d(8, 8, 3, stride=2, padding=1), 9),
    "strided, with lists of one": (nn.Conv2d(8, 8, 5, stride=[2], padding=[2]), 9),
    "strided, of two windows": (nn.Conv2d(8, 8, (1, 3), stride=3, padding=(0, 1)), 4),
    "depthwise": (nn.Conv2d(8, 8, 3, groups=8), 9),
    "on a pixel": (nn.Conv2d(8, 8, 3, padding=1), 1),
}


def in_bf16(model: nn.Module, x: Tensor) -> Tensor:
    with Runtime(Hardware("cpu", "bf16")).autocast():
        return model(x)  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("name", "program"),
    [*((name, plain) for name in WRONG_IN_BF16), *(("transposed", program) for program in PROGRAMS[1:])],
)
def test_in_bf16_some_are_computed_in_float32(name: str, program: Program) -> None:
    layer = WRONG_IN_BF16[name]
    size = {"as large as the image": (3, 3), "one column": (32, 4)}.get(name, (32, 32))
    x = torch.rand(4, 8, *size[: layer.weight.dim() - 2])
    result = in_bf16(program(layer, x), x)
    assert result.dtype is torch.bfloat16
    assert torch.equal(result, layer(x).bfloat16())


@pytest.mark.parametrize("kind", [torch.complex64, torch.float64, torch.int64])
def test_in_bf16_numbers_that_are_not_cast_stay(kind: torch.dtype) -> None:
    torch.manual_seed(0)
    x, weight = (10 * torch.rand(2, 3, 8, 8)).to(kind), (10 * torch.rand(4, 3, 3, 3)).to(kind)
    x, weight = (x * 1j + x, weight * 1j - weight) if kind.is_complex else (x, weight)
    expected = functional.conv2d(x, weight, dilation=2)
    with Runtime(Hardware("cpu", "bf16")).autocast():
        assert torch.equal(functional.conv2d(x, weight, dilation=2), expected)


@pytest.mark.parametrize("name", RIGHT_IN_BF16)
def test_others_stay_in_bf16(name: str) -> None:
    layer, size = RIGHT_IN_BF16[name]
    x = torch.rand(4, 8, size, size)
    assert torch.equal(in_bf16(layer, x), layer.bfloat16()(x.bfloat16()))
    layer.float()


@pytest.mark.parametrize("program", CONCEALED)
def test_a_program_of_torchscript_that_convolves_needs_float32(program: Program) -> None:
    for precision, expected in (("bf16", True), ("float32", False)):
        model = program(nn.Sequential(nn.Conv2d(3, 8, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten()), images())
        assert fit(model, View(model), (3, 32, 32), Runtime(Hardware("cpu", precision))).float32 == expected
        assert convolves_unseen(model), "also if something stands in for its forward, as in float32 on bf16 processors"


def test_placing_twice_adds_nothing_and_folding_goes_on() -> None:
    model = network(4)
    RUNTIME.place(model)
    assert len(model[1]._forward_pre_hooks) == 1
    x = images()
    model(x)
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    plain = View(model, {})
    folded = Folding().of(plain, x)
    assert isinstance(folded, FoldedView)
    assert len(folded.layers) == 1
    torch.testing.assert_close(folded(x), plain(x), rtol=1e-3, atol=1e-4)
