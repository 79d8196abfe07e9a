"""The decoder transformer that the field uses, one for all objectives."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pydantic import Field, model_validator

from trainers.models.base import Model, Parameters, models
from trainers.models.network.limits import EXPLICIT_CONTEXT, LOGITS_VALUES, PIECE_VALUES

if TYPE_CHECKING:
    from trainers.models.network.decoder import Decoder


@models.register
class Transformer(Model):
    """Pre-norm decoder of Llama's form (arXiv 2302.13971: RoPE, RMSNorm, SwiGLU), with QK-norm and GQA as in
    Qwen3 (arXiv 2505.09388).
    """

    name: ClassVar[str] = "transformer"

    width: int = Field(64, ge=2, description="d, the residual stream.")
    layers: int = Field(3, ge=1, description="L.")
    heads: int | None = Field(
        None, ge=1, description="Query heads; None for heads of 64, or of 32 below width 128."
    )
    kv_heads: int | None = Field(
        None, ge=1, description="Key and value heads, a divisor of heads (GQA); None for as many as heads."
    )
    ffn: int | None = Field(
        None, ge=1, description="Hidden width of SwiGLU; None for 8/3 of the width, up to a multiple of 32."
    )
    tied: bool = Field(False, description="One matrix for embedding and head.")
    qk_norm: bool = Field(True, description="RMSNorm on each query and key head.")
    rope_base: float = Field(10_000.0, gt=1, description="Base of the rotary frequencies.")
    norm_eps: float = Field(1e-6, gt=0, description="Added to the mean square in every norm.")
    dropout_embedding: float = Field(0.0, ge=0, lt=1, description="Dropout of the embeddings.")
    dropout_attention: float = Field(
        0.0, ge=0, lt=1, description="Dropout of attention weights (not from the counter)."
    )
    dropout_mlp: float = Field(0.0, ge=0, lt=1, description="Dropout of the MLP's output.")
    init_std: float = Field(
        0.02, gt=0, description="Initial standard deviation; that of wo and down is divided by sqrt(2 L)."
    )

    @model_validator(mode="after")
    def _shapes_fit(self) -> Transformer:
        if self.width % self.n_heads:
            raise ValueError(f"heads {self.n_heads} must divide width {self.width}")
        if self.head_width % 2:
            raise ValueError(f"width / heads must be even for RoPE, not {self.head_width}")
        if self.n_heads % self.n_kv_heads:
            raise ValueError(f"kv_heads {self.n_kv_heads} must divide heads {self.n_heads}")
        return self

    @property
    def n_heads(self) -> int:
        """Query heads: as given, or heads of 64 (of 32 below width 128), or the nearest fewer that fit."""
        if self.heads is not None:
            return self.heads
        most = max(1, self.width // (64 if self.width >= 128 else 32))
        return next(h for h in range(most, 0, -1) if self.width % (2 * h) == 0 or h == 1)

    @property
    def n_kv_heads(self) -> int:
        """Key and value heads."""
        return self.n_heads if self.kv_heads is None else self.kv_heads

    @property
    def head_width(self) -> int:
        """Width of one head."""
        return self.width // self.n_heads

    @property
    def ffn_width(self) -> int:
        """Hidden width of SwiGLU."""
        return self.ffn if self.ffn is not None else -(-8 * self.width // 3 // 32) * 32

    @property
    def layer_matrix(self) -> int:
        """Matrix parameters of one layer."""
        return self.width * (2 * self.width + 2 * self.n_kv_heads * self.head_width + 3 * self.ffn_width)

    def parameters(self, vocab: int, extra: int) -> Parameters:
        norms = self.layers * (2 * self.width + 2 * self.head_width * self.qk_norm) + self.width
        return Parameters(
            embedding=vocab * self.width * (1 if self.tied else 2),
            non_embedding=self.layers * self.layer_matrix + norms,
            extra=extra * self.width,
            matrix=self.layers * self.layer_matrix + vocab * self.width,
        )

    def flops_per_token(self, vocab: int, context: int) -> int:
        return 6 * self.parameters(vocab, 0).matrix + 12 * self.layers * context * self.width

    def activation_bytes(
        self, vocab: int, context: int, sequences: int, bytes_per_value: int, recompute: bool = False
    ) -> int:
        low, tokens = bytes_per_value, sequences * context
        d, f, heads = self.width, self.ffn_width, self.n_heads
        keys = self.n_kv_heads * self.head_width
        turned = d + keys  # queries and keys
        normed = turned * self.qk_norm
        residual = 8 * d  # the input of each sublayer, in float32
        if context <= EXPLICIT_CONTEXT:
            kept = 4 * normed + low * (2 * d + 2 * keys + heads * context + 2 * f)
            working = min(tokens * low * max(3 * f, heads * context + 3 * d), 6 * low * PIECE_VALUES)
        else:
            kept = 4 * (2 * d + 2 * normed) + low * (4 * d + d + 2 * keys + turned + 2 * d + 4 * f)
            working = tokens * low * 4 * f
        logits = (4 + low * (low < 4)) * min(vocab * tokens, LOGITS_VALUES)
        each = kept + residual
        layers = self.layers * residual // 2 + each if recompute else self.layers * each
        return int(tokens * (layers + 16 * d) + max(working, logits))

    def build(self, vocab: int, extra: int, context: int) -> Decoder:
        from trainers.models.network.decoder import Decoder

        return Decoder(self, vocab, extra)
