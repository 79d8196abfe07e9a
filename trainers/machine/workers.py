"""The group of workers that train one run together: each takes its share of every batch, and sums are shared.

Data parallelism at its plainest: weights, optimizer and evaluation are equal in all workers, for all see the
same sums. Who scores a sequence decides nothing, so any number of workers gives one worker's values, up to
the order in which floats are added. Processes talk through ``torch.distributed``: scalars and agreements on
the CPU (gloo), gradients where they are (NCCL on CUDA). Gradients are summed after the backward pass, not
during it. A group of one does none of it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from trainers.components.lazy import torch

if TYPE_CHECKING:
    from torch import Tensor

BUCKET = 1 << 23
"""Values summed over workers at a time: 32 MB of float32 gradients are copied together, never all of them."""
PATIENCE = timedelta(hours=4)
"""How long workers wait for each other: longer than the first one takes to prepare any data. Where one dies,
whoever started them ends the others."""


def backend(device: str) -> str:
    """The ``torch.distributed`` backend of a run on ``device`` (as in `trainers.config.Resources`)."""
    on_card = device.startswith("cuda") or (device == "auto" and torch.cuda.is_available())
    return "cpu:gloo,cuda:nccl" if on_card else "gloo"


@dataclass(frozen=True)
class Workers:
    """The group that this process is in: worker ``rank`` of ``size``. Only the first, rank 0, writes.

    All workers make the same calls in the same order.
    """

    rank: int = 0
    size: int = 1

    @property
    def first(self) -> bool:
        """Whether this worker is the one that writes."""
        return self.rank == 0

    def rows(self, total: int) -> tuple[int, int]:
        """Start and stop of this worker's share of ``total`` rows; shares are contiguous, in order of
        rank.
        """
        return total * self.rank // self.size, total * (self.rank + 1) // self.size

    def equal_rows(self, total: int) -> tuple[int, int]:
        """Start and stop of rows around this worker's share, as many in every worker: where each forward pass
        must meet one in all others. They overlap where ``total`` cannot be shared evenly.
        """
        count = -(-total // self.size)
        start = min(self.rows(total)[0], total - count)
        return start, start + count

    # --- values ---

    def sum(self, values: dict[str, Tensor]) -> dict[str, Tensor]:
        """Sums over workers of 0-d tensors, in float64."""
        if self.size == 1:
            return values
        total = torch.stack([value.detach().to(torch.float64) for value in values.values()])
        torch.distributed.all_reduce(total)
        return dict(zip(values, total.unbind(), strict=True))

    def gather(self, rows: Tensor, total: int) -> Tensor:
        """All ``total`` rows of a tensor on the CPU of which each worker holds its share."""
        if self.size == 1:
            return rows
        start, stop = self.rows(total)
        whole = rows.new_zeros(total, *rows.shape[1:])
        whole[start:stop] = rows
        torch.distributed.all_reduce(whole)
        return whole

    def sum_gradients(self, parameters: Sequence[Tensor]) -> None:
        """Sum every ``grad`` over workers. A parameter that has one in any worker has one in all afterwards,
        for an optimizer skips those without.
        """
        if self.size == 1:
            return
        holders = torch.tensor([p.grad is not None for p in parameters], dtype=torch.int32)
        torch.distributed.all_reduce(holders)
        gradients: list[Tensor] = []
        for parameter, count in zip(parameters, holders.tolist(), strict=True):
            if count:
                parameter.grad = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
                gradients.append(parameter.grad)
        for bucket in _buckets(gradients):
            flat = torch.cat([g.reshape(-1) for g in bucket])
            torch.distributed.all_reduce(flat)
            for gradient, part in zip(bucket, flat.split([g.numel() for g in bucket]), strict=True):
                gradient.copy_(part.view_as(gradient))

    @contextmanager
    def summed_changes(self, state: Iterable[Tensor]) -> Iterator[None]:
        """Changes made inside to tensors of state, which are sums over sequences, are summed over workers."""
        if self.size == 1:
            yield
            return
        before = [(tensor, tensor.clone()) for tensor in state if tensor.dtype != torch.bool]
        yield
        for tensor, old in before:
            change = tensor - old
            torch.distributed.all_reduce(change)
            tensor.copy_(old + change)

    # --- agreements ---

    def first_says(self, ask: Callable[[], bool]) -> bool:
        """The first worker's answer, in every worker; only the first one calls ``ask``."""
        if self.size == 1:
            return ask()
        answer = torch.tensor(int(self.first and ask()))
        torch.distributed.all_reduce(answer)
        return bool(answer)

    @contextmanager
    def turns(self) -> Iterator[None]:
        """Run the block in the first worker, then in the others, which can read what the first one wrote."""
        if not self.first:
            self._barrier()
        yield
        if self.first:
            self._barrier()

    def _barrier(self) -> None:
        if self.size > 1:
            torch.distributed.all_reduce(torch.zeros(1))


ALONE = Workers()
"""The group of a process that trains a run by itself."""


def joined() -> Workers:
    """The default group of ``torch.distributed``, which must be initialised."""
    return Workers(torch.distributed.get_rank(), torch.distributed.get_world_size())


@contextmanager
def launched(device: str) -> Iterator[Workers]:
    """The group that ``torchrun`` started this process in, initialised inside the block; a group of one where
    it did not."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1 or "RANK" not in os.environ:
        yield ALONE
        return
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]) % torch.cuda.device_count())
    torch.distributed.init_process_group(backend(device), timeout=PATIENCE)
    yield joined()
    torch.distributed.destroy_process_group()


def _buckets(tensors: Iterable[Tensor]) -> Iterator[list[Tensor]]:
    """Tensors in order, in groups of at most ``BUCKET`` values, or of one tensor."""
    bucket: list[Tensor] = []
    for tensor in tensors:
        if bucket and sum(t.numel() for t in bucket) + tensor.numel() > BUCKET:
            yield bucket
            bucket = []
        bucket.append(tensor)
    if bucket:
        yield bucket
