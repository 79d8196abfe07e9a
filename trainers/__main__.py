"""``python -m trainers CONFIG``: train one run alone, without Ray and MLflow."""

from __future__ import annotations

import argparse
import json
import signal
import sys
from pathlib import Path
from typing import Any

from trainers.components.coercion import anchored, locations, validated
from trainers.components.source import Issue, SpecError, read
from trainers.config import RunConfig
from trainers.objectives.base import Objective

EXIT_DIVERGED, EXIT_USAGE, EXIT_INTERRUPTED = 1, 2, 130


class UsageError(Exception):
    """What the user gave cannot be run; the message says why."""


def load_config(path: Path) -> RunConfig:
    """The run config in a YAML or JSON file. Raises :class:`UsageError` with every problem that it has, each
    with its line."""
    traps: list[Issue] = []
    try:
        written = anchored(read(path, traps, "a run"), path.parent, locations(RunConfig))
        return validated(written, RunConfig, traps)
    except SpecError as error:
        raise UsageError(str(error)) from None


NUMBERS = {"exact": "the NLL", "upper_bound": "an upper bound of the NLL"}
"""What a loss may be called, by the kind of likelihood that it is; any other is none."""
NO_LIKELIHOOD = "not a likelihood"


class Progress:
    """Prints a run's events as aligned lines, one an evaluation."""

    header = f"{'step':>8} {'tokens':>12} {'epochs':>8} {'train':>8} {'A':>8} {'B':>8} {'tokens/s':>10}"

    def __init__(self, objective: Objective) -> None:
        self.objective = objective
        self.loss = float("nan")
        self.waiting: dict[str, Any] | None = None

    def __call__(self, event: dict[str, Any]) -> None:
        """Take an event; print when a line is complete."""
        kind = event["event"]
        if kind == "start":
            print(f"N {event['N']:,}  U {event['unique_tokens']:,} tokens  V {event['vocab']}")
            train, scored = (
                NUMBERS.get(kind, NO_LIKELIHOOD)
                for kind in (self.objective.training_likelihood, self.objective.likelihood)
            )
            print(f"train: {train}; A and B, the validation halves: {scored}; nats per token")
            print(self.header, flush=True)
        elif kind == "train":
            self.loss = event["loss"]
        elif kind == "evaluation":
            self.waiting = event
        elif kind == "speed" and self.waiting is not None:
            e, self.waiting = self.waiting, None
            print(
                f"{e['step']:>8} {e['tokens']:>12,} {e['epochs']:>8.2f} {self.loss:>8.4f} "
                f"{e['a']['nll']:>8.4f} {e['b']['nll']:>8.4f} {event['tokens_per_second']:>10,.0f}",
                flush=True,
            )
        elif kind == "diverged":
            print(f"{event['step']:>8} diverged", flush=True)


def main(arguments: list[str] | None = None) -> int:
    """Run the command; the exit code: 0, 1 diverged, 2 usage, 130 interrupted (the same command goes on from
    there).
    """
    parser = argparse.ArgumentParser("python -m trainers", description="Train one run.")
    parser.add_argument("config", type=Path, help="a run's config, YAML or JSON")
    parser.add_argument("--folder", type=Path, help="the run's folder (default: store/runs/<training key>)")
    parser.add_argument("--data", type=Path, help="where prepared data is kept (default: data in the store)")
    parser.add_argument("--json", action="store_true", help="print events as JSON lines instead of a table")
    options = parser.parse_args(arguments)
    try:
        return _run(load_config(options.config), options)
    except (UsageError, ValueError, FileNotFoundError) as error:
        print(error, file=sys.stderr)
        return EXIT_USAGE


def _run(config: RunConfig, options: argparse.Namespace) -> int:
    from trainers.machine.workers import launched
    from trainers.run.loop import train

    interrupted = False

    def interrupt(*_: object) -> None:
        nonlocal interrupted
        interrupted = True

    before = signal.signal(signal.SIGINT, interrupt)
    report = _print_json if options.json else Progress(config.objective)
    try:
        with launched(config.resources.device) as workers:
            with workers.turns():
                config = config.pinned()
            folder = options.folder or Path("store/runs") / config.training_key
            result = train(
                config,
                folder,
                data_root=options.data,
                report=report,
                stop=lambda: interrupted,
                workers=workers,
            )
    finally:
        signal.signal(signal.SIGINT, before)
    if workers.first and not options.json:
        print(_summary(result, config))
    return {"done": 0, "diverged": EXIT_DIVERGED, "stopped": EXIT_INTERRUPTED}[result.state]


def _summary(result: Any, config: RunConfig) -> str:
    text = f"{result.state} at step {result.step}, {result.folder.name}"
    if result.final is None:
        return text
    final = result.final
    name = NUMBERS.get(final["kind"], f"loss ({NO_LIKELIHOOD})").removeprefix("the ")
    value = f"{final['b']['nll']:.4f} ± {final['b']['se']:.4f} nats per token"
    return f"{text}; {name} {value} on half B at step {final['step']}"


def _print_json(event: dict[str, Any]) -> None:
    print(json.dumps(event), flush=True)


if __name__ == "__main__":
    sys.exit(main())
