"""The decoder transformer that the field uses, one for all objectives."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import Field, model_validator

from trainers.components.component import Choice, Later
from trainers.components.errors import UserError
from trainers.models.base import Model, Parameters, models
from trainers.models.network.blocks.base import Block, blocks
from trainers.models.network.blocks.llama import Llama

if TYPE_CHECKING:
    from trainers.models.network.decoder import Decoder


@models.register
class Transformer(Model):
    """A pre-norm decoder. ``block`` is the form of its layers: by default Llama's (arXiv 2302.13971: RoPE,
    RMSNorm, SwiGLU), with QK-norm and GQA as in Qwen3 (arXiv 2505.09388).
    """

    name: ClassVar[str] = "transformer"

    block: Annotated[Block, Choice(blocks), Later(Llama())] = Field(
        default="llama", validate_default=True, description="Form of the layers."
    )
    width: int = Field(64, ge=2, description="d, the residual stream.")
    layers: int = Field(3, ge=1, description="L.")
    heads: int | None = Field(
        None, ge=1, description="Query heads; None for heads of 64, or of 32 below width 128."
    )
    kv_heads: int | None = Field(
        None, ge=1, description="Key and value heads, a divisor of heads (GQA); None for as many as heads."
    )
    ffn: int | None = Field(
        None,
        ge=1,
        description="Hidden width of the MLP; None for the block's own: in llama 8/3 of the width, up to a "
        "multiple of 32; in gpt2 4 widths.",
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
        if self.block.rotary and self.head_width % 2:
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
        """Hidden width of the MLP."""
        return self.ffn if self.ffn is not None else self.block.ffn_width(self)

    def identity(self) -> dict[str, Any]:
        return {name: v for name, v in super().identity().items() if name not in self.block.unused}

    def parameters(self, vocab: int, extra: int) -> Parameters:
        return _parameters(self, vocab, extra)

    def flops_per_token(self, vocab: int, context: int) -> int:
        return 6 * self.parameters(vocab, 0).matrix + 12 * self.layers * context * self.width

    def activation_bytes(
        self, vocab: int, context: int, sequences: int, bytes_per_value: int, recompute: bool = False
    ) -> int:
        return self.block.activation_bytes(self, vocab, context, sequences, bytes_per_value, recompute)

    def build(self, vocab: int, extra: int, context: int) -> Decoder:
        from trainers.models.network.decoder import Decoder

        longest = self.block.longest()
        if longest is not None and context > longest:
            raise UserError(
                f"data.context: {context} tokens do not fit the {longest} positions of block "
                f"{self.block.name!r}; raise model.block.positions, or cut the context"
            )
        return Decoder(self, vocab, extra)


@lru_cache(maxsize=1 << 14)
def _parameters(model: Transformer, vocab: int, extra: int) -> Parameters:
    """Counts of what the block declares; a plan asks for those of each shape many times."""
    layer, outer = model.block.layer(model).values(), model.block.outer(model).values()
    table = vocab * model.width
    return Parameters(
        embedding=table * (1 if model.tied else 2) + sum(w.size for w in outer if w.embedding),
        non_embedding=model.layers * sum(w.size for w in layer)
        + sum(w.size for w in outer if not w.embedding),
        extra=extra * model.width,
        matrix=model.layers * sum(w.matrix for w in layer) + sum(w.matrix for w in outer) + table,
        inactive=model.layers * sum(w.size - w.active for w in layer),
    )
