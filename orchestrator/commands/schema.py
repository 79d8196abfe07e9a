"""`crossover schema`."""

from __future__ import annotations

import click

from orchestrator.commands.common import emit


@click.command("schema")
def command() -> None:
    """The JSON schema of sweep files. `crossover schema > sweep.schema.json`, and name it in an editor's YAML
    settings, or

    in the first line of a sweep: `# yaml-language-server: $schema=sweep.schema.json`.
    """
    from orchestrator.language.json_schema import schema

    emit(schema())
