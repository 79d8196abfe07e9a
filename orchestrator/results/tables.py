"""Run folders, or an MLflow experiment, as the tables that `analysis` starts from.

``runs``: one row a run and end point; ``curves``: one row an evaluation; ``scores``: per validation sequence
and draw. Where a value was scored again more precisely, that value stands in the curve (``precise``), and its
draws in the scores.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from analysis.tables.columns import CURVES, DECODING, ITEMS, RUNS, SCORES
from orchestrator.results.records import Records, RunRecord, concatenated, run_row
from orchestrator.store.store import Store

if TYPE_CHECKING:
    import pandas as pd

    from analysis.tables.tables import Tables
    from orchestrator.language.expansion import EndPoint
    from orchestrator.tracking.experiment import Tracker


def records_of(end_points: Iterable[EndPoint], records: Records) -> list[RunRecord]:
    """The record of each end point's run, then those of trunks that are not among them."""
    end_points = list(end_points)
    trunks = {p.trunk.training_key: p.trunk.evaluation for p in end_points if p.trunk is not None}
    own = {point.run for point in end_points}
    return [
        *(records.of(point.run, point.config.evaluation) for point in end_points),
        *(records.of(key, trunks[key]) for key in sorted(trunks.keys() - own)),
    ]


def of_sweep(store: Store, end_points: Iterable[EndPoint], records: Records | None = None) -> Tables:
    """Tables of these end points, from what their folders have committed; runs not started have a row all the
    same. The trunks of annealed ends have curves, which crossovers are read from, and no rows. ``records``:
    those of the store that are read already."""
    import pandas as pd

    end_points = list(end_points)
    read = records_of(end_points, records or Records(store))
    rows = []
    for point, record in zip(end_points, read, strict=False):
        axes = {name: value for name, value in point.axes.items() if name not in ("objective", "seed")}
        rows.append(
            {
                **run_row(point.config, record, point.config.steps),
                "sweep": point.sweep,
                "cell": point.cell,
                "seed": point.seed,
                "subset_pinned": point.subset_pinned,
                **({"steps_asked": point.requested} if point.requested is not None else {}),
                **axes,
            }
        )
    distinct = {record.key: record for record in reversed(read)}
    ordered = [distinct[key] for key in dict.fromkeys(record.key for record in read)]
    names = dict.fromkeys(n for p in end_points for n in p.axes if n not in ("objective", "seed"))
    runs = pd.DataFrame(rows)
    runs = (
        runs[[c for c in RUNS if c in runs] + [c for c in runs if c not in RUNS]]
        if len(runs)
        else pd.DataFrame(columns=list(RUNS))
    )
    return _tables(runs, ordered, tuple(names))


def of_store(store: Store) -> Tables:
    """Tables of every run of the store, each to where it stands; no sweep, so no axes."""
    import pandas as pd

    rows, read = [], []
    for key in store.run_keys():
        history = RunRecord(store, key)
        config = history.folder.config()
        steps = history.step or config.steps
        row = run_row(
            config.model_copy(update={"steps": steps}) if not config.schedule.depends_on_end else config,
            history,
            steps,
        )
        pinned = {"sweep": "", "cell": "", "seed": config.seed, "subset_pinned": False}
        rows.append({**row, **pinned, "data.quality": config.data.quality.name})
        read.append(history)
    return _tables(pd.DataFrame(rows), read)


def _tables(runs: pd.DataFrame, records: Iterable[RunRecord], axes: tuple[str, ...] = ()) -> Tables:
    """These rows, with the curves, scores and items of the records."""
    from analysis.tables.tables import Tables

    records = list(records)
    better = {metric: way for record in records for metric, way in record.better.items()}
    curves = concatenated([record.curve for record in records], CURVES)
    curves.attrs["better"] = better
    return Tables(
        runs,
        curves,
        concatenated([record.scores for record in records], SCORES),
        axes,
        items=concatenated([record.items for record in records], ITEMS),
        better=better,
    )


def decoding(store: Store, keys: Iterable[str]) -> pd.DataFrame:
    """Exact likelihoods of these runs under decoding orders: one row a run, step, order and sequence."""
    import pandas as pd

    rows = [
        {"run": key, **{k: event[k] for k in ("step", "order", "tokens_per_step")}, "sequence": i, "nll": nll}
        | {"tokens": tokens}
        for key in sorted(keys)
        for event in (score["event"] for score in store.run(key).scores("decoding"))
        for i, (nll, tokens) in enumerate(
            zip(event["scores"]["b"], event["sequence_tokens"]["b"], strict=True)
        )
    ]
    return pd.DataFrame(rows, columns=list(DECODING))


def of_mlflow(tracker: Tracker, sweep: str | None = None, axes: Iterable[str] = ()) -> Tables:
    """Tables from the MLflow experiment alone, without run folders: no per-sequence scores, and axes are
    params (texts): the usual ones, and ``axes`` as far as runs have them."""
    import pandas as pd

    from analysis.tables.tables import Tables
    from orchestrator.tracking.experiment import KEY_TAG, KIND_TAG, MEMBER

    chosen = f"tags.`{KIND_TAG}` = 'run'" + (f" AND tags.`sweep.{sweep}` = '{MEMBER}'" if sweep else "")
    runs_found, page = [], None
    while True:
        part = tracker.client.search_runs([tracker.experiment], chosen, max_results=1000, page_token=page)
        runs_found += list(part)
        page = part.token
        if not page:
            break
    columns = {"nll_b": "val/nll", "nll_a": "val/nll_a", "se_b": "val/nll_se", "mc_se_b": "val/nll_mc_se",
               "tokens": "tokens", "epochs": "epochs", "flops": "flops"}  # fmt: skip

    def history(pair: tuple[str, str]) -> dict[int, float]:
        return {m.step: m.value for m in tracker.client.get_metric_history(*pair)}

    rows, curves = [], []
    with ThreadPoolExecutor(4) as pool:
        for run in runs_found:
            tags, values, params = run.data.tags, run.data.metrics, run.data.params
            key = tags[KEY_TAG]
            pairs = [(run.info.run_id, name) for name in columns.values()]
            series = dict(zip(columns, pool.map(history, pairs), strict=True))
            for step in sorted(series["nll_b"]):
                curves.append(
                    {
                        "run": key,
                        "step": step,
                        **{c: s.get(step) for c, s in series.items()},
                        "precise": False,
                    }
                )
            row = _mlflow_row(key, run.info.run_name, tags, values, params, sweep)
            rows.append({**{a: params[a] for a in axes if a in params and a not in row}, **row})
    frame = pd.DataFrame(curves)
    if len(frame):
        frame = frame.assign(se_a=frame["se_b"], mc_se_a=frame["mc_se_b"], train_loss=None)
    return Tables(pd.DataFrame(rows), frame, pd.DataFrame(columns=list(SCORES)), tuple(axes))


def _mlflow_row(
    key: str,
    name: str,
    tags: Mapping[str, str],
    values: Mapping[str, float],
    params: Mapping[str, str],
    sweep: str | None,
) -> dict[str, Any]:
    numbers = {
        k: values.get(k)
        for k in ("N", "N_embedding", "N_extra", "U", "D", "epochs", "flops", "unigram_entropy")
    }
    return {
        "run": key,
        "key": key,
        "N_active": values.get("N_active", values.get("N")),
        "N_objective": values.get("N_objective", 0),
        "name": name,
        "sweep": sweep or "",
        "objective": tags["objective"],
        **({"objective_short": tags["objective_short"]} if "objective_short" in tags else {}),
        **({"annealed": tags["annealed"] == "true"} if "annealed" in tags else {}),
        "seed": int(params.get("seed", 0)),
        **numbers,
        "likelihood": tags["likelihood"],
        "steps": None,
        "numerics": tags.get("numerics.class", ""),
        "state": tags.get("state", "partial"),
        "subset_pinned": False,
        **{
            k: params[k]
            for k in (
                "data.quality",
                "data.unique_bytes",
                "data.unique_tokens",
                "model.width",
                "model.layers",
            )
            if k in params
        },
    }


def write(tables: Tables, folder: Any, form: str) -> list[str]:
    """Write the tables as ``runs``, ``curves`` and ``scores`` ``.csv`` or ``.parquet``, and ``items`` where
    there are any; the paths."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    names = ["runs", "curves", "scores"]
    if len(tables.items):
        names.append("items")
    for name in names:
        frame, path = getattr(tables, name), folder / f"{name}.{form}"
        if form == "csv":
            frame.to_csv(path, index=False)
        else:
            frame.to_parquet(path, index=False)
        paths.append(str(path))
    return paths
