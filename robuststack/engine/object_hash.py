"""A hash of all that a model is made of: what tells whether a user's function still returns the model that was scored."""

from __future__ import annotations

import enum
import functools
import hashlib
import io
import pickletools
import re
import struct
import sys
import sysconfig
import types
import weakref
import zipfile
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

HOOKS = re.compile(r"_(state_dict|load_state_dict|forward|backward)\w*hooks\w*")
"""Attributes of a module that hold hooks under numbers, which count up in a process."""
NOT_THE_MODELS = {"training", "__module__", "__dict__", "__weakref__", "__doc__", "_abc_impl", "__firstlineno__"}
"""Attributes that say nothing about what a model computes: its mode is set by whoever calls it."""
CONTAINERS = (dict, list, tuple, deque, set, frozenset, types.MappingProxyType)
VALUES: Mapping[type, Callable[[Any], object]] = {
    int: int.__repr__, float: float.__repr__, complex: complex.__repr__, str: str.__str__,
    bytes: lambda value: bytes.__getitem__(value, slice(None)), bytearray: lambda value: bytes(memoryview(value)),
}  # fmt: skip
"""Types with a value that no attribute holds -> how it is read where a class derives from one."""
LIBRARIES = {"torch", "torchvision", "numpy", "robuststack"}
MANGLED = re.compile(r"[./]___torch_mangle_\d+")
"""What torch puts before the name of a TorchScript class, with a number that counts up in a process."""
ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")


def object_hash(thing: object) -> str:
    """The hash of every tensor, array, number and text that can be reached from `thing`, such as a model.

    What counts: parameters, buffers, and tensors in attributes, containers, closures, packed weights, TorchScript and
    slots; the code of classes and functions that no library holds, and the globals which that code reads. What does
    not: devices, memory layouts, train or eval mode, gradients, addresses. The hash is the same in every process.
    """
    return _Walk().hash(thing)


class _Walk:
    """One walk over an object's parts, each visited once. A list of what is left stands in for recursion, so that depth
    has no limit."""

    def __init__(self) -> None:
        self._sum = hashlib.sha256()
        # Each visited object is kept, so that its address is not given to another one meanwhile.
        self._visited: dict[int, tuple[int, object]] = {}

    def hash(self, thing: object) -> str:
        left = [thing]
        while left:
            left += reversed(list(self._parts(left.pop())))
        return self._sum.hexdigest()

    def _say(self, *words: object) -> None:
        content = "\0".join(str(word) for word in words).encode("utf-8", "surrogatepass")
        self._content(content)

    def _content(self, content: bytes | np.ndarray[Any, Any]) -> None:
        content = content if isinstance(content, bytes) else content.data  # type: ignore[assignment]
        self._sum.update(struct.pack(">q", len(content)))
        self._sum.update(content)  # type: ignore[arg-type]

    def _parts(self, thing: object) -> Iterable[object]:
        """Take in what `thing` itself says; the objects below it."""
        if isinstance(thing, float) and type(thing) is float:
            self._say("float", struct.pack(">d", thing).hex())
            return ()
        if thing is None or type(thing) in (bool, int, complex, str, type(Ellipsis), range, slice):
            self._say(type(thing).__name__, repr(thing))
            return ()
        if type(thing) in (bytes, bytearray, memoryview):
            self._content(bytes(thing))  # type: ignore[call-overload]
            return ()
        if id(thing) in self._visited:
            self._say("again", self._visited[id(thing)][0])
            return ()
        self._visited[id(thing)] = len(self._visited), thing
        self._say(_name(type(thing)))
        try:
            return self._inside(thing)
        except (RuntimeError, NotImplementedError) as error:  # A tensor of a kind that gives its values to nobody.
            self._say("closed", type(error).__name__)
            return ()

    def _inside(self, thing: Any) -> Iterable[object]:
        if isinstance(thing, Tensor):
            return [*self._tensor(thing), *_own(vars(thing))]
        if isinstance(thing, (np.ndarray, np.generic)):
            return self._array(np.asarray(thing))
        if isinstance(thing, torch.jit.ScriptModule):
            return self._script(thing)
        if isinstance(thing, torch.ScriptObject):
            return [str(thing._type()), thing.__getstate__()]
        if isinstance(thing, (torch.dtype, torch.Size, torch.layout, torch.memory_format, enum.Enum, Path)):
            return [str(thing)]
        if isinstance(thing, torch.device):
            return ()
        if isinstance(thing, torch.Generator):
            return [thing.get_state()]
        if isinstance(thing, np.random.Generator):
            return [thing.bit_generator]
        if isinstance(thing, np.random.BitGenerator):
            return [thing.state]
        if isinstance(thing, types.ModuleType):
            return [thing.__name__]
        if isinstance(thing, weakref.ref):
            return [thing()]
        return self._python(thing)

    def _python(self, thing: Any) -> Iterable[object]:
        if isinstance(thing, type):
            return self._class(thing)
        if isinstance(thing, types.CodeType):
            return _code(thing)
        if isinstance(thing, types.FunctionType):
            return self._function(thing)
        if isinstance(thing, types.MethodType):
            return [thing.__func__, thing.__self__]
        if isinstance(thing, (types.BuiltinFunctionType, types.MethodWrapperType)):
            owner = thing.__self__
            return [thing.__qualname__, *([] if isinstance(owner, types.ModuleType) else [owner])]
        if isinstance(thing, functools.partial):
            return [thing.func, thing.args, thing.keywords]
        if isinstance(thing, (staticmethod, classmethod, functools.cached_property)):
            return [getattr(thing, "func", None) or thing.__func__]  # type: ignore[union-attr]
        if isinstance(thing, property):
            return [thing.fget, thing.fset]
        if isinstance(thing, types.CellType):
            return filled(thing)
        inside: list[object] = []
        if isinstance(thing, (dict, types.MappingProxyType)):
            inside = [part for pair in thing.items() for part in pair]
        elif isinstance(thing, (list, tuple, deque)):
            inside = list(thing)
        elif isinstance(thing, (set, frozenset)):
            inside = [*sorted(object_hash(part) for part in thing)]
        self._say(len(inside))
        return [*inside, *self._attributes(thing, container=isinstance(thing, CONTAINERS))]

    def _attributes(self, thing: Any, *, container: bool) -> list[object]:
        parts = [type(thing), *_own(getattr(thing, "__dict__", {}))]
        parts += [value(thing) for base, value in VALUES.items() if isinstance(thing, base)]
        slots = [name for base in type(thing).__mro__ for name in slots_of(base)]
        parts += [part for name in slots if hasattr(thing, name) for part in (name, getattr(thing, name))]
        kind: Any = type(thing)
        plain = (kind.__reduce__, kind.__reduce_ex__) == (object.__reduce__, object.__reduce_ex__)
        if container or (plain and (slots or hasattr(thing, "__dict__"))):
            return parts
        # With a state that no attribute shows: what it would be pickled as, or its text without an address.
        try:
            return [*parts, *_pickled(thing)]
        except Exception:
            text = repr(thing)
            return [*parts, *([] if ADDRESS.search(text) else [text])]

    def _tensor(self, tensor: Tensor) -> Iterable[object]:
        self._say(tensor.dtype, list(tensor.shape) if not tensor.is_nested else "nested", tensor.layout)
        tensor = tensor.detach()
        if hasattr(tensor, "__tensor_flatten__"):
            names, context = tensor.__tensor_flatten__()
            return [context, *(getattr(tensor, name) for name in names)]
        if tensor.is_meta or nn.parameter.is_lazy(tensor):
            return ()
        if tensor.is_nested:
            return tensor.unbind()
        if tensor.is_mkldnn:
            return [tensor.to_dense()]
        if tensor.layout is torch.sparse_coo:
            tensor = tensor.coalesce()
            return [tensor.indices(), tensor.values()]
        if tensor.layout in (torch.sparse_csr, torch.sparse_bsr):
            return [tensor.crow_indices(), tensor.col_indices(), tensor.values()]
        if tensor.layout in (torch.sparse_csc, torch.sparse_bsc):
            return [tensor.ccol_indices(), tensor.row_indices(), tensor.values()]
        if tensor.is_quantized:
            return [tensor.int_repr(), *_quantised(tensor)]
        tensor = tensor.resolve_conj().resolve_neg().cpu()
        self._content(tensor.contiguous().reshape(-1).view(torch.uint8).numpy())
        return ()

    def _array(self, array: np.ndarray[Any, Any]) -> Iterable[object]:
        self._say(array.dtype.str if array.dtype.names is None else array.dtype.descr, array.shape)
        if array.dtype.hasobject:
            return array.reshape(-1).tolist()  # type: ignore[no-any-return]
        self._content(np.ascontiguousarray(array).reshape(-1).view(np.uint8))
        return ()

    def _script(self, module: torch.jit.ScriptModule) -> Iterable[object]:
        """TorchScript: the file that it would be saved as, without what only helps to debug it."""
        file = io.BytesIO()
        torch.jit.save(module, file)
        parts = []
        with zipfile.ZipFile(file) as archive:
            for name in archive.namelist():
                inner, content = name.partition("/")[2], archive.read(name)
                if inner.endswith(".debug_pkl") or inner.startswith(".data/"):
                    continue
                if inner.endswith(".py"):
                    content = MANGLED.sub("", content.decode()).encode()
                elif inner.endswith(".pkl"):
                    codes = [(code.name, MANGLED.sub("", str(value))) for code, value, _ in pickletools.genops(content)]
                    content = str(codes).encode()
                parts.append(f"{MANGLED.sub('', inner)} {hashlib.sha256(content).hexdigest()}")
        return sorted(parts)

    def _class(self, kind: type) -> Iterable[object]:
        if not is_users(kind.__module__):
            return [_name(kind)]
        return [_name(kind), *kind.__bases__, *_own(dict(vars(kind)), without=("__slots__", "__annotations__"))]

    def _function(self, function: types.FunctionType) -> Iterable[object]:
        closure = [part for cell in function.__closure__ or () for part in filled(cell)]
        inside = [function.__defaults__, function.__kwdefaults__, *closure]
        if not is_of_users(function):
            return [f"{function.__module__}.{function.__qualname__}", *inside]
        return [function.__code__, *inside, *_globals(function), *_own(vars(function))]


def _name(kind: type) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"


def _own(attributes: Mapping[str, object], without: Sequence[str] = ()) -> Iterator[object]:
    """Names and values in the order of the names: the order in which attributes were set means nothing."""
    for name in sorted(attributes):
        value = attributes[name]
        if name in NOT_THE_MODELS or name in without or isinstance(value, types.GetSetDescriptorType):
            continue
        if HOOKS.fullmatch(name) and isinstance(value, Mapping):
            value = [hook for hook in value.values() if not _is_ours(hook)]
        elif name == "forward" and _is_ours(value):
            continue
        yield name
        yield value


def _is_ours(hook: object) -> bool:
    """Whether it was hung into the model by its host, who may have run it before."""
    module = getattr(hook, "__module__", None) or type(hook).__module__
    return module.partition(".")[0] == "robuststack"


def slots_of(kind: type) -> list[str]:
    slots = kind.__dict__.get("__slots__", ())
    names = [slots] if isinstance(slots, str) else list(slots)
    return [_mangled(name, kind) for name in names if name not in NOT_THE_MODELS]


def _mangled(name: str, kind: type) -> str:
    """The name of an attribute that a class knows by `name`: Python puts the class before a private one."""
    private = name.startswith("__") and not name.endswith("__")
    return f"_{kind.__name__.lstrip('_')}{name}" if private else name


def filled(cell: types.CellType) -> list[object]:
    try:
        return [cell.cell_contents]
    except ValueError:  # Not filled yet.
        return []


def _code(code: types.CodeType) -> list[object]:
    constants = [sorted(map(repr, part)) if isinstance(part, frozenset) else part for part in code.co_consts]
    return [code.co_code, code.co_names, code.co_varnames, code.co_freevars, *constants]


def _globals(function: types.FunctionType) -> Iterator[object]:
    """The globals that a function's code names, and of a user's module among them the attributes that it names."""
    names = set(named_in(function.__code__))
    for name in sorted(names & function.__globals__.keys()):
        value = function.__globals__[name]
        yield name
        yield value
        if isinstance(value, types.ModuleType):
            yield from (part for named in named_inside(value, names) for part in named)


def named_inside(module: types.ModuleType, names: set[str]) -> Iterator[tuple[str, object]]:
    """The attributes of a user's module, and of the modules in it, that are among the names."""
    left, seen = [module], {module.__name__}
    while left:
        inner = left.pop()
        if not is_users(inner.__name__):
            continue
        for name in sorted(names & vars(inner).keys()):
            value = vars(inner)[name]
            yield name, value
            if isinstance(value, types.ModuleType) and value.__name__ not in seen:
                seen.add(value.__name__)
                left.append(value)


def is_of_users(function: types.FunctionType) -> bool:
    """Whether a function's code belongs to no library; one that a program made of text has no module."""
    module: str | None = function.__module__
    return module is None or is_users(module)


def named_in(code: types.CodeType) -> Iterator[str]:
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from named_in(constant)


@functools.cache
def _library_folders() -> tuple[Path, ...]:
    paths = sysconfig.get_paths()
    return tuple({Path(paths[key]).resolve() for key in ("stdlib", "platstdlib", "purelib", "platlib")})


def is_users(module: str | None) -> bool:
    """Whether a module's code may change between two runs: it belongs to no library."""
    if module is None or module.partition(".")[0] in LIBRARIES:
        return False
    if module == "builtins" or module.partition(".")[0] in sys.stdlib_module_names - {"__main__"}:
        return False
    file = getattr(sys.modules.get(module), "__file__", None)
    if file is None:
        return module not in sys.builtin_module_names
    path = Path(file).resolve()
    return not any(path.is_relative_to(folder) for folder in _library_folders()) and "site-packages" not in path.parts


def _quantised(tensor: Tensor) -> list[object]:
    scheme = tensor.qscheme()
    if scheme in (torch.per_tensor_affine, torch.per_tensor_symmetric):
        return [str(scheme), tensor.q_scale(), tensor.q_zero_point()]
    return [
        str(scheme), tensor.q_per_channel_axis(), tensor.q_per_channel_scales(), tensor.q_per_channel_zero_points(),
    ]  # fmt: skip


def _pickled(thing: object) -> list[object]:
    reduced = thing.__reduce_ex__(2)
    return [reduced] if isinstance(reduced, str) else [reduced[0], *reduced[1:3]]
