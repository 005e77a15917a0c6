"""`robuststack cite`: BibTeX of what a suite, a leaderboard or one of its rows uses."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from robuststack.cli import call
from robuststack.leaderboard.bibtex import SOFTWARE, STANDARD, bibtex, publications
from robuststack.plugin.registry import Registry

ROOT = Path(__file__).parents[2]
BOARD = str(ROOT / "leaderboard" / "regress.json")


def cited(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert call(["cite", *arguments]) == 0
    return capsys.readouterr().out


def keys(text: str) -> list[str]:
    return re.findall(r"^@\w+\{(\S+),$", text, re.MULTILINE)


def balanced(text: str) -> bool:
    """Whether every brace of BibTeX is closed; an escaped one is a letter to LaTeX and a brace to BibTeX."""
    depth = 0
    for letter in text:
        depth += {"{": 1, "}": -1}.get(letter, 0)
        if depth < 0:
            return False
    return depth == 0


def test_a_suite_and_its_leaderboard_cite_the_same(capsys):
    suite = cited(capsys, str(ROOT / "suites" / "regress.yaml"))
    assert cited(capsys, BOARD) == suite
    assert keys(suite)[:2] == ["robuststack2026", "robuststack2026standard"]
    assert {"kundu2023float", "wang2020once", "madry2018deep", "croce2020reliable", "alpaydin1998optical"} <= set(
        keys(suite)
    )
    assert len(keys(suite)) == len(set(keys(suite)))
    assert balanced(suite)


def test_natural_shifts_are_cited(capsys):
    suite = cited(capsys, str(ROOT / "suites" / "fashion.yaml"))
    assert cited(capsys, str(ROOT / "leaderboard" / "fashion.json")) == suite
    assert "hendrycks2019benchmarking" in keys(suite)


def test_a_row_cites_what_it_uses_alone(capsys):
    found = keys(cited(capsys, BOARD, "--row", "oats lambda=0"))
    assert {"wang2020once", "yu2019slimmable", "goodfellow2015explaining"} <= set(found)
    assert "kundu2023float" not in found


def test_an_entry_has_the_fields_that_its_text_says():
    (entry,) = publications("He et al., Parametric Noise Injection: Trainable, and Deep, CVPR 2019, arXiv 1811.09310")
    assert (entry.authors, entry.title) == ("He and others", "Parametric Noise Injection: Trainable, and Deep")
    assert (entry.venue, entry.year, entry.eprint, entry.key) == ("CVPR", "2019", "1811.09310", "he2019parametric")
    first, second = publications(
        "Wang et al., Once-for-All, NeurIPS 2020 (OATS); Yu et al., Slimmable Networks, ICLR 2019"
    )
    assert (first.note, second.authors) == ("OATS", "Yu and others")
    assert not list(publications("code: somebody/repository; constants: somebody/other, file.py"))
    (site,) = publications("Wightman, PyTorch Image Models, 2019, https://example.org/models")
    assert (site.venue, site.year, site.url) == ("", "2019", "https://example.org/models")
    assert site.entry("key").startswith("@misc{key,")
    (named,) = publications("A library without anybody's name")
    assert (named.authors, named.title) == ("", "A library without anybody's name")


def test_every_component_of_robuststack_names_its_authors_and_year():
    for registration in Registry():
        paper = registration.load().paper
        if registration.distribution == "robuststack" and paper and "TorchVision" not in paper:
            for publication in publications(paper):
                assert publication.authors, paper
                assert publication.title, paper
                assert publication.year, paper


@given(st.lists(st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=40), max_size=4))
def test_whatever_a_plugin_writes_is_closed_and_has_a_key_of_its_own(papers):
    wanted = [publication for paper in papers for publication in publications(paper)]
    text = bibtex(wanted)
    assert balanced(text)
    assert len(re.findall(r"^@", text, re.MULTILINE)) >= len(set(wanted))


def test_the_software_is_cited_as_its_citation_file_says():
    told = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    standard = told["references"][0]
    assert (SOFTWARE.title, STANDARD.title, STANDARD.year) == (told["title"], standard["title"], str(standard["year"]))
    assert SOFTWARE.authors.strip("{}") == told["authors"][0]["name"] == standard["authors"][0]["name"]
    assert all(told["version"] in each.note for each in (SOFTWARE, STANDARD))


def test_a_component_that_is_not_installed_is_named(tmp_path, capsys):
    text = Path(BOARD).read_text(encoding="utf-8").replace('"defense": "none"', '"defense": "theirs"')
    (tmp_path / "regress.json").write_text(text)
    assert "% The publication of the defense theirs is not known here." in cited(capsys, str(tmp_path / "regress.json"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([BOARD, "--row", "oatss"], "no row 'oatss': "),
        ([BOARD, "--row", "oat"], "'oat' fits 2 rows, "),
        (["gone"], "no leaderboard 'gone' in leaderboard: "),
        (["gone.yaml"], "gone.yaml: no such file"),
    ],
)
def test_what_cannot_be_cited_is_one_line(capsys, arguments, message, monkeypatch):
    monkeypatch.chdir(ROOT)
    assert call(["cite", *arguments]) == 2
    told = capsys.readouterr().err
    assert message in told
    assert told.count("\n") == 1
