"""What can happen to a file: bytes that change, go or come, a file cut off, and in its data any value at any key."""

from __future__ import annotations

import copy
import math
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

ASKED = os.environ.get("ROBUSTSTACK_FUZZ")
"""Cases a test, other ones in each run; if nobody asks, a few that are always the same."""
HANGS = 60
"""Seconds of the processor's after which a case counts as a hang; a busy machine is slow and nothing else."""
fuzzed = settings(
    max_examples=int(ASKED or 12),
    derandomize=ASKED is None,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    print_blob=True,
)

Path_ = tuple[str | int, ...]
TEXTS = [
    "", " ", "auto", "8/255", "1/0", "1e-3", "1e999999999", "1e999", "9" * 400 + "/1", "digits", "pgd", "float", "oat",
    "none", "linf", "l2", "train", "../..", "/", "/dev/null", "~", "~nobody", "a\nb", "\x00", "\ud800", "ä∞", "[", "%s",
    "{}", "x" * 5000, "majority 3", "any 0", "module:function",
]  # fmt: skip
NUMBERS = [
    0, 1, -1, 2, 3, 7, 10**6, 2**31, 2**63, 2**64, -(2**63), 10**30, 0.0, -0.0, 0.5, 1e-300, 1e308, math.inf, -math.inf,
    math.nan,
]  # fmt: skip
KEYS = ["options", "sweep", "points", "train", "phases", "model", "label", "file", *TEXTS]
leaves = st.none() | st.booleans() | st.sampled_from(NUMBERS) | st.sampled_from(TEXTS) | st.text(max_size=6)
keys = st.text(max_size=4) | st.sampled_from(KEYS)
values = st.recursive(
    leaves, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=3), max_leaves=6
)
TOKENS = [
    b"\x00", b"\xff", b"\xc3", b"\r", b"\t", b"\n", b"\n\n", b"  ", b": ", b"- ", b"{", b"}", b"[", b"]", b",", b'"', b"'",
    b"#", b"&a ", b"*a", b"<<: ", b"!!binary ", b"!!set ", b"!!omap ", b"!!timestamp ", b"!!int ", b"!!null ", b"! ", b"? ",
    b"| ", b"> ", b"---\n", b"...\n", b"%YAML 9.9\n", b"null", b"NaN", b"Infinity", b"1e999", b"-", b"0" * 400,
    b"\xef\xbb\xbf", b"\\u0000", b"\\ud800",
]  # fmt: skip


@st.composite
def damaged_bytes(draw: st.DrawFn, content: bytes) -> bytes:
    """The content cut off, or with a few bytes that came, went, changed or stand there twice."""
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(content)))
        end = min(len(content), at + draw(st.sampled_from([0, 1, 2, 8, 64, 4096])))
        way = draw(st.sampled_from(["cut", "set", "token", "drop", "repeat", "zero", "bit"]))
        if way == "cut":
            content = content[:at]
        elif way == "set":
            content = content[:at] + draw(st.binary(min_size=1, max_size=3)) + content[end:]
        elif way == "token":
            content = content[:at] + draw(st.sampled_from(TOKENS)) + content[end:]
        elif way == "drop":
            content = content[:at] + content[end:]
        elif way == "repeat":
            content = content[:end] + content[at:]
        elif way == "zero":
            content = content[:at] + bytes(end - at) + content[end:]
        elif content:
            place = min(at, len(content) - 1)
            content = content[:place] + bytes([content[place] ^ 1 << draw(st.integers(0, 7))]) + content[place + 1 :]
    return content


def places(data: Any, path: Path_ = ()) -> Iterator[Path_]:
    """The path of every key and every place of a list, and of the whole."""
    yield path
    inner = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ()
    for key, value in inner:
        yield from places(value, (*path, key))


@st.composite
def damaged_data(draw: st.DrawFn, data: Any) -> Any:
    """The data with other values, keys and entries than it had, in a few places."""
    data = copy.deepcopy(data)
    for _ in range(draw(st.integers(1, 2))):
        inner = [path for path in places(data) if path]
        if not inner:
            return draw(values)
        *above, last = draw(st.sampled_from(inner))
        holder = data
        for part in above:
            holder = holder[part]
        way = draw(st.sampled_from(["value", "value", "moved", "gone", "key", "wrapped"]))
        if way == "value":
            holder[last] = draw(values)
        elif way == "moved":  # What is right elsewhere.
            holder[last] = copy.deepcopy(_at(data, draw(st.sampled_from(list(places(data))))))
        elif way == "wrapped":
            holder[last] = draw(st.sampled_from([[holder[last]], {"name": holder[last]}, [holder[last]] * 2]))
        elif way == "gone":
            del holder[last]
        elif isinstance(holder, dict):
            holder[draw(keys)] = draw(values)
        else:
            holder.insert(int(last), draw(values))
    return data


def _at(data: Any, path: Path_) -> Any:
    for part in path:
        data = data[part]
    return data


class Hang(BaseException):
    """Not an Exception: nothing may catch it on its way out."""


@contextmanager
def no_hang() -> Iterator[None]:
    """Fail what computes for longer than any answer should."""

    def rung(number: int, frame: FrameType | None) -> None:
        raise Hang(f"no answer after {HANGS} s")

    before = signal.signal(signal.SIGPROF, rung)
    signal.setitimer(signal.ITIMER_PROF, HANGS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)
