"""The runner of mutants: what it puts in, what it finds on a toy package, and that it leaves files alone."""

from __future__ import annotations

import ast
import csv
import os
import subprocess
import sys
from pathlib import Path

from scipy.stats import binomtest

from benchmarks.mutation.__main__ import equivalents, share
from benchmarks.mutation.operators import mutants
from tests.paths import ROOT

SOURCE = '''
from typing import TYPE_CHECKING
if TYPE_CHECKING:
    import this
@cached(size=3)
def f(x: list[1], n: int = 2) -> tuple[4]:
    """Words."""
    if x and not n:
        raise ValueError("at most " + f"{n + 1}")
    for i in x:
        if i < n:
            break
    x[0] += (1 + n) ** 2
    log(x)
    return zip(x, [True], strict=True)
'''


def test_each_fault_is_a_small_change_of_what_runs() -> None:
    path, source = "m.py", SOURCE.encode()
    every = mutants(path, source)
    changes = {(m.operator, m.before, m.after) for m in every}
    assert changes == {
        (
            "constant",
            "def f(x: list[1], n: int = 2) -> tuple[4]:",
            "def f(x: list[1], n: int = 3) -> tuple[4]:",
        ),
        (
            "constant",
            "def f(x: list[1], n: int = 2) -> tuple[4]:",
            "def f(x: list[1], n: int = 1) -> tuple[4]:",
        ),
        ("boolean", "if x and not n:", "if (x or not n):"),
        ("condition", "if x and not n:", "if not (x and not n):"),
        ("unary", "if x and not n:", "if x and n:"),
        ("statement", 'raise ValueError("at most " + f"{n + 1}")', "pass"),
        ("comparison", "if i < n:", "if i <= n:"),
        ("comparison", "if i < n:", "if i >= n:"),
        ("statement", "break", "continue"),
        ("statement", "x[0] += (1 + n) ** 2", "pass"),
        ("arithmetic", "x[0] += (1 + n) ** 2", "x[0] -= (1 + n) ** 2"),
        ("arithmetic", "x[0] += (1 + n) ** 2", "x[0] += (1 - n) ** 2"),
        ("arithmetic", "x[0] += (1 + n) ** 2", "x[0] += ((1 + n) * 2)"),
        *(("constant", "x[0] += (1 + n) ** 2", f"x[{k}] += (1 + n) ** 2") for k in ("1", "(-1)")),
        *(("constant", "x[0] += (1 + n) ** 2", f"x[0] += ({k} + n) ** 2") for k in (0, 2)),
        *(("constant", "x[0] += (1 + n) ** 2", f"x[0] += (1 + n) ** {k}") for k in (1, 3)),
        ("statement", "log(x)", "pass"),
        ("return", "return zip(x, [True], strict=True)", "return None"),
        ("constant", "return zip(x, [True], strict=True)", "return zip(x, [False], strict=True)"),
    }
    assert all(ast.dump(ast.parse(m.applied(source))) != ast.dump(ast.parse(source)) for m in every)
    lines = {m.before: m.lines for m in every}
    assert lines["def f(x: list[1], n: int = 2) -> tuple[4]:"] is None  # runs on import
    assert lines["if i < n:"] == (11, 11) and lines["log(x)"] == (14, 14)


def test_keys_outlive_changes_elsewhere() -> None:
    before, after = (
        mutants("m.py", s.encode()) for s in (SOURCE, SOURCE.replace("log(x)", "log(x, x)\n    g()"))
    )
    lost = {m.key(0) for m in before} - {m.key(0) for m in after}
    assert lost == {m.key(0) for m in before if m.before == "log(x)"}
    assert len({m.key(0) for m in before} | {m.key(1) for m in before}) == 2 * len(before)


TOY = """
def last(n):
    k = 0
    while k < n:
        k += 1
    return k


def clipped(x):
    return x if x > 0 else 0


def untested(x):
    return x
"""
TESTS = """
from pathlib import Path

from toy.room.sums import clipped, last

with Path("imports.log").open("a") as file:
    file.write("x")


def test_last():
    assert last(3) == 3


def test_clipped():
    assert clipped(2) == 2
"""


def test_a_toy_package_has_the_survivors_that_it_should(tmp_path: Path) -> None:
    room, mirror, listed = (tmp_path / p for p in ("toy/room", "tests/toy/room", "benchmarks/mutation"))
    for folder in (room, mirror, listed):
        folder.mkdir(parents=True)
    (room / "sums.py").write_text(TOY)
    (mirror / "test_sums.py").write_text(TESTS)
    (listed / "equivalents.toml").write_text(
        '[[mutant]]\npath = "toy/room/sums.py"\nscope = "clipped"\nbefore = "return x if x > 0 else 0"\n'
        'after = "return x if x >= 0 else 0"\nreason = "0 is 0 either way"\n'
    )

    def call() -> tuple[str, dict[tuple[str, str], str]]:
        command = [sys.executable, "-m", "benchmarks.mutation", "toy/room", "--sample", "99", "--preload"]
        options = ["--keep-kills", "--grace", "0.5", "--out", "out.csv"]
        env = {**os.environ, "PYTHONPATH": str(ROOT), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
        done = subprocess.run(command + options, cwd=tmp_path, env=env, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        with (tmp_path / "out.csv").open(newline="") as file:
            return done.stdout, {(r["before"], r["after"]): r["outcome"] for r in csv.DictReader(file)}

    def survivors(outcomes: dict[tuple[str, str], str]) -> set[str]:
        return {after for (_, after), outcome in outcomes.items() if outcome == "survived"}

    said, outcomes = call()
    assert outcomes[("while k < n:", "while k <= n:")] == outcomes[("return k", "return None")] == "killed"
    assert outcomes[("k += 1", "k -= 1")] == outcomes[("k += 1", "k += 0")] == "timeout"
    assert outcomes[("return x if x > 0 else 0", "return x if x >= 0 else 0")] == "equivalent"
    untested = {"k = 1", "k = (-1)", "return None"}
    clipped = {f"return x if x > {a} else {b}" for a, b in ((1, 0), ("(-1)", 0), (0, 1), (0, "(-1)"))}
    assert survivors(outcomes) == untested | clipped
    assert "+    return x if x > 1 else 0" in said and "no test reaches it" in said
    assert f"survivors {share(7, len(outcomes))}, equivalents 1" in said
    assert (room / "sums.py").read_text() == TOY

    imports = (tmp_path / "imports.log").read_text()
    assert call() == (said, outcomes)
    assert (tmp_path / "imports.log").read_text() == imports, "outcomes are kept"
    (mirror / "test_sums.py").write_text(TESTS + "    assert clipped(-1) == 0\n    assert clipped(1) == 1\n")
    assert survivors(call()[1]) == untested | {"return x if x > (-1) else 0"}


def test_shares_have_wilsons_interval() -> None:
    low, high = binomtest(4, 200).proportion_ci(0.95, "wilson")
    assert (
        share(4, 200) == f"4 of 200 (2.0 % [{100 * low:.1f}, {100 * high:.1f}])" and share(0, 0) == "0 of 0"
    )


def test_listed_equivalents_are_mutants_that_there_are_and_have_reasons() -> None:
    listed = equivalents(ROOT)
    there = {
        (m.path, m.scope, m.before, m.after)
        for path in {entry[0] for entry in listed}
        for m in mutants(path, (ROOT / path).read_bytes())
    }
    assert not listed.keys() - there
    assert all(len(reason.split()) >= 4 for reason in listed.values())
