"""The columns of the tables, for those who write them and those who read them."""

from __future__ import annotations

RUNS = (
    "run",
    "key",
    "trunk",
    "sweep",
    "cell",
    "name",
    "objective",
    "objective_short",
    "seed",
    "N",
    "N_embedding",
    "N_extra",
    "N_active",
    "N_objective",
    "U",
    "U_bytes",
    "U_asked",
    "D",
    "epochs",
    "flops",
    "flops_6nd",
    "likelihood",
    "unigram_entropy",
    "steps",
    "vocab",
    "sequences",
    "schedule",
    "annealed",
    "numerics",
    "state",
    "subset_pinned",
    "failure",
)
"""One row a run and end point; beside these, the axes under their dotted names."""

CURVES = (
    "run",
    "step",
    "tokens",
    "epochs",
    "flops",
    "nll_a",
    "se_a",
    "mc_se_a",
    "nll_b",
    "se_b",
    "mc_se_b",
    "train_loss",
    "kind",
    "draws",
    "precise",
)
"""One row an evaluation."""

SCORES = ("run", "step", "half", "sequence", "draw", "nll", "tokens")
"""One row a validation sequence and Monte-Carlo draw of an evaluation."""

ITEMS = ("run", "step", "task", "half", "item", "choice", "nll", "margin", "correct")
"""One row an item of an evaluation task and choice; ``nll`` and ``margin`` in nats per token."""

DECODING = ("run", "step", "order", "tokens_per_step", "sequence", "nll", "tokens")
"""One row a validation sequence scored exactly under a decoding order."""

FACTS = frozenset(RUNS) | {"sweeps", "steps_asked", "data.subset_seed", "flops_per_token"}
"""Columns of ``runs`` that are no axes. Every other column that varies is one, unless ``axes`` says
otherwise."""
