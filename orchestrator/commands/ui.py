"""`crossover ui`."""

from __future__ import annotations

import os
import subprocess
import sys
import time
import urllib.error
import urllib.request

import click

from orchestrator.commands.common import CommandError, errors_as_messages, existing, say, store_option
from orchestrator.store.store import Store
from orchestrator.tracking import experiment as tracking


@click.command("ui")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", default=5000, show_default=True, type=click.IntRange(1, 65535), help="Port.")
@click.option(
    "--allow",
    multiple=True,
    metavar="HOST",
    help="A further host name that browsers may use (MLflow refuses others).",
)
@store_option
@errors_as_messages
def command(host: str, port: int, allow: tuple[str, ...], store: Store) -> None:
    """Open MLflow on the store, and print the address of each sweep's page. Ctrl-C ends it."""
    running = os.environ.get(tracking.URI_ENVIRONMENT, "").rstrip("/")
    if running.startswith(("http://", "https://")):
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")  # its default waits for minutes
        from mlflow.exceptions import MlflowException

        say(f"MLflow is at {running} (${tracking.URI_ENVIRONMENT})")
        try:
            click.echo("\n".join(pages(store, running)))
        except MlflowException as error:
            raise CommandError(f"MLflow does not answer as it should: {error}") from error
        return
    existing(store)
    tracking.create_database(store)
    address = f"http://{'localhost' if host in ('127.0.0.1', '0.0.0.0', '::') else host}:{port}"
    process = serve(store, host, port, allow)
    try:
        wait(process, address)
        for line in pages(store, address):
            click.echo(line)
        process.wait()
    except KeyboardInterrupt:
        say("")
    finally:
        stop(process)


def serve(store: Store, host: str, port: int, allow: tuple[str, ...] = ()) -> subprocess.Popen[bytes]:
    """Start MLflow's server on the store: one worker, no job runner, no telemetry."""
    tracking.quiet()
    environment = {
        **os.environ,
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "MLFLOW_DISABLE_TELEMETRY": "true",
    }
    arguments = [sys.executable, "-m", "mlflow", "server", "--backend-store-uri", tracking.uri(store)]
    arguments += ["--artifacts-destination", (store.mlflow / "artifacts").as_uri()]
    arguments += ["--host", host, "--port", str(port), "--workers", "1"]
    if allow:
        names = [*allow, "localhost", "localhost:*", "127.0.0.1", "127.0.0.1:*"]
        names += [f"{name}:*" for name in allow if ":" not in name]
        arguments += ["--allowed-hosts", ",".join(names)]
    log = store.root / "logs" / "mlflow-server.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as file:
        return subprocess.Popen(arguments, env=environment, stdout=file, stderr=file, start_new_session=True)


def wait(process: subprocess.Popen[bytes], address: str, patience: float = 120.0) -> None:
    """Return once the server answers. Raises CommandError where it ended instead, as on a port in use."""
    end = time.monotonic() + patience
    while time.monotonic() < end:
        if process.poll() is not None:
            raise CommandError(
                "MLflow's server ended at once (is the port in use?); see logs/mlflow-server.log in the store"
            )
        try:
            with urllib.request.urlopen(f"{address}/health", timeout=2):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.2)
    raise CommandError(f"MLflow's server did not answer within {patience:g} s")


def stop(process: subprocess.Popen[bytes]) -> None:
    """End the server and its workers."""
    import signal

    if process.poll() is None:
        os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)


def pages(store: Store, address: str) -> list[str]:
    """A line for each sweep with the address of its page, and one for all runs."""
    experiment = tracking.experiment_id(store)
    if experiment is None:
        return [f"{address}   (no runs yet)"]
    names = store.sweep_names()
    width = max(map(len, [*names, "all runs"]))
    lines = [f"{name:{width}}  {tracking.page(address, experiment, name)}" for name in names]
    return [*lines, f"{'all runs':{width}}  {tracking.page(address, experiment)}"]
