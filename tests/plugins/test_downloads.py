"""Fetching: a file is there whole and verified or not at all, and the error says what to do."""

from __future__ import annotations

import hashlib
import io
import tarfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from web_server import Server, serving

import robuststack as rs
from robuststack_plugins.datasets import downloads
from robuststack_plugins.datasets.downloads import fetch, obtain

PAGE = b"\n<!DOCTYPE html><html><body>Moved</body></html>"


def md5(content: bytes) -> str:
    return f"md5:{hashlib.md5(content).hexdigest()}"


def packed(**files: bytes) -> bytes:
    """A .tar.gz archive of files in a folder `inner`."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, content in files.items():
            entry = tarfile.TarInfo(f"inner/{name}")
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


class Remote(rs.Dataset):
    """A data set of one file, `content`, on a server that sends `sent` in its place, or has none."""

    name = "remote"

    def __init__(self, server: Server, content: bytes, sent: bytes | None = None, file: str = "set.tar.gz") -> None:
        super().__init__()
        self.content, self.file, self.url = content, file, server.url("sent")
        if sent is not None:
            server.send("sent", sent)

    def downloads(self):
        return (rs.Download(self.url, md5(self.content), self.file),)

    def opened(self, folder: Path) -> bytes:
        """What the archive's one file holds; as torchvision does, an error that is no OSError where it is absent."""
        path = folder / "inner" / "data"
        if not path.is_file() or path.read_bytes() != b"the data":
            raise RuntimeError("Dataset not found or corrupted.")
        return path.read_bytes()

    def obtain(self, folder: Path) -> bytes:
        return obtain(self, folder, lambda: self.opened(folder))


ARCHIVE = packed(data=b"the data")


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    (tmp_path / "server").mkdir()
    with serving(tmp_path / "server") as running:
        yield running


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "cache" / "data"


def visible(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir() if not entry.name.endswith(".lock"))


def refused(dataset: Remote, folder: Path) -> str:
    with pytest.raises(rs.DatasetError) as error:
        dataset.obtain(folder)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_an_archive_is_fetched_unpacked_and_then_used_without_the_server(server, folder):
    dataset = Remote(server, ARCHIVE, ARCHIVE)
    assert dataset.obtain(folder) == b"the data"
    assert visible(folder) == ["inner", "set.tar.gz"]
    assert server.asked == ["/sent"]
    server.asked.clear()
    assert dataset.obtain(folder) == b"the data"
    assert server.asked == []


def test_nothing_is_fetched_or_written_where_the_files_are_there(server, folder):
    (folder / "inner").mkdir(parents=True)
    (folder / "inner" / "data").write_bytes(b"the data")
    assert Remote(server, ARCHIVE).obtain(folder) == b"the data"
    assert server.asked == []
    assert [entry.name for entry in folder.iterdir()] == ["inner"]


def test_a_damaged_file_is_unpacked_again_and_others_are_left_alone(server, folder):
    dataset = Remote(server, ARCHIVE, ARCHIVE)
    dataset.obtain(folder)
    server.asked.clear()
    (folder / "inner" / "data").write_bytes(b"the d")
    (folder / "inner" / "mine").write_bytes(b"mine")
    assert dataset.obtain(folder) == b"the data"
    assert (folder / "inner" / "mine").read_bytes() == b"mine"
    assert server.asked == []


def test_a_file_that_is_no_archive_stays_as_it_is_in_the_folder_it_belongs_to(server, folder):
    dataset = Remote(server, b"matrix", b"matrix", file="own/set.mat")
    assert fetch(dataset, folder) == [folder / "own" / "set.mat"]
    assert refused(dataset, folder).endswith("are not the known ones: Dataset not found or corrupted.")
    assert visible(folder) == ["own"]
    assert visible(folder / "own") == ["set.mat"]


def test_absent_data_names_the_address_the_place_and_the_hash(server, folder):
    dataset = Remote(server, ARCHIVE)
    assert refused(dataset, folder) == (
        f"dataset 'remote' is not in {folder} (set.tar.gz is not there) and could not be downloaded from {dataset.url}"
        " (HTTPError: HTTP Error 404: File not found);"
        f" put the file at {folder / 'set.tar.gz'} ({md5(ARCHIVE)}) and run again"
    )
    assert visible(folder) == []


@pytest.mark.parametrize(
    ("wrong", "flaw"),
    [
        (PAGE, "is a web page"),
        (ARCHIVE[:50], f"is another file: 50 bytes, {md5(ARCHIVE[:50])}"),
        (b"", f"is another file: 0 bytes, {md5(b'')}"),
    ],
    ids=["html", "truncated", "empty"],
)
class TestWrongFile:
    def test_on_the_server_is_refused_and_leaves_nothing(self, server, folder, wrong, flaw):
        message = refused(Remote(server, ARCHIVE, wrong), folder)
        assert "(set.tar.gz is not there)" in message
        assert f"(OSError: what arrived {flaw}); put the file at" in message
        assert visible(folder) == []

    def test_in_the_folder_is_named_and_kept_when_no_better_one_can_be_had(self, server, folder, wrong, flaw):
        folder.mkdir(parents=True)
        (folder / "set.tar.gz").write_bytes(wrong)
        assert f"is not in {folder} (set.tar.gz {flaw}) and could not be downloaded" in refused(
            Remote(server, ARCHIVE), folder
        )
        assert (folder / "set.tar.gz").read_bytes() == wrong
        assert visible(folder) == ["set.tar.gz"]

    def test_in_the_folder_is_replaced_by_the_right_one(self, server, folder, wrong, flaw):
        folder.mkdir(parents=True)
        (folder / "set.tar.gz").write_bytes(wrong)
        assert Remote(server, ARCHIVE, ARCHIVE).obtain(folder) == b"the data"
        assert (folder / "set.tar.gz").read_bytes() == ARCHIVE


def test_a_download_that_breaks_off_leaves_nothing(server, folder, monkeypatch):
    def broken(url: str, root: str, filename: str) -> None:
        Path(root, filename).write_bytes(ARCHIVE[:40])
        raise ConnectionResetError("reset by peer")

    monkeypatch.setattr("torchvision.datasets.utils.download_url", broken)
    assert "(ConnectionResetError: reset by peer)" in refused(Remote(server, ARCHIVE), folder)
    assert visible(folder) == []


def test_an_archive_that_cannot_be_unpacked_leaves_no_part_of_it(server, folder):
    # Its hash is the declared one, but its second file is cut off.
    whole = packed(data=b"the data", more=bytes(range(256)) * 400)
    assert refused(Remote(server, whole[:300], whole[:300]), folder).startswith(
        f"dataset 'remote': {folder / 'set.tar.gz'} could not be unpacked ("
    )
    assert visible(folder) == ["set.tar.gz"]


def test_an_archive_whose_files_are_not_the_expected_ones_is_refused(server, folder):
    other = packed(data=b"other data")
    assert refused(Remote(server, other, other), folder) == (
        f"dataset 'remote': its files in {folder} are not the known ones: Dataset not found or corrupted."
    )


def test_a_folder_that_cannot_be_made_is_named(server, tmp_path):
    (tmp_path / "file").write_text("in the way")
    assert "(NotADirectoryError:" in refused(Remote(server, ARCHIVE, ARCHIVE), tmp_path / "file" / "data")


def test_two_runs_at_once_download_once(server, folder, monkeypatch):
    import torchvision.datasets.utils as utils

    original, started, calls = utils.download_url, threading.Barrier(2), []

    def counted(*arguments: str) -> None:
        calls.append(arguments)
        original(*arguments)

    monkeypatch.setattr(utils, "download_url", counted)
    flaw = downloads._flaw
    first = threading.local()

    def together(path: Path, expected: str) -> str:
        problem = flaw(path, expected)
        if not getattr(first, "done", False):
            first.done = True
            started.wait(10)  # Both have seen that the file is absent.
        return problem

    monkeypatch.setattr(downloads, "_flaw", together)
    dataset = Remote(server, ARCHIVE, ARCHIVE)
    threads = [threading.Thread(target=fetch, args=(dataset, folder)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(calls) == 1
    assert (folder / "set.tar.gz").read_bytes() == ARCHIVE


def test_what_torchvision_prints_goes_to_standard_error(server, folder, monkeypatch, capsys):
    def talkative(url: str, root: str, filename: str) -> None:
        print("Downloading")
        Path(root, filename).write_bytes(ARCHIVE)

    monkeypatch.setattr("torchvision.datasets.utils.download_url", talkative)
    Remote(server, ARCHIVE).obtain(folder)
    assert tuple(capsys.readouterr()) == ("", "Downloading\n")
