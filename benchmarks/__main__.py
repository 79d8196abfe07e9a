"""Every benchmark, or one group: ``make bench``, ``make bench ONLY=demo``. Measures, and never asserts.

A benchmark is a module of this folder with ``measure()``, which returns ``{name: {"value", "unit", "target",
"ok"}}``; its group is its ``GROUP``, else its own name. Prints one table and writes ``build/bench.json``.
"""

from __future__ import annotations

import argparse
import importlib
import json
import pkgutil
import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
RESULT = ROOT / "build" / "bench.json"


def groups() -> dict[str, list[Any]]:
    """Modules that measure, by group."""
    found: dict[str, list[Any]] = {}
    for info in pkgutil.iter_modules([str(Path(__file__).parent)]):
        if info.name == "__main__":
            continue
        module = importlib.import_module(f"benchmarks.{info.name}")
        if hasattr(module, "measure"):
            found.setdefault(getattr(module, "GROUP", info.name), []).append(module)
    return found


def line(name: str, figure: dict[str, Any]) -> str:
    """A row of the table."""
    value = f"{figure['value']:.4g}" if isinstance(figure["value"], int | float) else str(figure["value"])
    target = "" if figure["target"] is None else f"target {figure['target']}"
    verdict = "" if figure["target"] is None else "ok" if figure["ok"] else "MISSED"
    return f"{name:40} {value:>10} {figure['unit']:12} {target:24} {verdict}".rstrip()


def main() -> int:
    """Measure, print and write; 1 if a benchmark itself failed."""
    parser = argparse.ArgumentParser(prog="benchmarks", description="Measure.")
    parser.add_argument("--only", metavar="GROUP", help="one group")
    only = parser.parse_args().only
    known = groups()
    if only is not None and only not in known:
        parser.error(f"no group {only!r}; there are {', '.join(sorted(known))}")
    figures: dict[str, Any] = json.loads(RESULT.read_text()) if only is not None and RESULT.exists() else {}
    failed = 0
    for group in [only] if only is not None else sorted(known):
        for module in known[group]:
            begin = time.monotonic()
            try:
                new = module.measure()
            except Exception as error:  # the other groups are worth having all the same
                failed = 1
                print(f"{module.__name__}: {type(error).__name__}: {error}", file=sys.stderr)
                continue
            figures |= new
            for name, figure in new.items():
                print(line(name, figure), flush=True)
            print(f"  {module.__name__} took {time.monotonic() - begin:.0f} s", file=sys.stderr)
            RESULT.parent.mkdir(exist_ok=True)
            RESULT.write_text(json.dumps(figures, indent=1) + "\n")
    return failed


if __name__ == "__main__":
    sys.exit(main())
