"""BibTeX of a publication as components name it: `He et al., Deep Residual Learning for Image Recognition, CVPR 2016`."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from robuststack import __version__

ESCAPES = {
    **{letter: f"\\{letter}" for letter in "&%$#_"},
    "\\": r"\textbackslash{}",
    "{": r"\textbraceleft{}",
    "}": r"\textbraceright{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
}
"""What LaTeX takes as a command; BibTeX counts braces, escaped ones too."""
STANDARD_YEAR = "2026"
SMALL_WORDS = {"a", "an", "the", "on", "of", "towards"}
"""Words of a title that no key is made of."""


@dataclass(frozen=True)
class Publication:
    """What an entry says. Fields that are not known are empty."""

    title: str
    authors: str = ""
    """As BibTeX joins them: `Le and Yang`, `He and others`."""
    venue: str = ""
    year: str = ""
    eprint: str = ""
    """The number at arXiv."""
    url: str = ""
    note: str = ""

    @property
    def key(self) -> str:
        """`he2016deep`."""
        author = _words(self.authors)[:1]
        words = [word for word in _words(self.title) if word not in (*SMALL_WORDS, *author)]
        return "".join([*author, self.year, *words[:1]]) or "unknown"

    def entry(self, key: str) -> str:
        """The entry, of the type that its venue suggests."""
        kind = "inproceedings" if self.venue else "misc"
        fields = {
            "author": _escaped(self.authors),
            "title": f"{{{_escaped(self.title)}}}",
            "booktitle": _escaped(self.venue),
            "year": self.year,
            "eprint": self.eprint,
            "archiveprefix": "arXiv" if self.eprint else "",
            "url": self.url,
            "note": _escaped(self.note),
        }
        lines = [f"  {name:<13} = {{{value}}}," for name, value in fields.items() if value]
        return "\n".join([f"@{kind}{{{key},", *lines, "}"])


SOFTWARE = Publication(
    "RobustStack", "{The RobustStack authors}", year=STANDARD_YEAR, note=f"Software, version {__version__}"
)
STANDARD = Publication(
    "The RobustStack standard", "{The RobustStack authors}", year=STANDARD_YEAR, note=f"Version {__version__}"
)


def publications(paper: str) -> Iterator[Publication]:
    """The publications that a component's `paper` names, with semicolons between: authors, title, venue with its year, an
    arXiv number. A text of another form is a title."""
    for text in paper.split(";"):
        text, note = _without_note(text.strip())
        if text and not re.match(r"[a-z]+: ", text):  # Where code or constants are from: `code: a repository`.
            yield _publication(text, note)


def bibtex(wanted: Iterable[Publication]) -> str:
    """The entries, each publication once, with keys that no two share."""
    entries: dict[str, str] = {}
    for publication in dict.fromkeys(wanted):
        keys = (f"{publication.key}{letter}" for letter in ("", *"bcdefghijklmnopqrstuvwxyz"))
        key = next(key for key in keys if key not in entries)
        entries[key] = publication.entry(key)
    return "\n\n".join(entries.values())


def _without_note(text: str) -> tuple[str, str]:
    """`... (FLOAT Slim)`: the text, and what stands in brackets at its end."""
    match = re.fullmatch(r"(.*?)\s*\(([^()]*)\)", text, re.DOTALL)
    return (match[1], match[2]) if match else (text, "")


def _publication(text: str, note: str) -> Publication:
    known: dict[str, str] = {"note": note}
    parts = text.split(", ")
    while len(parts) > 1 and (field := _field(parts[-1])):
        known = {**known, **field}
        parts.pop()
    if known.get("year") and not known.get("venue") and len(parts) > 2:
        known["venue"] = parts.pop()
    if known.get("eprint") and not known.get("year"):
        known["year"] = f"20{known['eprint'][:2]}"  # The number begins with the year and the month.
    if len(parts) == 1:
        return Publication(parts[0], **known)
    return Publication(", ".join(parts[1:]), parts[0].replace(" et al.", " and others"), **known)


def _field(part: str) -> dict[str, str]:
    """What the last part of a reference says; empty if it is a part of the title."""
    patterns = (
        r"arXiv:? ?(?P<eprint>\d{4}\.\d{4,5})",
        r"(?P<url>https?://[^\s{}]+)",
        r"(?P<note>(?:section|chapter|table|page)s? .+)",
        r"(?P<venue>.*?) ?(?P<year>(?:19|20)\d\d)",
    )
    for pattern in patterns:
        if match := re.fullmatch(pattern, part):
            return {name: value for name, value in match.groupdict().items() if value}
    return {}


def _words(text: str) -> list[str]:
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode().lower()
    return re.findall(r"[a-z0-9]+", plain.replace("{the ", "{"))


def _escaped(text: str) -> str:
    if text.startswith("{") and text.endswith("}"):  # A name that BibTeX must not take apart.
        return f"{{{_escaped(text[1:-1])}}}"
    return "".join(ESCAPES.get(letter, letter) for letter in text)
