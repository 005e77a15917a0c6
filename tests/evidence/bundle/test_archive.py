"""The container of bundles: any program reads it, and no byte of it can be changed unseen."""

from __future__ import annotations

import pickle
import zipfile
from pathlib import Path

import pytest
from forging import write
from hypothesis import given
from hypothesis import strategies as st

from robuststack.errors import BundleError
from robuststack.evidence.bundle.archive import Archive, Member

MEMBERS = {"a.json": b"{}", "jobs/b.json": b"[1, 2]", "z.safetensors": bytes(range(40))}


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("archive") / "small.bundle", MEMBERS)


def read_all(path: Path) -> dict[str, bytes]:
    archive = Archive.open(path)
    return {name: archive.read(name) for name in archive.members}


def refused(path: Path, content: bytes) -> str:
    """Why a file of this content cannot be read whole."""
    path.write_bytes(content)
    with pytest.raises(BundleError) as error:
        read_all(path)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_other_programs_read_it(small):
    with zipfile.ZipFile(small) as opened:
        assert opened.testzip() is None
        assert {name: opened.read(name) for name in opened.namelist()} == MEMBERS
        assert {info.compress_type for info in opened.infolist()} == {zipfile.ZIP_STORED}
    assert read_all(small) == MEMBERS


def test_the_same_members_make_the_same_bytes(small, tmp_path):
    again = write(tmp_path / "again.bundle", dict(reversed(MEMBERS.items())))
    assert again.read_bytes() == small.read_bytes()


def test_no_byte_can_be_changed_unseen(small, tmp_path):
    whole = small.read_bytes()
    for place in range(len(whole)):
        changed = bytearray(whole)
        changed[place] ^= 0x40
        message = refused(tmp_path / "changed.bundle", bytes(changed))
        inside = [member.name for member in Archive.open(small).members.values() if member.start <= place < member.end]
        assert all(name in message for name in inside)


@given(cut=st.integers(1, 400), added=st.binary(max_size=3))
def test_no_byte_can_be_left_out_or_added_unseen(small, tmp_path_factory, cut, added):
    whole = small.read_bytes()
    path = tmp_path_factory.getbasetemp() / "cut.bundle"
    refused(path, whole[:-cut])
    if added:
        refused(path, whole + added)
        refused(path, added + whole)


@pytest.mark.parametrize("content", [b"", b"PK", b"hello", pickle.dumps({"a": 1}), b"PK\3\4" + bytes(200)])
def test_a_foreign_file_is_one_line(tmp_path, content):
    message = refused(tmp_path / "foreign", content)
    assert "foreign is no bundle of robuststack" in message or "that `robuststack bundle` did not write" in message


def test_an_archive_of_another_program_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "other.zip", "w") as other:
        for name, content in MEMBERS.items():
            other.writestr(name, content)
    message = refused(tmp_path / "other.zip", (tmp_path / "other.zip").read_bytes())
    assert "an archive that `robuststack bundle` did not write" in message


def test_a_member_that_declares_more_than_the_file_has_is_refused(small, tmp_path):
    """Nothing of that size is asked for."""
    huge = Member("a.json", 1 << 60, 0, 0)
    own = Member("a.json", 2, Archive.open(small).members["a.json"].crc, 0)
    whole = small.read_bytes().replace(own.header, huge.header).replace(own.entry, huge.entry)
    assert "entry 1 of its directory" in refused(tmp_path / "huge.bundle", whole)


def test_a_folder_and_an_absent_file_are_one_line(tmp_path):
    for path in (tmp_path, tmp_path / "none.bundle"):
        with pytest.raises(BundleError, match="cannot be read as a bundle"):
            Archive.open(path)
