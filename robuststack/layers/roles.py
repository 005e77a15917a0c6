"""The role of a norm layer in its network, so that defenses can rewrite architectures they have never seen."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Literal, TypeVar, get_args

from torch import nn

from robuststack.errors import PluginError
from robuststack.layers.flow import Operation, operations

Role = Literal["stem", "block", "shortcut", "final"]
"""`stem`: after the first convolution. `block`: inside a block. `shortcut`: beside a residual block. `final`: after the
last block, before pooling."""

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
        raise PluginError(
            "a norm layer has no role; the architecture marks each with robuststack.layers.roles.mark, or all of them"
            " with mark_by_structure"
        )
    return role  # type: ignore[no-any-return]


def norms(model: nn.Module) -> Iterator[tuple[str, nn.BatchNorm2d]]:
    """Every 2-d batch norm of a model, with its path."""
    for path, module in model.named_modules():
        if isinstance(module, nn.BatchNorm2d):
            yield path, module


def mark_by_structure(model: nn.Module, shape: tuple[int, int, int]) -> nn.Module:
    """Give each 2-d batch norm that has no role the one it plays for images of `shape` (C, H, W); returns the model.

    `stem`: one convolution before it and no norm between. `shortcut`: on the side of an addition that has at most one
    convolution, and fewer than the other side. `final`: the last norm, which nothing bypasses, behind at least one block.
    `block`: any other, and a norm that the images do not pass.

    Raises:
        Whatever the model raises when it cannot take such an image.
    """
    unmarked = [norm for _, norm in norms(model) if getattr(norm, "norm_role", None) is None]
    roles = _roles(operations(model, shape, (nn.BatchNorm2d, nn.Conv2d)))
    for norm in unmarked:
        mark(norm, roles.get(norm, "block"))
    return model


def _roles(steps: Sequence[Operation]) -> dict[nn.Module, Role]:
    above: list[frozenset[int]] = []
    """The convolutions and norms that each operation depends on, itself included."""
    for position, step in enumerate(steps):
        layers = frozenset[int]().union(*(above[one] for one in step.inputs))
        above.append(layers | {position} if step.module is not None else layers)
    convolutions = {position for position, step in enumerate(steps) if isinstance(step.module, nn.Conv2d)}
    normalisations = [position for position, step in enumerate(steps) if isinstance(step.module, nn.BatchNorm2d)]

    def work(layers: frozenset[int]) -> int:
        return len(layers & convolutions)

    roles: dict[int, Role] = {}
    for position in normalisations:
        alone = all(roles.get(one) != "stem" for one in above[position])
        roles[position] = "stem" if work(above[position]) == 1 and alone else "block"
    blocks = []
    for position, step in enumerate(steps):
        sides = [above[one] for one in step.inputs]
        if any(work(side ^ sides[0]) for side in sides[1:]):
            blocks.append(position)
        if step.name.startswith("Add") and len(sides) == 2:
            for one, other in (sides, sides[::-1]):
                if work(one - other) < min(2, work(other - one)):
                    roles |= dict.fromkeys((one - other) & roles.keys(), "shortcut")
    for position in normalisations[-1:]:
        if blocks and blocks[0] < position and not _bypassed(steps, position):
            roles[position] = "final"
    modules = ((steps[position].module, role) for position, role in roles.items())
    return {module: role for module, role in modules if module is not None}


def _bypassed(steps: Sequence[Operation], position: int) -> bool:
    """Whether the image reaches the logits without the operation at `position`."""
    reached = {0}
    for index, step in enumerate(steps):
        if index != position and not reached.isdisjoint(step.inputs):
            reached.add(index)
    return len(steps) - 1 in reached


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
