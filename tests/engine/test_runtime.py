"""What jobs set in this process: the card, the generators. Both are put back."""

from __future__ import annotations

import time
from typing import Any

import pytest
import torch

from robuststack.attacks.attacked_model import AttackedModel
from robuststack.attacks.seeding import seeded_from
from robuststack.engine.memory import out_of_memory
from robuststack.engine.random_streams import seeded, stream_seed
from robuststack.engine.runtime import Runtime, current_card, threads
from robuststack.errors import RobustStackError
from robuststack.hardware import Hardware
from robuststack.layers.condition import View

CPU = torch.device("cpu")


def test_a_card_that_torch_cannot_use_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> int:
        raise RuntimeError("The NVIDIA driver on your system is too old (found version 11040).\nPlease update it.")

    monkeypatch.setattr(torch.cuda, "current_device", refuse)
    with pytest.raises(RobustStackError) as caught, current_card(torch.device("cuda:1")):
        pass
    assert str(caught.value) == (
        "--device cuda:1: torch cannot use it: The NVIDIA driver on your system is too old (found version 11040).;"
        " valid: cpu"
    )
    with current_card(CPU):
        pass


def test_a_card_is_the_current_one_and_repeats_itself_until_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    current = [3]
    monkeypatch.setattr(torch.cuda, "current_device", lambda: current[-1])
    monkeypatch.setattr(torch.cuda, "set_device", current.append)
    cudnn = torch.backends.cudnn
    before = cudnn.deterministic, cudnn.benchmark

    def fail() -> None:
        with current_card(torch.device("cuda:1")):
            assert (cudnn.deterministic, cudnn.benchmark) == (True, False)
            assert current[-1] == 1
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert (cudnn.deterministic, cudnn.benchmark) == before
    assert current == [3, 1, 3]


def test_a_stream_is_a_function_of_its_name_and_leaves_the_default_generator_alone() -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    with seeded(1, "attack", 2):
        first = torch.rand(3)
    with seeded_from(torch.Generator().manual_seed(1)) as seed:
        drawn = torch.rand(3)
    with seeded(1, "attack", 2):
        again = torch.rand(3)
    with seeded(1, "attack", 3):
        other = torch.rand(3)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(drawn, torch.rand(3, generator=torch.Generator().manual_seed(seed)))
    assert torch.equal(torch.rand(3), expected)


def test_the_generators_of_all_cards_in_use_are_forked(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []
    fork = torch.random.fork_rng
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.random, "fork_rng", lambda devices: (seen.append(devices), fork(devices=[]))[1])
    monkeypatch.setattr(torch, "manual_seed", seen.append)
    with seeded("probe"):
        pass
    assert seen == [[0, 1], stream_seed("probe")]


def test_attacks_in_float32_are_in_float32_whatever_a_program_has_lowered() -> None:
    before = torch.get_float32_matmul_precision()
    seen: list[str] = []

    class Net(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            seen.append(torch.get_float32_matmul_precision())
            return x

    try:
        torch.set_float32_matmul_precision("medium")
        AttackedModel(View(Net()), Runtime(Hardware("cpu", "float32")))(torch.rand(1, 2))
        AttackedModel(View(Net()), Runtime(Hardware("cpu", "bf16")))(torch.rand(1, 2))
    finally:
        torch.set_float32_matmul_precision(before)
    assert seen == ["highest", "medium"]


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 80.00 GiB."), True),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"), True),
        (RuntimeError("CUDA error: out of memory"), True),
        (
            RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes"),
            True,
        ),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), False),
        (ValueError("out of memory"), False),
    ],
)
def test_errors_that_say_that_memory_is_gone(error: Exception, expected: bool) -> None:
    assert out_of_memory(error) is expected


def test_one_thread_on_a_processor_is_timed_by_what_it_had_of_it() -> None:
    runtime = Runtime(Hardware("cpu", "float32"))
    with threads(1):
        assert runtime.clock() is time.process_time
    with threads(2):
        assert runtime.clock() is time.perf_counter
    assert Runtime(Hardware("cuda", "float32")).clock() is time.perf_counter
