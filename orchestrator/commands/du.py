"""`crossover du`."""

from __future__ import annotations

import click

from orchestrator.commands.common import emit, errors_as_messages, json_option, size, store_option, table
from orchestrator.store.store import Store


@click.command("du")
@click.option("--all", "everything", is_flag=True, help="List every run; without it, the ten largest.")
@store_option
@json_option
@errors_as_messages
def command(everything: bool, store: Store, as_json: bool) -> None:
    """Print how many bytes the store holds: by kind, by sweep and by run.

    A run that several sweeps share counts in each of them.
    """
    from orchestrator.upkeep.disk_usage import usage

    sizes = usage(store).json()
    if as_json:
        emit(sizes)
        return
    click.echo(table(["kind", "size"], [[k, size(n)] for k, n in sizes["kinds"].items()], right=[1]))
    click.echo(f"{'all':10}{size(sizes['bytes'])}")
    if sizes["sweeps"]:
        click.echo()
        click.echo(table(["sweep", "size"], [[k, size(n)] for k, n in sizes["sweeps"].items()], right=[1]))
    runs = sizes["runs"] if everything else sizes["runs"][:10]
    if runs:
        click.echo()
        kinds = list(runs[0]["kinds"])
        rows = [
            [r["run"], size(r["bytes"]), *(size(r["kinds"][k]) for k in kinds), " ".join(r["sweeps"])]
            for r in runs
        ]
        click.echo(table(["run", "size", *kinds, "sweeps"], rows, right=range(1, len(kinds) + 2)))
        more = len(sizes["runs"]) - len(runs)
        if more:
            click.echo(f"and {more} smaller ones (--all)")
