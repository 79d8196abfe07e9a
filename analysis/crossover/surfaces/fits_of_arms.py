"""One law for each arm of a study, fitted to the same twins, and where the two meet at each U.

Points are taken from each run's evaluations up to its minimum on half A, thinned: what lies beyond an
over-fitted minimum is left out, as in published fits of repeated data (Muennighoff et al. 2023; Prabhudesai
et al. 2025), for their laws cannot rise. Twins of a cell and replicate are one unit for both arms, so that
the bootstrap draws of the two fits pair.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from analysis.crossover.axes import follows, is_length, is_size
from analysis.crossover.same_n.location import SameNCrossovers
from analysis.crossover.same_n.paired_difference import PLATEAU
from analysis.crossover.surfaces.law_against_law import Meeting, MeetingError, meet
from analysis.fitting.fitting import fit
from analysis.fitting.result import Fit
from analysis.fitting.uncertainty.resampling import MIN_UNITS
from analysis.laws import get_law
from analysis.tables.frame import FitError

LAW = "data_constrained"
POINTS = 5
DRAWS = 200
STARTS = 1024
SIZES, BUDGETS = 3, 2


@dataclass(frozen=True)
class ArmLaws:
    """Both fits, where they meet at each U of the study (compute-optimal in N), and, where there are no fits,
    the sentence that says why."""

    fits: tuple[Fit, Fit] | None
    meetings: tuple[Meeting, ...]
    why: str


def points(crossovers: SameNCrossovers, per_run: int = POINTS) -> pd.DataFrame:
    """Columns ``objective``, ``N``, ``D``, ``U``, ``loss`` (half B), ``twins`` (the cluster): evaluations off
    the start-up plateau and up to half A's minimum, ``per_run`` of each run, evenly spread in log D."""
    rows = []
    for k, cell in enumerate(crossovers.cells):
        for twins, both in zip(cell.pair.twins, cell.arms, strict=True):
            for row, arm in zip((twins.first, twins.second), both, strict=True):
                use = np.arange(int(arm.best_so_far()[-1]) + 1)
                if crossovers.metric == "nll" and math.isfinite(twins.entropy):
                    use = use[arm.b.value[use] <= twins.entropy - PLATEAU]
                if not len(use):
                    continue
                logs = np.log(arm.x["tokens"][use])
                marks = np.linspace(logs[0], logs[-1], per_run)
                for i in np.unique(np.abs(logs[:, None] - marks).argmin(axis=0)):
                    rows.append(
                        {
                            "objective": row["objective"],
                            "N": float(row["N"]),
                            "D": float(arm.x["tokens"][use[i]]),
                            "U": float(row["U"]),
                            "loss": float(arm.b.value[use[i]]),
                            "twins": f"{k}-{twins.seed}",
                        }
                    )
    return pd.DataFrame(rows, columns=["objective", "N", "D", "U", "loss", "twins"])


def fit_arms(
    table: pd.DataFrame, pair: tuple[str, str], law: str = LAW, draws: int = DRAWS, seed: int = 0
) -> tuple[Fit, Fit]:
    """The law fitted to both objectives of a table (as :func:`points` gives), with draws that pair: the same
    clusters ``twins`` for both. Raises :class:`analysis.tables.frame.FitError`."""
    sides = [table[table["objective"] == o] for o in pair]
    both = set(sides[0]["twins"]) & set(sides[1]["twins"])
    fits = [
        fit(
            side[side["twins"].isin(both)].drop(columns="objective").reset_index(drop=True),
            law,
            cluster="twins",
            interval="cluster",
            bootstrap=draws,
            seed=seed,
            starts=STARTS,
        )
        for side in sides
    ]
    return fits[0], fits[1]


def arm_laws(crossovers: SameNCrossovers, law: str = LAW, draws: int = DRAWS, seed: int = 0) -> ArmLaws:
    """Fit ``law`` to both arms of a study and meet the fits along C at each U, each at its best N."""
    table = points(crossovers)
    why = _lacking(table, crossovers)
    if why:
        return ArmLaws(None, (), why)
    try:
        fits = fit_arms(table, crossovers.pair, law, draws, seed)
    except FitError as error:
        return ArmLaws(None, (), f"the law {law} cannot be fitted to this study: {error}")
    loose = [n for n, f in zip(crossovers.names, fits, strict=True) if not f.converged]
    if loose:
        return ArmLaws(None, (), f"the fit of {law} did not converge for {' and '.join(loose)}")
    meetings = []
    for budget in _budgets(table["U"].to_numpy(float)):
        fixed = {"U": budget} if "U" in get_law(law).variables else {}
        try:
            meetings.append(
                meet(*fits, "C", fixed=fixed, between=_range(table), confidence=crossovers.confidence)
            )
        except MeetingError as error:
            return ArmLaws(fits, tuple(meetings), str(error))
    return ArmLaws(fits, tuple(meetings), "")


def _range(table: pd.DataFrame) -> tuple[float, float]:
    """Budgets searched: those of the data, and a hundredfold beyond."""
    compute = 6 * table["N"] * table["D"]
    return float(compute.min()), float(compute.max()) * 100


def _budgets(values: np.ndarray) -> Sequence[float]:
    """Distinct U up to 10 %, each by its geometric mean."""
    logs = np.sort(np.log(values))
    parts = np.split(logs, np.flatnonzero(np.diff(logs) > 0.1) + 1)
    return [float(f"{math.exp(p.mean()):.6g}") for p in parts]


def _lacking(table: pd.DataFrame, crossovers: SameNCrossovers) -> str:
    """What a study lacks for a law of N, D and U of each arm; empty if nothing."""
    if crossovers.metric != "nll":
        return "laws of the loss are fitted to NLL only"
    if table.empty or table[["N", "U"]].isna().any(axis=None):
        return "no run of known N and U has left the start-up plateau"
    sizes = len(_budgets(table["N"].to_numpy(float)))
    budgets = len(_budgets(table["U"].to_numpy(float)))
    units = table["twins"].nunique()
    rows = crossovers.tables.runs
    mixed = [
        a
        for a in (crossovers.cells[0].pair.axes if crossovers.cells else ())
        if not is_length(a) and not is_size(rows, a) and not follows(rows, a, "U")
    ]
    if mixed:
        return f"{', '.join(mixed)} vary beside N and U: one law would mix them; fit each part by itself"
    if sizes < SIZES or budgets < BUDGETS:
        return (
            f"a law of N, D and U needs at least {SIZES} sizes and {BUDGETS} budgets of unique data; this "
            f"study has {sizes} and {budgets}"
        )
    if units < 2 * MIN_UNITS:
        return f"{units} pairs of twins are too few to fit a law to each arm; {2 * MIN_UNITS} are needed"
    return ""
