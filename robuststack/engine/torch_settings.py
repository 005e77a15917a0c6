"""What code of a user may set for the whole process, and what is put back after it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Self

import torch


@dataclass(frozen=True)
class TorchSettings:
    """Settings of torch that change what the code after them computes, or how fast it is."""

    dtype: torch.dtype
    gradients: bool
    threads: int
    deterministic: tuple[bool, bool]
    """Whether algorithms must repeat themselves, and whether that is only warned of."""
    anomalies: bool
    """Whether autograd looks for NaN, which makes it slow."""
    device: torch.device

    @classmethod
    def now(cls) -> Self:
        return cls(
            dtype=torch.get_default_dtype(),
            gradients=torch.is_grad_enabled(),
            threads=torch.get_num_threads(),
            deterministic=(
                torch.are_deterministic_algorithms_enabled(),
                torch.is_deterministic_algorithms_warn_only_enabled(),
            ),
            anomalies=torch.is_anomaly_enabled(),
            device=torch.get_default_device(),
        )

    def restore(self) -> None:
        """Set what is not as it was; what is, stays untouched."""
        now = self.now()
        if now.dtype != self.dtype:
            torch.set_default_dtype(self.dtype)
        if now.gradients != self.gradients:
            torch.set_grad_enabled(self.gradients)
        if now.threads != self.threads:
            torch.set_num_threads(self.threads)
        if now.deterministic != self.deterministic:
            torch.use_deterministic_algorithms(self.deterministic[0], warn_only=self.deterministic[1])
        if now.anomalies != self.anomalies:
            torch.autograd.set_detect_anomaly(self.anomalies)
        if now.device != self.device:
            torch.set_default_device(None if self.device.type == "cpu" else self.device)


@contextmanager
def settings_kept() -> Iterator[None]:
    """Afterwards torch's settings are as they were."""
    before = TorchSettings.now()
    try:
        yield
    finally:
        before.restore()


@contextmanager
def plain_settings() -> Iterator[None]:
    """Torch makes float32 tensors on the CPU, and gradients, whatever the program around it has set. Afterwards torch's
    settings are as they were."""
    # A device that stands around a call makes each call of torch slower: only where another one stands.
    elsewhere = torch.get_default_device().type != "cpu"
    with settings_kept(), torch.device("cpu") if elsewhere else nullcontext():
        torch.set_default_dtype(torch.float32)
        torch.set_grad_enabled(True)
        yield
