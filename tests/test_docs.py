"""The documentation: its examples run, its reference is whole, and the site is built from both."""

from __future__ import annotations

import heapq
import importlib
import importlib.util
import json
import math
import re
import shlex
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import click
import pytest
import yaml

import robuststack as rs
from robuststack.cli import COMMANDS, call
from robuststack.evidence.checks.catalogue import CHECKS
from robuststack.hardware import Hardware
from robuststack.leaderboard.row import Row
from robuststack.plan.job import Job
from robuststack.plan.planner import make_plan
from robuststack.plugin import hookspecs
from robuststack.plugin.registry import Registration, Registry
from robuststack.suite.loading import load_suite
from robuststack.suite.suite import Suite

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
GUIDES = sorted((DOCS / "guides").glob("*.md"))
FILE = re.compile(r"^`(\S+)`:\n\n```\w+\n(.*?)```", re.DOTALL | re.MULTILINE)
"""A file's name on a line of its own, and its text."""
FRAGMENT = re.compile(r"(?<!`:\n\n)```yaml\n(.*?)```", re.DOTALL)
BASE = """
datasets: digits
architectures: resnet8
defenses: [none, float]
attacks: fgsm
"""

spec = importlib.util.spec_from_file_location("reference", DOCS / "reference.py")
assert spec is not None
assert spec.loader is not None
reference = importlib.util.module_from_spec(spec)
spec.loader.exec_module(reference)


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """A folder for the files of a guide, whose plugin is found as that of an installed package."""
    before = set(sys.modules)

    def install(files: dict[str, str]) -> Path:
        for name, text in files.items():
            (tmp_path / name).write_text(text)
        (plugin,) = [name.removesuffix(".py") for name, text in files.items() if "@rs.hookimpl" in text]
        info = tmp_path / f"{plugin}-1.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {plugin}\nVersion: 1\n")
        (info / "entry_points.txt").write_text(f"[robuststack]\n{plugin} = {plugin}\n")
        monkeypatch.syspath_prepend(tmp_path)
        monkeypatch.chdir(tmp_path)
        return tmp_path

    yield install
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", "")).startswith(str(tmp_path)):
            del sys.modules[name]


@pytest.mark.parametrize(
    "guide", [guide for guide in GUIDES if FILE.search(guide.read_text())], ids=lambda guide: guide.stem
)
def test_the_example_of_a_guide_passes_its_test_and_runs_its_suite(guide, installed, capsys):
    text = guide.read_text(encoding="utf-8")
    files = dict(FILE.findall(text))
    assert text.count("```python") + text.count("```yaml") == len(files), "every block of the guide is run"
    folder = installed(files)
    (test,) = [name for name in files if name.startswith("test_")]
    options = ["-q", "-p", "no:cacheprovider", "-p", "no:timeout", "-W", "ignore", "-c", str(folder / "none.ini")]
    (folder / "none.ini").write_text("[pytest]\n")
    assert pytest.main([*options, str(folder / test)]) == 0, capsys.readouterr().out
    assert call(["run", "suite.yaml", "--device", "cpu"]) == 0, capsys.readouterr().err
    for name, text in files.items():
        assert max(map(len, text.splitlines())) <= 120, f"a line of {name} is too wide for the page"


def test_there_is_a_guide_with_an_example_for_every_kind_of_plugin():
    text = {guide.stem: guide.read_text() for guide in GUIDES}
    for kind in ("defense", "attack", "architecture", "dataset"):
        assert f"def register_{kind}(" in text[kind]
    assert {"hooks", "testing"} <= text.keys()


@pytest.mark.parametrize(
    ("guide", "above", "package"),
    [
        ("defense", "is in `robuststack.layers`:", "robuststack.layers"),
        ("attack", "Other tools:", "robuststack.attacks"),
    ],
)
def test_the_tools_that_a_guide_lists_are_there(guide, above, package):
    table = (DOCS / "guides" / f"{guide}.md").read_text(encoding="utf-8").partition(f"{above}\n\n")[2]
    cells = [line.split("|")[1] for line in table.partition("\n\n")[0].splitlines()]
    names = [name for cell in cells for name in re.findall(r"`([\w.]+)`", cell)]
    assert len(names) > 10
    for name in names:
        module, _, attribute = f"{package}.{name}".rpartition(".")
        assert hasattr(importlib.import_module(module), attribute), f"{guide}.md lists {name}, which is not there"


@pytest.mark.parametrize("page", sorted(DOCS.rglob("*.md")), ids=lambda page: page.stem)
def test_the_parts_of_suites_it_shows_are_valid(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for file in ("mymodels.py", "weights.pt"):
        (tmp_path / file).write_text("def make(): ...")
    for fragment in FRAGMENT.findall(page.read_text(encoding="utf-8")):
        path = tmp_path / "shown.yaml"
        path.write_text(yaml.safe_dump({**yaml.safe_load(BASE), **yaml.safe_load(fragment)}))
        assert make_plan(load_suite(path), Registry(), Hardware("cpu", "float32")).rows


def test_the_file_of_labels_is_as_it_is_described(monkeypatch):
    monkeypatch.chdir(ROOT)
    blocks = re.findall(r"```python\n(.*?)```", (DOCS / "labels.md").read_text(encoding="utf-8"), re.DOTALL)
    names: dict[str, Any] = {}
    exec(blocks[0], names)
    row, judged = names["row"], names["judged"]
    assert judged.labels.shape == (row.draws, row.n)
    assert judged.labels.dtype.kind == judged.truth.dtype.kind == "i"
    exec(blocks[1], names)
    assert (names["right"] == names["labels"][names["job"]].correct).all()
    assert names["selections"].keys() == names["labels"].keys()


def test_two_rows_are_compared_as_it_is_described(monkeypatch, capsys):
    text = (DOCS / "compare.md").read_text(encoding="utf-8")
    monkeypatch.chdir(ROOT)
    names: dict[str, Any] = {}
    (block,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    exec(block, names)
    assert names["result"].figures[-1].figure == "RA worst"
    command = next(line for line in text.splitlines() if "compare float_vs_oat" in line)
    capsys.readouterr()
    assert call(shlex.split(command)[1:]) == 0
    assert names["result"].first in capsys.readouterr().out


def test_what_a_suite_of_the_paper_needs_is_what_its_plan_says():
    """Jobs by kind, passes of an image (1,024 pixels) through the network, and the hours of cards at an assumed rate."""
    page = " ".join((DOCS / "cluster.md").read_text().split())
    suite = load_suite(ROOT / "suites" / "paper" / "fig07.yaml")
    plan = make_plan(suite, Registry(), Hardware("cpu", "float32")).only("cifar10/resnet34*")
    kinds = Counter(job.kind for job in plan.jobs)
    assert (
        f"{kinds['train']} trainings of 200 epochs, {kinds['attack']} attacks and {kinds['judge']} judge jobs" in page
    )
    assert f"and {kinds['measure']} jobs that are timed" in page
    passes = sum(job.work for job in plan.jobs) / 1024
    assert f"{passes / 1e9:.1f} billion passes" in page
    hours = passes / 10_000 / 3600
    training = [job.work / 1024 for job in plan.jobs if job.kind == "train"]
    assert f"{100 * sum(training) / passes:.0f} % of them are training" in page
    assert f"the longest is {100 * max(training) / passes:.1f} % of the whole" in page
    for cards in (1, 8, 64):
        end = hours_until_the_end(plan.jobs, cards, passes_a_second=10_000)
        in_use = f"{hours / end:.1f}" if 1 < cards < 10 else f"{hours / end:.0f}"
        assert f"| {cards} | {hours:.0f} | {end:.0f} | {in_use} |" in page
    assert f"More than about {math.ceil(passes / max(training))} cards are of no use" in page


def hours_until_the_end(jobs: Sequence[Job], cards: int, passes_a_second: float) -> float:
    """With each job on the card that is free first: the trainings, those with most work first, then what they are for."""
    free, over = [0.0] * cards, dict[str, float]()
    for job in sorted(jobs, key=lambda job: (job.kind != "train", -job.work if job.kind == "train" else 0)):
        start = max([heapq.heappop(free), *(over[need] for need in job.needs)])
        over[job.id] = start + job.work / 1024 / passes_a_second / 3600
        heapq.heappush(free, over[job.id])
    return max(over.values())


def test_every_key_of_a_row_is_explained():
    text = (DOCS / "read-a-row.md").read_text(encoding="utf-8")
    keys = [key for key in Row.model_fields if f"`{key}`" not in text]
    assert not keys, f"docs/read-a-row.md does not explain {', '.join(keys)}"


def test_every_variable_of_the_environment_is_explained():
    sources = (path.read_text(encoding="utf-8") for path in (ROOT / "robuststack").rglob("*.py"))
    names = {name for source in sources for name in re.findall(r"\"((?:ROBUSTSTACK|XDG)_\w+)\"", source)}
    assert "ROBUSTSTACK_DATA" in names
    page = (DOCS / "index.md").read_text(encoding="utf-8")
    assert [name for name in sorted(names) if f"`{name}`" not in page] == []


# The reference


def test_nothing_that_users_write_is_undocumented():
    assert reference.undocumented() == []


def test_what_the_pages_have_from_the_code_is_up_to_date():
    for path, text in reference.written().items():
        assert path.read_text(encoding="utf-8") == text, (
            f"{path.name} is not what the code says: python docs/reference.py"
        )


def test_a_place_that_a_page_lacks_is_named():
    assert reference.filled("a\n<!-- x -->\nold\n<!-- end -->\nb\n", {"x": "new"}) == (
        "a\n<!-- x -->\n\nnew\n\n<!-- end -->\nb\n"
    )
    with pytest.raises(AssertionError, match="there is no place 'y'"):
        reference.filled("a\n", {"y": "new"})


def test_the_reference_names_every_hook_key_option_and_command():
    pages = reference.pages()
    hooks = [name for name, function in vars(hookspecs).items() if hasattr(function, "robuststack_spec")]
    assert len(hooks) >= 13
    assert all(f"## {name}\n" in pages["reference/hooks.md"] for name in hooks)
    assert all(f"`{name}`" in pages["reference/suite.md"] for name in Suite.model_fields)
    assert all(f"`{name}`" in pages["reference/suite.md"] for name in ("datasets.threat", "milestones", "keep_images"))
    assert all(f"## {name}\n" in pages["reference/commands.md"] for name in [*COMMANDS, "leaderboard compare"])
    assert "`--track WHERE`" in pages["reference/commands.md"]
    for registration in Registry():
        if registration.distribution == "robuststack":
            assert f"### {registration.kind} {registration.name}\n" in pages["reference/components.md"]
    assert "`lambda_th`" in pages["reference/components.md"]
    assert "**`training_step(step: TrainStep) -> None`**" in pages["reference/contracts.md"]


def test_a_hook_without_a_description_is_found():
    module = ModuleType("hooks")
    module.silent = hookspecs.hookspec(lambda rows: None)
    module.described = hookspecs.rows_ready
    assert reference.undescribed_hooks(module) == ["hook silent"]


def test_a_suite_key_without_a_description_is_found():
    class Inner(rs.Options):
        quiet: int = 1

    class Outer(rs.Options):
        inner: Inner = rs.option(Inner(), "A part.")

    assert reference.undescribed_keys(Outer) == ["suite key inner.quiet"]


class Silent(rs.Defense):
    class Options(rs.Options):
        beta: float = 1.0

    class Knobs(rs.Options):
        knob: float = 1.0


def test_an_option_without_a_description_is_found(monkeypatch):
    monkeypatch.setitem(sys.modules, "silent", ModuleType("silent"))
    sys.modules["silent"].Silent = Silent
    registration = Registration("defense", "silent", "silent:Silent", "p", "d", "1")
    expected = ["defense silent", "defense silent, option beta", "defense silent, knob knob"]
    assert reference.undescribed_options([registration]) == expected


def test_a_command_without_a_description_is_found():
    @click.command
    @click.option("--quiet")
    def silent():
        pass

    assert reference.undescribed_commands([("silent", silent)]) == ["command silent", "command silent, option --quiet"]


def test_the_site_does_not_build_with_a_hole_in_it(monkeypatch):
    monkeypatch.setattr(reference, "undocumented", lambda: ["hook silent"])
    with pytest.raises(reference.BuildError, match="not documented: hook silent"):
        reference.on_files([], None)


# The site


def test_the_site_builds_strictly_and_asks_no_other_site_for_anything(tmp_path):
    from mkdocs.commands.build import build
    from mkdocs.config import load_config

    config = load_config(str(ROOT / "mkdocs.yml"), site_dir=str(tmp_path / "site"), strict=True)
    build(config)
    pages = list((tmp_path / "site").rglob("*.html"))
    assert len(pages) >= 14
    loaded = re.compile(r'<(?:link|script|img)[^>]+(?:href|src)="(https?:)?//', re.IGNORECASE)
    for page in pages:
        assert not loaded.search(page.read_text(encoding="utf-8")), f"{page.name} loads from another site"
    row = (tmp_path / "site" / "read-a-row.html").read_text(encoding="utf-8")
    assert "RA worst %" in row
    audit = (tmp_path / "site" / "audit.html").read_text(encoding="utf-8")
    assert all(f"<code>{check.name}</code>" in audit for check in CHECKS)
    assert (tmp_path / "site" / "leaderboard" / "site" / "data" / "float_vs_oat.js").is_file()
    assert "leaderboard/index.html" in (tmp_path / "site" / "index.html").read_text(encoding="utf-8")
    searched = json.loads((tmp_path / "site" / "search" / "search_index.json").read_text(encoding="utf-8"))
    assert {"audit.html", "reference/suite.html"} <= {page["location"] for page in searched["docs"]}
