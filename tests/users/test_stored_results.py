"""A stored figure is of the model that stands there now, whatever part of it has changed."""

from __future__ import annotations

import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sources import stored

from robuststack.engine import witness

NETWORK = """
import torch
from torch import nn
from pathlib import Path


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(192, 4)

    def forward(self, x):
        BEFORE
        return self.fc(x.flatten(1)) * sign
"""


def rescored(here: Path, score: Callable[[], Any], change: Callable[[], Any]) -> bool:
    """Whether a second run finds everything in the store and a third one, after the change, nothing of attack and judge."""
    score()
    first = stored(here)
    score()
    assert stored(here) == first
    change()
    score()
    return all(stored(here)[job] != time for job, time in first.items() if not job.startswith("measure"))


def test_a_file_that_the_forward_pass_reads(
    module: Callable[[str], str], score: Callable[..., Any], here: Path
) -> None:
    Path("sign.txt").write_text("1")
    name = module(NETWORK.replace("BEFORE", "sign = float(Path('sign.txt').read_text())"))
    assert rescored(here, lambda: score(python=f"{name}:Net"), lambda: Path("sign.txt").write_text("-1"))


@pytest.mark.parametrize("way", ["sys.path", "built at run time"])
def test_code_that_no_digest_follows(
    way: str, module: Callable[[str], str], score: Callable[..., Any], here: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "elsewhere"
    folder.mkdir()

    def write(sign: int) -> None:
        (folder / "helper_elsewhere.py").write_text(f"def sign():\n    return {sign}\n")

    loading = {
        "sys.path": f"import sys; sys.path.insert(0, {str(folder)!r}); sys.modules.pop('helper_elsewhere', None)\n        "
        "import importlib; importlib.invalidate_caches()\n        import helper_elsewhere; sign = helper_elsewhere.sign()",
        "built at run time": f"space = dict(); exec(Path({str(folder / 'helper_elsewhere.py')!r}).read_text(), space)\n"
        "        sign = space['sign']()",
    }
    write(1)
    name = module(NETWORK.replace("BEFORE", loading[way]))
    assert rescored(here, lambda: score(python=f"{name}:Net"), lambda: write(-1))


@pytest.mark.parametrize(
    ("images", "seen"), [(3, (0, 40)), (40, (0, 40)), (41, (0, 40)), (79, (0, 40)), (81, (40, 80))]
)
def test_the_block_that_is_looked_at_is_whole(images: int, seen: tuple[int, int]) -> None:
    """The last block may hold one image, whose label stays while those of most others change."""
    spec = types.SimpleNamespace(block=40)
    place = witness._place(spec, images)  # type: ignore[arg-type]
    assert (place.start, place.stop) == seen


def test_without_the_witness_such_a_change_would_go_unseen(
    module: Callable[[str], str], score: Callable[..., Any], here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("robuststack.engine.blocks.clean_labels", lambda *_: "the same")
    monkeypatch.setattr("robuststack.engine.witness.says_the_same", lambda *_: True)
    Path("sign.txt").write_text("1")
    name = module(NETWORK.replace("BEFORE", "sign = float(Path('sign.txt').read_text())"))
    assert not rescored(here, lambda: score(python=f"{name}:Net"), lambda: Path("sign.txt").write_text("-1"))
