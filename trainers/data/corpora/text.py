"""The user's own text: .txt, .jsonl or .parquet files, local or at any URL that fsspec reads."""

from __future__ import annotations

import glob
import hashlib
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, BinaryIO, ClassVar, Literal

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from trainers.components.component import COSMETIC, LOCATION, digest
from trainers.components.errors import UserError
from trainers.components.files import cache_folder, file_sha256, read_json, replacing, write_json
from trainers.data import hashing
from trainers.data.base import Amount, Corpus, Document, corpora
from trainers.data.pieces import cut

FORMATS = (".txt", ".jsonl", ".parquet")
_SECTION_BYTES = 16_384
_MOST_SOURCES = 32
_COUNTED_BYTES = 8_000_000
"""Files so large are cut into documents for a plan, which takes a second, once."""


def is_remote(path: str) -> bool:
    """Whether a path is a URL, to be read by fsspec."""
    return "://" in path


def _many(value: Any) -> Any:
    return (value,) if isinstance(value, str) else value


def _absolute(paths: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(p if is_remote(p) else os.path.abspath(os.path.expanduser(p)) for p in paths)


@corpora.register
class Text(Corpus):
    """Text files. Their identity is their content: a file that is moved or renamed gives the same keys.

    A record is a line of .jsonl, a row of .parquet, or a run of paragraphs of .txt (a 200th of the file, 16
    kB at most). Whole records are held out, by the hash of their text, half of them for each validation half;
    then records are cut into documents of at most ``document_bytes``, at paragraphs, else sentences, else
    words. Up to 32 files, each is a source of its own to stratify by.

    Remote data declares its ``sha256``, one for each file; otherwise its key is provisional (``pending-...``)
    until it has been prepared once on this machine.
    """

    name: ClassVar[str] = "text"

    files: Annotated[
        tuple[str, ...], BeforeValidator(_many), AfterValidator(_absolute), COSMETIC, LOCATION
    ] = Field(min_length=1, description="A path, glob pattern or URL, or a list of them.")
    sha256: Annotated[tuple[str, ...] | None, BeforeValidator(_many), COSMETIC] = Field(
        None, description="Declared sha256 of each file, in their order; checked when read."
    )
    field: str = Field("text", description="Field of .jsonl or column of .parquet that holds the text.")
    document_bytes: int = Field(400, ge=16, description="Longest document, in bytes.")
    held_out: float = Field(
        0.1, gt=0, lt=1, description="Share of records held out for validation, both halves together."
    )
    apart_bytes: int | None = Field(
        50,
        ge=8,
        description="Drop validation documents that share so many bytes with training text; null: none.",
    )

    @model_validator(mode="after")
    def _one_digest_a_file(self) -> Text:
        if self.sha256 is not None:
            if len(self.sha256) != len(self.files) or any(glob.has_magic(f) for f in self.files):
                raise ValueError("sha256: give one for each of files, and no patterns in files")
            if not all(re.fullmatch(r"[0-9a-f]{64}", s) for s in self.sha256):
                raise ValueError("sha256: 64 lower-case hex digits each")
        return self

    def digest(self) -> str:
        paths = self._paths() if self.sha256 is None else list(self.files)
        known = [known_sha256(path) for path in paths] if self.sha256 is None else list(self.sha256)
        if None in known:
            return "pending-" + digest(list(self.files), 8)
        return digest(sorted([sha, _format(path)] for sha, path in zip(known, paths, strict=True)))

    def amount(self) -> Amount | None:
        """Counted for files of a few megabytes, once; larger ones hold no more than their size, and of large
        .parquet (compressed) and remote ones nothing is known."""
        declared = self.sha256 is not None  # the files may be elsewhere
        if any(is_remote(p) or (declared and not os.path.isfile(p)) for p in self.files):
            return None
        paths = self._paths()
        total, kinds = sum(os.path.getsize(path) for path in paths), {_format(path) for path in paths}
        if total * (8 if ".parquet" in kinds else 1) <= _COUNTED_BYTES:
            counted = _counted(self)
            return Amount(counted, counted)
        if ".parquet" in kinds:
            return None
        return Amount(int(0.9 * (1 - self.held_out) * total) if kinds == {".txt"} else 0, total)

    def pinned(self) -> Text:
        if self.sha256 is not None or self.digest().startswith("pending-"):
            return self
        paths = self._paths()
        return self.model_copy(
            update={"files": tuple(paths), "sha256": tuple(known_sha256(p) for p in paths)}
        )

    def apart(self) -> int | None:
        return self.apart_bytes

    def resolve(self) -> None:
        for path in self._paths():
            if is_remote(path):
                fetch(path)

    def documents(self) -> Iterator[Document]:
        paths = self._paths()
        declared = self.sha256 if self.sha256 is not None else (None,) * len(paths)
        local = [fetch(p) if is_remote(p) else Path(p) for p in paths]
        shas = [file_sha256(p) for p in local]
        for name, sha, expected in zip(paths, shas, declared, strict=True):
            if expected is not None and sha != expected:
                raise UserError(f"data.corpus.sha256: {name} has {sha}, not the declared {expected}")
        # Ordered by content, so that names do not matter.
        for sha, path, name in sorted(zip(shas, local, paths, strict=True), key=lambda x: x[0]):
            source = sha[:12] if len(paths) <= _MOST_SOURCES else "text"
            for record in _records(path, _format(name), self.field):
                split = split_by_hash(record, self.held_out)
                for piece in cut(paragraphs(record), self.document_bytes):
                    yield Document(piece.decode(), source, split)

    def _paths(self) -> list[str]:
        listed: list[str] = []
        for pattern in self.files:
            matches = _expand(pattern)
            if not matches:
                raise UserError(f"data.corpus.files: no file matches {pattern!r}")
            listed += matches
        for path in listed:
            _format(path)
        return list(dict.fromkeys(listed))


def split_by_hash(record: str, held_out: float) -> Literal["train", "a", "b"]:
    """The split of a record, by the hash of its text: equal records are in one split."""
    place = hashing.key("held out", record) * 2.0**-64
    return "train" if place >= held_out else "a" if place < held_out / 2 else "b"


def _expand(pattern: str) -> list[str]:
    if not is_remote(pattern):
        matches = glob.glob(pattern, recursive=True) if glob.has_magic(pattern) else [pattern]
        return sorted(path for path in matches if os.path.isfile(path))
    if not glob.has_magic(pattern):
        return [pattern]
    import fsspec

    filesystem, path = fsspec.core.url_to_fs(pattern)
    return sorted(filesystem.unstrip_protocol(p) for p in filesystem.glob(path))


def _format(path: str) -> str:
    suffix = Path(path).suffix.lower()
    if suffix not in FORMATS:
        raise UserError(f"data.corpus.files: {path!r} is none of {', '.join(FORMATS)}")
    return suffix


def _records(path: Path, kind: str, field: str) -> Iterator[str]:
    if kind == ".txt":
        yield from _sections(path.read_text(encoding="utf-8", errors="replace"))
    elif kind == ".jsonl":
        with path.open(encoding="utf-8") as f:
            for number, line in enumerate(f, 1):
                if line.strip():
                    yield _field(_json(line, path, number), field, f"line {number} of {path}")
    else:
        import pyarrow.parquet

        table = pyarrow.parquet.ParquetFile(path)
        if field not in table.schema_arrow.names:
            raise UserError(
                f"data.corpus.field: {path} has no column {field!r}; "
                f"it has {', '.join(table.schema_arrow.names)}"
            )
        for batch in table.iter_batches(columns=[field]):
            yield from (str(v) for v in batch.column(0).to_pylist() if v)


def _json(line: str, path: Path, number: int) -> Any:
    try:
        return json.loads(line)
    except json.JSONDecodeError as error:
        raise UserError(f"data.corpus.files: line {number} of {path} is no JSON: {error}") from None


def _field(record: Any, field: str, where: str) -> str:
    if not isinstance(record, dict) or not isinstance(record.get(field), str):
        known = ", ".join(record) if isinstance(record, dict) else type(record).__name__
        raise UserError(f"data.corpus.field: {where} has no text in {field!r}; it has {known}")
    return str(record[field])


def _sections(text: str) -> Iterator[str]:
    """Runs of whole paragraphs: some 200 of them, but of no more than about 16 kB each."""
    enough = min(len(text) // 200, _SECTION_BYTES)
    section: list[str] = []
    size = 0
    for paragraph in re.split(r"\n[ \t]*\n", text):
        section.append(paragraph)
        size += len(paragraph)
        if size > enough:
            yield "\n\n".join(section)
            section, size = [], 0
    if section:
        yield "\n\n".join(section)


def paragraphs(record: str) -> Iterator[bytes]:
    """What stands between blank lines."""
    for paragraph in re.split(r"\n[ \t]*\n", record):
        if stripped := paragraph.strip():
            yield stripped.encode(errors="replace")


# What is known about files: sha256 by path, size and modification time, kept in the user's cache directory.


def _counted(corpus: Text) -> int:
    """Bytes of a corpus's training split, counted once for each content."""
    from trainers.data.documents import training_bytes

    entry = cache_folder() / "amounts" / f"{digest(corpus.identity())}.json"
    known = read_json(entry)
    if known is None:
        known = {"training_bytes": training_bytes(corpus)}
        write_json(entry, known)
    return int(known["training_bytes"])


def known_sha256(path: str) -> str | None:
    """A file's sha256; of a URL, that of the copy fetched earlier, or None."""
    if not is_remote(path):
        return file_sha256(Path(path))
    known = read_json(cache_folder() / "remote" / f"{digest(path)}.json")
    return str(known["sha256"]) if known else None


def fetch(url: str) -> Path:
    """A local copy of a URL's content, fetched once."""
    entry = cache_folder() / "remote" / f"{digest(url)}.json"
    known = read_json(entry)
    content = cache_folder() / "remote" / f"{digest(url)}{Path(url).suffix}"
    if known is None or not content.exists():
        import fsspec

        sha = hashlib.sha256()
        with replacing(content) as temporary, fsspec.open(url, "rb") as f, temporary.open("wb") as out:
            _copy(f, out, sha)
        write_json(entry, {"url": url, "sha256": sha.hexdigest()})
    return content


def _copy(source: BinaryIO, target: BinaryIO, sha: Any) -> None:
    while block := source.read(1 << 20):
        sha.update(block)
        target.write(block)
