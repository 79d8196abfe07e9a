"""A dataset of the Hugging Face hub. Needs the extra ``crossover[huggingface]``."""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

from pydantic import Field

from trainers.components.component import digest
from trainers.components.errors import UserError
from trainers.components.files import cache_folder, read_json, write_json
from trainers.data.base import Corpus, Document, corpora
from trainers.data.corpora.text import paragraphs, split_by_hash
from trainers.data.pieces import cut


@corpora.register
class HuggingFace(Corpus):
    """Rows of one split of a hub dataset; whole rows are held out by the hash of their text.

    A commit is the content's identity. Any other revision has a provisional key (``pending-...``) until it
    has been prepared once on this machine; the commit that it named then is kept.
    """

    name: ClassVar[str] = "huggingface"
    needs: ClassVar[Mapping[str, str]] = {"datasets": "huggingface", "huggingface_hub": "huggingface"}

    dataset: str = Field(description="Name on the hub, owner/name.")
    config: str | None = Field(None, description="The dataset's configuration.")
    split: str = Field("train", description="The split that documents come from.")
    revision: str | None = Field(None, description="Commit (40 hex digits), branch or tag.")
    field: str = Field("text", description="Column that holds the text.")
    document_bytes: int = Field(400, ge=16, description="Longest document, in bytes.")
    held_out: float = Field(
        0.1, gt=0, lt=1, description="Share of rows held out for validation, both halves together."
    )
    apart_bytes: int | None = Field(
        50,
        ge=8,
        description="Drop validation documents that share so many bytes with training text; null: none.",
    )

    def digest(self) -> str:
        commit = self._commit()
        if commit is None:
            return "pending-" + digest([self.dataset, self.config, self.split, self.revision], 8)
        return digest([self.dataset, self.config, self.split, commit])

    def apart(self) -> int | None:
        return self.apart_bytes

    def resolve(self) -> None:
        if self._commit() is None:
            hub = self._package("huggingface_hub")
            commit = hub.HfApi().dataset_info(self.dataset, revision=self.revision).sha
            write_json(
                self._remembered(), {"dataset": self.dataset, "revision": self.revision, "commit": commit}
            )

    def documents(self) -> Iterator[Document]:
        datasets = self._package("datasets")
        rows = datasets.load_dataset(self.dataset, self.config, split=self.split, revision=self._commit())
        if self.field not in rows.column_names:
            raise UserError(
                f"data.corpus.field: no column {self.field!r}; there are {', '.join(rows.column_names)}"
            )
        for row in rows:
            record = str(row[self.field] or "")
            split = split_by_hash(record, self.held_out)
            for piece in cut(paragraphs(record), self.document_bytes):
                yield Document(piece.decode(), self.dataset, split)

    def _commit(self) -> str | None:
        """The commit that ``revision`` names: itself, or as resolved earlier on this machine."""
        if self.revision is not None and re.fullmatch(r"[0-9a-f]{40}", self.revision):
            return self.revision
        known = read_json(self._remembered())
        return str(known["commit"]) if known else None

    def _remembered(self) -> Path:
        return cache_folder() / "hub" / f"{digest([self.dataset, self.revision])}.json"

    def _package(self, name: str) -> Any:
        lacking = self.lacks()
        if lacking is not None:
            raise UserError(f"data.corpus: {lacking}")
        return importlib.import_module(name)
