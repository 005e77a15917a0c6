"""Jobs and results on disk.

One folder a job. `result.json` is written last and in one move: where it stands, the job is done. Checkpoints and blocks
appear and disappear whole. A run that is killed at any moment leaves nothing that the next run could mistake for finished.
"""

from __future__ import annotations

import contextlib
import errno
import glob
import hashlib
import json
import os
import re
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from robuststack.errors import StoreError
from robuststack.paths import absolute
from robuststack.running.atomic_files import Content, _remove, _replace, _write, _writing, uninterrupted
from robuststack.running.sealed import sealed_file, sealed_json, unsealed_file, unsealed_json

SCHEMA = 2
MARKER = "robuststack-store.json"
NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)
"""What network folders without locks say of them."""


@dataclass(frozen=True)
class Checkpoint:
    """The files of the last finished epoch, verified."""

    epoch: int
    files: Mapping[str, bytes]
    meta: Mapping[str, Any]
    folder: Path


@dataclass(frozen=True)
class Block:
    """What was made of one block of a job's images: a safetensors file, and what was counted."""

    number: int
    content: bytes
    facts: dict[str, Any]
    """Numbers, among them the `seconds` that it took."""


class Busy(StoreError):
    """Another run is working on the job."""


class Store:
    """A folder of jobs. Several runs may share it: each job has a lock.

    Raises:
        StoreError: the folder holds something else, belongs to a newer version, or cannot be written.
    """

    def __init__(self, folder: str | Path, *, create: bool = True) -> None:
        self.root = absolute(folder)
        marker = self.root / MARKER
        # First what lies there, then the marker: another run that makes the same store writes the marker before all else.
        if self._holds_something() and not marker.is_file():
            raise StoreError(f"{self.root} is not a RobustStack store; name an empty or absent folder with --store")
        if create and not marker.is_file():
            with _writing(self.root):
                self.root.mkdir(parents=True, exist_ok=True)
                _replace(marker, json.dumps({"schema": SCHEMA}).encode())
        if marker.is_file():
            schema = self._json(marker, f'; write {{"schema": {SCHEMA}}} into it, or name another --store').get(
                "schema"
            )
            if isinstance(schema, int) and schema < SCHEMA:
                raise StoreError(
                    f"{self.root}: a store of schema {schema}, written by an earlier version; this one writes schema"
                    f" {SCHEMA}: name another folder with --store, where all results are made anew (nothing was deleted)"
                )
            if schema != SCHEMA:
                raise StoreError(f"{self.root}: a store of schema {schema!r}; this version reads {SCHEMA}")

    def _holds_something(self) -> bool:
        if not self.root.is_dir():
            return self.root.exists()
        return any(MARKER not in entry.name for entry in self.root.iterdir())

    def folder(self, job: str) -> Path:
        """Where a job's files lie."""
        return self.root.joinpath(job.partition("-")[0], job)

    def has(self, job: str, digest: str, also: Sequence[str] = ()) -> bool:
        """Whether the job is done, by the same source code, with all its files, `also` named ones among them."""
        return self.done(job, digest, also) is not None

    def done(self, job: str, digest: str, also: Sequence[str] = ()) -> dict[str, Any] | None:
        """The result of a job that is done as `has` says; None if it is not."""
        folder = self.folder(job)
        if not (folder / "result.json").is_file():
            return None
        result = self.result(job)
        files = result.get("files", {})
        whole = (
            result.get("digest") == digest
            and all(name in files for name in also)
            and all((folder / name).is_file() for name in files)
        )
        return result if whole else None

    def result(self, job: str) -> dict[str, Any]:
        """The result of a finished job.

        Raises:
            StoreError: there is none, or it cannot be read.
        """
        path = self.folder(job) / "result.json"
        if not path.is_file():
            raise StoreError(f"{self.root} has no finished job {job}{self._similar(job)}")
        return self._json(path)

    def _similar(self, job: str) -> str:
        done = sorted(path.parent.name for path in self.root.glob("*/*/result.json"))
        near = [job_id for job_id in done if job_id.startswith(job) or job in job_id]
        return f"; did you mean {near[0]}?" if near else f"; it holds {len(done)} finished jobs"

    def find(self, job: str) -> str:
        """The full id of a finished job from its id or an unambiguous beginning of it.

        Raises:
            StoreError: none or several match.
        """
        done = sorted(path.parent.name for path in self.root.glob(f"*/{glob.escape(job)}*/result.json"))
        if len(done) != 1:
            several = f"{len(done)} jobs begin with {job}: {', '.join(done[:4])}" if done else None
            raise StoreError(several or f"{self.root} has no finished job {job}{self._similar(job)}")
        return done[0]

    def read(self, job: str, name: str, result: Mapping[str, Any] | None = None) -> bytes:
        """One file of a finished job, verified against its result (the stored one, if none is given).

        Raises:
            StoreError: absent, or not what the job wrote.
        """
        path = self.folder(job) / name
        expected = (self.result(job) if result is None else result).get("files", {}).get(name)
        try:
            content = path.read_bytes()
        except OSError as error:
            raise StoreError(
                f"{path} cannot be read ({error.strerror}); delete {path.parent} to run the job again"
            ) from None
        if hashlib.sha256(content).hexdigest() != expected:
            raise StoreError(
                f"{path} is truncated or not the file that this job wrote (its hash differs); delete {path.parent} to"
                " run the job again"
            )
        return content

    def finish(self, job: str, result: Mapping[str, Any], files: Mapping[str, Content]) -> dict[str, Any]:
        """Store a job's files and, last, its result; its checkpoints and blocks go. Returns the result as stored."""
        folder = self.folder(job)
        with _writing(folder), uninterrupted():
            folder.mkdir(parents=True, exist_ok=True)
            # A result that other source code left must not vouch for these files in between.
            (folder / "result.json").unlink(missing_ok=True)
            for name, content in files.items():
                _replace(folder / name, content)
            hashes = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
            text = sealed_json({**result, "files": hashes})
            _replace(folder / "result.json", text)
            _remove(folder / "checkpoints", folder / "blocks")
        # As a later run will read it: not even the order of keys may depend on who ran the job.
        return unsealed_json(text)

    def discard(self, job: str, name: str) -> dict[str, Any]:
        """Delete one file of a finished job, which stays finished. Returns its result as it now is."""
        folder, result = self.folder(job), self.result(job)
        result["files"].pop(name, None)
        with _writing(folder), uninterrupted():
            _replace(folder / "result.json", sealed_json(result))
            (folder / name).unlink(missing_ok=True)
        return result

    def reopen(self, job: str) -> None:
        """Let a finished job be run again."""
        folder = self.folder(job)
        with _writing(folder):
            (folder / "result.json").unlink(missing_ok=True)

    def finished(self, kind: str) -> Iterator[dict[str, Any]]:
        """The results of all finished jobs of a kind, by id."""
        for path in sorted((self.root / kind).glob("*/result.json")):
            yield self._json(path)

    def save_block(self, job: str, block: Block, stamp: Mapping[str, Any]) -> None:
        """Keep a finished block. `stamp` says what it was computed with: source code, weights, images."""
        path = self._block(job, block.number)
        head = {"stamp": dict(stamp), "facts": block.facts}
        with _writing(path), uninterrupted():
            path.parent.mkdir(parents=True, exist_ok=True)
            _replace(path, sealed_file(head, block.content))

    def blocks(
        self, job: str, stamp: Mapping[str, Any], noticed: Callable[[str], None] = lambda text: None
    ) -> dict[int, dict[str, Any]]:
        """The facts of the finished blocks of a job, by number, each read and found whole.

        `noticed` is told in one line of each that is damaged or was computed with something else: it is to be made again.
        """
        kept: dict[int, dict[str, Any]] = {}
        for number in self.block_numbers(job):
            try:
                kept[number] = self.read_block(job, number, stamp).facts
            except StoreError as error:
                noticed(f"block {number} is made again: {error}")
        return kept

    def block_numbers(self, job: str) -> list[int]:
        """The numbers of the blocks of a job that there are files of, in order."""
        return _numbers(self.folder(job) / "blocks", "block")

    def read_block(self, job: str, number: int, stamp: Mapping[str, Any]) -> Block:
        """One finished block.

        Raises:
            StoreError: it is absent, truncated, or was computed with another source code, model or images.
        """
        block, kept = self.stamped_block(job, number)
        if kept != dict(stamp):
            raise StoreError(f"{self._block(job, number)} was computed with another source code, model or images")
        return block

    def stamped_block(self, job: str, number: int) -> tuple[Block, dict[str, Any]]:
        """One finished block, and the stamp that it was saved with.

        Raises:
            StoreError: it is absent or truncated.
        """
        path = self._block(job, number)
        try:
            head, content = unsealed_file(path.read_bytes())
        except OSError as error:
            raise StoreError(f"{path} cannot be read ({error.strerror})") from None
        except ValueError:
            raise StoreError(f"{path} is truncated or not ours (its hash differs)") from None
        return Block(number, content, head["facts"]), head["stamp"]

    def discard_blocks(self, job: str) -> None:
        """Delete the finished blocks of a job: they turned out to be worth nothing."""
        with _writing(self.folder(job)), uninterrupted():
            _remove(self.folder(job) / "blocks")

    def _block(self, job: str, number: int) -> Path:
        return self.folder(job) / "blocks" / f"block-{number:05d}"

    def save_checkpoint(self, job: str, epoch: int, files: Mapping[str, Content], meta: Mapping[str, Any]) -> None:
        """Keep the state after `epoch`; the one before it goes once this one is whole."""
        folder = self.folder(job) / "checkpoints"
        final = folder / f"epoch-{epoch:05d}"
        partial = folder / f"partial-{os.getpid()}"
        with _writing(folder), uninterrupted():
            shutil.rmtree(partial, ignore_errors=True)
            partial.mkdir(parents=True)
            try:
                for name, content in files.items():
                    _write(partial / name, content)
                hashes = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
                _write(partial / "meta.json", sealed_json({**meta, "files": hashes}))
            except OSError:
                shutil.rmtree(partial, ignore_errors=True)
                raise
            shutil.rmtree(final, ignore_errors=True)
            partial.rename(final)
            _remove(*(old for old in folder.iterdir() if old != final))

    def load_checkpoint(self, job: str, digest: str) -> Checkpoint | None:
        """The last checkpoint that the same source code wrote; None if there is none.

        Raises:
            StoreError: its files are truncated or foreign.
        """
        epochs = _numbers(self.folder(job) / "checkpoints", "epoch")
        if not epochs:
            return None
        folder = self.folder(job) / "checkpoints" / f"epoch-{epochs[-1]:05d}"
        meta = self._json(folder / "meta.json", "")
        if meta.get("digest") != digest:
            return None
        files = {}
        for name, expected in meta.get("files", {}).items():
            path = folder / name
            try:
                files[name] = path.read_bytes()
            except OSError as error:
                raise StoreError(f"{path} cannot be read ({error.strerror})") from None
            if hashlib.sha256(files[name]).hexdigest() != expected:
                raise StoreError(f"{path} is truncated or not ours (its hash differs)")
        return Checkpoint(epochs[-1], files, meta, folder)

    @contextlib.contextmanager
    def lock(self, job: str) -> Iterator[None]:
        """Hold a job, for as long as this process lives.

        Raises:
            Busy: another run holds it.
        """
        import filelock  # Here: `plan` reads stores and locks nothing.

        folder = self.folder(job)
        with _writing(folder):
            folder.mkdir(parents=True, exist_ok=True)
        lock = filelock.FileLock(folder / "lock")
        with _writing(folder):
            try:
                lock.acquire(blocking=False)
            except filelock.Timeout:  # An OSError too, so it must not reach the block around it.
                raise Busy(f"job {job} in {self.root} is being run by {self._owner(folder)}") from None
            except (OSError, NotImplementedError) as error:
                if isinstance(error, OSError) and error.errno not in NO_LOCKS:
                    raise
                raise StoreError(
                    f"{self.root} lies on a file system that cannot lock files, so two runs could spoil each other's jobs;"
                    " name a folder on a disk of this machine with --store"
                ) from None
        try:
            for left in folder.glob(".*"):  # What a killed run was writing; nobody else writes here now.
                left.unlink(missing_ok=True)
            with contextlib.suppress(OSError):
                (folder / "owner").write_text(str(os.getpid()), encoding="utf-8")
            yield
        finally:
            lock.release()

    def _owner(self, folder: Path) -> str:
        with contextlib.suppress(OSError, ValueError):
            return f"another run (process {int((folder / 'owner').read_text(encoding='utf-8'))})"
        return "another run"

    def _json(self, path: Path, remedy: str | None = None) -> dict[str, Any]:
        try:
            return unsealed_json(path.read_bytes())
        except (OSError, ValueError) as error:
            remedy = f"; delete {path.parent} to run the job again" if remedy is None else remedy
            raise StoreError(f"{path} cannot be read ({error}){remedy}") from None


def _numbers(folder: Path, word: str) -> list[int]:
    """The numbers of what is named `WORD-NUMBER` in a folder, in order."""
    names = [path.name.partition("-") for path in folder.glob(f"{word}-*")]
    return sorted(int(number) for _, _, number in names if re.fullmatch("[0-9]{5,9}", number))
