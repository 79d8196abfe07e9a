"""The command line. Commands are imported when they are used, so that `crossover --help` answers at once.

Exit codes: 0 done, 1 some runs failed, 2 wrong usage or a wrong sweep, 130 stopped by Ctrl-C. What is read by
programs (`--json`, tables, paths) goes to stdout, everything else to stderr.
"""

from __future__ import annotations

import importlib
import keyword
import os
import sys
from collections.abc import Sequence

import click

GROUPS = {
    "Sweeps": {
        "plan": "Show what a sweep takes: counts, time, memory and disk of each run, and what is done.",
        "run": "Train what is not done of a sweep, and draw its report. The same command resumes.",
        "status": "Show how the runs of a sweep stand.",
        "report": "Draw a sweep's report again, from what there is.",
        "extend": "Train cells of a sweep beyond its horizon, for example those without a crossover.",
        "refine": "Evaluate inside the brackets of a sweep's crossings.",
        "retry": "Train the failed runs of a sweep again, and nothing else.",
        "cancel": "Stop a sweep, or one run, that another process trains. Nothing is lost.",
        "schema": "Print the JSON schema of sweep files, which editors read.",
    },
    "Runs": {
        "show": "Show everything about one run.",
        "logs": "Show a run's curve as text, and the traceback if it failed.",
        "diff": "Show what differs between two runs, or two sweeps.",
        "sample": "Let a run continue a text.",
        "export": "Write tables of a sweep or the whole store (CSV, Parquet), or the weights of a run.",
    },
    "Laws": {
        "fit": "Fit a scaling law to a table, with intervals, diagnostics, and what was left out.",
        "locate": "Find where the curves of two objectives cross, in a table or a sweep.",
        "isoflop": "Find the best size at each budget, and how it grows, by the three classic routes.",
        "suggest": "Choose the runs that would narrow a quantity most for their FLOPs, as a sweep that runs.",
        "plot": "Draw a law and its data: envelope, isoFLOP curves, contours, residuals, profiles and more.",
        "import": "Turn others' curves (CSV, Weights & Biases, TensorBoard) into tables that the above read.",
    },
    "Store": {
        "ui": "Open MLflow on the store, and print the address of each sweep's page.",
        "mirror": "Bring MLflow up to what the run folders hold; --rebuild writes it anew.",
        "du": "Show what the store's bytes are for, by kind, sweep and run.",
        "gc": "Remove what killed attempts left behind, and checkpoints that nobody needs.",
        "doctor": "Check this machine, the installation and the store.",
    },
}
COMMANDS = {name: text for group in GROUPS.values() for name, text in group.items()}


def _module(name: str) -> str:
    """A command's module; names that are Python's own words end in an underscore there."""
    return f"{name}_" if keyword.iskeyword(name) else name


class LazyGroup(click.Group):
    """A group that knows its commands by name and imports one when it is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = importlib.import_module(f"orchestrator.commands.{_module(cmd_name)}").command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        widest = max(map(len, COMMANDS))
        for title, commands in GROUPS.items():
            with formatter.section(title):
                formatter.write_dl([(name.ljust(widest), text) for name, text in commands.items()])

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            import difflib

            near = difflib.get_close_matches(args[0], COMMANDS, n=1)
            hint = f" Did you mean {near[0]!r}?" if near else ""
            raise click.UsageError(f"No such command {args[0]!r}.{hint} Known: {', '.join(COMMANDS)}", ctx)
        return super().resolve_command(ctx, args)


@click.group(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    epilog="Exit codes: 0 done, 1 some runs failed, 2 wrong usage, 130 stopped.",
)
@click.version_option(package_name="crossover", prog_name="crossover")
def crossover() -> None:
    """Where do the curves of language-modelling paradigms cross, as data gets scarce?

    A sweep is a YAML file. `crossover run sweeps/quickstart.yaml` trains it and draws a report.
    """


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point of the `crossover` command."""
    try:
        code = crossover.main(args=list(arguments) if arguments is not None else None, standalone_mode=False)
        sys.stdout.flush()
    except click.ClickException as error:
        error.show()
        code = error.exit_code
    except (click.Abort, KeyboardInterrupt):
        code = 130
    except BrokenPipeError:  # `crossover status | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 0
    sys.exit(code if isinstance(code, int) else 0)
