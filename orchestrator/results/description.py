"""One run in full, as plain values."""

from __future__ import annotations

from typing import Any

from orchestrator.planning.titles import title
from orchestrator.results.records import RunRecord, run_row
from orchestrator.store.store import Store


def describe(store: Store, key: str) -> dict[str, Any]:
    """Everything about one run: its facts, where it stands, its config and its evaluations."""
    run = RunRecord(store, key)
    config = run.folder.config()
    steps = run.step or config.steps
    row = run_row(config, run, min(steps, config.steps) if config.schedule.depends_on_end else steps)
    commit = run.commit
    return {
        **{k: v for k, v in row.items() if k != "key"},
        "name": title(config),
        "folder": f"{store}/runs/{key}",
        "commit": commit.n if commit is not None else None,
        "checkpoints": sorted(commit.checkpoints) if commit is not None else [],
        "attempts": sum(e["event"] == "attempt" for e in run.folder.telemetry()),
        "bytes": run.folder.size(),
        "failure": store.failure(key),
        "config": config.model_dump(mode="json"),
        "evaluations": [
            {
                "step": e["step"],
                "tokens": e["tokens"],
                "epochs": e["epochs"],
                "kind": e["kind"],
                "precise": precise,
            }
            | {"a": e["a"]["nll"], "b": e["b"]["nll"], "b_se": e["b"]["se"]}
            for e, precise in run.evaluations()
        ],
    }
