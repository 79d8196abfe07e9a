"""Trains a run while killing it, for test_resume: ``python killing.py FOLDER DATA KILLS SEED CONFIG``.

Each attempt is a forked child that sends itself SIGKILL at a seeded moment: at a step, or in the middle of a
write. The last one is let finish. Prints how many were killed, and what those that were writing wrote.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import torch

from trainers.config import RunConfig
from trainers.run.loop import train
from trainers.state.checkpoint import CheckpointPolicy
from trainers.state.folder import RunFolder
from trainers.state.storage import Chunks, LocalStorage


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


class Deadly(LocalStorage):
    """Kills the process once so many pieces have been written, before, between or after them, and tells
    ``told`` (a file descriptor) in which object."""

    def __init__(self, root: Path, pieces: int, told: int) -> None:
        super().__init__(root)
        self.left, self.told = pieces, told

    def put(self, name: str, data: Chunks) -> None:
        super().put(name, self.counted(name, data))
        self.count(name)

    def put_if_absent(self, name: str, data: Chunks) -> bool:
        won = super().put_if_absent(name, self.counted(name, data))
        self.count(name)
        return won

    def counted(self, name: str, data: Chunks) -> Iterator[bytes | memoryview]:
        for chunk in [data] if isinstance(data, bytes) else data:
            self.count(name)
            yield chunk[: len(chunk) // 2]
            self.count(name)
            yield chunk[len(chunk) // 2 :]

    def count(self, name: str) -> None:
        self.left -= 1
        if self.left == 0:
            os.write(self.told, name.encode())
            die()


def attempt(config: RunConfig, folder: Path, data: Path, steps: int | None, pieces: int) -> tuple[int, str]:
    """One attempt in a child, killed after ``steps`` steps or ``pieces`` pieces; its wait status, and the
    object that it was writing when killed."""
    heard, told = os.pipe()
    child = os.fork()
    if child == 0:
        left = steps

        def stop() -> bool:
            nonlocal left
            if left is not None:
                left -= 1
                if left < 0:
                    die()
            return False

        storage = Deadly(folder.parent, pieces, told)
        checkpoint_policy = CheckpointPolicy(seconds=0, share=float("inf"))
        train(
            config,
            RunFolder(folder.name, storage),
            data_root=data,
            stop=stop,
            checkpoint_policy=checkpoint_policy,
        )
        os._exit(0)
    os.close(told)
    with open(heard) as pipe:
        written = pipe.read()
    return os.waitpid(child, 0)[1], written


def main() -> None:
    folder, data = Path(sys.argv[1]), Path(sys.argv[2])
    kills, chance = int(sys.argv[3]), random.Random(sys.argv[4])
    config = RunConfig.model_validate(json.loads(sys.argv[5]))
    torch.set_num_threads(1)
    killed, writing = 0, list[str]()
    while killed < kills:
        at_write = killed % 2 == 1
        steps = None if at_write else chance.randrange(1, max(2, 2 * config.steps // (kills + 4)))
        pieces = chance.randrange(3, 400) if at_write else 0
        status, written = attempt(config, folder, data, steps, pieces)
        if not os.WIFSIGNALED(status):
            raise SystemExit(f"the run ended after {killed} kills; status {status}")
        killed += 1
        writing += [written] if at_write else []
    if attempt(config, folder, data, None, 0)[0] != 0:
        raise SystemExit("the last attempt failed")
    print(json.dumps({"killed": killed, "writing": writing}))


if __name__ == "__main__":
    main()
