"""The role of a norm layer in its network, so that defenses can rewrite architectures they have never seen."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal, TypeVar, get_args

from torch import nn

from robuststack.errors import PluginError
from robuststack.layers.flow import Operation, operations
from robuststack.layers.norms import NORMS, norms

Role = Literal["stem", "block", "shortcut", "final"]
"""`stem`: after the first convolution. `block`: inside a block. `shortcut`: beside a residual block. `final`: after the
last block, before pooling."""

WEIGHTS = (nn.Conv2d, nn.Linear)

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


def mark_by_structure(model: nn.Module, shape: tuple[int, int, int]) -> nn.Module:
    """Give each norm layer that has no role the one it plays for images of `shape` (C, H, W); returns the model.

    Weights are those of convolutions and linear layers. `stem`: one layer of weights before it and no norm between.
    `shortcut`: on the side of an addition that has at most one layer of weights, and fewer than the other side. `final`:
    the last norm, which nothing bypasses, behind at least one block.
    `block`: any other, and a norm that the images do not pass.

    Raises:
        Whatever the model raises when it cannot take such an image.
    """
    unmarked = [norm for _, norm in norms(model) if getattr(norm, "norm_role", None) is None]
    roles = _roles(operations(model, shape, (*NORMS, *WEIGHTS)))
    for norm in unmarked:
        mark(norm, roles.get(norm, "block"))
    return model


def _roles(steps: Sequence[Operation]) -> dict[nn.Module, Role]:
    above: list[frozenset[int]] = []
    """The layers that each operation depends on, itself included."""
    for position, step in enumerate(steps):
        layers = frozenset[int]().union(*(above[source] for source in step.inputs))
        above.append(layers | {position} if step.module is not None else layers)
    weights = {position for position, step in enumerate(steps) if isinstance(step.module, WEIGHTS)}
    normalisations = [position for position, step in enumerate(steps) if isinstance(step.module, NORMS)]

    def work(layers: frozenset[int]) -> int:
        return len(layers & weights)

    roles: dict[int, Role] = {}
    for position in normalisations:
        alone = all(roles.get(layer) != "stem" for layer in above[position])
        roles[position] = "stem" if work(above[position]) == 1 and alone else "block"
    blocks = []
    for position, step in enumerate(steps):
        sides = [above[source] for source in step.inputs]
        if any(work(side ^ sides[0]) for side in sides[1:]):
            blocks.append(position)
        if step.name.startswith("Add") and len(sides) == 2:
            for side, other in (sides, sides[::-1]):
                if work(side - other) < min(2, work(other - side)):
                    roles |= dict.fromkeys((side - other) & roles.keys(), "shortcut")
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

    A module used in two places is replaced by one new module in both; so is one inside of a module that has two names.
    """
    # The old ones are kept too: an id that is free again would be given to another module.
    replaced: dict[int, tuple[nn.Module, nn.Module]] = {}
    paths = [path for path, module in model.named_modules(remove_duplicate=False) if isinstance(module, kind)]
    for path in paths:
        parent_path, _, name = path.rpartition(".")
        parent = model.get_submodule(parent_path)
        old = getattr(parent, name)
        if any(old is new for _, new in replaced.values()):
            continue  # Its parent was met under another name.
        if id(old) not in replaced:
            replaced[id(old)] = old, change(old)
        setattr(parent, name, replaced[id(old)][1])
    return len(replaced)
