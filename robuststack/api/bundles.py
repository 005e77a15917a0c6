"""Put what is behind a leaderboard into one file, and check such a file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from robuststack.api.arguments import PLACE, REGISTRY, checked, of_types
from robuststack.errors import RobustStackError
from robuststack.evidence.bundle.making import gather, write_bundle
from robuststack.evidence.bundle.verification import Verification
from robuststack.evidence.bundle.verify import verify_bundle
from robuststack.paths import LEADERBOARD, STORE, absolute, data_folder, expanded
from robuststack.plugin.registry import Registry
from robuststack.running.store import Store

ENDING = ".bundle"


@dataclass(frozen=True)
class BundleFile:
    """A bundle that was written."""

    path: Path
    sha256: str
    """The hash of the file: a paper can print it."""


@checked(
    target=of_types("a suite's file, or a leaderboard's file or name", str, Path), output=PLACE.or_none(), store=PLACE,
    leaderboard=PLACE, registry=REGISTRY,
)  # fmt: skip
def bundle(
    target: str | Path,
    output: str | Path | None = None,
    *,
    weights: bool = False,
    store: str | Path = STORE,
    leaderboard: str | Path = LEADERBOARD,
    registry: Registry | None = None,
) -> BundleFile:
    """Write all that is behind a leaderboard into one file, which others can check with `verify`.

    `target` is a suite's file, the JSON file of a leaderboard, or the name that it has in the folder `leaderboard`. The
    jobs come from `store`; `output` is `<suite>.bundle` in the working directory unless it is named. With `weights` the
    trained models are in it too.

    Raises:
        RobustStackError: there is no such leaderboard, or the store lacks jobs or images behind it.
    """
    registry = registry or Registry()
    contents = gather(target, absolute(leaderboard), Store(store, create=False), registry, weights=weights)
    path = expanded(output or f"{contents.board.suite}{ENDING}")
    return BundleFile(path, write_bundle(contents, path, registry, data_folder()))


@checked(file=PLACE, data=PLACE.or_none(), board=PLACE.or_none(), registry=REGISTRY)
def verify(
    file: str | Path, *, data: str | Path | None = None, device: str = "auto", board: str | Path | None = None,
    registry: Registry | None = None,
) -> Verification:  # fmt: skip
    """Check a bundle: every hash, every figure of its leaderboard from its labels, its images against the data and, if it
    has the weights, 5 % of the images judged again.

    `data` is the folder of downloaded data sets, and of the author's own by the names of their files; without it, only data
    sets that RobustStack brings or has downloaded before are there. `board` is a leaderboard file that must say what the
    leaderboard in the bundle says.

    Raises:
        RobustStackError: `data` is no folder.
        LeaderboardError: `board` is no leaderboard.
        BundleError: the file is no bundle, is truncated, or a member of it was changed.
    """
    folder = None if data is None else absolute(data)
    if folder and not folder.is_dir():
        raise RobustStackError(f"data {data}: no such folder")
    return verify_bundle(
        expanded(file), registry or Registry(), folder or data_folder(), own_data=folder, device=device,
        board=None if board is None else expanded(board),
    )  # fmt: skip
