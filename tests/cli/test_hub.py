"""`robuststack export --push-to-hub`, against a stand-in for the hub's HTTP interface that keeps repositories in memory."""

from __future__ import annotations

import base64
import hashlib
import json
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import pytest
import safetensors.torch
import yaml
from huggingface_hub import constants

from robuststack.api.hub import HubError, hub_repository
from robuststack.cli import call
from trained import Trained

JOB = "train-0123456789abcdef"


@dataclass
class Hub:
    """What a hub holds, and whom it knows: bob, who is in the organisation `lab`."""

    endpoint: str = ""
    repositories: dict[str, dict[str, bytes]] = field(default_factory=dict)
    private: set[str] = field(default_factory=set)
    commits: list[str] = field(default_factory=list)
    uploads: dict[str, bytes] = field(default_factory=dict)
    read_only: bool = False
    full: bool = False

    def sha(self, name: str) -> str:
        return hashlib.sha1(repr(sorted(self.repositories[name].items())).encode()).hexdigest()


class Handler(BaseHTTPRequestHandler):
    hub: Hub

    def log_message(self, *_: Any) -> None: ...

    def answer(self, code: int, content: Any = None, **headers: str) -> None:
        body = json.dumps(content if content is not None else {}).encode()
        self.send_response(code)
        for name, value in {"Content-Type": "application/json", "Content-Length": str(len(body)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)

    def body(self) -> bytes:
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def do_GET(self) -> None:
        path = urlparse(self.path).path
        if self.headers.get("Authorization") != "Bearer right":
            return self.answer(401, {"error": "Invalid credentials"})
        if path == "/api/whoami-v2":
            return self.answer(200, {"type": "user", "name": "bob", "orgs": [{"name": "lab"}]})
        name = path.removeprefix("/api/models/")
        files = self.hub.repositories.get(name)
        if files is None:
            return self.answer(404, {"error": "Repository not found"}, X_Error_Code="RepoNotFound")
        head = files.get("README.md", b"").decode().split("---\n")
        told = {"id": name, "sha": self.hub.sha(name), "siblings": [{"rfilename": file} for file in files]}
        return self.answer(200, {**told, **({"cardData": yaml.safe_load(head[1])} if len(head) > 2 else {})})

    def do_POST(self) -> None:
        path, body = urlparse(self.path).path, self.body()
        if path == "/api/repos/create":
            asked = json.loads(body)
            name = f"{asked.get('organization') or 'bob'}/{asked['name']}"
            self.hub.repositories[name] = {".gitattributes": b""}
            if asked.get("private") or asked.get("visibility") == "private":
                self.hub.private.add(name)
            return self.answer(200, {"url": f"{self.hub.endpoint}/{name}"})
        if path == "/api/validate-yaml":
            return self.answer(200, {"warnings": [], "errors": []})
        if path.endswith("/preupload/main"):
            files = [file["path"] for file in json.loads(body)["files"]]
            modes = [{"path": file, "uploadMode": "regular" if file.endswith(".md") else "lfs", "shouldIgnore": False}
                     for file in files]  # fmt: skip
            return self.answer(200, {"files": modes})
        if path.endswith("/objects/batch") and self.hub.full:
            objects = [
                {**asked, "error": {"code": 507, "message": "no space"}} for asked in json.loads(body)["objects"]
            ]
            return self.answer(200, {"transfer": "basic", "objects": objects})
        if path.endswith("/objects/batch"):
            objects = [{**stored, "actions": {"upload": {"href": f"{self.hub.endpoint}/blob/{stored['oid']}"}}}
                       for stored in json.loads(body)["objects"]]  # fmt: skip
            return self.answer(200, {"transfer": "basic", "objects": objects})
        name = path.removeprefix("/api/models/").removesuffix("/commit/main")
        if self.hub.read_only:
            return self.answer(403, {"error": "You don't have the rights"})
        return self.commit(name, [json.loads(line) for line in body.splitlines()])

    def do_PUT(self) -> None:
        self.hub.uploads[self.path.rpartition("/")[2]] = self.body()
        self.answer(200)

    def commit(self, name: str, lines: list[dict[str, Any]]) -> None:
        header, files = lines[0]["value"], self.hub.repositories[name]
        if header.get("parentCommit") not in (None, self.hub.sha(name)):
            return self.answer(412, {"error": "A commit has happened since"})
        for line in lines[1:]:
            value = line["value"]
            if line["key"] == "lfsFile":
                files[value["path"]] = self.hub.uploads[value["oid"]]
            else:
                files[value["path"]] = base64.b64decode(value["content"])
        self.hub.commits.append(header["summary"])
        oid = self.hub.sha(name)
        return self.answer(200, {"commitUrl": f"{self.hub.endpoint}/{name}/commit/{oid}", "commitOid": oid})


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A hub that listens, with bob's token in the environment."""
    held = Hub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("HubHandler", (Handler,), {"hub": held}))
    held.endpoint = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    monkeypatch.setenv("HF_ENDPOINT", held.endpoint)
    monkeypatch.setenv("HF_TOKEN", "right")
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "no-token"))
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)  # The stand-in keeps large files in the older way.
    monkeypatch.chdir(tmp_path)
    yield held
    server.shutdown()
    thread.join()
    server.server_close()


def card(job: str = JOB) -> bytes:
    return f"---\nlibrary_name: robuststack\nrobuststack_job: {job}\n---\n# A model\n".encode()


def test_a_model_and_its_card_are_pushed_and_a_second_point_stands_beside_the_first(hub, trained: Trained, capsys):
    arguments = ["export", trained.job("float"), f"--store={trained.store}", f"--leaderboard={trained.leaderboard}"]
    push = ["--push-to-hub", "lab/float-digits", "--private", "-o", "out/one.safetensors"]
    assert call([*arguments, "--point", "lambda_n=1", *push]) == 0
    told = capsys.readouterr().out.splitlines()
    address = f"{hub.endpoint}/lab/float-digits"
    assert told == ["wrote out/one.safetensors", f"pushed one.safetensors and README.md to {address}"]
    assert hub.private == {"lab/float-digits"}
    assert hub.commits == ["tradeoff/resnet8/float lambda_n=1 lambda_th=0"]
    files = hub.repositories["lab/float-digits"]
    assert files["one.safetensors"] == Path("out/one.safetensors").read_bytes()
    assert "stem.weight" in safetensors.torch.load(files["one.safetensors"])
    assert call(["card", trained.job("float"), "-o", "card.md", f"--leaderboard={trained.leaderboard}"]) == 0
    assert files["README.md"] == Path("card.md").read_bytes()
    assert (
        call([*arguments, "--point", "lambda_n=0", "--push-to-hub", "lab/float-digits", "-o", "two.safetensors"]) == 0
    )
    assert files.keys() == {".gitattributes", "README.md", "one.safetensors", "two.safetensors"}


def test_a_name_without_an_owner_is_of_the_user(hub):
    repository = hub_repository("digits", JOB)
    assert (repository.name, repository.commit) == ("bob/digits", None)
    assert repository.push({"README.md": card()}, "first") == f"{hub.endpoint}/bob/digits"
    assert hub.repositories["bob/digits"]["README.md"] == card()
    assert hub_repository("digits", JOB).commit == hub.sha("bob/digits")


def test_an_empty_repository_is_filled(hub):
    hub.repositories["bob/empty"] = {".gitattributes": b""}
    hub_repository("bob/empty", JOB).push({"README.md": card()}, "first")
    assert hub.commits == ["first"]


def refusal(name: str) -> str:
    with pytest.raises(HubError) as caught:
        hub_repository(name, JOB).push({"README.md": card()}, "message")
    (line,) = str(caught.value).splitlines()
    return line


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("alice/digits", "--push-to-hub alice/digits: alice is not you on {hub}; the token is of bob, lab"),
        ("bob/other", "--push-to-hub bob/other: it exists and holds files that are not of this model, README.md, a.bin,"
                      " b.bin and 1 more: choose another name"),
        ("bob/float", "--push-to-hub bob/float: it holds the model of train-fff already: choose another name"),
        ("a/b/c", "--push-to-hub a/b/c: write OWNER/NAME; "),
        ("bob/with blank", "--push-to-hub bob/with blank: write OWNER/NAME; "),
    ],
)  # fmt: skip
def test_a_name_that_cannot_be_taken_is_one_line_and_nothing_is_sent(hub, name, message):
    hub.repositories["bob/other"] = {"README.md": b"# Mine", "a.bin": b"", "b.bin": b"", "c.bin": b""}
    hub.repositories["bob/float"] = {"README.md": card("train-fff")}
    assert refusal(name).startswith(message.format(hub=hub.endpoint))
    assert hub.commits == []


def test_a_token_that_is_absent_wrong_or_may_not_write_is_one_line(hub, monkeypatch):
    hub.read_only = True
    assert refusal("bob/new") == (f"--push-to-hub: {hub.endpoint} forbids it: the token may not write there (HTTP 403)")
    monkeypatch.setenv("HF_TOKEN", "wrong")
    assert refusal("bob/new") == f"--push-to-hub: {hub.endpoint} does not accept the token (HTTP 401)"
    monkeypatch.delenv("HF_TOKEN")
    assert refusal("bob/new") == (
        f"--push-to-hub: there is no token for {hub.endpoint}: run `hf auth login`, or set HF_TOKEN"
    )


def test_a_commit_of_somebody_else_in_between_is_not_written_over(hub):
    hub.repositories["bob/digits"] = {"README.md": card()}
    repository = hub_repository("bob/digits", JOB)
    hub.repositories["bob/digits"]["theirs.bin"] = b""
    with pytest.raises(
        HubError, match=r"has a newer commit than a moment ago; run the same command again \(HTTP 412\)"
    ):
        repository.push({"README.md": card()}, "late")


def test_a_hub_that_has_no_room_for_the_weights_is_one_line_and_nothing_is_committed(hub):
    hub.full = True
    with pytest.raises(HubError, match=r"took nothing: ValueError: .*no space") as caught:
        hub_repository("digits", JOB).push({"a.safetensors": b"weights", "README.md": card()}, "first")
    assert "\n" not in str(caught.value)
    assert hub.commits == []


def test_without_a_network_it_is_one_line(hub, monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    assert refusal("bob/new").startswith("--push-to-hub: http://127.0.0.1:9 cannot be reached: ")


def test_without_the_package_the_way_to_get_it_is_named(hub, monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    line = refusal("bob/new")
    assert line.startswith("--push-to-hub needs the package huggingface_hub 1.0 or later (")
    assert line.endswith("): python -m pip install 'robuststack[hub]'")


def test_a_model_without_a_leaderboard_or_a_name_is_refused_before_it_is_written(hub, trained: Trained, capsys):
    arguments = ["export", trained.job("none"), f"--store={trained.store}"]
    assert call([*arguments, "--push-to-hub", "bob/new", "--leaderboard", "nowhere"]) == 2
    assert "no leaderboard in nowhere scores a model of a train job" in capsys.readouterr().err
    assert call([*arguments, "--private"]) == 2
    assert "--private is for --push-to-hub OWNER/NAME" in capsys.readouterr().err
    assert not list(Path.cwd().iterdir())
    assert hub.repositories == {}
