"""The graph of a program of TorchScript."""

from __future__ import annotations

from typing import Any

import torch


def inlined_graph(program: torch.jit.ScriptModule) -> Any:
    """All that the program's `forward` does, in one graph: the program's own, whatever stands in for its `forward`."""
    graph = program.graph.copy()  # type: ignore[operator]
    torch._C._jit_pass_inline(graph)
    return graph
