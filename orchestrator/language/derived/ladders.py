"""Named model sizes: pocket sizes that a laptop trains, and the ladders of published studies.

``model.size: quokka-7M`` sets the transformer's fields listed here; a field written beside it wins. A
published name states the size by its paper's count, which need not be ours: a plan prints exact counts.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from typing import Any

Size = dict[str, Any]


def _pocket() -> dict[str, Size]:
    """Byte-level sizes for contexts of a few hundred tokens.

    The rotary base fits such contexts: under 10,000 half of the frequencies hardly turn within 128
    positions. It is not neutral between the arms. After 1.08M tokens (d64, 21 kB, one seed each) 10,000 costs
    AR .012 nats of its best loss and MDM .10 nats, and the curves cross at 908k tokens instead of 857k: 200
    helps both, MDM about eight times as much, and moves the crossing 6 % earlier.
    """
    layers = {32: 2, 48: 3, 64: 3, 96: 4, 128: 4, 192: 6, 256: 8, 384: 8, 512: 10, 768: 12}
    return {f"d{width}": {"width": width, "layers": n, "rope_base": 200} for width, n in layers.items()}


def _rows(rows: Iterable[tuple[str, int, int, int, int]], **common: Any) -> dict[str, Size]:
    """Sizes from (name, width, ffn, heads, layers)."""
    return {
        name: {"width": width, "ffn": ffn, "heads": heads, "layers": layers, **common}
        for name, width, ffn, heads, layers in rows
    }


def _chinchilla_family(
    prefix: str, widths: dict[int, dict[str, int]], heads: dict[int, int]
) -> Iterable[tuple[str, int, int, int, int]]:
    """(name, width, 4 x width, heads, layers) of a ladder in which each width comes in several depths."""
    for width, depths in widths.items():
        for name, layers in depths.items():
            yield f"{prefix}-{name}", width, 4 * width, heads[width], layers


_QUOKKA_HEADS = {128: 4, 224: 7, 288: 9, 320: 10, 448: 7, 512: 8, 576: 9, 640: 10, 768: 12}
_QUOKKA = {
    128: {"1M": 3},
    224: {"2M": 4},
    288: {"5M": 5},
    320: {"7M": 6},
    448: {"14M": 6},
    512: {"25M": 8},
    576: {"36M": 9},
    640: {"49M": 10, "64M": 13, "79M": 16},
    768: {"85M": 12, "106M": 15, "127M": 18},
}
"""Quokka, arXiv 2510.03280, Table 6, as far as it could be read (to 127M). Widths 288 and 448 have 7 heads of
32 there, narrower than the residual stream; here the heads fill it (9 of 32, 7 of 64), which is a little
larger."""

_DATABLATIONS = {
    128: {"7M": 3},
    224: {"14M": 4},
    288: {"20M": 5},
    448: {"35M": 6},
    512: {"44M": 8},
    576: {"57M": 9},
    640: {"74M": 10, "90M": 13, "106M": 16},
    768: {"117M": 12, "140M": 15, "163M": 18},
    896: {"175M": 14, "196M": 16, "217M": 18},
    1024: {"251M": 16, "278M": 18, "306M": 20},
    1280: {"425M": 18, "489M": 21, "552M": 24},
    1408: {"509M": 18, "587M": 21, "664M": 24},
    1536: {"632M": 19, "724M": 22, "816M": 25},
    1792: {"893M": 20, "1018M": 23, "1143M": 26},
    2048: {"1266M": 22, "1429M": 25, "1593M": 28},
    2304: {"1730M": 24},
    2560: {"2300M": 26},
}
"""Muennighoff et al., arXiv 2305.16264, as used in arXiv 2507.15857; heads as for `_QUOKKA`."""
_DATABLATIONS_HEADS = _QUOKKA_HEADS | {
    896: 14,
    1024: 16,
    1280: 10,
    1408: 11,
    1536: 12,
    1792: 14,
    2048: 16,
    2304: 18,
    2560: 20,
}

_SMDM = {
    (4, 256, 1024): {"6M": 6},
    (6, 384, 1536): {"19M": 8},
    (8, 512, 2048): {"34M": 8},
    (9, 576, 2304): {"48M": 9},
    (10, 640, 2560): {"66M": 10, "85M": 13},
    (8, 640, 1600): {"75M": 16},
    (12, 768, 3072): {"113M": 12, "142M": 15, "170M": 18},
    (14, 896, 3584): {"180M": 14, "206M": 16, "231M": 18},
    (16, 1024, 4096): {"268M": 16, "302M": 18, "336M": 20},
    (10, 1280, 5120): {"472M": 18, "551M": 21, "629M": 24},
    (11, 1408, 5632): {"571M": 18, "666M": 21, "761M": 24},
    (12, 1536, 6144): {"717M": 19, "831M": 22, "944M": 25},
    (14, 1792, 7168): {"1028M": 20, "1233M": 24},
    (16, 2048, 8192): {"1476M": 22, "1678M": 25},
    (17, 2176, 8704): {"2121M": 28},
}
"""SMDM, arXiv 2410.18514: (heads, width, ffn) -> name -> layers. Names count no embeddings."""


def _dba() -> dict[str, Size]:
    """Diffusion Beats AR, arXiv 2507.15857: the datablations shapes with ffn = int(8/3 d / 64) 64, tied
    embeddings."""
    rows = _chinchilla_family("dba", _DATABLATIONS, _DATABLATIONS_HEADS)
    return _rows(
        ((name, d, 8 * d // 3 // 64 * 64, h, n) for name, d, _, h, n in rows), tied=True, qk_norm=False
    )


_SDL = _rows([("sdl-1.7B", 2048, 6144, 16, 28)], tied=False) | _rows(
    [
        ("sdl-1B", 1792, 4736, 14, 26),
        ("sdl-2B", 2304, 6144, 18, 30),
        ("sdl-4B", 3072, 8192, 24, 34),
        ("sdl-8B", 4096, 10944, 32, 39),
    ],
    tied=True,
)
"""Super Data Learners, arXiv 2511.03276. 1B and 1.7B are the configs of MegaDLMs; 2B, 4B and 8B were not
published: they go on with the 1B's proportions (heads of 128, ffn 8/3) at those counts."""

LADDERS: dict[str, dict[str, Size]] = {
    "pocket": _pocket(),
    "quokka": _rows(_chinchilla_family("quokka", _QUOKKA, _QUOKKA_HEADS), tied=True),
    "datablations": _rows(
        _chinchilla_family("datablations", _DATABLATIONS, _DATABLATIONS_HEADS), tied=True, qk_norm=False
    ),
    "dba": _dba(),
    "smdm": _rows(
        (
            (f"smdm-{name}", width, ffn, heads, layers)
            for (heads, width, ffn), depths in _SMDM.items()
            for name, layers in depths.items()
        ),
        tied=False,
        qk_norm=False,
    ),
    "sdl": _SDL,
}
"""Ladder -> size name -> fields of the transformer."""

SIZES: dict[str, Size] = {name: size for ladder in LADDERS.values() for name, size in ladder.items()}
"""Every size by name."""


def _millions(name: str) -> float:
    """The number in a size's name, to choose the nearest of equally similar names by."""
    match = re.search(r"([0-9.]+)(B?)$", name.removesuffix("M"))
    return float(match[1].strip(".") or 0) * (1000 if match[2] else 1) if match else 0.0


def size(name: object) -> Size:
    """The fields that a named size sets. Raises ValueError naming the nearest size, and those of its
    ladder."""
    if isinstance(name, str) and name in SIZES:
        return SIZES[name]
    text = str(name)
    near = difflib.get_close_matches(text, SIZES, n=9)
    hint = f"; did you mean {min(near, key=lambda n: abs(_millions(n) - _millions(text)))!r}?" if near else ""
    family = next((rows for ladder, rows in LADDERS.items() if text.startswith(ladder)), LADDERS["pocket"])
    others = ", ".join(f"{ladder}-..." for ladder in LADDERS if ladder != "pocket")
    raise ValueError(f"unknown size{hint} Known: {', '.join(family)}; ladders: pocket, {others}")
