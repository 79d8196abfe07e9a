"""`crossover sample`."""

from __future__ import annotations

from typing import Any

import click

from orchestrator.commands.common import (
    CommandError,
    emit,
    errors_as_messages,
    json_option,
    say,
    store_option,
)
from orchestrator.store.store import Store


@click.command("sample")
@click.argument("key", metavar="RUN")
@click.argument("prompt", default="")
@click.option(
    "--length",
    type=click.IntRange(1),
    metavar="N",
    help="Tokens after the prompt (default: what the context holds).",
)
@click.option("--suffix", default="", metavar="TEXT", help="Of masked diffusion: what stands after the gap.")
@click.option(
    "--temperature",
    type=click.FloatRange(0),
    metavar="X",
    help="Divides the logits (default: 1); 0 takes the most likely token.",
)
@click.option(
    "--sampler",
    metavar="NAME",
    help="Of AR: left_to_right; of masked diffusion: confidence (default) or ancestral.",
)
@click.option(
    "--steps",
    type=click.IntRange(1),
    metavar="N",
    help="Of masked diffusion: forward passes (default: one a token).",
)
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True)
@click.option("--at", type=click.IntRange(1), metavar="STEP", help="The checkpoint (default: the newest).")
@store_option
@json_option
@errors_as_messages
def command(
    key: str,
    prompt: str,
    length: int | None,
    suffix: str,
    temperature: float | None,
    sampler: str | None,
    steps: int | None,
    seed: int,
    at: int | None,
    store: Store,
    as_json: bool,
) -> None:
    """Draw text from a run: PROMPT continued, left to right with a key-value cache (AR) or by unmasking
    (masked diffusion), which also fills a gap between PROMPT and --suffix.

    RUN is a training key or the beginning of one. The same seed gives the same text. Example:
    crossover sample 3f2a "Once upon" --length 20 --suffix " the end."
    """
    from trainers.run.trained import Trained

    written = {"temperature": temperature, "steps": steps}
    options: dict[str, Any] = {name: value for name, value in written.items() if value is not None}
    key = store.find(key)
    try:
        trained = Trained.load(store.run(key), at, data_root=store.data)
        text = trained.sample(prompt, length, seed, suffix=suffix, sampler=sampler, **options)
    except ValueError as error:
        raise CommandError(str(error)) from error
    if as_json:
        emit({"run": key, "step": trained.step, "prompt": prompt, "text": text, "seed": seed})
        return
    say(f"{trained.config.objective.name} {key} at step {trained.step}")
    click.echo(text)
