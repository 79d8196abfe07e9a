"""Runs and their curves as one row a run with the loss it ended on: what laws are fitted to."""

from __future__ import annotations

import numpy as np
import pandas as pd

from analysis.tables.tables import load

ENDED = ("done",)


def final_losses(runs: pd.DataFrame, curves: pd.DataFrame) -> pd.DataFrame:
    """One row a row of ``runs``, with ``loss`` and ``best`` (half B, at the last evaluation and where half A
    was least), ``D`` there and ``C`` = 6ND.

    ``loss`` is missing for runs that have not ended or that diverged: a fit lists them as left out.
    ``annealed`` is passed on from ``runs``: whether the learning rate decays to the end, as it must at the
    end points of a front. Only the table knows: without the column nothing is said, and every end point may
    enter a front; a run whose entry is empty counts as not annealed.
    """
    tables = load(runs, curves)
    out = tables.runs.copy()
    by_run = {str(run): part.sort_values("step") for run, part in tables.curves.groupby("run", sort=False)}
    last, best, tokens = (np.full(len(out), np.nan) for _ in range(3))
    for i, row in enumerate(out.to_dict("records")):
        curve = by_run.get(str(row["run"]))
        if curve is None or row["state"] not in ENDED:
            continue
        if np.isfinite(row["steps"]):
            curve = curve[curve["step"] <= row["steps"]]
        if not len(curve):
            continue
        last[i], tokens[i] = curve["nll_b"].iloc[-1], curve["tokens"].iloc[-1]
        best[i] = curve["nll_b"].iloc[int(np.argmin(curve["nll_a"].to_numpy()))]
    out["loss"], out["best"] = last, best
    out["D"] = np.where(np.isfinite(tokens), tokens, out.get("D", np.nan))
    out["C"] = out["flops_6nd"] if "flops_6nd" in out else 6.0 * out["N"] * out["D"]
    if "annealed" not in runs.columns:
        out = out.drop(columns="annealed")
    return out
