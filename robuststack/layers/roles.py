"""The role of a norm layer in its network, so that defenses can rewrite architectures they have never seen."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Literal, TypeVar, get_args

from torch import nn

from robuststack.errors import PluginError

Role = Literal["stem", "block", "shortcut", "final"]
"""`stem`: after the first convolution. `block`: inside a residual block. `shortcut`: on a block's shortcut. `final`:
after the last block, before pooling."""

Norm = TypeVar("Norm", bound=nn.Module)


def mark(norm: Norm, role: Role) -> Norm:
    """Give a norm layer its role; returns the layer."""
    if role not in get_args(Role):
        raise ValueError(f"unknown role {role!r}; valid: {', '.join(get_args(Role))}")
    norm.norm_role = role  # type: ignore[assignment]
    return norm


def role_of(norm: nn.Module) -> Role:
    """The role that the architecture gave this layer.

    Raises:
        PluginError: it gave none.
    """
    role = getattr(norm, "norm_role", None)
    if role is None:
        raise PluginError("a norm layer has no role; the architecture marks each with robuststack.layers.roles.mark")
    return role  # type: ignore[no-any-return]


def norms(model: nn.Module) -> Iterator[tuple[str, nn.BatchNorm2d]]:
    """Every 2-d batch norm of a model, with its path."""
    for path, module in model.named_modules():
        if isinstance(module, nn.BatchNorm2d):
            yield path, module


def rewrite(
    model: nn.Module, kind: type[nn.Module] | tuple[type[nn.Module], ...], change: Callable[[nn.Module], nn.Module]
) -> int:
    """Replace each module of `kind` by `change(module)`, in place; return how many were replaced.

    A module used in two places is replaced by one new module in both.
    """
    replaced: dict[int, nn.Module] = {}
    paths = [path for path, module in model.named_modules(remove_duplicate=False) if isinstance(module, kind)]
    for path in paths:
        parent_path, _, name = path.rpartition(".")
        parent = model.get_submodule(parent_path)
        old = getattr(parent, name)
        if id(old) not in replaced:
            replaced[id(old)] = change(old)
        setattr(parent, name, replaced[id(old)])
    return len(replaced)
