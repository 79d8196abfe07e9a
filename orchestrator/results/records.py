"""What one run folder holds, as rows of the tables."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

from analysis.tables.columns import CURVES, ITEMS, SCORES
from orchestrator.planning.standing import standing_of
from orchestrator.results.event_readings import Event, readings
from orchestrator.store.store import Store
from trainers.config import EvaluationConfig
from trainers.flops import matmul_flops, six_nd

if TYPE_CHECKING:
    import pandas as pd

    from trainers.config import RunConfig
    from trainers.state.folder import RunFolder


def concatenated(parts: list[pd.DataFrame], columns: tuple[str, ...]) -> pd.DataFrame:
    import pandas as pd

    parts = [part for part in parts if len(part)]
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=list(columns))


class RunRecord:
    """What one run folder holds, read once, as ``evaluation`` wants it scored (default: as it was first)."""

    def __init__(self, store: Store, key: str, evaluation: EvaluationConfig | None = None) -> None:
        self.key = key
        self.folder: RunFolder = store.run(key)
        self.commit = self.folder.last_commit()
        self.events = self.folder.history()
        self.own, self.added = self._readings(evaluation)
        self.tasks = self._tasks(evaluation)
        self.better = self._better(evaluation)
        self.failure = store.failure(key)

    @property
    def step(self) -> int:
        return self.commit.step if self.commit is not None else 0

    @property
    def start(self) -> dict[str, Any]:
        return next((e for e in self.events if e["event"] == "start"), {})

    def _readings(self, evaluation: EvaluationConfig | None) -> tuple[dict[int, Event], dict[int, Event]]:
        record = self.folder.record()
        if record is None:
            return {}, {}
        then = EvaluationConfig.model_validate(record["config"]["evaluation"]).identity()
        reading = then if evaluation is None else evaluation.identity()
        history = (e for e in self.events if e["event"] == "evaluation")
        return readings(history, self.folder.scores(), then, reading)

    def _tasks(self, evaluation: EvaluationConfig | None) -> list[Event]:
        """Events of evaluation tasks by step: those that ``evaluation`` names (default: all), as it calls
        them."""
        added = [score["event"] for score in self.folder.scores("task")]
        events = [e for e in self.events if e["event"] == "task"] + added
        called = {e["key"]: e["task"] for e in events}
        if evaluation is not None:
            called = {task.key: task.title for task in evaluation.tasks}
        events = [{**e, "task": called[e["key"]]} for e in events if e["key"] in called]
        return sorted(events, key=lambda e: int(e["step"]))

    def _better(self, evaluation: EvaluationConfig | None) -> dict[str, str]:
        """Metric of a task, as curves call it -> which values are better, as the task declares it."""
        record = self.folder.record() if evaluation is None else None
        if record is not None:
            evaluation = EvaluationConfig.model_validate(record["config"]["evaluation"])
        named = evaluation.tasks if evaluation is not None else ()
        return {f"{task.title}_{name}": better for task in named for name, better in task.better.items()}

    def evaluations(self) -> list[tuple[dict[str, Any], bool]]:
        """(event, precise) by step; an evaluation that was added takes the place of the curve's."""
        own = {step: (event, False) for step, event in self.own.items()}
        added = {
            step: ({**own.get(step, (event,))[0], **{k: v for k, v in event.items() if k != "event"}}, True)
            for step, event in self.added.items()
        }
        return [pair for _, pair in sorted({**own, **added}.items())]

    @cached_property
    def curve(self) -> pd.DataFrame:
        """Its evaluations, as rows of ``curves``."""
        import pandas as pd

        losses = {int(e["step"]): e["loss"] for e in self.events if e["event"] == "train"}
        metrics: dict[int, dict[str, float]] = {}
        for task in self.tasks:
            of_step = metrics.setdefault(int(task["step"]), {})
            for half in ("a", "b"):
                of_step |= {f"{task['task']}_{k}_{half}": value for k, value in task[half].items()}
        columns = [*CURVES, *dict.fromkeys(k for of_step in metrics.values() for k in of_step)]
        passed = sorted(losses)
        rows, at, latest = [], 0, None
        for event, precise in self.evaluations():
            while at < len(passed) and passed[at] <= event["step"]:
                latest, at = losses[passed[at]], at + 1
            row = {"run": self.key, **{k: event[k] for k in ("step", "tokens", "epochs", "flops")}}
            for half in ("a", "b"):
                row |= {f"{k}_{half}": event[half].get(k) for k in ("nll", "se", "mc_se")}
            rows.append(
                {
                    **row,
                    "train_loss": latest,
                    "kind": event["kind"],
                    "draws": event.get("draws"),
                    "precise": precise,
                    **metrics.get(int(event["step"]), {}),
                }
            )
        frame = pd.DataFrame(rows, columns=columns)
        return frame.astype({"mc_se_a": float, "mc_se_b": float, "train_loss": float})

    @cached_property
    def scores(self) -> pd.DataFrame:
        """Their scores, as rows of ``scores``."""
        import numpy as np
        import pandas as pd

        blocks = []
        for event, _ in self.evaluations():
            for half in ("a", "b"):
                values = np.asarray(event["scores"][half], float)
                sequences, draws = values.shape
                weights = event.get("sequence_tokens", {}).get(half)
                tokens = np.ones(sequences) if weights is None else np.asarray(weights, float)
                block = {
                    "run": self.key,
                    "step": event["step"],
                    "half": half,
                    "sequence": np.repeat(np.arange(sequences), draws),
                }
                block |= {
                    "draw": np.tile(np.arange(draws), sequences),
                    "nll": values.ravel(),
                    "tokens": np.repeat(tokens, draws),
                }
                blocks.append(pd.DataFrame(block))
        return concatenated(blocks, SCORES)

    @cached_property
    def items(self) -> pd.DataFrame:
        """Items of its evaluation tasks, as rows of ``items``."""
        import pandas as pd

        blocks = [
            pd.DataFrame({"run": self.key, "step": e["step"], "task": e["task"], "half": half, **rows})
            for e in self.tasks
            for half, rows in e["items"].items()
        ]
        return concatenated(blocks, ITEMS)

    @cached_property
    def numerics(self) -> str:
        """The numerics classes of its attempts, joined where it was moved from one to another."""
        classes = [e["numerics"]["class"] for e in self.folder.telemetry() if e["event"] == "attempt"]
        return "+".join(dict.fromkeys(classes))

    def tokens_at(self, step: int) -> float:
        """D at a step that the folder has reached: the event's there, else in proportion to the last before
        it."""
        seen = [e for e in self.events if "tokens" in e and 0 < e["step"] <= step]
        return seen[-1]["tokens"] * step / seen[-1]["step"] if seen else 0.0

    def state(self, steps: int) -> str:
        """How the run stands that is read up to ``steps``."""
        return standing_of(steps, self.commit, failure=self.failure).value


class Records:
    """Records of a store's runs: each run is read once, and again only when it has changed."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self._records: dict[tuple[str, EvaluationConfig | None], tuple[Any, RunRecord]] = {}

    def of(self, key: str, evaluation: EvaluationConfig | None = None) -> RunRecord:
        """The record of a run, as :class:`RunRecord`: the same object until the run has another commit,
        another score or another failure."""
        folder = self.store.run(key)
        commit = folder.last_commit()
        version = (commit.n if commit is not None else None, folder.list("scores"), self.store.failure(key))
        known = self._records.get((key, evaluation))
        if known is None or known[0] != version:
            known = self._records[key, evaluation] = (version, RunRecord(self.store, key, evaluation))
        return known[1]


def run_row(config: RunConfig, run: RunRecord, steps: int) -> dict[str, Any]:
    """One row of ``runs``, the sweep's own columns left out. What only a finished preparation can know is
    None before it."""
    from orchestrator.planning.titles import title

    start = run.start
    counts = config.counts
    reached = min(steps, run.step)
    tokens, unique = run.tokens_at(reached), start.get("unique_tokens")
    trunk = config.trunk()
    return {
        "run": run.key,
        "key": f"{run.key}-{steps}",
        "trunk": trunk.training_key if trunk is not None else None,
        "name": title(config),
        "objective": config.objective.name,
        "objective_short": config.objective.short,
        "N": counts.total,
        "N_embedding": counts.embedding,
        "N_extra": counts.extra,
        "N_active": counts.active,
        "N_objective": counts.objective,
        "U": unique,
        "U_bytes": start.get("unique_bytes"),
        "U_asked": config.data.unique_tokens or config.data.unique_bytes,
        "D": round(tokens),
        "epochs": tokens / unique if unique else None,
        "flops": tokens * matmul_flops(config),
        "flops_6nd": six_nd(config, tokens),
        "likelihood": config.objective.likelihood,
        "unigram_entropy": start.get("unigram_entropy"),
        "steps": steps,
        "vocab": config.data.tokenizer.vocab,
        "sequences": start.get("sequences"),
        "schedule": config.schedule.name,
        "annealed": config.schedule.anneals,
        "numerics": run.numerics,
        "state": run.state(steps),
        "failure": run.failure["message"] if run.failure is not None and run.step < steps else None,
    }
