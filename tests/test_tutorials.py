"""The tutorials, followed from top to bottom: files are written, commands and Python are run, and what a page shows of
their output is what they print."""

from __future__ import annotations

import contextlib
import io
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click
import pytest

from robuststack.cli import call, commands

ROOT = Path(__file__).parent.parent
PAGES = sorted((ROOT / "docs" / "tutorials").glob("*.md"))
BLOCK = re.compile(
    r"^(?:`(?P<file>\S+)`:\n\n)?```(?P<kind>\w+)\n(?P<text>(?:.*\n)*?)```$|(?P<commands>(?:^    \S.*\n)+)", re.MULTILINE
)
NUMBER = re.compile(r"[+-]?\d[\d,.]*(?:e-?\d+)?")
EXACT = {"compare-two-defenses"}
"""Pages that show figures of a committed leaderboard; on the others they depend on the processor."""
FORMULA = "    BCE("
"""What is indented like a command and is none."""
SHORTER = {
    "write-a-defense": ["train.epochs=1", "train.batch_size=1100", "evaluate.limit=40", "seeds=[0,1]"],
    "run-on-a-cluster": ["train.epochs=1"],
}
"""What is set when a suite of the page is run here."""


def masked(line: str) -> str:
    """A line without its numbers, how many there are in a row, and the widths of columns."""
    line = NUMBER.sub("#", re.sub(r"-{2,}", "-", line))
    return re.sub(r"#( #)+", "#", re.sub(r"\s+", " ", line)).strip()


def shows(text: str, output: str, *, exact: bool) -> None:
    """Each line of what a page shows is a line of the output, in this order; `...` stands for lines between.

    Raises:
        AssertionError: a line is not there; it names what was printed.
    """
    norm = str.rstrip if exact else masked
    printed = iter([norm(line) for line in output.splitlines()])
    for line in text.splitlines():
        if line != "...":
            assert any(norm(line) in candidate for candidate in printed), (
                f"no line {line!r} here, in this order:\n{output}"
            )


@dataclass
class Reader:
    """Somebody who types what a page says, in a folder with the leaderboards and suites of a clone."""

    page: str
    folder: Path
    monkeypatch: pytest.MonkeyPatch
    names: dict[str, Any] = field(default_factory=lambda: {"__name__": "tutorial"})
    output: str = ""
    ran: list[str] = field(default_factory=list)

    def follow(self, text: str) -> None:
        for block in BLOCK.finditer(text):
            kind, content = block["kind"], block["text"]
            if block["commands"]:
                for line in block["commands"].splitlines():
                    if not line.startswith(FORMULA):
                        self.output = self.printed(lambda line=line: self.type(shlex.split(line)))
                        self.ran.append(line)
            elif block["file"]:
                (self.folder / block["file"]).write_text(content)
            elif kind == "python":
                self.output = self.printed(lambda code=content: exec(compile(code, self.page, "exec"), self.names))
                self.ran.append(content)
            elif kind == "text":
                shows(content, self.output, exact=self.page in EXACT)

    def printed(self, act: Any) -> str:
        with contextlib.redirect_stdout(io.StringIO()) as output:
            act()
        return output.getvalue()

    def type(self, words: list[str]) -> None:
        """Run a command, or as much of it as is quick and needs no network."""
        match words:
            case ["robuststack", *arguments]:
                self.robuststack(arguments)
            case ["python", "-m", "pip", "install", "-e", target]:
                self.install(self.folder / target.partition("[")[0])
            case ["python", "-m", "pip", "install", target]:
                assert re.fullmatch(r"\.|robuststack(\[\w+\])?", target)
            case ["pytest", package]:
                # The last test of the package trains on its suite; tests/plugin/test_edited_templates.py runs that one.
                options = ["-q", "-p", "no:cacheprovider", "-p", "no:timeout", "-W", "ignore", "-k", "at_every_point"]
                configured = str(self.folder / package / "pyproject.toml")
                assert pytest.main([*options, "-c", configured, str(self.folder / package)]) == 0
            case ["ray", name, *arguments]:
                ray_takes(name, arguments)
            case ["ssh", _, line]:
                self.type(shlex.split(line))
            case ["sbatch", script, suite]:
                self.batch(script, suite)
            case _:
                raise AssertionError(f"the test of tutorials does not know {shlex.join(words)}")

    def robuststack(self, arguments: list[str]) -> None:
        name, *rest = arguments
        if name == "audit" or "--executor" in rest:
            understood(name, rest)  # Minutes, or a cluster: tests/running has one.
            assert (self.folder / rest[0]).is_file()
        elif name == "run" and rest[0].startswith("suites/"):
            assert call(list(dict.fromkeys([*arguments, "--dry-run"]))) == 0
        elif name == "run":
            assert call([*arguments, *(f"--set={change}" for change in SHORTER[self.page]), "--device=cpu"]) == 0
        else:
            assert call(arguments) == 0

    def install(self, package: Path) -> None:
        """The package is found as an installed one, by the entry points that it declares."""
        project = tomllib.loads((package / "pyproject.toml").read_text())["project"]
        info = package / f"{project['name'].replace('-', '_')}-1.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: 1\n")
        points = project["entry-points"]["robuststack"]
        (info / "entry_points.txt").write_text("\n".join(["[robuststack]", *(f"{k} = {v}" for k, v in points.items())]))
        self.monkeypatch.syspath_prepend(package)

    def batch(self, script: str, suite: str) -> None:
        """The file that the page sends its reader to is one that bash understands, and ends in a command that is right."""
        (text,) = re.findall(r"```bash\n(#!.*?)```", (ROOT / "docs" / "cluster.md").read_text(), re.DOTALL)
        assert "#SBATCH" in text
        assert f"sbatch {script} SUITE" in text
        subprocess.run(["bash", "-n"], input=text, text=True, check=True)
        last = text.splitlines()[-1].replace("$suite", suite).replace("$head:$port", "node1:6379")
        self.type(shlex.split(last))


def understood(name: str, arguments: list[str]) -> None:
    command = commands.get_command(click.Context(commands), name)
    assert command is not None
    command.make_context(name, [*arguments])


def ray_takes(name: str, arguments: list[str]) -> None:
    scripts = pytest.importorskip("ray.scripts.scripts", reason="the extra `ray` is not installed")
    scripts.cli.commands[name].make_context(name, [*arguments])


@pytest.fixture
def reader(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Reader]:
    """A reader of the page whose name is the parameter; what they import is forgotten afterwards."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "leaderboard").mkdir()
    for file in [*(ROOT / "leaderboard").glob("*.json"), *(ROOT / "leaderboard").glob("*.safetensors")]:
        shutil.copy(file, tmp_path / "leaderboard")
    (tmp_path / "suites").symlink_to(ROOT / "suites")
    before = set(sys.modules)
    yield Reader(request.param, tmp_path, monkeypatch)
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", "")).startswith(str(tmp_path)):
            del sys.modules[name]


@pytest.mark.parametrize("reader", [page.stem for page in PAGES], indirect=True)
def test_a_tutorial_works_from_top_to_bottom(reader: Reader) -> None:
    reader.follow((ROOT / "docs" / "tutorials" / f"{reader.page}.md").read_text(encoding="utf-8"))
    assert reader.ran


def test_each_tutorial_is_in_the_navigation_and_on_the_first_page() -> None:
    navigation, start = (ROOT / "mkdocs.yml").read_text(), (ROOT / "docs" / "index.md").read_text()
    for page in PAGES:
        assert f": tutorials/{page.name}\n" in navigation
        assert f"(tutorials/{page.name})" in start


@pytest.mark.parametrize("reader", ["compare-two-defenses"], indirect=True)
@pytest.mark.parametrize(
    "page",
    [
        "    robuststack list --nothing\n",
        "    make everything\n",
        "    ray start --nothing\n",
        "    robuststack audit suites/nothing.yaml\n",
        "```python\nprint('undecided')\n```\n\n```text\nbetter\n```\n",
        "```python\nprint('RA 1.5')\n```\n\n```text\nRA 1.6\n```\n",
        "```python\nprint('a', 'b', sep='\\n')\n```\n\n```text\nb\n...\na\n```\n",
    ],
)
def test_a_tutorial_that_is_wrong_is_found(reader: Reader, page: str) -> None:
    with pytest.raises((AssertionError, click.ClickException)):
        reader.follow(page)


def test_what_depends_on_the_processor_is_not_compared() -> None:
    shows("RA  45.6 [39.4, 51.8]  undecided", "RA 7 [1, 12]   undecided", exact=False)
    with pytest.raises(AssertionError):
        shows("RA  45.6 [39.4, 51.8]  undecided", "RA 7 [1, 12]   better", exact=False)
