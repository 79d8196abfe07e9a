"""Limits of what the CPU kernels hold at a time. Needs no torch: the memory estimate reads them too."""

from __future__ import annotations

EXPLICIT_CONTEXT = 512
"""On the CPU, contexts up to this keep their attention weights for the backward pass; longer ones use torch's
flash attention."""
PIECE_VALUES = 1 << 20
"""On the CPU, values of a sublayer's widest intermediate that are worked on at a time, 4 MB in float32."""
LOGITS_VALUES = 1 << 22
"""On the CPU, logits held at a time."""
CACHED_VALUES = 1 << 16
"""On the CPU, values that an operation of several passes works on at a time: 256 kB in float32, so that they
and its working space stay in a core's own cache."""
