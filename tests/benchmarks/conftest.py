"""The table of the comparisons: every benchmark adds its rows, and `--table FILE` writes them when all are done."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path

import pytest
import torch
from tabulate import tabulate

from robuststack import __version__
from robuststack.processor import cpu_name

if not all(importlib.util.find_spec(name) for name in ("art", "foolbox", "pytest_benchmark", "torchattacks")):
    # The extra `bench` is not installed: these comparisons have nobody to compare with.
    collect_ignore_glob = ["test_*.py"]

HEADER = ["by", "seconds", "RA %", "times ours", "of the convolutions' rate", "target"]
INTRODUCTION = """# Benchmarks

Written by `tox -e bench`, each table with the machine below it; a part that is run alone replaces its own tables only. The
sections on clusters and on phases are what `cluster_use.py` and `phases_cost.py` in `tests/benchmarks` print.

Seconds are medians of rounds, in each of which all of a table run in turn in one process. "Times ours" above 1 means slower
than RobustStack, which computes in `precision: auto`; other libraries compute in float32 and get the model in torch's
default layout, as users do. RA is the robust accuracy of the same model on the same images, judged in float32 by the same
code. The convolutions' rate: the time that the network's convolutions take alone, measured in turn with it, divided by that
of the whole.
"""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--table", metavar="FILE", help="Write the comparisons here, as Markdown.")


@dataclass
class Table:
    """Rows, a group for each piece of work. `ratio` is how many times as long as ours it took."""

    groups: dict[str, list[list[str]]] = field(default_factory=dict)

    def add(
        self,
        work: str,
        by: str,
        seconds: float | None,
        *,
        ratio: float | None = None,
        ra: float | None = None,
        share: float | None = None,
        target: str = "",
    ) -> None:
        cells = [by, *("-" if number is None else form.format(number) for number, form in (
            (seconds, "{:.3g}"), (ra, "{:.1f}"), (ratio, "{:.2f}"), (share, "{:.0%}")
        )), target]  # fmt: skip
        self.groups.setdefault(work, []).append(cells)

    def sections(self, machine: str) -> dict[str, str]:
        """Work -> its table under a heading."""
        return {
            work: f"## {work}\n\n{tabulate(rows, HEADER, tablefmt='github', disable_numparse=True)}\n\n{machine}\n"
            for work, rows in self.groups.items()
        }


def merged(before: str, sections: Mapping[str, str]) -> str:
    """A file's text with these sections in place of its own of the same work."""
    kept = {section.partition("\n")[0]: f"## {section.strip()}\n" for section in before.split("\n## ")[1:]}
    return "\n".join([INTRODUCTION, *{**kept, **sections}.values()])


def machine() -> str:
    from workloads import here

    runtime = here()
    card = f", {torch.cuda.get_device_name()}" if torch.cuda.is_available() else ", no GPU"
    return (
        f"{date.today():%Y-%m-%d}, robuststack {__version__}, torch {torch.__version__}, {cpu_name()},"
        f" {torch.get_num_threads()} threads{card}; `precision: auto` is {runtime.precision} here."
    )


@pytest.fixture(scope="session")
def table(request: pytest.FixtureRequest) -> Iterator[Table]:
    rows = Table()
    yield rows
    sections = rows.sections(machine())
    print("\n" + "\n".join(sections.values()))
    path = request.config.getoption("--table", default=None)
    if path and not request.session.testsfailed:
        file = Path(path)
        before = file.read_text(encoding="utf-8") if file.exists() else ""
        file.write_text(merged(before, sections), encoding="utf-8")


@pytest.fixture(scope="session", autouse=True)
def one_process() -> None:
    """What a run sets for its process."""
    from robuststack.running.process_memory import keep_memory

    keep_memory()
