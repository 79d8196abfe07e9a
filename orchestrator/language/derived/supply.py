"""Whether what a run asks for is there: unique text in its corpus, and the packages of its components."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from trainers.components.component import components
from trainers.config import DataConfig, RunConfig
from trainers.data.base import Quality

BYTES_PER_TOKEN = 6.0
"""No vocabulary puts more bytes of running text into a token (GPT-2's: 4.5 of English)."""
KEPT = 0.5
"""Share of the text that a filter is taken to leave."""


@dataclass(frozen=True)
class Shortage:
    """Less unique text than asked for, in the key ``field`` of a run's data; ``certain``, or as far as can be
    told."""

    field: str
    message: str
    certain: bool


def shortage(data: DataConfig) -> Shortage | None:
    """Where the corpus holds, or may hold, less than the unique tokens or bytes that are asked for."""
    field = "unique_tokens" if data.unique_tokens is not None else "unique_bytes"
    requested, corpus = getattr(data, field), f"the corpus {data.corpus.name!r}"
    if requested is None:
        return None
    amount = data.corpus.amount()
    if amount is None:
        text = f"how much text {corpus} holds shows when it is prepared; U and what follows are as asked"
        return Shortage(field, text, certain=False)
    bound = "" if amount.least == amount.most else "at most "
    text = f"{corpus} has {bound}{amount.most:,} bytes of training text"
    if requested > amount.most:
        return Shortage(field, f"{text}; ask for no more, or leave this out for all of it", certain=True)
    bytes_each = 1.0 if field == "unique_bytes" else data.tokenizer.bytes_per_token or BYTES_PER_TOKEN
    least = amount.least / bytes_each
    if type(data.quality).keeps is not Quality.keeps:
        least, text = least * KEPT, f"{text}, less what {data.quality.name!r} drops"
    if requested > least:
        return Shortage(field, f"{text}: U may be less than the {requested:,} asked for", certain=False)
    return None


def fell_short(data: DataConfig, manifest: Mapping[str, Any]) -> str | None:
    """What to say of a prepared subset that holds less than was asked for."""
    requested, unit = data.unique_bytes, "bytes"
    if data.unique_tokens is not None:
        requested, unit = (None if data.quality.alters else data.unique_tokens), "tokens"
    present = manifest[unit]
    if requested is None or present > requested - 4:  # a cut may leave out a part of a character
        return None
    return (
        f"the corpus has no more than {present:,} of the {requested:,} unique {unit} asked for, "
        "which plans show"
    )


def lacking(config: RunConfig) -> Iterator[tuple[tuple[str, ...], str]]:
    """Components of a run that cannot be used on this machine: key path, and what to install."""
    for path, component in components(config):
        message = component.lacks()
        if message is not None:
            yield path, message
