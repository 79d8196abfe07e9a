"""GPT-2 as one would write it in plain torch: what the trainer's speed is compared with.

Eager modules, scaled dot-product attention, cross-entropy, gradient clipping and torch's fused AdamW, in the
form of Karpathy's nanoGPT. It has nothing of this project.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Layer(nn.Module):
    """Attention and MLP, each behind a LayerNorm."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm_1, self.norm_2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.output = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        """[B, T, d]."""
        B, T, d = x.shape
        q, k, v = (
            part.view(B, T, self.heads, -1).transpose(1, 2) for part in self.qkv(self.norm_1(x)).chunk(3, -1)
        )
        o = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.output(o.transpose(1, 2).reshape(B, T, d))
        return x + self.down(F.gelu(self.up(self.norm_2(x)), approximate="tanh"))


class PlainGPT2(nn.Module):
    """GPT-2 with an untied head."""

    def __init__(self, vocab: int, context: int, width: int, layers: int, heads: int) -> None:
        super().__init__()
        self.tokens, self.positions = nn.Embedding(vocab + 1, width), nn.Embedding(context, width)
        self.layers = nn.ModuleList(Layer(width, heads) for _ in range(layers))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, vocab, bias=False)

    def forward(self, ids: Tensor, targets: Tensor) -> Tensor:
        """Mean cross-entropy."""
        x = self.tokens(ids) + self.positions(torch.arange(ids.shape[1]))
        for layer in self.layers:
            x = layer(x)
        return F.cross_entropy(self.head(self.norm(x)).flatten(0, 1), targets.flatten())


def plain_update(
    tokens: Tensor, batch: int, vocab: int, width: int, layers: int, heads: int
) -> Callable[[], None]:
    """An update to be called again and again, on rows of ``tokens`` [n, T] in turn."""
    torch.manual_seed(0)
    model = PlainGPT2(vocab, tokens.shape[1], width, layers, heads)
    optimizer = torch.optim.AdamW(model.parameters(), 2e-3, (0.9, 0.95), weight_decay=0.1, fused=True)
    step = 0

    def update() -> None:
        nonlocal step
        rows = tokens[torch.arange(step * batch, (step + 1) * batch) % len(tokens)]
        bos = rows.new_full((batch, 1), vocab)
        optimizer.zero_grad(set_to_none=True)
        model(torch.cat([bos, rows[:, :-1]], 1), rows).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        step += 1

    return update
