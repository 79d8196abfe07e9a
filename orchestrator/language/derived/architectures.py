"""Other shapes of the same size: each has the parameters without embeddings of the standard one, the FFN's
width solved for it.

An architecture axis compares shapes, so N must not move. Embeddings do move where the width does (deep,
wide); plans print both.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from trainers.components.component import unknown
from trainers.models.base import Model

Shape = dict[str, Any]
"""Fields of the transformer that differ from the standard shape, the FFN's width left out."""


def _heads(width: int, head_width: int) -> int:
    """The number of heads that divides ``width`` into even heads nearest to ``head_width``, more heads where
    two are as near."""
    fits = [h for h in range(1, width // 2 + 1) if width % (2 * h) == 0]
    return min(fits, key=lambda h: (abs(width / h - head_width), -h))


def _reshaped(standard: Any, ratio: float) -> Shape:
    """Width times ``ratio`` (to a multiple of 8) and layers divided by its square: each layer's matrices
    scale so."""
    width = max(8, 8 * round(standard.width * ratio / 8))
    layers = max(1, round(standard.layers * (standard.width / width) ** 2))
    if width == standard.width or layers == standard.layers:
        raise ValueError(
            f"width {standard.width} with {standard.layers} layers is too small to be made deeper or wider"
        )
    return {"width": width, "layers": layers, "heads": _heads(width, standard.head_width), "kv_heads": None}


def _deep(standard: Any) -> Shape:
    """3/4 of the width, 16/9 of the layers."""
    return _reshaped(standard, 0.75)


def _wide(standard: Any) -> Shape:
    """4/3 of the width, 9/16 of the layers."""
    return _reshaped(standard, 4 / 3)


def _gqa(standard: Any) -> Shape:
    """Grouped-query attention (arXiv 2305.13245): four query heads to a key-value head where there are as
    many, else all to one."""
    if standard.n_heads < 2:
        raise ValueError("gqa needs at least 2 heads; set model.heads, or a larger size")
    return {"heads": standard.n_heads, "kv_heads": standard.n_heads // 4 if standard.n_heads % 4 == 0 else 1}


ARCHITECTURES: dict[str, Callable[[Any], Shape]] = {
    "standard": lambda standard: {},
    "deep": _deep,
    "wide": _wide,
    "gqa": _gqa,
}
"""Name -> how its shape differs from a standard transformer."""


def reshape(standard: Model, name: object) -> Model:
    """``standard`` in another architecture, with as many parameters outside embeddings as one step of the
    FFN's width allows.

    Raises ValueError for an unknown name, or where no width of the FFN gives that count.
    """
    if not isinstance(name, str) or name not in ARCHITECTURES:
        raise ValueError(unknown("architecture", str(name), sorted(ARCHITECTURES)))
    if not {"width", "layers", "heads", "kv_heads", "ffn"} <= set(type(standard).model_fields):
        raise ValueError(f"model {standard.name!r} has no architectures; give its fields")
    shape = ARCHITECTURES[name](standard)
    if not shape:
        return standard
    fields = standard.model_dump() | shape

    def with_ffn(ffn: int) -> Model:
        return type(standard).model_validate(fields | {"ffn": ffn})

    target, first = (m.parameters(1, 0).non_embedding for m in (standard, with_ffn(1)))
    slope = with_ffn(2).parameters(1, 0).non_embedding - first
    ffn = 1 + round((target - first) / slope)
    if ffn < 8:
        raise ValueError(f"architecture {name} leaves no room for an FFN at this size")
    return with_ffn(ffn)
