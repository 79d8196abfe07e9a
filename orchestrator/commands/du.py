"""`crossover du`."""

from __future__ import annotations

import click

from orchestrator.commands.common import emit, guarded, json_option, size, store_option, table
from orchestrator.store.store import Store


@click.command("du")
@click.option("--all", "everything", is_flag=True, help="Every run, not the largest ten.")
@store_option
@json_option
@guarded
def command(everything: bool, folder: str | None, as_json: bool) -> None:
    """What the store's bytes are for: by kind, by sweep (runs that sweeps share count in each), by run."""
    from orchestrator.upkeep.disk_usage import usage

    found = usage(Store.at(folder)).json()
    if as_json:
        emit(found)
        return
    click.echo(table(["kind", "size"], [[k, size(n)] for k, n in found["kinds"].items()], right=[1]))
    click.echo(f"{'all':10}{size(found['bytes'])}")
    if found["sweeps"]:
        click.echo()
        click.echo(table(["sweep", "size"], [[k, size(n)] for k, n in found["sweeps"].items()], right=[1]))
    runs = found["runs"] if everything else found["runs"][:10]
    if runs:
        click.echo()
        kinds = list(runs[0]["kinds"])
        rows = [
            [r["run"], size(r["bytes"]), *(size(r["kinds"][k]) for k in kinds), " ".join(r["sweeps"])]
            for r in runs
        ]
        click.echo(table(["run", "size", *kinds, "sweeps"], rows, right=range(1, len(kinds) + 2)))
        more = len(found["runs"]) - len(runs)
        if more:
            click.echo(f"and {more} smaller ones (--all)")
