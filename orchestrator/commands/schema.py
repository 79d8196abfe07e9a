"""`crossover schema`."""

from __future__ import annotations

import click

from orchestrator.commands.common import emit


@click.command("schema")
def command() -> None:
    """Print the JSON schema of sweep files.

    An editor completes and checks a sweep whose first line is `# yaml-language-server:
    $schema=sweep.schema.json`. The sweeps of this project have that line and the file beside them; for sweeps
    elsewhere, or with plug-ins, write it with `crossover schema > sweep.schema.json`.
    """
    from orchestrator.language.json_schema import schema

    emit(schema())
