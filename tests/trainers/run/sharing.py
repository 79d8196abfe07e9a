"""Trains runs as one of several workers, for test_parallel: ``torchrun ... sharing.py CASES DATA OUT``.

``CASES`` holds run configs by name. Of those named ``loop/...`` whole runs are trained, stopped after 13
steps by one number of workers and finished by another; of the rest, each worker saves losses and weights of
a few float64 updates, and the first also those of the same updates made alone.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any, ClassVar, NoReturn

import torch
from safetensors.torch import save_file

from trainers.config import RunConfig
from trainers.data import prepare
from trainers.machine.workers import ALONE, Workers, launched
from trainers.objectives.autoregressive.objective import Autoregressive
from trainers.objectives.base import Term, objectives
from trainers.run.learner import Learner
from trainers.run.loop import train
from trainers.state.folder import RunFolder
from trainers.state.storage import LocalStorage

UPDATES = 3


class Counts(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("seen", torch.zeros(3, dtype=torch.int64))
        self.register_buffer("weight", torch.ones(()))


@objectives.register
class Stateful(Autoregressive):
    """Two terms with denominators of their own, and a state that counts sequences."""

    name: ClassVar[str] = "stateful"

    def modules(self, model: Any, vocab: int) -> torch.nn.Module:
        return Counts()

    def terms(self, model: Any, batch: Any, noise: Any, step: int) -> dict[str, Term]:
        (loss,) = super().terms(model, batch, noise, step).values()
        if torch.is_grad_enabled():
            model.objective.seen += torch.bincount(batch.tokens[:, 0] % 3, minlength=3)
            model.objective.weight += noise.uniform("weight").double().sum()
        return {
            "loss": loss,
            "size": Term(model.head.square().sum() * len(batch), (batch.counters + 1).sum()),
        }


class ReadOnly(LocalStorage):
    """What a worker gets that has no business to write."""

    def put(self, *_: object) -> NoReturn:
        raise AssertionError("only the first worker writes")

    put_if_absent = delete = put


def updates(config: RunConfig, data: Path, workers: Workers) -> dict[str, torch.Tensor]:
    learner = Learner(config, prepare(config.data, data), torch.device("cpu"), torch.float64, workers)
    found = {}
    for _ in range(UPDATES):
        learner.update()
    found |= {f"window/{name}": value.reshape(()) for name, value in learner.window.sums.items()}
    return {**found, **learner.snapshot(with_state=False).weights, "tokens": torch.tensor(learner.tokens)}


def runs(config: RunConfig, out: Path, data: Path, workers: Workers) -> None:
    storage = LocalStorage(out) if workers.first else ReadOnly(out)
    for first, second in ((workers, ALONE), (ALONE, workers)):
        folder = RunFolder(f"{config.objective.name}-{first.size}-{second.size}", storage)
        asked = iter([False] * 13 + [True])
        for group, stop in ((first, lambda asked=asked: next(asked)), (second, lambda: False)):
            if group.size > 1 or workers.first:
                train(config, folder, data_root=data, stop=stop, workers=group)


def main() -> None:
    cases, data, out = json.loads(Path(sys.argv[1]).read_text()), Path(sys.argv[2]), Path(sys.argv[3])
    torch.set_num_threads(1)
    with launched("cpu") as workers:
        for name, fields in cases.items():
            config = RunConfig.model_validate(fields)
            if name.startswith("loop/"):
                runs(config, out, data, workers)
                continue
            save_file(updates(config, data, workers), out / f"{name}.{workers.rank}.safetensors")
            if workers.first:
                save_file(updates(config, data, ALONE), out / f"{name}.alone.safetensors")


if __name__ == "__main__":
    main()
