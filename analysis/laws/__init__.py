"""Scaling laws, one file each. A new law is one new file in this folder, with one ``register(...)``, or a
module of an installed package that its entry point group ``crossover.law`` names.

``get_law("chinchilla")`` gives a registered law, ``get_law("E + A/N**alpha")`` one's own, parsed safely.
"""

from __future__ import annotations

import difflib
import importlib
import pkgutil
import re
from collections.abc import Iterable
from importlib.metadata import entry_points

from analysis.laws.base import Law, Parameter, register, registered
from analysis.laws.formula import VARIABLES, formula_law

for _module in sorted(m.name for m in pkgutil.iter_modules(__path__)):
    importlib.import_module(f"{__name__}.{_module}")

__all__ = ["Law", "Parameter", "formula_law", "get_law", "law_names", "list_laws", "register"]


def law_names() -> list[str]:
    """Names of the registered laws."""
    return sorted(registered())


def list_laws() -> list[dict[str, str]]:
    """One row a law (name, formula, variables, parameters, target, interval, source): ``crossover fit
    --list``."""
    return [
        {
            "name": str(law.name),
            "formula": str(law.formula),
            "variables": ", ".join(law.variables),
            "parameters": ", ".join(law.parameter_names),
            "target": str(law.target),
            "interval": str(law.interval),
            "source": str(law.source),
        }
        for _, law in sorted(registered().items())
    ]


def get_law(spec: str | Law, columns: Iterable[str] = ()) -> Law:
    """A law by name (``chinchilla``, ``bnsl3`` for any number of breaks) or from a formula string, in which
    ``columns`` are variables beside the reserved names.

    Raises ValueError, with the nearest name and all there are, for what is neither.
    """
    if isinstance(spec, Law):
        return spec
    laws = registered()
    if spec in laws:
        return laws[spec]
    breaks = re.fullmatch(r"bnsl(\d+)", spec)
    if breaks:
        from analysis.laws.broken import broken_law

        return broken_law(int(breaks.group(1)))
    if re.search(r"[-+*/(=]", spec):
        return formula_law(spec, (*VARIABLES, *columns))
    near = difflib.get_close_matches(spec, laws, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    raise ValueError(
        f"no law named {spec!r}{hint} Laws: {', '.join(sorted(laws))}; or give a formula such as "
        f"'E + A/N**alpha + B/D**beta'"
    )


for _found in entry_points(group="crossover.law"):  # last, so that a plug-in may use everything above
    _found.load()
