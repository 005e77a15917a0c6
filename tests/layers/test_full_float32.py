"""Float32 that stays float32 whatever is set around it."""

from __future__ import annotations

import pytest
import torch

import forked
from robuststack.layers.full_float32 import full_float32

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
            with full_float32(CPU):
                product = a @ b
                assert torch.get_float32_matmul_precision() == "highest"
            assert (a @ b).dtype == rounded.dtype == torch.bfloat16
        assert torch.get_float32_matmul_precision() == "medium"
    finally:
        torch.set_float32_matmul_precision(precision)
    assert (cudnn.enabled, cudnn.benchmark, cudnn.deterministic, cudnn.allow_tf32) == before
    torch.testing.assert_close(product, expected, rtol=1e-6, atol=1e-6)
    assert not torch.allclose(rounded.float(), expected, rtol=1e-4)


def test_a_choice_of_deterministic_kernels_stays_and_an_error_puts_everything_back():
    cudnn = torch.backends.cudnn
    chosen = []

    def fail():
        with full_float32(CPU):
            chosen.append(cudnn.deterministic)
            raise ZeroDivisionError

    with cudnn.flags(enabled=cudnn.enabled, benchmark=False, deterministic=True, allow_tf32=True):
        with pytest.raises(ZeroDivisionError):
            fail()
        assert cudnn.allow_tf32
    assert chosen == [True]
    assert torch.get_float32_matmul_precision() == "highest"


NEWER = """
import torch
from robuststack.layers.full_float32 import full_float32

B = torch.backends
PLACES = {
    "cpu": (B.mkldnn.matmul, B.mkldnn.conv, B.mkldnn.rnn),
    "cuda": (B.cudnn, B.cuda.matmul, B.cudnn.conv, B.cudnn.rnn),
}
everywhere = [place for places in PLACES.values() for place in places]

def look():
    before = [place.fp32_precision for place in everywhere]
    for kind, places in PLACES.items():
        for _ in range(2):
            with full_float32(torch.device(kind)):
                assert {place.fp32_precision for place in places} <= {"ieee", "none"}
                with full_float32(torch.device(kind)):
                    pass
                assert {place.fp32_precision for place in places} <= {"ieee", "none"}
            assert [place.fp32_precision for place in everywhere] == before, (kind, before)

look()
torch.set_float32_matmul_precision("medium")
look()
assert torch.get_float32_matmul_precision() == "medium"
for place, precision in (
    (B.mkldnn.matmul, "bf16"), (B.mkldnn.conv, "bf16"), (B.cudnn.conv, "ieee"), (B.cudnn, "tf32"), (B.cudnn, "ieee"),
    (B.cuda.matmul, "tf32"), (B, "tf32"),
):
    place.fp32_precision = precision
    look()
# What was inherited is inherited still.
B.fp32_precision = "ieee"
assert B.mkldnn.rnn.fp32_precision == "ieee"
"""


def test_what_a_program_has_set_in_the_newer_way_is_overruled_and_put_back():
    if not hasattr(torch.backends.cudnn, "conv"):
        pytest.skip("torch before 2.9 has no such settings")
    # A process of its own: torch does not forget that a program has set them.
    done = forked.run(NEWER)
    assert done.returncode == 0, done.stderr
