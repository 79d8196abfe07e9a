"""A model small enough to enumerate: logits are a table over everything that is visible."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator

import torch
from torch.nn import functional as F

from trainers.batch import Batch
from trainers.models.attention import Attention
from trainers.noise import Noise


class TableModel(torch.nn.Module):
    """Every input sequence (its prefix, where causal) has logits of its own at each position, float64, or all
    zero: uniform.
    """

    def __init__(
        self, vocab: int = 3, length: int = 4, extra: int = 2, uniform: bool = False, seed: int = 0
    ) -> None:
        super().__init__()
        self.vocab, self.length, self.ids, self.width = vocab, length, vocab + extra, vocab
        rows = (self.ids + 1) ** length
        values = torch.randn(
            rows, length, vocab, generator=torch.Generator().manual_seed(seed), dtype=torch.float64
        )
        self.table = torch.nn.Parameter(torch.zeros_like(values) if uniform else 1.5 * values)
        self.objective = None

    def forward(self, inputs, attention, positions=None, conditioning=None, noise=None):
        length = inputs.shape[1]
        digits = inputs + 1
        place = (self.ids + 1) ** torch.arange(length)
        attention = Attention.of(attention)
        if attention.simple and attention.pattern == "causal":
            state = (digits * place).cumsum(1)
        elif attention.simple:
            state = (digits * place).sum(1, keepdim=True).expand(-1, length)
        else:
            allowed = attention.dense(length, inputs.device).expand(len(inputs), -1, -1, -1)
            state = (digits[:, None] * allowed[:, 0] * place).sum(-1)
        return self.table[state, torch.arange(length)]

    def logits(self, hidden):
        return hidden

    def token_nll(self, hidden, targets):
        return F.cross_entropy(hidden.flatten(0, -2), targets.flatten(), reduction="none").view(targets.shape)

    def weighted_cross_entropy(self, c, noise=None):
        hidden = self(c.inputs, c.attention, c.positions, c.conditioning, noise)
        return (self.token_nll(hidden, c.targets) * c.weights).sum()


def batch_of(tokens: torch.Tensor, first: int = 0, real: torch.Tensor | None = None) -> Batch:
    """Sequences with counters first, first + 1, ..."""
    real = torch.ones_like(tokens, dtype=torch.bool) if real is None else real
    return Batch(tokens, real, torch.arange(first, first + len(tokens)))


class Even(Noise):
    """Noise whose uniforms are 0, 1/n, ..., (n-1)/n of each row, but for the streams that ``values`` gives:
    what is a probability under real noise is a share under this.
    """

    def __init__(self, batch: Batch, **values: float) -> None:
        super().__init__(0, batch.counters, len(batch))
        self.values = values

    def uniform(self, stream: str, *shape: int) -> torch.Tensor:
        if stream in self.values:
            return torch.full((len(self.counters), *shape), self.values[stream])
        n = math.prod(shape)
        return (torch.arange(n) / n).reshape(shape).expand(len(self.counters), *shape)


def subsets(length: int) -> Iterator[torch.Tensor]:
    """Every non-empty mask of ``length`` positions, bool [T]."""
    for bits in itertools.product([False, True], repeat=length):
        if any(bits):
            yield torch.tensor(bits)


@torch.no_grad()
def mean_ce(model: TableModel, tokens: torch.Tensor) -> torch.Tensor:
    """g [T]: g[k-1] = mean cross-entropy of a masked token over all masks of k tokens, by enumeration; for
    one sequence [T].
    """
    length = len(tokens)
    total, count = torch.zeros(length, dtype=torch.float64), torch.zeros(length, dtype=torch.float64)
    for mask in subsets(length):
        k = int(mask.sum())
        nll = model.token_nll(model(torch.where(mask, model.vocab, tokens)[None], "full")[0], tokens)
        total[k - 1] += nll[mask].mean()
        count[k - 1] += 1
    return total / count
