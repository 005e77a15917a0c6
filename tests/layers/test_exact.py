"""Float32 that stays float32 whatever is set around it."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from robuststack.layers.exact import exact

CPU = torch.device("cpu")


def test_nothing_around_lowers_the_precision_and_everything_is_put_back():
    a, b = (torch.rand(64, 64, generator=torch.Generator().manual_seed(seed)) for seed in (0, 1))
    expected = (a.double() @ b.double()).float()
    cudnn, precision = torch.backends.cudnn, torch.get_float32_matmul_precision()
    before = cudnn.enabled, cudnn.benchmark, cudnn.deterministic, cudnn.allow_tf32
    try:
        torch.set_float32_matmul_precision("medium")
        with torch.autocast("cpu", torch.bfloat16):
            rounded = a @ b
            with exact(CPU):
                found = a @ b
                assert torch.get_float32_matmul_precision() == "highest"
                assert not cudnn.allow_tf32
            assert (a @ b).dtype == rounded.dtype == torch.bfloat16
        assert torch.get_float32_matmul_precision() == "medium"
    finally:
        torch.set_float32_matmul_precision(precision)
    assert (cudnn.enabled, cudnn.benchmark, cudnn.deterministic, cudnn.allow_tf32) == before
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-6)
    assert not torch.allclose(rounded.float(), expected, rtol=1e-4)


def test_a_choice_of_deterministic_kernels_stays_and_an_error_puts_everything_back():
    cudnn = torch.backends.cudnn
    chosen = []

    def fail():
        with exact(CPU):
            chosen.append(cudnn.deterministic)
            raise ZeroDivisionError

    with cudnn.flags(enabled=cudnn.enabled, benchmark=False, deterministic=True, allow_tf32=True):
        with pytest.raises(ZeroDivisionError):
            fail()
        assert cudnn.allow_tf32
    assert chosen == [True]
    assert torch.get_float32_matmul_precision() == "highest"


NEWER = """
import pytest, torch
from robuststack.layers.exact import exact

B = torch.backends
places = (B.cuda.matmul, B.cudnn.conv, B.cudnn.rnn, B.mkldnn.matmul, B.mkldnn.conv, B.mkldnn.rnn)
for change in (
    lambda: None,
    lambda: setattr(B.mkldnn.matmul, "fp32_precision", "bf16"),
    lambda: setattr(B.mkldnn.conv, "fp32_precision", "bf16"),
    lambda: setattr(B.cudnn.conv, "fp32_precision", "ieee"),
    lambda: setattr(B.cudnn, "fp32_precision", "ieee"),
    lambda: setattr(B.cuda.matmul, "fp32_precision", "tf32"),
    lambda: setattr(B, "fp32_precision", "tf32"),
):
    change()
    before = [one.fp32_precision for one in places]
    for _ in range(2):
        with exact(torch.device("cpu")):
            assert {one.fp32_precision for one in places} <= {"ieee", "none"}
            with exact(torch.device("cpu")):
                pass
            assert {one.fp32_precision for one in places} <= {"ieee", "none"}
        assert [one.fp32_precision for one in places] == before
"""


def test_what_a_program_has_set_in_the_newer_way_is_overruled_and_put_back():
    if not hasattr(torch.backends.cudnn, "conv"):
        pytest.skip("torch before 2.9 has no such settings")
    # A process of its own: torch does not forget that a program has set them.
    subprocess.run([sys.executable, "-c", NEWER], check=True)
