"""The report's section on verdicts for the arm whose loss is exact: which decoders of the other it beats."""

from __future__ import annotations

from analysis.crossover.same_n.decoding import MARGIN, Decoder
from analysis.crossover.same_n.location import Crossovers
from analysis.crossover.study import called
from analysis.reporting.html import Markup, join, table, tag


def decoding_section(decoders: list[Decoder], found: Crossovers) -> Markup:
    """Which decoders are beaten, in a sentence and a table; empty where none was scored."""
    if not decoders:
        return Markup("")
    exact, bound = found.names
    if any(str(r["likelihood"]) == "upper_bound" for c in found.cells for r in (c.pair.twins[0].first,)):
        exact, bound = bound, exact
    cells = called(found)
    return join(
        [
            tag("h2", f"Verdicts for {exact}: the decoders that it beats"),
            tag("p", sentence(decoders, exact, bound)),
            table(
                ["cell", "replicate", "decoder", f"{exact}, exact", f"{bound}, bound", f"{bound}, decoded so",
                 "lead", "beaten"],
                [
                    [cells[d.cell], d.seed, d.decoder, f"{d.exact:.3f}", f"{d.bound:.3f}", f"{d.decoded:.3f}",
                     f"{d.lead:.3f} ± {d.se:.3f}", "yes" if d.beaten else "no"]
                    for d in decoders
                ],
                numeric=(3, 4, 5, 6),
            ),
        ]
    )  # fmt: skip


def sentence(decoders: list[Decoder], exact: str, bound: str) -> str:
    """What the comparison shows, by decoder."""
    names = list(dict.fromkeys(d.decoder for d in decoders))
    cells = len({d.cell for d in decoders})
    parts = [f"{n} in {sum(d.beaten for d in decoders if d.decoder == n)} of {cells} cells" for n in names]
    counts = sorted({d.sequences for d in decoders})
    sequences = " to ".join(dict.fromkeys(map(str, (counts[0], counts[-1]))))
    return (
        f"Where best values favour {exact}, its lead over {bound}'s upper bound proves nothing. Decoded in a "
        f"fixed order, one token a forward pass, {bound} has an exact likelihood: {exact} beats "
        f"{' and '.join(parts)}, by {MARGIN:g} paired standard errors or more, at the best step of one "
        f"replicate a cell, on {sequences} sequences of half B. Other decoders may do better."
    )
