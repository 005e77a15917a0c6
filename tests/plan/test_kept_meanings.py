"""What source files mean is kept between processes, and never changes a digest."""

from __future__ import annotations

import ast
import hashlib
import json
import os
from pathlib import Path

import pytest

import robuststack.plan
from robuststack.plan import kept_file, kept_meanings
from robuststack.plan.kept_meanings import KeptMeanings
from robuststack.plan.meaning import Meaning

TEXT = b"import os.path\nfrom . import a, b\nimport robuststack as rs\nclass C(rs.Attack):\n    '''Words.'''\n"
OTHER = b"from ..up import name\nVALUE = 1\n"


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """A cache folder of this test alone."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def parsed(monkeypatch):
    """The texts whose syntax was read."""
    texts: list[bytes] = []
    parse = ast.parse
    monkeypatch.setattr(ast, "parse", lambda text: texts.append(text) or parse(text))
    return texts


def kept(*texts: bytes) -> Path:
    """The file in which the meanings of the texts are kept."""
    meanings = KeptMeanings()
    for text in texts:
        meanings.of(text)
    meanings.keep()
    (path,) = Path(os.environ["XDG_CACHE_HOME"], "robuststack", "meanings").iterdir()
    return path


def test_another_process_reads_no_syntax_again_and_learns_the_same(parsed):
    sources = [path.read_bytes() for path in Path(robuststack.plan.__file__).parent.glob("*.py")]
    fresh = [Meaning.of(text) for text in sources]
    kept(*sources, TEXT, OTHER)
    parsed.clear()
    meanings = KeptMeanings()
    assert [meanings.of(text) for text in sources] == fresh
    assert list(meanings.of(TEXT).imported("theirs")) == [
        "os.path", "robuststack", "robuststack.plugin.attack", "theirs", "theirs.a", "theirs.b",
    ]  # fmt: skip
    assert list(meanings.of(OTHER).imported("theirs.inside")) == ["theirs.up", "theirs.up.name"]
    assert parsed == []


def test_a_changed_file_is_read_again(parsed):
    kept(TEXT)
    parsed.clear()
    assert KeptMeanings().of(TEXT + b"# a comment\n").hash == KeptMeanings().of(TEXT).hash
    assert KeptMeanings().of(TEXT + b"more = 1\n").hash != KeptMeanings().of(TEXT).hash
    assert len(parsed) == 2


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-20])


def _other_digit(path: Path) -> None:
    digest = Meaning.of(TEXT).hash
    other = ("0" if digest[0] != "0" else "1") + digest[1:]
    path.write_text(path.read_text().replace(digest, other))


def _empty(path: Path) -> None:
    path.write_bytes(b"")


def _foreign(path: Path) -> None:
    path.write_bytes(bytes(range(256)))


def _of_other_code(path: Path) -> None:
    content = path.read_text().partition("\n")[2].replace('"maker": "', '"maker": "other ')
    path.write_text(f"{hashlib.sha256(content.encode()).hexdigest()}\n{content}")


def _of_other_shape(path: Path) -> None:
    content = json.dumps(["maker", "files"])
    path.write_text(f"{hashlib.sha256(content.encode()).hexdigest()}\n{content}")


def _folder(path: Path) -> None:
    path.unlink()
    (path / "inside").mkdir(parents=True)


@pytest.mark.parametrize("damage", [_cut, _other_digit, _empty, _foreign, _of_other_code, _of_other_shape, _folder])
def test_a_file_that_is_damaged_or_not_its_own_is_as_none(damage, parsed):
    fresh = Meaning.of(TEXT)
    damage(kept(TEXT))
    parsed.clear()
    meanings = KeptMeanings()
    assert meanings.of(TEXT) == fresh
    assert parsed == [TEXT]
    meanings.keep()
    if damage is not _folder:
        KeptMeanings().of(TEXT)
        assert parsed == [TEXT], "it was written anew"


def test_where_nothing_can_be_kept_nothing_is_said(cache, monkeypatch):
    cache.write_text("a file where the folder would be")
    meanings = KeptMeanings()
    assert meanings.of(TEXT) == Meaning.of(TEXT)
    meanings.keep()
    monkeypatch.setattr(kept_file, "cache_folder", lambda: None)
    meanings = KeptMeanings()
    assert meanings.of(TEXT) == Meaning.of(TEXT)
    meanings.keep()
    assert cache.is_file()


def test_a_home_that_does_not_exist_is_as_no_place(monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", "~nobody-of-this-name/cache")
    meanings = KeptMeanings()
    assert meanings.of(TEXT) == Meaning.of(TEXT)
    meanings.keep()


def test_two_processes_keep_what_both_have_read(parsed):
    first, second = KeptMeanings(), KeptMeanings()
    first.of(TEXT)
    second.of(OTHER)
    first.keep()
    second.keep()
    parsed.clear()
    third = KeptMeanings()
    assert [third.of(text) for text in (TEXT, OTHER)]
    assert parsed == []


def test_what_was_used_last_stays(monkeypatch, parsed):
    monkeypatch.setattr(kept_meanings, "MOST", 3)
    texts = [f"number = {number}\n".encode() for number in range(4)]
    kept(*texts[:3])
    later = KeptMeanings()
    later.of(texts[0])
    later.of(texts[3])
    later.keep()
    parsed.clear()
    last = KeptMeanings()
    for text in texts:
        last.of(text)
    assert parsed == [texts[1]]


def test_a_text_that_does_not_parse_is_not_kept():
    meanings = KeptMeanings()
    with pytest.raises(SyntaxError):
        meanings.of(b"def f(:\n")
    meanings.keep()
    assert not list(Path(os.environ["XDG_CACHE_HOME"]).rglob("*.json"))
