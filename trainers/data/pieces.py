"""Cutting running text into short documents: at paragraphs, else at sentences, else at words."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterable

_SENTENCE_END = re.compile(
    rb"[.!?](?<!\bMr\.)(?<!\bDr\.)(?<!\bSt\.)(?<!\bMrs\.)(?:[\"')\]_]|\xe2\x80[\x99\x9d])*\s+"
)


def cut(paragraphs: Iterable[bytes], limit: int) -> list[bytes]:
    """Documents of at most ``limit`` bytes of UTF-8 from the paragraphs of one work, in order.

    Neighbouring paragraphs share a document, a line each, while they fit. A paragraph that is too long by
    itself is cut at the last end of a sentence that fits, where there is none at the last space, and where
    there is none between characters.
    """
    documents: list[bytes] = []
    current = b""
    for paragraph in paragraphs:
        if current and len(current) + 1 + len(paragraph) <= limit:
            current += b"\n" + paragraph
            continue
        if current:
            documents.append(current)
        *whole, current = _parts(paragraph, limit)
        documents += whole
    if current:
        documents.append(current)
    return documents


def _parts(text: bytes, limit: int) -> list[bytes]:
    if len(text) <= limit:
        return [text]
    pieces: list[bytes] = []
    ends = [m.end() for m in _SENTENCE_END.finditer(text)]
    start = 0
    while len(text) - start > limit:
        # +1: the white space behind a sentence is cut off, so a boundary may lie one byte further.
        at = bisect_right(ends, start + limit + 1)
        end = ends[at - 1] if at and ends[at - 1] > start else _word_end(text, start, limit)
        piece = text[start:end].strip()
        if len(piece) > limit:
            end = _word_end(text, start, limit)
            piece = text[start:end].strip()
        if piece:
            pieces.append(piece)
        start = end
    pieces.append(text[start:].strip())
    return [p for p in pieces if p] or [b""]


def _word_end(text: bytes, start: int, limit: int) -> int:
    window = text[start : start + limit + 1]
    space = max(window.rfind(b" "), window.rfind(b"\n"))
    if space > 0:
        return start + space + 1
    end = start + limit
    while end > start + 1 and text[end] & 0xC0 == 0x80:
        end -= 1
    return end
