"""The hash of a model: whatever changes in it, wherever it is kept, changes the hash; another process does not."""

from __future__ import annotations

import copy
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from robuststack.engine.object_hash import object_hash

HEAD = """
import collections, functools, random, types, warnings, weakref
import numpy as np
import torch
from torch import nn
warnings.simplefilter("ignore")

class Net(nn.Module):
    def __init__(self, **attributes):
        super().__init__()
        self.fc = nn.Linear(4, 2)
        with torch.no_grad():
            self.fc.weight.fill_(0.5), self.fc.bias.fill_(0.25)
        for name, value in attributes.items():
            setattr(self, name, value)

    def forward(self, x):
        return self.fc(x)

class Coded(Net):
    def forward(self, x):
        return self.fc(x) * VALUE

class Slotted:
    __slots__ = ("weight", "empty")
    def __init__(self, weight):
        self.weight = weight

class Private:
    __slots__ = ("a", "__b")
    def __init__(self, value):
        self.a, self.__b = 1.0, value

class Table(dict):
    pass

class Whole(int):
    pass

class Number(float):
    pass

class Phase(complex):
    pass

class Text(str):
    pass

class Content(bytes):
    pass

class Room(bytearray):
    pass

def ring(value):
    first, second = Net(), Net(value=value)
    first.other, second.other = [second], [first]
    return first

def tied(value):
    net = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    net[0].weight = net[1].weight = nn.Parameter(torch.full((3, 3), value))
    nn.init.zeros_(net[0].bias), nn.init.zeros_(net[1].bias)
    return net

def registered(value, persistent):
    net = Net()
    net.register_buffer("mask", torch.tensor([value]), persistent=persistent)
    return net

def closed(value):
    net = Net()
    scale = torch.tensor(value)
    net.forward = lambda x: net.fc(x) * scale
    return net

def hooked(value):
    net = Net()
    net.register_forward_hook(lambda module, arguments, output: output * value)
    return net

def quantised(value):
    net = nn.Sequential(nn.Linear(4, 2))
    nn.init.constant_(net[0].weight, value), nn.init.zeros_(net[0].bias)
    return torch.ao.quantization.quantize_dynamic(net, {nn.Linear}, dtype=torch.qint8)

def scripted(value):
    net = Coded()
    net.register_buffer("mask", torch.tensor([2.0]))
    return torch.jit.trace(net, torch.zeros(1, 4))

def slotted(value):
    return Net(part=Slotted(torch.tensor(value)))

def table(value):
    found = Table(a=1)
    found.extra = value
    return Net(table=found)

def deep(value):
    found = [value]
    for _ in range(5000):
        found = [found]
    return Net(found=found)

WEIGHT = torch.tensor(VALUE)
SETTINGS = {"scale": VALUE}

class Reading(Net):
    def forward(self, x):
        return helper(self.fc(x))

class Constant(Net):
    scale = VALUE


def helper(x):
    return x * WEIGHT * SETTINGS["scale"]

tool = types.ModuleType("tool")
tool.scale = torch.tensor(VALUE)

tool.inner = types.ModuleType("tool.inner")
tool.inner.tool, tool.inner.power = tool, VALUE

class Nested(Net):
    def forward(self, x):
        return self.fc(x) ** tool.inner.power

class Looking(Net):
    def forward(self, x):
        return self.fc(x) * tool.scale
"""

KINDS = {
    "parameter": "Net(extra=nn.Parameter(torch.tensor([VALUE])))",
    "buffer": "registered(VALUE, True)",
    "non-persistent buffer": "registered(VALUE, False)",
    "plain tensor": "Net(w=torch.tensor(VALUE))",
    "bfloat16": "Net(w=torch.tensor(VALUE, dtype=torch.bfloat16))",
    "complex": "Net(w=torch.tensor([VALUE], dtype=torch.complex64).conj())",
    "sparse": "Net(w=torch.tensor([[0.0, VALUE]]).to_sparse())",
    "sparse rows": "Net(w=torch.tensor([[0.0, VALUE]]).to_sparse_csr())",
    "expanded": "Net(w=torch.tensor([VALUE]).expand(3))",
    "shape of a meta tensor": "Net(w=torch.empty(int(8 * VALUE), device='meta'))",
    "numpy array": "Net(w=np.array([VALUE]))",
    "object array": "Net(w=np.array([torch.tensor(VALUE)], dtype=object))",
    "numpy number": "Net(w=np.float32(VALUE))",
    "number": "Net(scale=VALUE)",
    "text": "Net(mode=str(VALUE))",
    "flag": "Net(flag=VALUE > 0.3)",
    "bytes": "Net(content=str(VALUE).encode())",
    "layers in a list": "Net(layers=[Net(scale=VALUE)])",
    "tuple in a dictionary": "Net(parts={'a': (1, VALUE)})",
    "key of a dictionary": "Net(parts={VALUE: 1})",
    "set": "Net(parts={'x', 'y', str(VALUE)})",
    "deque": "Net(parts=collections.deque([VALUE]))",
    "subclass of a dictionary": "table(VALUE)",
    "subclass of a whole number": "Net(w=Whole(8 * VALUE))",
    "subclass of a number": "Net(w=Number(VALUE))",
    "subclass of a complex number": "Net(w=Phase(1j * VALUE))",
    "subclass of text": "Net(w=Text(VALUE))",
    "subclass of bytes": "Net(w=Content(str(VALUE).encode()))",
    "subclass of a bytearray": "Net(w=Room(str(VALUE).encode()))",
    "view of memory": "Net(w=memoryview(str(VALUE).encode()))",
    "private slot": "Net(w=Private(VALUE))",
    "function made of text": "Net(w=eval('lambda x: x * VALUE', {}))",
    "slots": "slotted(VALUE)",
    "partial": "Net(act=functools.partial(torch.clamp, min=VALUE))",
    "closure": "closed(VALUE)",
    "hook": "hooked(VALUE)",
    "cycle": "ring(VALUE)",
    "deep nesting": "deep(VALUE)",
    "tied weights": "tied(VALUE)",
    "packed weights": "quantised(VALUE)",
    "TorchScript": "scripted(VALUE)",
    "generator": "Net(g=torch.Generator().manual_seed(int(VALUE * 8)))",
    "numpy generator": "Net(g=np.random.default_rng(int(VALUE * 8)))",
    "random generator": "Net(g=random.Random(int(VALUE * 8)))",
    "global that forward reads": "Reading()",
    "attribute of a class": "Constant()",
    "constant in forward": "Coded()",
    "attribute of a module that forward reads": "Looking()",
    "attribute of a module in a module": "Nested()",
}


def made(kind: str, value: float = 0.5) -> object:
    names: dict[str, object] = {"__name__": "mine"}
    exec(HEAD.replace("VALUE", str(value)), names)
    return eval(KINDS[kind].replace("VALUE", str(value)), names)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", KINDS)
def test_one_change_is_another_hash(kind: str) -> None:
    assert object_hash(made(kind)) == object_hash(made(kind))
    assert object_hash(made(kind, 0.25)) != object_hash(made(kind))


def test_another_process_has_the_same_hashes(tmp_path: Path) -> None:
    script = f"""
import sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
from test_object_hash import KINDS, made, object_hash
print(*(object_hash(made(kind)) for kind in KINDS))
"""
    # The hash seed of this process is another one: random, or what the caller has set.
    seed = "2" if os.environ.get("PYTHONHASHSEED") == "1" else "1"
    environment = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONWARNINGS": "ignore"}
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    here = [object_hash(made(kind)) for kind in KINDS]
    assert [kind for kind, a, b in zip(KINDS, here, done.stdout.split(), strict=True) if a != b] == []


def test_what_changes_no_figure_changes_no_hash() -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
    before = object_hash(net)
    net.eval()
    net.requires_grad_(False)
    net.to(memory_format=torch.channels_last)
    assert object_hash(net) == before
    assert object_hash(copy.deepcopy(net)) == before


def test_the_order_of_layers_counts() -> None:
    first, second = nn.ReLU(), nn.Tanh()
    assert object_hash(nn.Sequential(first, second)) != object_hash(nn.Sequential(second, first))
