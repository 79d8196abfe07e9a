"""The transformer as a torch module."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from trainers.models.attention import Attention
from trainers.models.base import Collected
from trainers.models.network.blocks.base import Initial, Weight
from trainers.models.network.chunked_loss import logits_rows
from trainers.models.network.forward_pass import ForwardPass, KeyValueCache
from trainers.models.network.kernels import Choice, Kernels, kernels_for
from trainers.models.network.operands import AttentionView
from trainers.noise import Noise

if TYPE_CHECKING:
    from trainers.models.transformer import Transformer
    from trainers.objectives.base import Corruption


class Layer(nn.Module):
    """One layer: the tensors that a block declares, and what it makes of the residual stream."""

    def __init__(self, model: Transformer, index: int) -> None:
        super().__init__()
        self.model, self.index = model, index
        self.names = _declare(self, model.block.layer(model))

    def weights(self) -> dict[str, Tensor]:
        """The layer's tensors by name."""
        return {name: getattr(self, name) for name in self.names}

    def forward(self, x: Tensor, run: ForwardPass) -> Tensor:
        """The residual stream [B, T, d] after this layer."""
        return self.model.block.forward(self.model, self.weights(), x, run, self.index)


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
        self.layers = nn.ModuleList(Layer(config, i) for i in range(config.layers))
        self.outer = _declare(self, config.block.outer(config))
        self.head = None if config.tied else nn.Parameter(torch.empty(vocab, config.width))
        self._collected = Collected()

    def logical_parameters(self) -> Iterator[tuple[str, Tensor]]:
        """Every tensor of the backbone under the name that it has without fusion (``layers.0.wq``), as a
        view.

        A view may have more dimensions than the tensor; flattened to [out, in] it has the order of Llama's
        weights.
        """
        return ((name, tensor) for name, tensor, _ in self._logical())

    def initial_parameters(self) -> Iterator[tuple[str, Tensor, float | None]]:
        """Logical name, view and initial standard deviation of each tensor (None: ones and zeros, which it
        was built with).

        Outputs to the residual stream are scaled by 1 / sqrt(2 L), as in GPT-2.
        """
        std = self.config.init_std
        spread = {"normal": std, "residual": std / math.sqrt(2 * self.config.layers)}
        for name, tensor, initial in self._logical():
            yield name, tensor, spread.get(initial)

    def _logical(self) -> Iterator[tuple[str, Tensor, Initial]]:
        block = self.config.block
        yield "embedding", self.embedding.detach(), "normal"
        yield "extra", self.extra.detach(), "normal"
        for layer in self._layers():
            for name, tensor, initial in block.logical(self.config, layer.weights()):
                yield f"layers.{layer.index}.{name}", tensor, initial
        for name, weight in block.outer(self.config).items():
            yield name, getattr(self, name).detach(), weight.initial
        if self.head is not None:
            yield "head", self.head.detach(), "normal"

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
        T, past = x.shape[1], 0 if cache is None else cache.length
        at = torch.arange(past, past + T, device=x.device) if positions is None else positions
        outer = {name: getattr(self, name) for name in self.outer}
        with torch.autocast(x.device.type, enabled=False):
            if conditioning is not None:
                added = conditioning if conditioning.ndim == 3 else conditioning[:, None]
                x = x + added.to(x.dtype)
            x = c.block.enter(outer, x, at)
            rotation = _rotation(at, c.head_width, c.rope_base, x.dtype) if c.block.rotary else None
            view = AttentionView.of(Attention.of(attention), rotation, T, past, dtype, x.device)
            run = ForwardPass(self._kernels(x), dtype, view, noise, cache, self.training)
            keep = run.keep(x, c.dropout_embedding, "dropout/embedding")
            x = x if keep is None else x * keep
            for layer in self.layers:
                if self.checkpoint_activations and self.training and torch.is_grad_enabled():
                    x = checkpoint(layer, x, run, use_reentrant=False)
                else:
                    x = layer(x, run)
            hidden = c.block.leave(c, outer, x, run)
        collected = run.collected()
        if self.training and (collected.terms or collected.metrics):
            self._collected += collected
        return hidden

    def collect(self) -> Collected:
        """What the layers have told in training mode since the last call."""
        collected, self._collected = self._collected, Collected()
        return collected

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


def _rotation(positions: Tensor, head_width: int, base: float, dtype: torch.dtype) -> Tensor:
    """Cosine and sine of RoPE's angles (arXiv 2104.09864), computed in float64.

    [T, e/2, 2] of positions [T], [B, 1, T, e/2, 2] of positions [B, T].
    """
    positions = positions[:, None] if positions.ndim == 2 else positions
    exponents = torch.arange(0, head_width, 2, dtype=torch.float64, device=positions.device) / head_width
    angle = positions.to(torch.float64)[..., None] * base**-exponents
    return torch.stack([angle.cos(), angle.sin()], -1).to(dtype)


def _declare(module: nn.Module, weights: Mapping[str, Weight]) -> tuple[str, ...]:
    """Register a module's declared tensors; those that start as ones or zeros do so at once."""
    build = {"ones": torch.ones, "zeros": torch.zeros}
    for name, weight in weights.items():
        module.register_parameter(name, nn.Parameter(build.get(weight.initial, torch.empty)(weight.shape)))
    return tuple(weights)
