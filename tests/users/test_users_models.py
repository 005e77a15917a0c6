"""Models that people bring: each stands for a kind, and gets the figures of a plain float32 loop or one line."""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from sources import HEAD, PLAIN, forward, stored

import robuststack as rs
from referee import figures


@dataclass(frozen=True)
class Case:
    """A model's source, how it is scored, and the refusal if there is one; else the plain loop's figures are right."""

    kind: str
    source: str
    refusal: str = ""
    overrides: tuple[str, ...] = ()


CASES = [
    Case("plain", forward(PLAIN)),
    # --- what a network does to its input
    Case("writes into its input", forward("with torch.no_grad():\n            x.sub_(0.5)\n        " + PLAIN)),
    Case("writes into its input inside of autograd", forward("x.sub_(0.5)\n        " + PLAIN)),
    Case("writes through numpy", forward("x.detach().numpy().__isub__(0.5)\n        " + PLAIN)),
    Case("clamps in place", forward("x = x.clamp_(0.2, 0.8)\n        " + PLAIN)),
    # --- memory layout and batches
    Case("view of activations", forward("return self.fc(self.features(x).view(x.size(0), -1))")),
    Case("view of a weight", forward(
        "w = self.conv2.weight.view(8, -1)\n        y = self.norm(self.conv1(x)).relu()\n"
        "        return self.fc((w @ F.unfold(y, 3, padding=1, stride=2)).relu().view(len(x), -1))")),
    Case("as_strided", forward("y = self.features(x)\n        return self.fc(y.as_strided((len(x), 128), (128, 1)))")),
    Case("squeeze on a last batch of one", forward(
        "y = self.features(x).mean((2, 3), keepdim=True)\n        return self.head(y).squeeze()", "self.head = nn.Conv2d(8, 4, 1)"),
        overrides=("evaluate.block=29",)),
    Case("squeeze inside, on a last batch of one", forward(
        "y = self.features(x).flatten(1).squeeze()\n        return self.fc(y - y.mean(-1, keepdim=True)[:, :1])"),
        overrides=("evaluate.block=29",)),
    Case("parameters and buffers of rank 5", forward(
        "y = self.features(x)[:, :, None] + self.shift.mean()\n        return self.fc(self.deep(y).flatten(1))",
        "self.deep = nn.Conv3d(8, 8, 1); self.register_buffer('shift', torch.zeros(1, 8, 1, 1, 1))")),
    # --- mode
    Case("train and eval return None", forward(PLAIN, more="""
    def train(self, mode=True):
        super().train(mode)
    def eval(self):
        super().eval()
""")),
    Case("train takes no mode", forward(PLAIN, more="""
    def train(self):
        for part in self.modules():
            part.training = True
""")),
    Case("train ignores its mode", forward(PLAIN, more="""
    def train(self, mode=True):
        return super().train(True)
"""), "is in train mode after eval(): conv1 (Conv2d) and 4 more, which changes its logits"),
    Case("train ignores its mode, which changes nothing", forward(PLAIN.replace("features", "plainly"), more="""
    def plainly(self, x):
        return self.conv2(self.conv1(x).relu()).relu()
    def train(self, mode=True):
        return super().train(True)
""")),
    Case("batch norm left in train mode", forward(PLAIN, more="""
    def train(self, mode=True):
        super().train(mode)
        self.norm.training = True
        return self
"""), "is in train mode after eval(): norm (BatchNorm2d), which changes its logits"),
    Case("batch norm put into train mode by forward", forward("self.norm.training = True\n        " + PLAIN),
         "in train mode|other logits"),
    Case("batch norm without running statistics", forward(PLAIN, "self.norm = nn.BatchNorm2d(8, track_running_stats=False)"),
         "(norm uses the statistics of the batch: track_running_stats=False)"),
    Case("mean over the batch", forward("y = self.features(x)\n        return self.fc((y - y.mean(0)).flatten(1))"),
         "gives an image other logits in a batch of 7 than in one of 8"),
    # --- noise in eval mode
    Case("dropout in eval mode", forward("return self.fc(F.dropout(self.features(x).flatten(1), 0.5, True))"),
         "declare it with `stochastic: true`"),
    Case("randn_like", forward("x = x + 0.1 * torch.randn_like(x)\n        " + PLAIN), "draws noise (dropout, randn)"),
    Case("numpy's noise", forward("x = x + float(np.random.rand()) / 4\n        " + PLAIN), "draws noise"),
    Case("Python's noise", forward("x = x + random.random() / 4\n        " + PLAIN), "draws noise"),
    Case("noise of its own generator", forward(
        "x = x + torch.rand(x.shape, generator=self.g) / 4\n        " + PLAIN, "self.g = torch.Generator()"), "draws noise"),
    Case("a state that grows", forward(
        "self.count += 1\n        return self.count * self.fc(self.features(x).flatten(1))", "self.count = 0"), "keeps a state"),
    # --- kinds of tensors
    Case("an expanded buffer", forward("x = x - self.mean\n        " + PLAIN,
         "self.register_buffer('mean', torch.tensor([0.5]).view(1, 1, 1, 1).expand(1, 3, 8, 8))")),
    Case("an expanded parameter", forward("x = x - self.mean\n        " + PLAIN,
         "self.mean = nn.Parameter(torch.tensor([0.5]).view(1, 1, 1, 1).expand(1, 3, 8, 8), requires_grad=False)")),
    Case("tied weights", forward("y = self.tied(self.features(x)).relu()\n        return self.fc(y.flatten(1))",
         "self.tied = nn.Conv2d(8, 8, 3, padding=1); self.conv3 = nn.Conv2d(8, 8, 3); self.conv3.weight = self.tied.weight")),
    Case("one layer under two names", forward("return self.again(self.features(x).flatten(1))", "self.again = self.fc")),
    Case("one layer that runs twice", forward(
        "y = self.twice(self.twice(self.features(x)).relu())\n        return self.fc(y.flatten(1))",
        "self.twice = nn.Conv2d(8, 8, 3, padding=1)")),
    Case("a constant mask of -inf", forward("y = self.fc(self.features(x).flatten(1))\n        return y + self.mask[0] * 0 + self.w[:1, 1:2].exp()",
         "self.register_buffer('mask', torch.tensor([0.0, -torch.inf])); self.w = nn.Parameter(torch.tensor([[0.0, -torch.inf]]), False)")),
    Case("weights of another type", f"{forward('return Base.forward(self, x)')}\nclass Double(nn.Module):\n    def __init__(self):\n"
         "        super().__init__()\n        self.net = make().double()\n    def forward(self, x):\n        return self.net(x.double())\n"),
    # --- what is returned
    Case("logits in float64", forward("return self.fc(self.features(x).flatten(1)).double()")),
    Case("logits with more dimensions", forward("return self.fc(self.features(x).flatten(1))[:, :, None, None]") + "\n"),
    Case("a dictionary of logits", f"{forward(PLAIN)}\nclass Outer(nn.Module):\n    def __init__(self):\n        super().__init__()\n"
         "        self.net = make()\n    def forward(self, x):\n        return {'logits': self.net(x)}\n"),
    Case("an object with logits", f"{forward(PLAIN)}\nfrom types import SimpleNamespace\nclass Outer(nn.Module):\n    def __init__(self):\n"
         "        super().__init__()\n        self.net = make()\n    def forward(self, x):\n        return SimpleNamespace(logits=self.net(x), loss=None)\n"),
    Case("a tuple", f"{forward(PLAIN)}\nclass Outer(nn.Module):\n    def __init__(self):\n        super().__init__()\n"
         "        self.net = make()\n    def forward(self, x):\n        return self.net(x), x\n", "returns tuple; valid: a tensor of logits [N, 4], so return that part"),
    Case("probabilities", f"{forward(PLAIN)}\nclass Outer(nn.Module):\n    def __init__(self):\n        super().__init__()\n"
         "        self.net = make()\n    def forward(self, x):\n        return self.net(x).softmax(1)\n", "returns probabilities; remove its softmax"),
    Case("a backward pass that fails", forward(PLAIN, more="""
class Broken(torch.autograd.Function):
    @staticmethod
    def forward(context, x):
        return x.clone()
    @staticmethod
    def backward(context, gradient):
        raise RuntimeError("not written yet")
class Outer(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = make()
    def forward(self, x):
        return Broken.apply(self.net(x))
"""), "gives no gradients, which attacks here need (not written yet)"),
    # --- what a module does where it is imported
    Case("gradients switched off", forward(PLAIN) + "\ntorch.set_grad_enabled(False)\n"),
    Case("made in inference mode", f"{forward(PLAIN)}\nimport copy\n@torch.inference_mode()\ndef outer():\n    with torch.inference_mode(False):\n"
         "        net = make()\n    other = Net()\n    other.load_state_dict(net.state_dict())\n    other.eval()\n    return other\n"),
    Case("another working directory", "import os\nos.chdir('/')\n" + forward(PLAIN)),
    Case("a command line", "import argparse\nparser = argparse.ArgumentParser()\nparser.add_argument('--width', default=8)\nargs = parser.parse_args()\n" + forward(PLAIN)),
    Case("another default type", forward(PLAIN) + "\nclass Late(nn.Module):\n    def __init__(self):\n        super().__init__()\n"
         "        self.net = make()\n        torch.set_default_dtype(torch.float64)\n    def forward(self, x):\n        return self.net(x)\n"),
    # --- compilers
    Case("TorchScript", forward("return Base.forward(self, x)") + "\ndef traced():\n    import warnings\n    with warnings.catch_warnings():\n"
         "        warnings.simplefilter('ignore')\n        return torch.jit.trace(make(), torch.rand(2, 3, 8, 8))\n"),
    Case("a forward of the instance", forward(PLAIN) + "\ndef patched():\n    net = make()\n    before = net.forward\n"
         "    net.forward = lambda x: before(x * 0.5).view(len(x), 4)\n    return net\n"),
    # --- precision
    Case("assignment under bf16", forward(
        "y = torch.zeros(len(x), 4)\n        y[torch.arange(len(x))] = self.fc(self.features(x).flatten(1))\n        return y"),
        overrides=("precision=bf16",)),
]  # fmt: skip
ENTRIES = ("outer", "Outer", "Double", "Late", "traced", "patched", "make")


def target(case: Case) -> str:
    """The function or class of the source that gives the model."""
    return next(name for name in ENTRIES if f"def {name}(" in case.source or f"class {name}(" in case.source)


@pytest.fixture(autouse=True)
def settings() -> Any:
    """What a case sets in this process by its own hand, in the referee's run of it, is put back."""
    folder, dtype, grad = os.getcwd(), torch.get_default_dtype(), torch.is_grad_enabled()
    yield
    os.chdir(folder)
    torch.set_default_dtype(dtype)
    torch.set_grad_enabled(grad)


@pytest.mark.parametrize("case", [case for case in CASES if not case.refusal], ids=lambda case: case.kind)
@pytest.mark.filterwarnings("ignore")
def test_figures_are_those_of_a_plain_loop(
    case: Case, module: Callable[[str], str], score: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    name = module(case.source)
    (row,) = score(*case.overrides, python=f"{name}:{target(case)}").rows
    assert torch.is_grad_enabled()
    assert torch.get_default_dtype() is torch.float32
    monkeypatch.setattr("sys.argv", ["referee"])
    model = getattr(importlib.import_module(name), target(case))()
    ca, ra = figures(_plain(case, model))
    assert (row.ca.value, row.ra["FGSM"].value) == pytest.approx((ca, ra), abs=1e-3)


class Logits(torch.nn.Module):
    """The logits [N, K] of a model that returns them otherwise; it never sees a leaf or a batch of one."""

    def __init__(self, model: torch.nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out = self.model(x)
        out = out["logits"] if isinstance(out, dict) else getattr(out, "logits", out)
        return out.reshape(len(x), 4).float()


def _plain(case: Case, model: torch.nn.Module) -> torch.nn.Module:
    if case.kind == "made in inference mode":  # What its user would have to do.
        with torch.inference_mode(False):
            other = importlib.import_module(type(model).__module__).Net()
            other.load_state_dict({key: value.clone() for key, value in model.state_dict().items()})
        model = other
    return Logits(model)


@pytest.mark.parametrize("case", [case for case in CASES if case.refusal], ids=lambda case: case.kind)
@pytest.mark.filterwarnings("ignore")
def test_what_could_not_be_scored_rightly_is_one_line(
    case: Case, module: Callable[[str], str], score: Callable[..., Any], here: Any
) -> None:
    name = module(case.source)
    with pytest.raises(rs.RobustStackError) as caught:
        score(*case.overrides, python=f"{name}:{target(case)}")
    message = str(caught.value)
    assert any(part in message for part in case.refusal.split("|"))
    assert message.startswith(f"'{name}:{target(case)}' ")
    assert len(message.splitlines()) == 1
    assert not list(here.glob("store/*/*/result.json"))


NOISES = {
    "torch": "x = x + 0.3 * torch.randn_like(x)",
    "numpy": "x = x + torch.from_numpy(np.random.randn(*x.shape).astype('float32')) * 0.3",
    "python": "x = x + random.random() / 2",
    "dropout": "x = F.dropout(x, 0.5, True)",
}


@pytest.mark.parametrize("kind", NOISES)
def test_declared_noise_is_scored_on_draws_and_comes_out_the_same_again(
    kind: str, module: Callable[[str], str], score: Callable[..., Any], here: Any
) -> None:
    name = module(forward(f"{NOISES[kind]}\n        {PLAIN}"))
    declared = ("defenses.0.model.stochastic=true", "evaluate.draws=5")
    (row,) = score(*declared, python=f"{name}:make").rows
    assert row.stochastic
    assert row.user_model.stochastic
    assert row.ca.value % (100 / 30) != pytest.approx(0, abs=1e-6), "a mean over draws"
    (here / "store").rename(here / "other")
    (again,) = score(*declared, python=f"{name}:make").rows
    assert (again.ca, again.ra) == (row.ca, row.ra)


def test_a_model_that_runs_in_float32_alone_is_said(
    module: Callable[[str], str], score: Callable[..., Any], caplog: pytest.LogCaptureFixture
) -> None:
    case = next(case for case in CASES if case.kind == "assignment under bf16")
    name = module(case.source)
    score(*case.overrides, python=f"{name}:make")
    assert caplog.messages == [f"'{name}:make' cannot run in bf16: its forward passes are float32"]


CHANGES = {
    "plain tensor": "net.scale = torch.from_numpy(np.load('value.npy'))",
    "non-persistent buffer": "del net.scale; net.register_buffer('scale', torch.tensor(np.load('value.npy')), persistent=False)",
    "number": "net.scale = float(np.load('value.npy'))",
    "array": "net.array = np.load('value.npy'); net.scale = float(net.array)",
    "layers in a list": "net.parts = [nn.Linear(1, 1)]; net.parts[0].weight.data.fill_(float(np.load('value.npy')));"
    " net.scale = net.parts[0].weight.detach()[0]",
    "packed weights": "net.fc.weight.data *= float(np.load('value.npy'));"
    " net = torch.ao.quantization.quantize_dynamic(net, {nn.Linear}, dtype=torch.qint8)",
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", CHANGES)
def test_another_value_in_a_file_is_scored_anew(
    kind: str, module: Callable[[str], str], score: Callable[..., Any], here: Any
) -> None:
    import numpy as np

    after = f"\ndef changed():\n    net = make()\n    {CHANGES[kind]}\n    return net\n"
    name = module(forward(f"x = x * self.scale\n        {PLAIN}", "self.scale = 1.0") + after)

    def scored() -> None:
        attacks = ["noise"] if kind == "packed weights" else ["fgsm"]
        score(python=f"{name}:changed", attacks=attacks)

    np.save("value.npy", np.float32(1.0))
    scored()
    first = stored(here)
    scored()
    assert stored(here) == first
    np.save("value.npy", np.float32(-1.0))
    scored()
    assert all(stored(here)[job] != time for job, time in first.items())


ATTENTION = """
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = nn.Linear(12, 16)
        self.mix = MIX
        self.fc = nn.Linear(16, 4)
    def forward(self, x):
        y = x.unfold(2, 2, 2).unfold(3, 2, 2).flatten(2, 3).permute(0, 2, 1, 3, 4).flatten(2)
        y = self.embed(y)
        return self.fc(CALL.mean(1))
def make():
    return Net()
"""
TOKENS, WIDTH = 16, 16
ATTENDED = TOKENS * WIDTH * 3 * WIDTH + 2 * TOKENS * TOKENS * WIDTH + TOKENS * WIDTH * WIDTH
OTHERS = TOKENS * 12 * WIDTH + WIDTH * 4
COUNTED = {
    "attention": ("nn.MultiheadAttention(16, 4, batch_first=True)", "self.mix(y, y, y, need_weights=False)[0]", ATTENDED),
    "transformer": (
        "nn.TransformerEncoderLayer(16, 4, 32, batch_first=True)", "self.mix(y)", ATTENDED + 2 * TOKENS * WIDTH * 32,
    ),
    "SDPA": ("nn.Identity()", "F.scaled_dot_product_attention(y, y, y)", 2 * TOKENS * TOKENS * WIDTH),
    "LSTM": ("nn.LSTM(16, 16, batch_first=True)", "self.mix(y)[0]", TOKENS * 4 * (16 * 16 + 16 * 16)),
}  # fmt: skip


@pytest.mark.parametrize("kind", COUNTED)
def test_macs_are_those_counted_by_hand(kind: str, module: Callable[[str], str], score: Callable[..., Any]) -> None:
    layer, call, expected = COUNTED[kind]
    name = module(HEAD + ATTENTION.replace("MIX", layer).replace("CALL", call))
    (row,) = score(python=f"{name}:make").rows
    assert row.macs == expected + OTHERS
