"""What a file is that is not what its user takes it for, from its first bytes."""

from __future__ import annotations

HEAD = 512
"""How many bytes tell."""
UNPACK = "unpack it"
KINDS: tuple[tuple[bytes, str], ...] = (
    (b"version https://git-lfs", "it is a pointer of Git LFS in place of the file: run `git lfs pull`"),
    (b"\x1f\x8b", f"it is compressed by gzip: {UNPACK}"),
    (b"BZh", f"it is compressed by bzip2: {UNPACK}"),
    (b"\xfd7zXZ\x00", f"it is compressed by xz: {UNPACK}"),
    (b"\x28\xb5\x2f\xfd", f"it is compressed by Zstandard: {UNPACK}"),
    (b"7z\xbc\xaf\x27\x1c", f"it is a 7z archive: {UNPACK}"),
    (b"Rar!", f"it is a RAR archive: {UNPACK}"),
    (b"PK\x03\x04", f"it is a zip archive: {UNPACK}"),
    (b"\x89HDF\r\n\x1a\n", "it is an HDF5 file"),
    (b"PAR1", "it is a Parquet file"),
    (b"\x93NUMPY", "it is an .npy file, which holds one array"),
    (b"\x89PNG", "it is a PNG image"),
    (b"\xff\xd8\xff", "it is a JPEG image"),
)
TAR = slice(257, 262)


def file_kind(head: bytes) -> str:
    """What a file is, as a clause for an error, from its first `HEAD` bytes; empty if they do not tell."""
    if not head:
        return "it is empty"
    for magic, kind in KINDS:
        if head.startswith(magic):
            return kind
    if head[TAR] == b"ustar":
        return f"it is a tar archive: {UNPACK}"
    if head[:1] == b"\x80" and head[1:2] in (b"\x02", b"\x03", b"\x04", b"\x05"):
        return "it is a pickle file"
    if head.lstrip()[:14].lower().startswith((b"<!doctype html", b"<html")):
        return "it is a web page, as a download leaves that needs a login"
    return "it is a text file" if _is_text(head) else ""


def _is_text(head: bytes) -> bool:
    try:
        text = head[:-3].decode() if len(head) >= HEAD else head.decode()  # A character may be cut off at the end.
    except UnicodeDecodeError:
        return False
    return all(letter.isprintable() or letter.isspace() for letter in text)
