"""The prose pack: 38 MB of public-domain English from six sources (and the King James Bible, on request),
with the package.
"""

from __future__ import annotations

import hashlib
import lzma
import re
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from importlib.resources import files
from typing import Annotated, ClassVar, Literal

from pydantic import AfterValidator, Field

from trainers.data.base import Amount, Corpus, Document, corpora
from trainers.data.pieces import cut

Source = Literal["sotu", "tdavid", "shakespeare", "austen", "mhcc", "factbook", "kjv"]
SOURCES: tuple[Source, ...] = ("sotu", "tdavid", "shakespeare", "austen", "mhcc", "factbook", "kjv")
DOCUMENT_BYTES = 400

TRAINING_BYTES: dict[Source, int] = {
    "sotu": 9_892_978,
    "tdavid": 10_700_918,
    "shakespeare": 4_480_971,
    "austen": 3_108_971,
    "mhcc": 3_302_802,
    "factbook": 2_759_822,
    "kjv": 3_454_737,
}
"""Distinct training text of each source by itself, a newline after each document (counted; a test counts
again)."""
IN_TWO_SOURCES = 10
"""Bytes of it that another source has too, of which a corpus keeps one copy."""

Work = tuple[str, list[bytes]]
"""Title of a novel, play, speech, country, psalm or book, and its paragraphs without line wrapping."""


def _unique(sources: tuple[Source, ...]) -> tuple[Source, ...]:
    if not sources:
        raise ValueError("name at least one source")
    return tuple(s for s in SOURCES if s in sources)


@corpora.register
class Prose(Corpus):
    """Public-domain prose: documents of at most 400 bytes, cut at paragraphs, else sentences, else words.

    Validation holds out whole works: a novel and two plays (Northanger Abbey, Macbeth, As You Like It in half
    A; Persuasion, The Tempest, Julius Caesar in B) and one in twenty of the speeches, psalms, biblical books
    and countries for each half. A validation document that shares 50 bytes with training text (a quotation, a
    formula of address) is dropped. Headings, lists of characters, and line wrapping are removed. ``kjv`` is
    another language and a source of quotations, so that the default mix leaves it out.
    """

    name: ClassVar[str] = "prose"

    sources: Annotated[tuple[Source, ...], AfterValidator(_unique)] = Field(
        SOURCES[:-1], description="Which sources, any of: " + ", ".join(SOURCES) + "."
    )

    def digest(self) -> str:
        return pack_digest()

    def amount(self) -> Amount:
        total = sum(TRAINING_BYTES[source] for source in self.sources)
        return Amount(total - (IN_TWO_SOURCES if len(self.sources) > 1 else 0), total)

    def documents(self) -> Iterator[Document]:
        for source in self.sources:
            for number, (title, paragraphs) in enumerate(WORKS[source](_read(source))):
                split = _split(source, number, title)
                for piece in cut(paragraphs, DOCUMENT_BYTES):
                    yield Document(piece.decode(), source, split)


_HELD_OUT: dict[str, Literal["a", "b"]] = {
    "NORTHANGER ABBEY": "a",
    "MACBETH": "a",
    "AS YOU LIKE IT": "a",
    "PERSUASION": "b",
    "THE TEMPEST": "b",
    "JULIUS CAESAR": "b",
}


def _split(source: str, number: int, title: str) -> Literal["train", "a", "b"]:
    if source in ("austen", "shakespeare"):
        return _HELD_OUT.get(title, "train")
    return "a" if number % 20 == 3 else "b" if number % 20 == 13 else "train"


@lru_cache
def pack_digest() -> str:
    """Digest of the packed files' committed hashes (which a test compares with the files)."""
    return hashlib.sha256(
        files("trainers.data.corpora").joinpath("prose_pack/sha256.json").read_bytes()
    ).hexdigest()[:16]


def _read(source: str) -> bytes:
    return lzma.decompress(
        files("trainers.data.corpora").joinpath(f"prose_pack/{source}.txt.xz").read_bytes()
    )


def _unwrapped(block: bytes) -> bytes:
    return b" ".join(block.split()) if b"\n" in block or b"  " in block else block.strip()


def _sotu(text: bytes) -> Iterator[Work]:
    """One line a speech."""
    for number, line in enumerate(line for line in text.split(b"\n") if line.strip()):
        yield f"speech {number + 1}", [_unwrapped(line)]


_NOVEL = re.compile(
    rb"^(EMMA|MANSFIELD PARK|NORTHANGER ABBEY|Persuasion|PRIDE AND PREJUDICE|SENSE AND SENSIBILITY)$"
    rb"(?=\s+(?:\(1814\)\s+)?[Bb]y\s+Jane)",
    re.M,
)
_NOVEL_HEADING = re.compile(
    rb"(?i)(?:volume|chapter|book)\s+[ivxlc\d]+\.?|the end|finis|by|\(18\d\d\)"
    rb"|(?:by )?jane austen(?: \(18\d\d\))?"
)


def _austen(text: bytes) -> Iterator[Work]:
    """Hard-wrapped paragraphs between blank lines."""
    for title, body in _titled(text, _NOVEL):
        blocks = (_unwrapped(b) for b in re.split(rb"\n\s*\n", body))
        yield title.upper(), [b for b in blocks if b and not _NOVEL_HEADING.fullmatch(b)]


_PLAY = re.compile(rb"^([A-Z][A-Z',.;: ]*)\n+(?:OR, WHAT YOU WILL\n+)?by William Shakespeare", re.M | re.I)
_GLUED_TITLE = re.compile(
    rb"(?:(?<=[\]}.?!a-z])|(?<=[.?!]'))(?=[A-Z][A-Z',.;: ]+\n+(?:OR, WHAT YOU WILL\n+)?by William)"
)
_ACT = re.compile(rb"^\s*ACT (?:I|1|FIRST)\b.*$", re.M)
_PLAY_HEADING = re.compile(
    rb"(?i)(?:act|scene)\b[^a-z]*(?:[ivxlc\d]+|first)\b.*|the end|[ivxlc]+\.?|\d+", re.S
)


def _shakespeare(text: bytes) -> Iterator[Work]:
    """Speeches between blank lines, the speaker's name on a line of its own. Verse keeps its lines,
    wrapped prose does not.
    """
    text = _GLUED_TITLE.sub(b"\n\n", text.replace(b"THE END", b"\n\n"))
    for title, body in _titled(text, _PLAY):
        act = _ACT.search(body)
        blocks = re.split(rb"\n\s*\n", body[act.start() :] if act else body)
        yield title, [s for b in blocks if (s := _speech(b)) and not _PLAY_HEADING.fullmatch(s)]


def _speech(block: bytes) -> bytes:
    lines = [_unwrapped(line) for line in block.split(b"\n") if line.strip()]
    name = (
        lines[:1] if lines and re.fullmatch(rb"[A-Z][A-Z0-9 ,.'&-]*\.", lines[0]) and len(lines) > 1 else []
    )
    said = lines[len(name) :]
    wrapped = any(line[:1].islower() for line in said[1:])
    return b"\n".join([*name, b" ".join(said) if wrapped else b"\n".join(said)]).strip()


_PSALM_HEADING = re.compile(
    rb"(?i)title\.?|division\.?|exposition\.?|explanatory notes and quaint sayings\.?"
    rb"|hints to (?:the village )?preachers?\.?"
    rb"|psalms? [\d:,* -]+|ver(?:se)?s?\.? [\d, -]+\.?|outlines upon keywords.*|preface"
)


def _tdavid(text: bytes) -> Iterator[Work]:
    """One paragraph a line; a psalm begins with ``Psalm N OVERVIEW``."""
    for title, body in _titled(text, re.compile(rb"^(Psalm \d+) OVERVIEW$", re.M)):
        yield (
            title,
            [p for line in body.split(b"\n") if (p := _unwrapped(line)) and not _PSALM_HEADING.fullmatch(p)],
        )


_BOOK_HEADING = re.compile(
    rb"(?i)chapter \d+|chapter outline|verses? [\d,: -]+|.*\(\d+(?:[-,]\s*\d+)*\.?\)\.?"
)


def _mhcc(text: bytes) -> Iterator[Work]:
    """One paragraph a line, outlines and verse numbers between; a book begins after two blank lines with
    its name.
    """
    for book in _books(text):
        title, *lines = book.split(b"\n")
        yield (
            title.decode(),
            [p for line in lines if (p := _unwrapped(line)) and not _BOOK_HEADING.fullmatch(p)],
        )


def _kjv(text: bytes) -> Iterator[Work]:
    """Paragraphs begin with a pilcrow; small capitals (LORD) were broken onto lines of their own."""
    for number, book in enumerate(_books(text)):
        joined = re.sub(rb"\s*\n(?=(?:LORD|GOD)\b)|(?<=\nLORD)\n|(?<=\nGOD)\n", b" ", book)
        yield (
            f"book {number + 1}",
            [p for line in joined.split(b"\n") if (p := _unwrapped(line.replace("¶".encode(), b"")))],
        )


_PLACE = re.compile(
    rb"(?:(?:North|South|East|West|Central|Middle)[a-z-]*,? ?(?:and )?)*"
    rb"(?:Africa|America|Asia|Europe|Caribbean|Oceania|Middle East|East|Antarctica)\b[^.]{0,240}"
)


def _factbook(text: bytes) -> Iterator[Work]:
    """One paragraph a line; a country begins with its history, which the line with its location follows."""
    lines = [_unwrapped(line) for line in text.split(b"\n") if line.strip()]
    begins = [i for i in range(len(lines) - 1) if len(lines[i]) > 150 and _PLACE.fullmatch(lines[i + 1])]
    begins[0] = 0
    for begin, end in zip(begins, [*begins[1:], len(lines)], strict=True):
        yield lines[begin][:40].decode(errors="ignore"), lines[begin:end]


def _titled(text: bytes, title: re.Pattern[bytes]) -> Iterable[tuple[str, bytes]]:
    """Split at titles; the title is group 1. Text before the first is left out."""
    titles = list(title.finditer(text))
    for match, following in zip(titles, [*titles[1:], None], strict=True):
        yield (
            match[1].decode().split("\n")[0].strip(),
            text[match.end() : following.start() if following else len(text)],
        )


def _books(text: bytes) -> list[bytes]:
    return [b.strip() for b in re.split(rb"\n\n+", text) if b.strip()]


WORKS: dict[str, Callable[[bytes], Iterator[Work]]] = {
    "sotu": _sotu,
    "austen": _austen,
    "shakespeare": _shakespeare,
    "tdavid": _tdavid,
    "mhcc": _mhcc,
    "factbook": _factbook,
    "kjv": _kjv,
}
