"""A filter of documents by simple rules."""

from __future__ import annotations

import re
from collections import Counter
from typing import ClassVar

from pydantic import Field

from trainers.data.base import Quality, qualities

STOP_WORDS = frozenset({"the", "be", "to", "of", "and", "that", "have", "with"})
TOP_NGRAM = {2: 0.20, 3: 0.18, 4: 0.16}
"""Largest share of characters in the most frequent n-gram that occurs more than once."""
REPEATED_NGRAMS = {5: 0.15, 6: 0.14, 7: 0.13, 8: 0.12, 9: 0.11, 10: 0.10}
"""Largest share of characters in n-grams that occur more than once."""


@qualities.register
class Gopher(Quality):
    """Drops documents that break the quality and repetition rules of MassiveText (Rae et al. 2021, arXiv
    2112.11446, A.1).

    Kept are documents with ``min_words`` to 100,000 words, mean word length 3 to 10, fewer than one ``#`` or
    ellipsis in ten words, at most 90 % of lines that begin with a bullet and 30 % that end with an ellipsis,
    80 % of words with a letter, ``min_stop_words`` different stop words (the, be, to, of, and, that, have,
    with), at most 30 % repeated lines (by count) and 20 % (by characters), and repeated word n-grams below
    the paper's limits. Words are split at white space. The paper asks for 50 words, of whole web pages;
    documents of at most 400 bytes hold about 70, hence the lower default.
    """

    name: ClassVar[str] = "gopher"
    alters: ClassVar[bool] = False

    min_words: int = Field(10, ge=1, description="Fewest words of a document (50 in the paper).")
    min_stop_words: int = Field(2, ge=0, description="Fewest different stop words.")

    def keeps(self, text: str) -> bool:
        return self._fluent(text) and not _repetitive(text)

    def _fluent(self, text: str) -> bool:
        words = text.split()
        n = len(words)
        if not self.min_words <= n <= 100_000 or not 3 <= sum(map(len, words)) / n <= 10:
            return False
        if text.count("#") / n > 0.1 or (text.count("...") + text.count("…")) / n > 0.1:
            return False
        lines = text.splitlines()
        if sum(line.lstrip().startswith(("•", "-", "*", "‣")) for line in lines) > 0.9 * len(lines):
            return False
        if sum(line.rstrip().endswith(("...", "…")) for line in lines) > 0.3 * len(lines):
            return False
        if sum(any(c.isalpha() for c in w) for w in words) < 0.8 * n:
            return False
        return len({w.strip(".,;:!?\"'()").lower() for w in words} & STOP_WORDS) >= self.min_stop_words


def _repetitive(text: str) -> bool:
    lines = [line for line in text.splitlines() if line.strip()]
    again = [line for line, count in Counter(lines).items() for _ in range(count - 1)]
    if len(again) > 0.3 * len(lines) or sum(map(len, again)) > 0.2 * len(text):
        return True
    words = re.findall(r"\S+", text)
    total = sum(map(len, words))
    for n, limit in TOP_NGRAM.items():
        gram, count = max(_ngrams(words, n).items(), key=lambda g: (g[1], g[0]), default=((), 0))
        if count > 1 and count * sum(map(len, gram)) > limit * total:
            return True
    return any(_repeated(words, n) > limit * total for n, limit in REPEATED_NGRAMS.items())


def _ngrams(words: list[str], n: int) -> Counter[tuple[str, ...]]:
    return Counter(zip(*(words[i:] for i in range(n)), strict=False))


def _repeated(words: list[str], n: int) -> int:
    """Characters covered by the second and later occurrences of n-grams, each counted once."""
    seen: set[tuple[str, ...]] = set()
    covered: set[int] = set()
    for i in range(len(words) - n + 1):
        gram = tuple(words[i : i + n])
        if gram in seen:
            covered.update(range(i, i + n))
        seen.add(gram)
    return sum(len(words[i]) for i in covered)
