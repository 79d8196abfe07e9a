"""The golden table: configs, their keys, and their float64 losses over five steps; at least one for each
component.

``python -m tests.trainers.golden`` writes ``tests/data/golden.json`` anew. It refuses where a key or a number
changed while no component in use had its version raised (or its content changed): such a change would give an
old key a new meaning.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from tests.paths import ROOT
from trainers.config import RunConfig

TABLE = ROOT / "tests" / "data" / "golden.json"
TOLERANCE = 1e-9
"""Relative, of float64 losses: sums may run in another order on another machine."""

BASE: dict[str, Any] = {
    "model": {"name": "transformer", "width": 16, "layers": 2, "ffn": 32},
    "data": {"unique_bytes": 3000, "context": 16},
    "evaluation": {"sequences": 4},
    "optimizer": {"name": "adamw", "lr": 0.01},
    "schedule": {"name": "constant", "warmup": 2},
    "batch_size": 8,
    "steps": 5,
}

VARIANTS: dict[str, dict[str, Any]] = {
    "autoregressive": {},
    "autoregressive input_mask": {"objective": {"name": "autoregressive", "input_mask": 0.3}},
    "masked_diffusion": {"objective": "masked_diffusion"},
    "masked_diffusion iid realised": {
        "objective": {"name": "masked_diffusion", "t": "iid", "weight": "realised"}
    },
    "masked_diffusion unweighted masked": {
        "objective": {"name": "masked_diffusion", "weight": "none", "normaliser": "masked"}
    },
    "masked_diffusion forced sequence": {
        "objective": {
            "name": "masked_diffusion",
            "forced_mask": True,
            "weight": "realised",
            "normaliser": "sequence",
        }
    },
    "masked_diffusion random_length": {"objective": {"name": "masked_diffusion", "random_length": 1.0}},
    "transformer tied gqa": {
        "model": {"tied": True, "heads": 4, "kv_heads": 2, "qk_norm": False, "rope_base": 500.0}
    },
    "transformer gpt2": {"model": {"block": {"name": "gpt2", "positions": 16}}},
    "transformer dropout": {"model": {"dropout_embedding": 0.1, "dropout_mlp": 0.2}},
    "wsd": {"schedule": {"name": "wsd", "warmup": 2, "decay": 0.4}},
    "wsd sqrt": {"schedule": {"name": "wsd", "warmup": 1, "decay": 0.4, "shape": "sqrt"}},
    "wsd exponential": {"schedule": {"name": "wsd", "warmup": 1, "decay": 0.4, "shape": "exponential"}},
    "cosine": {"schedule": {"name": "cosine", "warmup": 2}},
    "adamw": {"optimizer": {"betas": [0.8, 0.99], "weight_decay": 1.0, "clip": 0.1}},
    "ema": {"ema": 0.5},
    "seed": {"seed": 3, "data": {"subset_seed": 3}},
    "fixed": {"data": {"order": "fixed"}},
    "shuffle_all": {"data": {"order": "shuffle_all"}},
    "repack": {"data": {"repack": True}},
    "crop": {"data": {"crop": "random"}},
    "attend within": {"data": {"attend": "within"}},
    "attend within masked_diffusion": {"objective": "masked_diffusion", "data": {"attend": "within"}},
    "replace_words": {"data": {"quality": {"name": "replace_words", "fraction": 0.5}}},
    "shuffle_words": {"data": {"quality": "shuffle_words"}},
    "typos": {"data": {"quality": "typos"}},
    "gopher": {"data": {"quality": "gopher"}},
    "bpe": {"data": {"tokenizer": {"name": "bpe", "vocab_size": 300, "train_bytes": 20_000}}},
    "markov": {"data": {"corpus": {"name": "markov", "documents_held": 500}}},
    "copy": {
        "objective": "masked_diffusion",
        "data": {"corpus": {"name": "copy", "pairs": 400, "length": 5, "reverse": True}},
    },
    "unique_tokens": {"data": {"unique_tokens": 1000, "unique_bytes": None}},
    "text": {"data": {"corpus": {"name": "text", "files": str(TABLE.with_suffix(".txt"))}}},
    "gpt2": {"data": {"tokenizer": "gpt2"}},
    "huggingface": {"data": {"corpus": {"name": "huggingface", "dataset": "a/b", "revision": "0" * 40}}},
}
KEYS_ALONE = {"gpt2", "huggingface"}
"""Rows without losses: those need a package, or a network, that a test cannot count on."""


def config(name: str) -> RunConfig:
    """The config of a row: the base with the variant's fields laid over it."""
    fields = dict(BASE)
    for key, value in VARIANTS[name].items():
        fields[key] = {**fields[key], **value} if isinstance(fields.get(key), dict) else value
    return RunConfig.model_validate(fields)


def versions(identity: Any, path: str = "") -> dict[str, Any]:
    """Versions and content digests of every component in an identity, by key path."""
    found: dict[str, Any] = {}
    if isinstance(identity, dict):
        if "version" in identity:
            found[path or "run"] = [identity.get("name", "run"), identity["version"], identity.get("digest")]
        for key, value in identity.items():
            found |= versions(value, f"{path}.{key}" if path else key)
    return found


def losses(run: RunConfig, data_root: Path) -> list[float]:
    """Training losses of the steps, model in float64, and the final evaluation of half A (float32 by
    definition).
    """
    import torch

    from trainers.data import prepare
    from trainers.evaluation.scoring import evaluate
    from trainers.run.learner import Learner, Window

    torch.set_num_threads(1)
    learner = Learner(run, prepare(run.data, data_root), torch.device("cpu"), torch.float64)
    found = []
    for _ in range(run.steps):
        learner.update()
        found.append(learner.window.mean()["loss"])
        learner.window = Window()
    return [*found, evaluate(learner.evaluated, run.objective, learner.dataset, run.evaluation).a.nll]


def row(name: str, data_root: Path) -> dict[str, Any]:
    """A row of the table as the code gives it now."""
    run = config(name).pinned()
    written = json.dumps(run.model_dump(mode="json", exclude={"resources", "keep"}))
    return {
        "key": run.training_key,
        "versions": versions(run.identity()),
        "config": json.loads(written.replace(f"{ROOT.as_posix()}/", "")),
        "losses": [] if name in KEYS_ALONE else losses(run, data_root),
    }


def agrees(old: dict[str, Any], new: dict[str, Any]) -> bool:
    """Whether key and losses are the same (the last number, an evaluation in float32, to 1e-5)."""
    *training, last = [*zip(old["losses"], new["losses"], strict=True)] or [(0.0, 0.0)]
    same = all(abs(a - b) <= TOLERANCE * abs(a) for a, b in training)
    return old["key"] == new["key"] and same and abs(last[0] - last[1]) <= 1e-5


def refused(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    """Rows that changed although no version in use did."""
    return [
        name
        for name in old.keys() & new.keys()
        if not agrees(old[name], new[name]) and old[name]["versions"] == new[name]["versions"]
    ]


def main() -> int:
    old = json.loads(TABLE.read_text()) if TABLE.exists() else {}
    with tempfile.TemporaryDirectory() as root:
        new = {name: row(name, Path(root)) for name in VARIANTS}
    wrong = refused(old, new)
    if wrong:
        print(
            f"refused: {', '.join(sorted(wrong))} changed, and no component's version was raised",
            file=sys.stderr,
        )
        return 1
    kept = {name for name in old.keys() & new.keys() if agrees(old[name], new[name])}
    table = {name: old[name] if name in kept else row for name, row in new.items()}
    TABLE.write_text(json.dumps(table, indent=1, sort_keys=True) + "\n")
    print(f"{len(table)} rows in {TABLE.name}, {len(kept)} as they were")
    return 0


if __name__ == "__main__":
    sys.exit(main())
