"""Synthetic studies with known crossings, shaped like the measured ones: an AR that over-fits, an MDM that
falls slowly."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

ENTROPY = 3.4
SHORT = {"autoregressive": "AR", "masked_diffusion": "MDM"}


@dataclass(frozen=True)
class Truth:
    """Where the AR's minimum lies and how it rises; where the curves cross (tokens); the noises, in nats."""

    crossing: float = 5e5
    minimum: float = 2e5
    jitter: float = 0.005
    text: float = 0.25
    masks: float = 0.15
    horizon: float = 1.2e6
    best_mdm: float = 2.55
    level: float = 2.5


def grid(horizon: float, tokens_a_step: float = 4096.0, spacing: float = 1.1, first: int = 8) -> np.ndarray:
    """Evaluation steps, log-spaced and free of the horizon."""
    steps = [first]
    while steps[-1] * tokens_a_step < horizon:
        steps.append(max(steps[-1] + 1, round(steps[-1] * spacing)))
    return np.array([s for s in steps if s * tokens_a_step <= horizon], dtype=int)


def ar_loss(tokens: np.ndarray, t: Truth) -> np.ndarray:
    """Falls as a power law to ``level`` nats at its minimum, then rises in log tokens."""
    fall = t.level + 1.2 * np.maximum(np.log(t.minimum / tokens), 0) * 0.45
    rise = 0.55 * np.maximum(np.log(tokens / t.minimum), 0) ** 1.3
    return np.where(tokens < t.minimum, fall, t.level + rise)


def mdm_loss(tokens: np.ndarray, t: Truth) -> np.ndarray:
    """Falls slowly, and meets the AR's curve exactly at the crossing."""
    there = ar_loss(np.array([t.crossing]), t)[0]
    return np.maximum(there - 0.30 * np.log(tokens / t.crossing), t.best_mdm)


def arm(rng, run, objective, tokens, steps, loss, t: Truth, effects, masks, U, N):
    """Curves and scores of one run; ``effects`` [2, n] of the text, ``masks`` [2, n, m] shared by all
    runs."""
    jitter = rng.normal(0, t.jitter, len(steps))
    exact = objective == "autoregressive"
    m = 1 if exact else masks.shape[-1]
    K, n = len(steps), effects.shape[-1]
    drift = 1 + 0.3 * np.log(steps / steps[0]) / 5
    value = (loss + jitter)[:, None, None, None] + effects[:, :, None] * (1.0 if exact else 1.1)
    value = value + (0 if exact else drift[:, None, None, None] * masks)
    value = value + rng.normal(0, 0.01, (K, 2, n, m))  # [K, 2, n, m]
    means = value.mean(axis=-1)
    curve = {"run": run, "step": steps, "tokens": tokens, "epochs": tokens / U, "flops": 6 * N * tokens}
    for h, half in enumerate("ab"):
        curve[f"nll_{half}"] = means[:, h].mean(axis=-1)
        curve[f"se_{half}"] = means[:, h].std(axis=-1, ddof=1) / np.sqrt(n)
        spread = 0.0 if exact else value[:, h].std(axis=-1, ddof=1).mean(axis=-1)
        curve[f"mc_se_{half}"] = spread / np.sqrt(m * n)
    k, h, i, j = (index.ravel() for index in np.indices(value.shape))
    scores = {
        "run": run,
        "step": steps[k],
        "half": np.array(["a", "b"], dtype=object)[h],
        "sequence": i,
        "draw": j,
        "nll": value.ravel(),
        "tokens": 128,
    }
    return pd.DataFrame(curve), pd.DataFrame(scores)


def study(
    seed=0,
    sizes=(40_000, 190_000),
    budgets=(5_000, 10_000, 20_000),
    replicates=2,
    spread=0.05,
    block=0.0,
    sequences=48,
    draws=2,
    crossing=None,
    keep_scores=True,
    **changes,
):
    """Tables of a study. ``crossing(N, U)`` gives the median place; replicates scatter about it by ``spread``
    and share ``block`` (log units). Returns runs, curves, scores, and {(N, U, seed): true place}."""
    rng = np.random.default_rng(seed)
    crossing = crossing or (lambda N, U: 5e5 * (U / 1e4) ** 0.6 * (N / 1.9e5) ** -0.4)
    base = Truth(**changes)
    effects = rng.normal(0, base.text, (2, sequences))
    masks = rng.normal(0, base.masks, (2, sequences, draws))
    blocks = rng.normal(0, block, replicates) if block else np.zeros(replicates)
    runs, curves, scores, truth = [], [], [], {}
    for N in sizes:
        for U in budgets:
            for r in range(replicates):
                place = crossing(N, U) * np.exp(rng.normal(0, spread) + blocks[r])
                truth[N, U, r] = place
                t = Truth(
                    **{
                        **base.__dict__,
                        "crossing": place,
                        "minimum": place / 2.5,
                        "level": 2.5 - 0.2 * np.log(U / 1e4),
                    }
                )
                steps = grid(t.horizon)
                tokens = steps * 4096.0
                for objective, shape in (("autoregressive", ar_loss), ("masked_diffusion", mdm_loss)):
                    run = f"{objective[:2]}-{N}-{U}-{r}"
                    c, s = arm(rng, run, objective, tokens, steps, shape(tokens, t), t, effects, masks, U, N)
                    curves.append(c)
                    scores.append(s)
                    runs.append(
                        {
                            "run": run,
                            "objective": objective,
                            "objective_short": SHORT[objective],
                            "seed": r,
                            "model.size": f"{N // 1000}k",
                            "data.unique_bytes": U,
                            "N": N,
                            "U": U,
                            "U_bytes": U,
                            "D": tokens[-1],
                            "steps": int(steps[-1]),
                            "likelihood": "exact" if objective == "autoregressive" else "upper_bound",
                            "unigram_entropy": ENTROPY,
                            "vocab": 256,
                            "state": "done",
                            "schedule": "constant",
                        }
                    )
    tables = pd.DataFrame(runs), pd.concat(curves, ignore_index=True), pd.concat(scores, ignore_index=True)
    return (*tables[:2], tables[2] if keep_scores else None), truth


def one(**changes):
    """``study`` of one cell of two replicates."""
    return study(**{"sizes": (190_000,), "budgets": (10_000,), "spread": 0.03, **changes})
