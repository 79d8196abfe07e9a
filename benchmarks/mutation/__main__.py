"""Mutation testing of the rooms that numbers come from: ``make mutate``, ``make mutate ROOMS=analysis/laws``.

Draws mutants by seed and runs each against the tests that mirror its room (``tests/ROOM``) and reach its
statement in a clean run. A mutant survives where all of them pass. The share of survivors is high rather than
low: tests of over ten CPU seconds are left out, and what a cache of the process keeps from the trace counts
as not reached.

Outcomes go to ``build/mutation.csv`` and hold until the module or the room's tests change; leave both alone
while it runs.
``benchmarks/mutation/equivalents.toml`` lists mutants that do what the original does, each with its reason.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import importlib
import math
import os
import sys
import tomllib
from collections.abc import Iterable
from pathlib import Path
from statistics import NormalDist

from benchmarks.mutation.operators import Mutant, mutants
from benchmarks.mutation.trials import Tests, clean_run, meeting, outcome

ROOMS = (
    "analysis/crossover",
    "analysis/fitting",
    "orchestrator/language",
    "trainers/evaluation",
    "trainers/objectives",
)
LIBRARIES = ("pandas", "pydantic", "scipy.optimize", "scipy.special", "torch", "yaml", "click")
FIELDS = ("path", "line", "scope", "operator", "before", "after", "outcome", "by", "key", "module", "tests")
Row = dict[str, str]


def drawn(root: Path, rooms: Iterable[str], sample: int, seed: int) -> list[Mutant]:
    """A sample of the rooms' mutants; a change of one module moves few of the others' in or out."""
    paths = sorted(path for room in rooms for path in (root / room).rglob("*.py"))
    every = [m for p in paths for m in mutants(p.relative_to(root).as_posix(), p.read_bytes())]
    return sorted(every, key=lambda m: m.key(seed))[:sample]


def equivalents(root: Path) -> dict[tuple[str, str, str, str], str]:
    """Reasons of the listed equivalents, by path, scope, and line before and after."""
    path = root / "benchmarks" / "mutation" / "equivalents.toml"
    entries = tomllib.loads(path.read_text())["mutant"] if path.exists() else []
    return {(e["path"], e["scope"], e["before"], e["after"]): e["reason"] for e in entries}


def share(count: int, n: int) -> str:
    """``4 of 200 (2.0 % [0.8, 5.0])``, with Wilson's 95 % interval."""
    if not n:
        return "0 of 0"
    z, p = NormalDist().inv_cdf(0.975), count / n
    middle, half = p + z * z / (2 * n), z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    low, high = (100 * (middle + s * half) / (1 + z * z / n) for s in (-1, 1))
    return f"{count} of {n} ({100 * p:.1f} % [{low:.1f}, {high:.1f}])"


class Outcomes:
    """What became of mutants in earlier calls: a CSV, so that a call goes on where one was killed."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rows: dict[str, Row] = {}
        if path.exists():
            with path.open(newline="") as file:
                self.rows = {row["key"]: row for row in csv.DictReader(file)}

    def add(self, row: Row) -> None:
        self.rows[row["key"]] = row
        self.path.parent.mkdir(exist_ok=True)
        write(self.path, self.rows.values())


def write(path: Path, rows: Iterable[Row], fields: tuple[str, ...] = FIELDS) -> None:
    """Rows as CSV, in a file that is whole at any moment."""
    part = path.with_suffix(".part")
    with part.open("w", newline="") as file:
        writer = csv.DictWriter(file, fields, extrasaction="ignore", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    part.replace(path)


def _digest(paths: Iterable[Path]) -> str:
    return hashlib.sha256(b"\0".join(path.read_bytes() for path in sorted(paths))).hexdigest()[:16]


def tried(root: Path, sample: list[Mutant], grace: float, longest: float, keep: bool) -> list[Row]:
    """A row of ``FIELDS`` a mutant; survivors are printed as diffs as they come.

    ``keep``: kills stand where only tests have changed.
    """
    outcomes, reasons = Outcomes(root / "build" / "mutation.csv"), equivalents(root)
    digests: dict[str, str] = {}
    traced: dict[str, Tests] = {}
    rows = []
    for mutant in sorted(sample, key=lambda m: (m.path, m.start)):
        room = "/".join(mutant.path.split("/")[:2])
        if room not in digests:
            digests[room] = _digest((root / "tests" / room).rglob("*.py"))
        module, tests = _digest([root / mutant.path]), digests[room]
        row = {f: str(getattr(mutant, f)) for f in ("path", "line", "scope", "operator", "before", "after")}
        row |= {"key": mutant.key(0), "module": module, "tests": tests}
        old = outcomes.rows.get(row["key"], {})
        stands = old.get("tests") == tests or (keep and old.get("outcome") in ("killed", "timeout"))
        if (mutant.path, mutant.scope, mutant.before, mutant.after) in reasons:
            row |= {"outcome": "equivalent", "by": ""}
        elif old.get("module") == module and stands:
            row |= {"outcome": old["outcome"], "by": old["by"]}
        else:
            if room not in traced:
                sources = _digest((root / room).rglob("*.py"))
                name = f"clean-{room.replace('/', '-')}-{sources}-{tests}.json"
                traced[room] = clean_run(root, room, root / "build" / name)
            near = meeting(root, mutant, traced[room], longest, old.get("by", ""))
            row["outcome"], row["by"] = outcome(root, mutant, near, grace)
            outcomes.add(row)
        if row["outcome"] == "survived":
            print(f"\n{row['by']}\n{mutant.diff((root / mutant.path).read_bytes())}", flush=True)
        rows.append(row)
    return rows


def main() -> int:
    """Try a sample; print survivors, and their share by room. 2 where tests fail without a fault."""
    parser = argparse.ArgumentParser(prog="mutation", description="Mutation testing by sample.")
    parser.add_argument("rooms", nargs="*", default=list(ROOMS), metavar="ROOM", help="PACKAGE/ROOM")
    parser.add_argument("--sample", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep-kills", action="store_true", help="kills stand where only tests changed")
    parser.add_argument("--grace", type=float, default=5.0, help="seconds beyond 4 times a clean test's")
    parser.add_argument("--longest", type=float, default=10.0, help="tests of more CPU seconds are left out")
    parser.add_argument("--preload", nargs="*", default=LIBRARIES, help="imported before children fork")
    parser.add_argument("--out", type=Path, help="write the outcomes of the sample as CSV")
    options = parser.parse_args()
    root = Path.cwd().resolve()
    sys.path.insert(0, str(root))
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    for library in options.preload:
        importlib.import_module(library)
    sample = drawn(root, options.rooms, options.sample, options.seed)
    try:
        rows = tried(root, sample, options.grace, options.longest, options.keep_kills)
    except RuntimeError as error:
        print(error, file=sys.stderr)
        return 2
    for room in [*options.rooms, ""]:
        own = [row["outcome"] for row in rows if row["path"].startswith(room)]
        print(
            f"{room or 'all':24} survivors {share(own.count('survived'), len(own))}, "
            f"equivalents {own.count('equivalent')}, timeouts {own.count('timeout')}"
        )
    if options.out:
        write(options.out, rows, FIELDS[:8])
    return 0


if __name__ == "__main__":
    sys.exit(main())
