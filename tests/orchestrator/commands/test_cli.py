"""The command line as a person uses it: exit codes, JSON on stdout and messages on stderr, runs that
resume."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

from orchestrator.cli import COMMANDS
from orchestrator.store.store import Store

Cli = Callable[..., Result]
KEYS = {
    "key",
    "run",
    "trunk",
    "sweeps",
    "cell",
    "seed",
    "N",
    "D",
    "U",
    "epochs",
    "flops",
    "seconds",
    "memory_bytes",
    "disk_bytes",
    "state",
}


def read(crossover: Cli, *arguments: str | Path) -> Any:
    result = crossover(*arguments, "--json")
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def test_help_lists_every_command_and_each_has_its_own(crossover: Cli) -> None:
    text = crossover("--help").output
    for name in COMMANDS:
        assert f"  {name} " in text
        result = crossover(name, "--help")
        assert result.exit_code == 0 and "Usage:" in result.output


def test_plan(crossover: Cli, tiny: Path, finished_store: Path, tmp_path: Path) -> None:
    fresh = read(crossover, "plan", tiny, "--store", tmp_path)
    assert len(fresh["runs"]) == 4 and {r["state"] for r in fresh["runs"]} == {"new"}
    assert set(fresh["runs"][0]) >= KEYS and not list(tmp_path.iterdir()), "a plan writes nothing"
    assert {r["state"] for r in read(crossover, "plan", tiny, "--store", finished_store)["runs"]} == {
        "cached"
    }
    shown = crossover("plan", tiny, "--store", tmp_path)
    assert "4 end points of 4 runs (4 new)" in shown.stdout and str(tmp_path) in shown.stderr


def test_only_and_set_reach_the_plan(crossover: Cli, tiny: Path, tmp_path: Path) -> None:
    where = ("--store", tmp_path, "--only", "objective=autoregressive", "--set", "base.steps=80")
    rows = read(crossover, "plan", tiny, *where)["runs"]
    assert len(rows) == 2 and all(r["key"].endswith("-80") for r in rows)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("plan", "nowhere.yaml"), "no such file"),
        (("plan",), "Missing argument"),
        (("pln",), "Did you mean 'plan'"),
        (("show", "zz"), "no run starts with it"),
        (("run", "nowhere", "--local"), "no such file"),
        (("report",), "name a sweep"),
    ],
)
def test_wrong_usage_exits_2_and_says_why(
    crossover: Cli, tmp_path: Path, arguments: tuple[str, ...], message: str
) -> None:
    result = crossover(*arguments, *(("--store", tmp_path) if arguments[0] in COMMANDS else ()))
    assert result.exit_code == 2 and message in result.stderr and not result.stdout


def test_a_wrong_sweep_exits_2_with_its_places(crossover: Cli, tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text("base:\n  batch_sise: 8\n  seed: -1\n")
    result = crossover("run", wrong, "--local", "--store", tmp_path / "s")
    assert result.exit_code == 2 and "wrong.yaml:2" in result.stderr and "batch_size" in result.stderr
    assert not (tmp_path / "s").exists(), "nothing is made for a sweep that cannot run"


@pytest.mark.parametrize("refusing", ["a file", "/proc"])
def test_a_folder_that_cannot_be_written_is_a_message(
    crossover: Cli, tiny: Path, finished_store: Path, tmp_path: Path, refusing: str
) -> None:
    (tmp_path / "a file").write_text("")
    place, store = tmp_path / refusing / "x", ("--store", finished_store)
    if not place.parent.exists():
        pytest.skip("no /proc here")
    key = Store(finished_store).run_keys()[0]
    assert crossover("export", "tiny", "--to", tmp_path / "csv", *store).exit_code == 0
    for arguments in (
        ("run", tiny, "--local", "--store", place),
        ("run", tiny, "--store", place),
        ("report", "tiny", "--to", place, *store),
        ("report", "--tables", tmp_path / "csv", "--to", place),
        ("export", "tiny", "--to", place, *store),
        ("export", "weights", key, "--to", place, *store),
        (
            "import",
            tmp_path / "csv" / "curves.csv",
            "--y",
            "nll_b",
            "--set",
            "objective=a,N=1",
            "--to",
            place,
        ),
        ("gc", "--store", place),
        ("mirror", "--store", place),
    ):
        result = crossover(*arguments)
        assert result.exit_code == 2 and str(place) in result.stderr, (arguments, result.output)
        assert "Traceback" not in result.output and isinstance(result.exception, SystemExit)


def test_a_finished_sweep_trains_nothing_and_draws_its_report_again(
    crossover: Cli, tiny: Path, store_copy: Path
) -> None:
    commits = sorted(p.stat().st_mtime_ns for p in (store_copy / "runs").rglob("commits/*.json"))
    page = store_copy / "sweeps" / "tiny" / "report" / "report.html"
    page.unlink()
    result = crossover("run", tiny, "--local", "--store", store_copy)
    assert result.exit_code == 0 and "4 cached" in result.stderr and "report.html" in result.stdout
    assert page.exists()
    assert sorted(p.stat().st_mtime_ns for p in (store_copy / "runs").rglob("commits/*.json")) == commits


def test_a_finished_sweep_starts_neither_torch_nor_ray_nor_mlflow(tiny: Path, store_copy: Path) -> None:
    code = (
        "import sys; from orchestrator.cli import main\n"
        "try: main(sys.argv[1:])\n"
        "except SystemExit as e: assert e.code == 0, e.code\n"
        "print(sorted({'torch', 'ray', 'mlflow'} & set(sys.modules)), file=sys.stderr)"
    )
    arguments = ["run", str(tiny), "--store", str(store_copy), "-q"]
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True
    )
    assert done.stderr.strip().splitlines()[-1] == "[]"


def test_status_show_logs(crossover: Cli, finished_store: Path) -> None:
    where = ("--store", finished_store)
    status = read(crossover, "status", *where)
    assert status["totals"] == {"done": 4} and {r["step"] for r in status["runs"]} == {40}
    key = status["runs"][0]["run"]
    shown = read(crossover, "show", key[:6], *where)
    assert shown["run"] == key and shown["evaluations"] and shown["config"]["steps"] == 40
    assert shown["folder"] == str(finished_store / "runs" / key)
    assert "validation A" in crossover("logs", key, *where).stdout
    events = read(crossover, "logs", key, *where)["events"]
    assert [e["event"] for e in events].count("evaluation") == len(shown["evaluations"])
    for text in (crossover("show", key, *where), crossover("status", "tiny", *where)):
        assert text.exit_code == 0 and shown["name"] in text.stdout


def test_diff_of_runs_and_of_sweeps(crossover: Cli, tiny: Path, finished_store: Path, tmp_path: Path) -> None:
    where = ("--store", finished_store)
    runs = {(r["name"]): r["run"] for r in read(crossover, "status", *where)["runs"]}
    found = read(crossover, "diff", runs["AR d16x1 U=5kB s0"], runs["AR d16x1 U=5kB s1"], *where)
    assert {d["field"] for d in found["differences"]} == {"seed", "data.subset_seed"}
    assert all(d["in_key"] for d in found["differences"])
    other = tmp_path / "other.yaml"
    other.write_text(tiny.read_text().replace("steps: 40", "steps: 80").replace("name: tiny", "name: other"))
    sweeps = read(crossover, "diff", tiny, other, *where)
    assert sweeps["shared"] == 0 and len(sweeps["only_a"]) == 4
    assert crossover("diff", tiny, runs["AR d16x1 U=5kB s0"], *where).exit_code == 2


def test_report_and_export(crossover: Cli, store_copy: Path, tmp_path: Path) -> None:
    where = ("--store", store_copy)
    report = read(crossover, "report", "tiny", *where)
    assert {"cell", "axes", "metric", "definition", "unit", "value", "low", "high", "censored", "replicates",
            "assumption"} <= set(report["crossovers"][0])  # fmt: skip
    assert crossover("export", "tiny", "--to", tmp_path / "csv", *where).exit_code == 0
    again = read(crossover, "report", "--tables", tmp_path / "csv", *where)
    places = ("definition", "unit", "value", "censored")
    assert [[c[p] for p in places] for c in again["crossovers"]] == [
        [c[p] for p in places] for c in report["crossovers"]
    ]


def test_doctor_gc_mirror_cancel(crossover: Cli, store_copy: Path) -> None:
    where = ("--store", store_copy)
    findings = read(crossover, "doctor", *where)["findings"]
    assert {"python", "torch", "disk", "mlflow database"} <= {f["check"] for f in findings}
    assert read(crossover, "gc", "--dry-run", *where)["removed"] is False
    assert "4 were up to date" in crossover("mirror", *where).stderr
    assert "4 runs written" in crossover("mirror", "--rebuild", *where).stderr
    assert "is not being run" in crossover("cancel", "tiny", *where).stderr


def test_retry_trains_what_failed_and_nothing_else(crossover: Cli, tiny: Path, store_copy: Path) -> None:
    store = Store(store_copy)
    first, second = store.run_keys()[:2]
    import shutil

    for key in (first, second):
        shutil.rmtree(store_copy / "runs" / key)
    store.record_failure(first, {"failure": "code error", "message": "boom", "traceback": ""})
    store.log(first, "the traceback\n")
    where = ("--store", store_copy)
    assert read(crossover, "status", *where)["totals"] == {"done": 2, "failed": 1, "new": 1}
    assert (
        "the traceback" in crossover("logs", first[:8], *where).stdout
        if (store_copy / "runs" / first).exists()
        else True
    )
    result = crossover("retry", "tiny", "--local", *where)
    assert result.exit_code == 0, result.output
    assert read(crossover, "status", *where)["totals"] == {"done": 3, "new": 1}


def test_failing_runs_exit_1_and_are_named(crossover: Cli, tmp_path: Path) -> None:
    sweep = tmp_path / "broken.yaml"
    text = tmp_path / "text.txt"
    text.write_text("".join(f"The {i}th sentence says nothing much about {i * i}.\n\n" for i in range(4000)))
    sweep.write_text(
        "base: {model: {width: 16, layers: 1}, steps: 5, batch_size: 4,\n"
        "  evaluation: {sequences: 9000, first: 2},\n"
        f"  data: {{corpus: {{name: text, files: {text}}}, context: 32}}}}\n"
    )
    result = crossover("run", sweep, "--local", "--store", tmp_path / "s", "--no-mlflow", "--no-report")
    assert result.exit_code == 1, result.output
    assert "user error: evaluation.sequences" in result.stderr and "crossover logs" in result.stderr


@pytest.mark.slow
def test_ctrl_c_exits_130_and_the_same_command_goes_on(tiny: Path, tmp_path: Path) -> None:
    long = tmp_path / "long.yaml"
    long.write_text(
        tiny.read_text().replace("steps: 40", "steps: 4000").replace("seeds: [0, 1]", "seeds: [0]")
    )
    command = [
        sys.executable,
        "-m",
        "orchestrator",
        "run",
        str(long),
        "--local",
        "--store",
        str(tmp_path / "s"),
        "--no-mlflow",
    ]
    process = subprocess.Popen(
        command, stderr=subprocess.PIPE, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"}
    )
    store = Store(tmp_path / "s")
    end = time.monotonic() + 120
    while not any(name.startswith("progress-") for name in store.control.names()) and time.monotonic() < end:
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors

    reached = [commit.step for key in store.run_keys() if (commit := store.run(key).last_commit())]
    assert any(0 < step < 4000 for step in reached)


def test_a_plan_says_what_the_store_changes_of_its_sweep(
    crossover: Cli, tiny: Path, store_copy: Path
) -> None:
    assert "note:" not in crossover("plan", tiny, "--store", store_copy).stderr
    entries = "extend:\n- match: {objective: autoregressive}\n  to: 2x\n"
    (store_copy / "sweeps" / "tiny" / "extend.yaml").write_text(entries)
    note = crossover("plan", tiny, "--store", store_copy).stderr
    assert "extend.yaml moves ends beyond what" in note and str(tiny) in note
