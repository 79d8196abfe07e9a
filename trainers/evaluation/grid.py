"""Which steps are evaluated. Torch-free: planning prices them."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from trainers.config import EvaluationConfig


def evaluation_steps(config: EvaluationConfig, steps: int) -> list[int]:
    """Steps in 1..``steps`` at which a run is evaluated.

    They are ``first``, and then each at most ``spacing`` times the one before, or the next integer where that
    is more. The grid does not depend on where the run ends, so that extending a run changes none of its
    earlier results; ``steps`` itself need not be on it.
    """
    grid = []
    step = config.first
    while step <= steps:
        grid.append(step)
        step = max(step + 1, int(step * config.spacing + 1e-9))
    return grid
