"""The tools of these tests can fail: an answer that never comes is noticed, and any damage may come."""

from __future__ import annotations

import json

import pytest
from hypothesis import find, settings

import damage
from damage import Hang, damaged_bytes, damaged_data, no_hang


def test_an_answer_that_never_comes_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(damage, "HANGS", 0.05)
    with pytest.raises(Hang), no_hang():
        sum(1 for _ in iter(int, 1))


@pytest.mark.parametrize("wanted", [b"abc", b"abcdefghefgh"])
def test_bytes_are_cut_off_set_and_repeated(wanted: bytes) -> None:
    often = settings(max_examples=20_000)
    assert find(damaged_bytes(b"abcdefgh"), lambda content: content == wanted, settings=often) is not None


@pytest.mark.parametrize("wanted", ['{"a": {}}', '{"a": {"b": null}}', '{"a": 1}', "{}"])
def test_any_place_of_data_gets_any_value_or_goes(wanted: str) -> None:
    data = {"a": {"b": 1}}
    assert find(damaged_data(data), lambda changed: json.dumps(changed) == wanted) == json.loads(wanted)
    assert data == {"a": {"b": 1}}
