"""Studies drawn by hand: the two curves of each replicate, evaluation by evaluation."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

Curves = tuple[Sequence[float], Sequence[float]]
"""The losses of AR and of MDM."""

SE = 0.005
TOKENS = 1e5 * 1.15 ** np.arange(24)
"""Tokens of the evaluations."""

K = len(TOKENS)
_X = np.arange(K)
FALLS = 3.0 - 0.02 * _X
"""Improves to the end."""
OVERFITS = 2.6 + np.where(_X < 8, 0.05 * (8 - _X), 0.05 * (_X - 8))
"""Best at the ninth evaluation, then rises beyond error."""
SLOW = 3.3 - 0.025 * _X
"""Improves to the end, crosses ``OVERFITS`` past its minimum, and stays above the least of it."""
FLAT = 2.5 + 0.3 * np.maximum(4 - _X, 0)
"""Falls, and then stays where it is."""
BEND = 5
"""Evaluations on either side over which a lead changes."""
AHEAD, BEHIND = -0.2, 0.2
"""MDM's loss less AR's."""


def lead(*parts: tuple[int, float]) -> np.ndarray:
    """Differences of MDM's loss and AR's, ``(evaluations, value)`` one after the other; the last goes on.

    A change of sign takes some evaluations, as that of any two curves does: a jump would look like noise.
    """
    values = np.array(([value for count, value in parts for _ in range(count)] + [parts[-1][1]] * K)[:K])
    width = min([BEND, *(count // 2 for count, _ in parts[:-1] if count > 2)])
    if width < 2 or any(count <= 2 for count, _ in parts[:-1]):
        return values
    kernel = np.ones(2 * width + 1) / (2 * width + 1)
    return np.convolve(np.pad(values, width, mode="edge"), kernel, mode="valid")


def twins(ar: np.ndarray, difference: np.ndarray) -> Curves:
    """The curves of AR, and of an MDM that differs by so much."""
    return ar, ar + difference


def study(
    *cells: Sequence[Curves],
    axes: Sequence[dict[str, object]] | None = None,
    entropy: float = np.nan,
    facts: dict[str, Sequence[object]] | None = None,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Runs and curves of cells of replicates. ``axes``: of each cell, by default 10k, 20k, ... unique bytes;
    ``facts``: column -> its values for AR and MDM."""
    runs, curves = [], []
    for i, replicates in enumerate(cells):
        cell = {"data.unique_bytes": 10_000 * (i + 1)} if axes is None else axes[i]
        for seed, pair in enumerate(replicates):
            for j, (name, losses) in enumerate(zip(("AR", "MDM"), pair, strict=True)):
                run = f"{name}-{i}-{seed}"
                runs.append(
                    {
                        "run": run,
                        "objective": ("autoregressive", "masked_diffusion")[j],
                        "objective_short": name,
                        "seed": seed,
                        "N": 1e5,
                        "U": float(cell.get("data.unique_bytes", 1e4)),  # type: ignore[arg-type]
                        "likelihood": ("exact", "upper_bound")[j],
                        "unigram_entropy": entropy,
                        "state": "done",
                        **{k: v[j] for k, v in (facts or {}).items()},
                        **cell,
                    }
                )
                values = np.asarray(losses, dtype=float)
                tokens = TOKENS[: len(values)]
                curves.append(
                    pd.DataFrame({"run": run, "step": np.arange(1, len(values) + 1), "tokens": tokens})
                    .assign(nll_a=values, nll_b=values)
                    .assign(se_a=SE, se_b=SE, mc_se_a=0.0, mc_se_b=0.0)
                )
    return pd.DataFrame(runs), pd.concat(curves, ignore_index=True)
