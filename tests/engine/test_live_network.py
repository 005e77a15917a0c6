"""A program's own model, which is left as it was."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from robuststack.engine.live_network import untouched


class Moved(nn.Linear):
    """Says where it is moved."""

    places: tuple[Any, ...] = ()

    def to(self, place: Any) -> Moved:  # type: ignore[override]
        self.places = (*self.places, place)
        return self


def test_what_a_function_calls_goes_back_to_its_device() -> None:
    there, here = Moved(2, 2), Moved(2, 2)
    with untouched(lambda x: there(here(x))):
        nn.Module.to(there, "meta")
    assert (there.places, here.places) == ((torch.device("cpu"),), ())
