"""The container of a bundle: a zip archive of which every byte follows from its members.

Any program lists and reads a zip archive, a member is the very file that a job wrote, so that its hash is the one in the
job's result, and members are read one at a time. Nothing is compressed, no date, comment or flag varies, names are sorted,
and sizes stand in the 64-bit fields of the format (PKWARE's APPNOTE.TXT, sections 4.3 and 4.5.3). So the same members make
the same bytes, no member is larger than the file that declares it, and a byte that was changed anywhere is found.
"""

from __future__ import annotations

import hashlib
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Self

from robuststack.errors import BundleError

LOCAL, LOCAL_SIZES = struct.Struct("<4s5H3L2H"), struct.Struct("<2H2Q")
CENTRAL, CENTRAL_SIZES = struct.Struct("<4s6H3L5H2L"), struct.Struct("<2H3Q")
END_64, LOCATOR, END = struct.Struct("<4sQ2H2L4Q"), struct.Struct("<4sLQL"), struct.Struct("<4s4H2LH")
TAIL = END_64.size + LOCATOR.size + END.size
VERSION, UNIX_FILE, FIRST_DAY = 45, 0o100644 << 16, (1 << 5) | 1
"""The format's version with 64-bit sizes, a plain file, and 1980-01-01."""
ELSEWHERE_16, ELSEWHERE_32 = 0xFFFF, 0xFFFFFFFF
"""What stands in a short field if the 64-bit one counts."""
LONGEST_NAME = 100
PIECE = 1 << 20
"""Bytes that are hashed at a time."""


@dataclass(frozen=True)
class Member:
    """A file in the archive, and where it stands."""

    name: str
    size: int
    crc: int
    offset: int
    """Where its header begins."""

    @property
    def header(self) -> bytes:
        name = self.name.encode("ascii")
        fixed = LOCAL.pack(
            b"PK\3\4", VERSION, 0, 0, 0, FIRST_DAY, self.crc, ELSEWHERE_32, ELSEWHERE_32, len(name), LOCAL_SIZES.size
        )
        return fixed + name + LOCAL_SIZES.pack(1, LOCAL_SIZES.size - 4, self.size, self.size)

    @property
    def entry(self) -> bytes:
        """Its entry in the directory at the end."""
        name = self.name.encode("ascii")
        fixed = CENTRAL.pack(
            b"PK\1\2", (3 << 8) | VERSION, VERSION, 0, 0, 0, FIRST_DAY, self.crc, ELSEWHERE_32, ELSEWHERE_32, len(name),
            CENTRAL_SIZES.size, 0, 0, 0, UNIX_FILE, ELSEWHERE_32,
        )  # fmt: skip
        return fixed + name + CENTRAL_SIZES.pack(1, CENTRAL_SIZES.size - 4, self.size, self.size, self.offset)

    @property
    def start(self) -> int:
        """Where its content begins."""
        return self.offset + len(self.header)

    @property
    def end(self) -> int:
        return self.start + self.size


def file_hash(path: Path) -> str:
    """The hash of a whole file, in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class ArchiveWriter:
    """Writes an archive, members in the order of their names."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._members: list[Member] = []
        self._offset = 0

    def add(self, name: str, content: bytes) -> None:
        """Write a member; its name comes after those before it."""
        assert not self._members or self._members[-1].name < name
        member = Member(name, len(content), zlib.crc32(content), self._offset)
        self._file.write(member.header)
        self._file.write(content)
        self._members.append(member)
        self._offset = member.end

    def finish(self) -> None:
        """Write the directory."""
        directory = b"".join(member.entry for member in self._members)
        self._file.write(directory + _end(len(self._members), len(directory), self._offset))


def _end(count: int, size: int, offset: int) -> bytes:
    return (
        END_64.pack(b"PK\6\6", END_64.size - 12, VERSION, VERSION, 0, 0, count, count, size, offset)
        + LOCATOR.pack(b"PK\6\7", 0, offset + size, 1)
        + END.pack(b"PK\5\6", 0, 0, ELSEWHERE_16, ELSEWHERE_16, ELSEWHERE_32, ELSEWHERE_32, 0)
    )


@dataclass(frozen=True)
class Archive:
    """An archive that `ArchiveWriter` wrote, opened. Nothing of it is unpacked to disk."""

    path: Path
    members: dict[str, Member]

    @classmethod
    def open(cls, path: Path) -> Self:
        """Read the directory and every header.

        Raises:
            BundleError: the file is no such archive, is truncated, or one of these bytes was changed.
        """
        try:
            with path.open("rb") as file:
                return cls(path, {member.name: member for member in _members(path, file)})
        except OSError as error:
            raise BundleError(f"{path} cannot be read as a bundle: {error.strerror or error}") from None

    def read(self, name: str) -> bytes:
        """The content of a member.

        Raises:
            BundleError: it was changed, or there is none.
        """
        content = b"".join(self._pieces(name))
        if zlib.crc32(content) != self.members[name].crc:
            raise BundleError(f"{self.path}: {name} was changed or is damaged")
        return content

    def sha256(self, name: str) -> str:
        """The hash of a member, in hexadecimal digits."""
        digest = hashlib.sha256()
        for piece in self._pieces(name):
            digest.update(piece)
        return digest.hexdigest()

    def _pieces(self, name: str) -> Iterator[bytes]:
        if name not in self.members:
            raise BundleError(f"{self.path} has no member {name}")
        member = self.members[name]
        left = member.size
        with self.path.open("rb") as file:
            file.seek(member.start)
            while left and (piece := file.read(min(PIECE, left))):
                left -= len(piece)
                yield piece


def _members(path: Path, file: BinaryIO) -> Iterator[Member]:
    """The members of a file, each found to stand where and as it has to."""
    length = file.seek(0, 2)
    file.seek(0)
    if file.read(4) != b"PK\3\4":
        raise BundleError(f"{path} is no bundle of robuststack")
    changed = f"{path} is truncated, was changed, or is an archive that `robuststack bundle` did not write: "
    file.seek(max(length - TAIL, 0))
    tail = file.read(TAIL)
    if len(tail) < TAIL:
        raise BundleError(f"{changed}its end is missing")
    *_, count, size, offset = END_64.unpack(tail[: END_64.size])
    if offset + size + TAIL != length or tail != _end(count, size, offset):
        raise BundleError(f"{changed}its end is not where it has to be")
    if size > count * (len(Member("", 0, 0, 0).entry) + LONGEST_NAME):
        raise BundleError(f"{changed}a name is longer than {LONGEST_NAME} letters")
    file.seek(offset)
    directory = file.read(size)
    place = at = 0
    before = ""
    for number in range(count):
        member = _entry(directory, at, place)
        if member is None or not before < member.name or member.end > offset:
            raise BundleError(f"{changed}entry {number + 1} of its directory, after {before or 'the beginning'}")
        file.seek(member.offset)
        if file.read(len(member.header)) != member.header:
            raise BundleError(f"{path}: {member.name} was changed or is damaged: its header")
        yield member
        before, at, place = member.name, at + len(member.entry), member.end
    if at != size or place != offset:
        raise BundleError(f"{changed}bytes that no member has")


def _entry(directory: bytes, at: int, place: int) -> Member | None:
    """The entry of the directory that begins at `at`, of a member that begins at `place`; None if none does."""
    fixed = directory[at : at + CENTRAL.size]
    if len(fixed) < CENTRAL.size:
        return None
    crc, length = CENTRAL.unpack(fixed)[7], CENTRAL.unpack(fixed)[10]
    named = at + CENTRAL.size + length
    name, sizes = directory[named - length : named], directory[named : named + CENTRAL_SIZES.size]
    if len(sizes) < CENTRAL_SIZES.size or not name.isascii():
        return None
    member = Member(name.decode("ascii"), CENTRAL_SIZES.unpack(sizes)[2], crc, place)
    return member if directory[at : named + CENTRAL_SIZES.size] == member.entry else None
