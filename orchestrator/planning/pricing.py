"""What the parts of a training cost, each part counted once."""

from __future__ import annotations

import bisect

from orchestrator.planning.estimate import Estimator, disk_bytes
from orchestrator.planning.trainings import Training
from trainers.evaluation.grid import evaluation_grid


class Costs:
    """Seconds, FLOPs and bytes of one training, handed out to its end points so that each part is counted
    once."""

    def __init__(self, training: Training, estimator: Estimator) -> None:
        self.training, self.kind = training, estimator.kind(training.config)
        self.reached, self._bytes = training.done, 0
        self._grid = evaluation_grid(training.config)
        self._unscored = sorted({*training.missing, *training.gone})

    def take(self, steps: int) -> tuple[float, float, int]:
        """Seconds, FLOPs and bytes that reaching ``steps``, all scored, adds to what earlier calls took."""
        seconds = self.segment_seconds(self.reached, steps)
        due = bisect.bisect_right(self._unscored, steps)
        seconds += sum(map(self.rescore_seconds, self._unscored[:due]))
        del self._unscored[:due]
        flops = 0.0 if self.training.diverged else self.flops(self.reached, steps)
        total = 0
        if steps > 0:
            training = self.training
            total = disk_bytes(
                training.config, self.kind.parameters, steps, training.start, training.branches
            )
        added = max(0, total - self._bytes)
        self.reached, self._bytes = max(self.reached, steps), max(self._bytes, total)
        return seconds, flops, added

    def flops(self, start: int, stop: int) -> float:
        """Training FLOPs (`matmul`) of the steps after ``start`` up to ``stop``."""
        return float(max(0, stop - start) * self.kind.tokens_per_step * self.kind.flops_per_token)

    def segment_seconds(self, start: int, stop: int) -> float:
        """Seconds of the steps after ``start`` up to ``stop``, evaluations included."""
        if self.training.diverged or stop <= start:
            return 0.0
        count = bisect.bisect_right(self._grid, stop) - bisect.bisect_right(self._grid, start)
        return self.kind.training_seconds(stop - start) + self.kind.evaluation_seconds(count)

    def rescore_seconds(self, step: int) -> float:
        """Seconds of an evaluation added at ``step``, the training that brings its weights back included."""
        again = step - self.training.gone.get(step, step)
        return self.kind.training_seconds(again) + self.kind.evaluation_seconds(1)
