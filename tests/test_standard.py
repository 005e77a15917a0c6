"""The standard, docs/standard.md: every number in it is that of the code, and every check is in it; CITATION.cff."""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping
from pathlib import Path

import pytest
import yaml

import robuststack as rs
from robuststack.attacks.attacked_model import ROUNDING
from robuststack.engine.fitted import AGREEMENT
from robuststack.engine.model_check import QUANTISED
from robuststack.evidence.checks import stochastic
from robuststack.evidence.checks.catalogue import CHECKS
from robuststack.evidence.checks.verdict import SEVERITY
from robuststack.evidence.readings import Reading, default_draws
from robuststack.plugin.registry import Registry
from robuststack.suite.suite import Evaluate

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "robuststack"
STANDARD = (ROOT / "docs" / "standard.md").read_text(encoding="utf-8")
CITATION = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))

Numbers = tuple[float, ...]
STATED = {
    "evidence/decisions.FALL": ("above {:g} point with p", 100),
    "evidence/decisions.FIRES": ("with p < {:g}, and", 1),
    "evidence/decisions.CONFIRMS": ("and p < {:g} on up to", 1),
    "evidence/decisions.HOLDS": ("upper limit of D is at most {:g} points", 100),
    "evidence/decisions.DRAWN_AGAIN": ("by more than the {:.1f} % interval of the draws alone", 100),
    "evidence/draws.IMAGES": ("{:g} images of the row, or all if there are fewer", 1),
    "evidence/draws.CAP": ("up to {:g} draws from the same start", 1),
    "evidence/draws.ENOUGH": ("both at most {:g} point", 100),
    "evidence/draws.LEVEL": ("the one-sided {:g} % upper limits", 100),
    "evidence/figures.Z": ("z = {:.2f}", 1),
    "evidence/figures.FEW_SEEDS": ("With 2 to {:g} seeds", 1),
    "evidence/game.ENOUGH": ("falls by less than {:g} points", 100),
    "evidence/game.MOST_ROUNDS": ("after {:g} rounds", 1),
    "evidence/overfitting.APART": ("under FGSM is at least {:g}", 1),
    "evidence/overfitting.ANSWERED": ("at least {:g} points above", 1),
    "evidence/overfitting.ROBUST": ("best one before, of {:g} % or more", 1),
    "evidence/overfitting.LEFT": ("PGD-10 is at most {:g} % of the best", 100),
    "evidence/proportions.LEVEL": ("The {:g} % interval of a figure", 100),
    "evidence/redrawn_front.REDRAWN": ("{:,} redrawn fronts", 1),
    "evidence/bundle/derived.LAST_DIGIT": ("if they differ by at most {:g};", 1),
    "evidence/bundle/judging_again.SHARE": ("at least {:g} % of the images of each judge job", 100),
    "evidence/checks/binary.FOUND": ("images found is below {:g} %; open", 1),
    "evidence/checks/binary.SEPARATED": ("separates in fewer than {:g} % of the balls", 1),
    "evidence/checks/binary.SEARCH": ("random search finds more than {:g} %", 1),
    "evidence/checks/box.OUTSIDE": ("outside the ball or [0, 1] by more than {:g} (L2", 1),
    "evidence/checks/box.OUTSIDE_L2": ("(L2 balls: {:g} eps)", 1),
    "evidence/checks/grad.FAILING": ("more than {:g} % of the gradients of images not yet fooled", 1),
    "evidence/checks/grad.COSINE": ("two independent EOT gradients is below {:g}", 1),
    "evidence/checks/stochastic.ROUNDING": ("logits differ by more than {:g} % of the largest", 1),
    "evidence/checks/blackbox.QUERIES": ("Square with {:,} queries", 1),
    "evidence/checks/blackbox.ALONE": ("fool is above {:g} %", 1),
    "evidence/checks/eot.MORE": ("with {:g} times the draws", 1),
    "evidence/checks/eps.TIMES": ("at {:g}, {:g}, {:g} and {:g} times eps", 1),
    "evidence/checks/eps.HALF": ("times eps and at {0:g} (L2: {0:g} √d", 1),
    "evidence/checks/eps.STEPS": ("PGD, {:g} steps relative to the radius", 1),
    "evidence/checks/eps.RESTARTS": ("to the radius, {:g} starts", 1),
    "evidence/checks/eps.LEFT": ("lower limit is above {:g} %", 1),
    "evidence/checks/fresh.DRAWS": ("{:g} held-out draws", 1),
    "evidence/checks/ladder.BAKES": ("on {:g} frozen draws", 1),
    "evidence/checks/logits.PROBABILITIES": ("at least {:g} % of the rows are probabilities", 1),
    "evidence/checks/order.STEPS": ("PGD-{:g} if there is none", 1),
    "evidence/checks/pairs.ENOUGH_OTHERS": ("With fewer than {:g} other images", 1),
    "evidence/checks/stat.IMAGES": ("fewer than {:g} images;", 1),
    "evidence/checks/stat.HALF_WIDTH": ("more than {:g} points to either side", 1),
    "evidence/checks/steps.LONGER": ("with {:g} times the steps", 1),
    "evidence/checks/steps.RESTARTS": ("at least {:g} starts", 1),
    "evidence/checks/stronger.ITERATIONS": ("APGD-CE and APGD-DLR, {:g} iterations", 1),
    "engine/overfitting.IMAGES": ("watched on {:g} validation images", 1),
    "plan/audit.IMAGES": ("sample of {0:g} images of the row", 1),
    "engine/probes/batch.IMAGES": ("| BATCH | {:g} images in batches", 1),
    "engine/probes/batch.SIZES": ("in batches of {:g}, {:g} and all", 1),
    "engine/probes/binary.DRAWS": ("its mean over {:g} draws", 1),
    "engine/probes/binary.INNER": ("sphere; {:g} others and x lie", 1),
    "engine/probes/binary.RADIUS": ("in the ball of {:g} times the radius", 1),
    "engine/probes/binary.RIDGE": ("r = {:g} times the mean variance", 1),
    "engine/probes/binary.SEARCHED": ("tries {:g} images like p", 1),
    "engine/probes/binary.TIGHT": ("t lies at {:g} of the way", 1),
    "engine/probes/logits.SUM_TOLERANCE": ("sum 1 within {:g}", 1),
    "engine/probes/stochastic.PASSES": ("| STOCHASTIC | {:g} passes", 1),
}
"""Where a number is in the code -> how the standard states it, and the factor between the two."""
UNSTATED = {
    *(f"evidence/bundle/archive.{name}" for name in ("ELSEWHERE_16", "ELSEWHERE_32", "LONGEST_NAME")),  # The format's.
    "evidence/bundle/data.IMAGES_AT_A_TIME",  # Memory.
    "evidence/bundle/making.NAMED",  # Of an error.
    "evidence/bundle/records.BUNDLE_SCHEMA",
    "evidence/checks/batch.PASSES",  # Work of a probe, as of those below.
    "evidence/checks/batch.REVISION",  # Of a probe's code, as of those below.
    "evidence/checks/binary.ITERATIONS",
    "evidence/checks/binary.PASSES",
    "evidence/checks/binary.REVISION",
    "evidence/checks/grad.REVISION",
    "evidence/checks/logits.REVISION",
    "evidence/checks/mode.PASSES",
    "evidence/checks/mode.REVISION",
    "evidence/checks/stochastic.PASSES",
    "evidence/checks/stochastic.REVISION",
    "evidence/draw_counts.IMAGES_AT_A_TIME",  # Memory.
    "evidence/estimate.LEAST_P",  # Where a search ends.
    "engine/probes/probed.LARGEST",  # Infinity, in JSON.
    "evidence/mixture.LEAST_CHANCE",  # Rounding.
    "evidence/redrawn_front.LIMITS",  # Of a 95 % interval.
    "evidence/redrawn_front.SEED",
}


def constants(path: Path) -> dict[str, Numbers]:
    """The numbers that a module names in capitals at its top."""
    numbers: dict[str, Numbers] = {}
    for statement in ast.parse(path.read_text(encoding="utf-8")).body:
        if not isinstance(statement, ast.Assign):
            continue
        target = statement.targets[0]
        names = target.elts if isinstance(target, ast.Tuple) else [target]
        try:
            value = ast.literal_eval(statement.value)
        except ValueError:
            continue
        values = value if isinstance(target, ast.Tuple) else [value]
        for name, number in zip(names, values, strict=True):
            parts = number if isinstance(number, tuple) else (number,)
            if isinstance(name, ast.Name) and name.id.isupper() and all(type(part) in (int, float) for part in parts):
                numbers[name.id] = parts
    return numbers


def in_the_code() -> dict[str, Numbers]:
    """All constants of the evidence, and those of other rooms that the standard states."""
    others = [PACKAGE / room for room in ("plan/audit.py", "engine/overfitting.py")]
    others += sorted((PACKAGE / "engine" / "probes").glob("*.py"))
    return {
        f"{path.relative_to(PACKAGE).with_suffix('').as_posix()}.{name}": numbers
        for path in (*sorted((PACKAGE / "evidence").rglob("*.py")), *others)
        for name, numbers in constants(path).items()
    }


def sentences(numbers: Mapping[str, Numbers]) -> dict[str, str]:
    """What the standard has to say of each number."""
    return {
        name: text.format(*(factor * number for number in numbers[name])) for name, (text, factor) in STATED.items()
    }


def unsaid(text: str, numbers: Mapping[str, Numbers]) -> list[str]:
    """The numbers of the code that a text does not state."""
    spoken = " ".join(text.split())
    return [name for name, sentence in sentences(numbers).items() if sentence not in spoken]


def test_every_number_is_that_of_the_code():
    assert unsaid(STANDARD, in_the_code()) == []


@pytest.mark.parametrize("name", STATED)
def test_a_number_that_changes_in_the_code_is_found(name):
    numbers = in_the_code()
    changed = {**numbers, name: tuple(3 * number + 1 for number in numbers[name])}
    assert unsaid(STANDARD, changed) == [name]


def test_every_constant_of_the_evidence_is_stated():
    assert in_the_code().keys() - STATED.keys() == UNSTATED


def test_a_constant_is_found_in_whichever_way_it_is_written(tmp_path):
    path = tmp_path / "module.py"
    path.write_text("ONE = 1\nTWO, THREE = 2, 3.5\nMANY = (4, 5)\nNAME = 'x'\nlower = 6\nHALVES = (slice(0, 1),)\n")
    assert constants(path) == {"ONE": (1,), "TWO": (2,), "THREE": (3.5,), "MANY": (4, 5)}


def test_what_follows_from_the_constants_is_that_of_the_code():
    numbers = in_the_code()
    (fires,), (confirms,) = (numbers[f"evidence/decisions.{name}"] for name in ("FIRES", "CONFIRMS"))
    (fall,), (again,) = (numbers[f"evidence/decisions.{name}"] for name in ("FALL", "DRAWN_AGAIN"))
    (level,) = numbers["evidence/proportions.LEVEL"]
    (images,) = numbers["plan/audit.IMAGES"]
    spoken = " ".join(STANDARD.split())
    assert f"counts if p < {fires * confirms:g}" in spoken
    assert f"D + 1 - {1 - level:.2f}^(1/n): {100 * (1 - (1 - level) ** (1 / images)):.1f} points for {images}" in spoken
    assert f"p of Student's test with df is below {1 - level:.2f}" in spoken
    assert f"D ± (1 - {(1 - level) / 2:.3f}^(1/n))" in spoken
    assert f"on up to {images} other images" in spoken
    assert f"RA differs by more than {100 * fall:g} point and by more than the" in spoken
    assert f"within the {100 * again:.1f} % interval of the draws alone, or {100 * fall:g} point" in spoken
    assert f"the largest up to {2 * ROUNDING['float32']:g} of the largest in magnitude" in spoken


def test_defaults_are_those_of_the_code():
    spoken = " ".join(STANDARD.split())
    factor = default_draws([Reading("any", 100)]) // 100
    assert f"M = max({default_draws([])}, {factor} max(R, N))" in spoken
    assert f"of the attacker's own, at least {Evaluate.model_fields['bakes'].default}" in spoken
    for attack in ("apgd_ce", "apgd_dlr"):
        draws = Registry().find("attack", attack).load().Options.model_fields["draws"].default
        assert f"iterations (at randomised points {draws} draws, or the most of any attack of the row" in spoken


def test_what_batch_calls_rounding_is_that_of_the_code():
    agreement, quantised = (100 * number for number in (AGREEMENT, QUANTISED))
    assert f"({agreement:g} % of the largest logit; {quantised:g} % if activations are quantised" in STANDARD


def test_what_mode_calls_rounding_is_that_of_the_code():
    assert f"beyond rounding ({stochastic.ROUNDING:g} % of the largest logit)" in STANDARD


def test_every_check_and_every_verdict_is_in_it():
    section = STANDARD.partition("## 7. Audit checks")[2].partition("\n## ")[0]
    assert re.findall(r"^\| ([A-Z]+) \|", section, re.MULTILINE) == [check.name for check in CHECKS]
    assert all(f"`{word}`: " in section for word in SEVERITY)


def test_the_simulated_coverage_is_as_it_is_told():
    tables = (ROOT / "docs" / "coverage.md").read_text(encoding="utf-8").replace("*", "").splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in tables if line.startswith("|")]
    titles: list[str] = []
    shares: dict[str, list[float]] = {"coverage": [], "false": [], "told apart": []}
    for row in rows:
        if any(cell.startswith(tuple(shares)) for cell in row):
            titles = row
            continue
        for title, cell in zip(titles, row, strict=True):
            if re.fullmatch(r"[\d.]+", cell) and (kind := title.partition(",")[0]) in shares:
                shares[kind].append(float(cell))
    assert len(shares["coverage"]) > 120
    spoken = " ".join(STANDARD.split())
    assert f"at worst {min(shares['coverage']):.0f} % of the time" in spoken
    # A share of 6 % in 10,000 evaluations has a standard error of 0.24 points.
    assert max(shares["false"]) < 6.5
    assert max(shares["told apart"]) <= 6
    assert "of two equal settings of the same models, better or worse in at most 6 % of all cases" in spoken


def test_the_citation_is_of_this_version_and_of_the_standard():
    version = re.search(r"^Version (\S+)\. ", STANDARD, re.MULTILINE)
    assert version
    assert CITATION["cff-version"] == "1.2.0"
    assert CITATION.keys() >= {"message", "title", "authors"}
    standard, paper = CITATION["references"]
    assert {version[1], CITATION["version"], standard["version"]} == {rs.__version__}
    assert STANDARD.startswith(f"# {standard['title']}\n")
    (preprint,) = paper["identifiers"]
    defense = Registry().find("defense", "float").load()
    assert preprint["value"].removeprefix("arXiv:") in defense.paper
