"""A trained model and its card, pushed to a model hub that speaks the Hugging Face interface (`HF_ENDPOINT` names it)."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from robuststack.errors import RobustStackError
from robuststack.leaderboard.model_card import HUB_JOB

if TYPE_CHECKING:
    from huggingface_hub import HfApi

CARD = "README.md"
"""What hubs call a model's card."""
SHOWN = 3
"""How many foreign files a refusal names."""


class HubError(RobustStackError):
    """What cannot be pushed, and why."""


@dataclass(frozen=True)
class HubRepository:
    """A place on a hub that may take a model: it is free, empty, or holds files of the same train job."""

    api: HfApi
    name: str
    """`OWNER/NAME`."""
    commit: str | None
    """Its last commit; None if the repository is not there yet."""

    def push(self, files: Mapping[str, bytes], message: str, *, private: bool = False) -> str:
        """Commit files, by their names, in one commit -> the address of the repository, which is made if it is not there.

        Raises:
            HubError: the hub refuses, cannot be reached, or somebody else has committed since.
        """
        from huggingface_hub import CommitOperationAdd

        with told(self.api):
            if self.commit is None:
                self.api.create_repo(self.name, private=private)
            operations = [CommitOperationAdd(name, content) for name, content in files.items()]
            self.api.create_commit(self.name, operations, commit_message=message, parent_commit=self.commit)
        return f"{self.api.endpoint}/{self.name}"


def hub_repository(name: str, job: str) -> HubRepository:
    """The repository `OWNER/NAME`, or `NAME` of the user whose token is here, for the model of a train job.

    Everything that can be wrong is asked before anything is computed or sent.

    Raises:
        HubError: the package or the token is absent, the hub cannot be reached, the name is impossible, is another's, or
            is that of a repository with other files.
    """
    try:
        from huggingface_hub import HfApi, get_token
        from huggingface_hub.errors import RepositoryNotFoundError
        from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]
    except ImportError as error:
        raise HubError(
            f"--push-to-hub needs the package huggingface_hub 1.0 or later ({error}):"
            " python -m pip install 'robuststack[hub]'"
        ) from None
    try:
        validate_repo_id(name)
    except ValueError as error:
        raise HubError(f"--push-to-hub {name}: write OWNER/NAME; {_line(error)}") from None
    api = HfApi(endpoint=(os.environ.get("HF_ENDPOINT") or "").rstrip("/") or None)
    if get_token() is None:
        raise HubError(f"--push-to-hub: there is no token for {api.endpoint}: run `hf auth login`, or set HF_TOKEN")
    with told(api):
        user = api.whoami()
    whole = name if "/" in name else f"{user['name']}/{name}"
    owner = whole.partition("/")[0]
    owners = [user["name"], *(group["name"] for group in user.get("orgs", ()))]
    if owner not in owners:
        raise HubError(
            f"--push-to-hub {name}: {owner} is not you on {api.endpoint}; the token is of {', '.join(owners)}"
        )
    with told(api):
        try:
            there = api.model_info(whole)
        except RepositoryNotFoundError:
            return HubRepository(api, whole, None)
    _refuse_another(there, whole, job)
    return HubRepository(api, whole, there.sha)


def _refuse_another(there: Any, name: str, job: str) -> None:
    """Raises HubError if the repository holds anything but the files of this train job."""
    files = [file.rfilename for file in there.siblings or () if file.rfilename != ".gitattributes"]
    card = there.card_data
    carded = None if card is None else card.get(HUB_JOB)
    if not files or carded == job:
        return
    if carded is not None:
        raise HubError(f"--push-to-hub {name}: it holds the model of {carded} already: choose another name")
    more = f" and {len(files) - SHOWN} more" if len(files) > SHOWN else ""
    raise HubError(
        f"--push-to-hub {name}: it exists and holds files that are not of this model, {', '.join(files[:SHOWN])}{more}:"
        " choose another name"
    )


@contextmanager
def told(api: HfApi) -> Iterator[None]:
    """What a hub answers, and that it does not, as one line."""
    from huggingface_hub.errors import HfHubHTTPError

    transport: Any = HfHubHTTPError.__mro__[1]  # Of the HTTP library, which differs from version to version.
    try:
        yield
    except HfHubHTTPError as error:
        code = error.response.status_code
        reason = {
            401: "does not accept the token",
            403: "forbids it: the token may not write there",
            412: "has a newer commit than a moment ago; run the same command again",
        }.get(code, f"refuses: {_line(error.server_message or error)}")
        raise HubError(f"--push-to-hub: {api.endpoint} {reason} (HTTP {code})") from error
    except (transport, OSError) as error:
        raise HubError(
            f"--push-to-hub: {api.endpoint} cannot be reached: {_line(error) or type(error).__name__}"
        ) from error
    except Exception as error:  # The packages that send large files raise what they like, such as ValueError.
        raise HubError(f"--push-to-hub: {api.endpoint} took nothing: {type(error).__name__}: {_line(error)}") from error


def _line(error: object) -> str:
    """An error's first lines: a heading goes with what stands below it."""
    lines = str(error).strip().splitlines() or [""]
    return " ".join(lines[: 1 + lines[0].endswith(":")])
