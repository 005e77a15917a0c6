"""A bundle as a contribution to a board repository: a branch with the bundle and its leaderboard, for a pull request.

A board repository is a git repository with bundles in `bundles/` and their leaderboards in `leaderboard/`, under the same
names. `docs/submit.md` has the workflow that verifies what is added.
"""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from robuststack.api.bundles import ENDING, verify
from robuststack.errors import RobustStackError
from robuststack.evidence.bundle.archive import file_hash
from robuststack.evidence.bundle.opening import open_bundle
from robuststack.evidence.bundle.verification import Verification
from robuststack.leaderboard.board import board_json
from robuststack.paths import expanded
from robuststack.plugin.registry import Registry

BUNDLES, BOARDS = "bundles", "leaderboard"
"""The folders of a board repository."""
LARGE = 100_000_000
"""Bytes: hosts such as GitHub refuse larger files, unless Git LFS keeps them."""


class SubmissionError(RobustStackError):
    """A bundle that cannot be submitted, and why."""


@dataclass(frozen=True)
class Submission:
    """A branch that is ready to be pushed."""

    folder: Path
    """The checkout of the board repository."""
    branch: str
    base: str
    """The branch that it starts from, or the commit if there is no branch."""
    files: tuple[str, ...]
    """What it adds: the bundle and its leaderboard."""
    message: str
    remote: str | None
    """Where the branch is to be pushed; None if the repository has no remote."""
    verification: Verification
    large: bool
    """Whether the bundle is larger than hosts take without Git LFS."""

    @property
    def command(self) -> str:
        """What is left to do."""
        return f"git -C {self.folder} push -u {self.remote or 'REMOTE'} {self.branch}"


def submit(
    bundle: str | Path, board: str | Path, *, data: str | Path | None = None, device: str = "auto",
    registry: Registry | None = None,
) -> Submission:  # fmt: skip
    """Prepare a pull request that adds a bundle to a board repository: a branch with one commit.

    `board` is a checkout of the repository. Its files, its index and the branch that is checked out stay as they are. The
    commit has the name and address that git is configured with. `data` and `device` are those of `verify`.

    Raises:
        BundleError: the file is no bundle, or was changed.
        SubmissionError: the bundle does not hold, the folder is no checkout, or the bundle was submitted before.
    """
    path, folder = expanded(bundle), expanded(board)
    git = Git(folder)
    top = git.run("rev-parse", "--show-toplevel", refusal=f"{board} is no checkout of a git repository")
    base = git.run("rev-parse", "--abbrev-ref", "HEAD", refusal=f"{board} has no commit yet: make one first")
    base = git.run("rev-parse", "--short", "HEAD") if base == "HEAD" else base
    git = Git(Path(top))
    content = open_bundle(path).board
    sha256 = file_hash(path)
    name = f"{re.sub(r'[^A-Za-z0-9._-]+', '-', content.suite)}-{sha256[:8]}"
    branch = f"submit/{name}"
    files = (f"{BUNDLES}/{name}{ENDING}", f"{BOARDS}/{name}.json")
    if git.says("cat-file", "-e", f"HEAD:{files[0]}"):
        raise SubmissionError(f"{board} has {files[0]} already: this bundle was accepted before")
    if git.says("rev-parse", "--verify", "--quiet", f"refs/heads/{branch}"):
        raise SubmissionError(
            f"{board} has the branch {branch} already: push it, or delete it with `git branch -D {branch}`"
        )
    report = verify(path, data=data, device=device, registry=registry)
    if report.disagreements or report.sha256 != sha256:
        raise SubmissionError(_refusal(bundle, report.disagreements or ["it was changed a moment ago"]))
    message = _message(name, report, len(content.rows))
    git.commit(branch, {files[0]: path.resolve(), files[1]: f"{board_json(content)}\n".encode()}, message)
    remotes = git.run("remote").split()
    remote = "origin" if "origin" in remotes else remotes[0] if remotes else None
    large = path.stat().st_size > LARGE and not git.run("check-attr", "filter", "--", files[0]).endswith(": lfs")
    return Submission(folder, branch, base, files, message, remote, report, large)


def _refusal(bundle: str | Path, disagreements: Sequence[str]) -> str:
    more = f" (and {len(disagreements) - 1} more: `robuststack verify {bundle}`)" if len(disagreements) > 1 else ""
    return f"{bundle} does not hold: {disagreements[0]}{more}"


def _message(name: str, report: Verification, rows: int) -> str:
    lines = [
        f"Add the leaderboard {name}",
        "",
        f"{rows} rows of the suite {report.suite}. The bundle has sha256",
        f"{report.sha256}.",
        f"`robuststack verify` says: {report.verdict}.",
    ]
    return "\n".join(lines) + "\n"


@dataclass(frozen=True)
class Git:
    """git in a folder."""

    folder: Path

    def run(self, *arguments: str, refusal: str = "", content: bytes | None = None, index: Path | None = None) -> str:
        """What a git command prints, without the last line's end. `index` is a file that stands for git's index.

        Raises:
            SubmissionError: git cannot be run or fails: `refusal`, or the command, with git's reason.
        """
        done = self._done(arguments, content, index)
        if done.returncode:
            reason = done.stderr.decode(errors="replace").strip()
            raise SubmissionError(f"{refusal or f'git {arguments[0]} failed in {self.folder}'} ({reason})")
        return done.stdout.decode(errors="replace").strip()

    def says(self, *arguments: str) -> bool:
        """Whether a git command succeeds."""
        return self._done(arguments, None, None).returncode == 0

    def commit(self, branch: str, files: Mapping[str, bytes | Path], message: str) -> None:
        """Make a branch one commit ahead of what is checked out, which adds `files`: name -> content, or a file that has
        it. Neither the index nor a file in the folder changes."""
        with tempfile.TemporaryDirectory() as folder:
            index = Path(folder) / "index"
            self.run("read-tree", "HEAD", index=index)
            for name, content in files.items():
                # Filters run as for a file of this name: Git LFS keeps what the repository gives to it.
                if isinstance(content, Path):
                    written = self.run("hash-object", "-w", "--path", name, str(content))
                else:
                    written = self.run("hash-object", "-w", "--path", name, "--stdin", content=content)
                self.run("update-index", "--add", "--cacheinfo", f"100644,{written},{name}", index=index)
            tree = self.run("write-tree", index=index)
            commit = self.run("commit-tree", tree, "-p", "HEAD", "-F", "-", content=message.encode())
            self.run("update-ref", "-m", "robuststack submit", f"refs/heads/{branch}", commit, "")

    def _done(
        self, arguments: Sequence[str], content: bytes | None, index: Path | None
    ) -> subprocess.CompletedProcess[bytes]:
        environment = {**os.environ, **({"GIT_INDEX_FILE": str(index)} if index else {})}
        command = ["git", "-C", str(self.folder), *arguments]
        try:
            return subprocess.run(command, input=content or b"", capture_output=True, check=False, env=environment)
        except OSError as error:
            raise SubmissionError(f"a submission needs git, which cannot be run: {error}") from None
