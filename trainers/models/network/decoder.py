"""The transformer as a torch module."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from trainers.models.attention import Attention
from trainers.models.network.chunked_loss import logits_rows
from trainers.models.network.kernels import Choice, Kernels, kernels_for
from trainers.models.network.operands import AttentionShape, AttentionView, AttentionWeights, SwigluWeights
from trainers.noise import Noise

if TYPE_CHECKING:
    from trainers.models.transformer import Transformer
    from trainers.objectives.base import Corruption


class KeyValueCache:
    """Keys and values of the positions fed so far, one pair a layer, for autoregressive sampling."""

    def __init__(self) -> None:
        self.layers: dict[int, tuple[Tensor, Tensor]] = {}

    @property
    def length(self) -> int:
        """Positions fed so far."""
        return self.layers[0][0].shape[2] if self.layers else 0

    def extend(self, layer: int, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """All keys and values [B, G, S, e] of a layer, the new ones appended."""
        if layer in self.layers:
            old_k, old_v = self.layers[layer]
            k, v = torch.cat([old_k, k], 2), torch.cat([old_v, v], 2)
        self.layers[layer] = k, v
        return k, v


@dataclass(frozen=True)
class Shared:
    """What all layers of one forward pass share. ``dtype`` is that of matrix products."""

    kernels: Kernels
    dtype: torch.dtype
    view: AttentionView
    noise: Noise | None
    cache: KeyValueCache | None


class Layer(nn.Module):
    """Attention and SwiGLU, each behind a norm, added to the residual stream.

    Matrices are [out, in]. ``qkv`` stacks queries, keys and values; ``gate_up`` stacks SwiGLU's two inputs.
    Within a head of queries or keys, the two rows that RoPE turns together are neighbours.
    """

    def __init__(self, config: Transformer) -> None:
        super().__init__()
        d, e, f = config.width, config.head_width, config.ffn_width
        self.config = config
        self.heads = (config.n_heads, config.n_kv_heads)
        self.attention_norm = nn.Parameter(torch.ones(d))
        self.qkv = nn.Parameter(torch.empty((config.n_heads + 2 * config.n_kv_heads) * e, d))
        self.q_norm = nn.Parameter(torch.ones(e)) if config.qk_norm else None
        self.k_norm = nn.Parameter(torch.ones(e)) if config.qk_norm else None
        self.output = nn.Parameter(torch.empty(d, d))
        self.mlp_norm = nn.Parameter(torch.ones(d))
        self.gate_up = nn.Parameter(torch.empty(2 * f, d))
        self.down = nn.Parameter(torch.empty(d, f))

    def forward(self, x: Tensor, shared: Shared, index: int) -> Tensor:
        """The residual stream [B, T, d] after this layer, the ``index``-th."""
        c, kernels = self.config, shared.kernels
        extend = None if shared.cache is None else functools.partial(shared.cache.extend, index)
        p = c.dropout_attention if self.training else 0.0
        attention = AttentionWeights(self.attention_norm, self.qkv, self.output, self.q_norm, self.k_norm)
        shape = AttentionShape(self.heads, c.norm_eps)
        x = kernels.add_attention(x, attention, shape, shared.view, shared.dtype, p, extend)
        keep = None
        if c.dropout_mlp and self.training:
            keep = _keep(x, c.dropout_mlp, shared.noise, f"dropout/mlp/{index}")
        mlp = SwigluWeights(self.mlp_norm, self.gate_up, self.down)
        return kernels.add_swiglu(x, mlp, c.norm_eps, shared.dtype, keep)

    def logical_parameters(self) -> Iterator[tuple[str, Tensor]]:
        """Names and values without fusion. Rows of wq and wk are in the order of Llama's weights, where the
        rows that RoPE turns together are half a head apart: [heads, 2, e/2, d] is that order, as a view.
        """
        H, G = self.heads
        wq, wk, wv = self.qkv.detach().unflatten(0, (H + 2 * G, -1)).split([H, G, G])
        yield "attention_norm", self.attention_norm.detach()
        yield "wq", wq.unflatten(1, (-1, 2)).transpose(1, 2)
        yield "wk", wk.unflatten(1, (-1, 2)).transpose(1, 2)
        yield "wv", wv
        if self.q_norm is not None and self.k_norm is not None:
            yield "q_norm", self.q_norm.detach().unflatten(0, (-1, 2)).t()
            yield "k_norm", self.k_norm.detach().unflatten(0, (-1, 2)).t()
        yield "wo", self.output.detach()
        yield "mlp_norm", self.mlp_norm.detach()
        gate, up = self.gate_up.detach().chunk(2)
        yield "gate", gate
        yield "up", up
        yield "down", self.down.detach()


class Decoder(nn.Module):
    """Tokens or embeddings in, hidden states out; ``logits`` are over the V tokens that can be predicted.

    Matrix products run in the dtype of an enclosing ``torch.autocast``, else in that of the weights.
    """

    objective: nn.Module | None

    def __init__(self, config: Transformer, vocab: int, extra: int) -> None:
        super().__init__()
        self.config, self.vocab, self.width = config, vocab, config.width
        self.checkpoint_activations = False
        self.kernels: Choice = "auto"
        self.objective = None
        self.embedding = nn.Parameter(torch.empty(vocab, config.width))
        self.extra = nn.Parameter(torch.empty(extra, config.width))
        self.layers = nn.ModuleList(Layer(config) for _ in range(config.layers))
        self.norm = nn.Parameter(torch.ones(config.width))
        self.head = None if config.tied else nn.Parameter(torch.empty(vocab, config.width))

    def logical_parameters(self) -> Iterator[tuple[str, Tensor]]:
        """Every tensor of the backbone under the name that it has without fusion (``layers.0.wq``), as a
        view.

        A view may have more dimensions than the tensor; flattened to [out, in] it has the order of Llama's
        weights.
        """
        yield "embedding", self.embedding.detach()
        yield "extra", self.extra.detach()
        for i, layer in enumerate(self._layers()):
            yield from ((f"layers.{i}.{name}", tensor) for name, tensor in layer.logical_parameters())
        yield "norm", self.norm.detach()
        if self.head is not None:
            yield "head", self.head.detach()

    def initial_parameters(self) -> Iterator[tuple[str, Tensor, float | None]]:
        """Logical name, view and initial standard deviation of each tensor (None: norms, which start at one).

        Outputs to the residual stream are scaled by 1 / sqrt(2 L), as in GPT-2.
        """
        std = self.config.init_std
        residual = std / math.sqrt(2 * self.config.layers)
        for name, tensor in self.logical_parameters():
            kind = name.rpartition(".")[2]
            yield name, tensor, None if kind.endswith("norm") else residual if kind in ("wo", "down") else std

    def embed(self, ids: Tensor) -> Tensor:
        """Embeddings [..., d] of ids, extra tokens (V, V + 1, ...) included."""
        return self._kernels(ids).embed(ids, self.embedding, self.extra)

    def forward(
        self,
        inputs: Tensor,
        attention: Attention | str | Tensor,
        positions: Tensor | None = None,
        conditioning: Tensor | None = None,
        noise: Noise | None = None,
        cache: KeyValueCache | None = None,
    ) -> Tensor:
        """Hidden states [B, T, d], after the last norm.

        See `trainers.models.base.Backbone`. With ``cache`` (causal only), inputs continue the positions that
        it holds, and extend it.
        """
        c = self.config
        x = inputs if inputs.is_floating_point() else self.embed(inputs)
        dtype = self._dtype(x)
        with torch.autocast(x.device.type, enabled=False):
            if conditioning is not None:
                added = conditioning if conditioning.ndim == 3 else conditioning[:, None]
                x = x + added.to(x.dtype)
            if c.dropout_embedding and self.training:
                x = x * _keep(x, c.dropout_embedding, noise, "dropout/embedding")
            shared = self._shared(x, Attention.of(attention), positions, noise, cache, dtype)
            for i, layer in enumerate(self.layers):
                if self.checkpoint_activations and self.training and torch.is_grad_enabled():
                    x = checkpoint(layer, x, shared, i, use_reentrant=False)
                else:
                    x = layer(x, shared, i)
            return shared.kernels.rms_norm(x, self.norm, c.norm_eps)

    def new_cache(self) -> KeyValueCache:
        """An empty cache."""
        return KeyValueCache()

    def logits(self, hidden: Tensor) -> Tensor:
        """[..., V]: extra tokens cannot be predicted."""
        return hidden @ self._head().t()

    def token_nll(self, hidden: Tensor, targets: Tensor) -> Tensor:
        """Nats of each target, in the shape of ``targets`` [...]; not for training. Holds a piece of the
        logits at a time.
        """
        with torch.no_grad():
            pieces = logits_rows(hidden, self.vocab)
            rows = zip(hidden.flatten(0, -2).split(pieces), targets.flatten().split(pieces), strict=True)
            nll = [torch.nn.functional.cross_entropy(self.logits(h), t, reduction="none") for h, t in rows]
            return torch.cat(nll).view_as(targets)

    def weighted_cross_entropy(self, corruption: Corruption, noise: Noise | None = None) -> Tensor:
        """Sum over scored positions of weight x cross-entropy, 0-d. Only positions with a weight reach the
        head.
        """
        c = corruption
        hidden = self(c.inputs, c.attention, c.positions, c.conditioning, noise).flatten(0, 1)
        dtype = self._dtype(hidden)
        with torch.autocast(hidden.device.type, enabled=False):
            targets, weights = c.targets.flatten(), c.weights.flatten()
            cross_entropy = self._kernels(hidden).linear_cross_entropy
            return cross_entropy(hidden, self._head(), targets, weights, dtype)

    def _layers(self) -> Iterator[Layer]:
        return (layer for layer in self.layers if isinstance(layer, Layer))

    def _head(self) -> Tensor:
        return self.embedding if self.head is None else self.head

    def _kernels(self, x: Tensor) -> Kernels:
        return kernels_for(self.kernels, x.device)

    @staticmethod
    def _dtype(x: Tensor) -> torch.dtype:
        kind = x.device.type
        return torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else x.dtype

    def _shared(
        self,
        x: Tensor,
        attention: Attention,
        positions: Tensor | None,
        noise: Noise | None,
        cache: KeyValueCache | None,
        dtype: torch.dtype,
    ) -> Shared:
        T, past = x.shape[1], cache.length if cache is not None else 0
        c = self.config
        at = torch.arange(past, past + T, device=x.device) if positions is None else positions[:, None]
        rotation = _rotation(at, c.head_width, c.rope_base, x.dtype)
        view = AttentionView.of(attention, rotation, T, past, dtype)
        return Shared(self._kernels(x), dtype, view, noise, cache)


def _rotation(positions: Tensor, head_width: int, base: float, dtype: torch.dtype) -> Tensor:
    """[..., T, e/2, 2]: cosine and sine of RoPE's angles (arXiv 2104.09864), computed in float64."""
    exponents = torch.arange(0, head_width, 2, dtype=torch.float64, device=positions.device) / head_width
    angle = positions.to(torch.float64)[..., None] * base**-exponents
    return torch.stack([angle.cos(), angle.sin()], -1).to(dtype)


def _keep(x: Tensor, p: float, noise: Noise | None, stream: str) -> Tensor:
    """Dropout's multiplier of [B, ...], 0 or 1 / (1 - p), from counter noise."""
    if noise is None:
        raise ValueError("dropout while training needs the noise of the batch: model(..., noise=noise)")
    keep = noise.uniform(stream, *x.shape[1:]) >= p
    return keep.to(x.dtype) / (1 - p)
