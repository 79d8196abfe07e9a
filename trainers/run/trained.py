"""What a run has learned, ready for use: the weights of a kept checkpoint in a module, and text from it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trainers.components.errors import CheckpointGone, UserError
from trainers.components.lazy import torch
from trainers.config import RunConfig
from trainers.data import prepare
from trainers.objectives.sampler import sampler_of
from trainers.run.loop import default_data_root
from trainers.state.folder import RunFolder

if TYPE_CHECKING:
    from trainers.data.dataset import Dataset
    from trainers.models.base import Backbone


@dataclass(frozen=True)
class Trained:
    """A module in eval mode with the weights that a run had at ``step``, or their average if it keeps one."""

    config: RunConfig
    step: int
    model: Backbone
    dataset: Dataset
    spent: dict[str, float]
    """Tokens and FLOPs that the weights took, those of parents included."""

    @classmethod
    def load(
        cls,
        folder: str | os.PathLike[str] | RunFolder,
        step: int | None = None,
        *,
        data_root: str | os.PathLike[str] | None = None,
        device: str = "cpu",
    ) -> Trained:
        """The model at a checkpoint of a run.

        Args:
            folder: the run's own.
            step: of the checkpoint; by default the newest.
            data_root: holds prepared data; by default as in `trainers.train`.
            device: where the model goes.

        Raises:
            CheckpointGone: no checkpoint is kept at ``step``.
        """
        from trainers.run.learner import Learner
        from trainers.run.rescoring import checkpoint_at

        folder = RunFolder.of(folder)
        if step is None:
            commit = folder.last_commit()
            if commit is None or not commit.checkpoints:
                raise CheckpointGone(f"run {folder.name} has no checkpoint yet")
            step = max(commit.checkpoints)
        config = folder.config()
        root = Path(data_root) if data_root is not None else default_data_root(folder)
        dataset = prepare(config.data, root)
        learner = Learner(config, dataset, torch.device(device))
        learner.restore(checkpoint_at(folder, step))
        own = learner.position()
        spent = {name: learner.inherited[name] + own[name] for name in ("tokens", "flops")}
        return cls(config, step, learner.evaluated.eval(), dataset, spent)

    def sample(
        self,
        prompt: str = "",
        length: int | None = None,
        seed: int = 0,
        *,
        suffix: str = "",
        sampler: str | None = None,
        **options: Any,
    ) -> str:
        """Draw text.

        Args:
            prompt: what stands before it.
            length: tokens to draw; by default as many as the context holds.
            seed: of the draws.
            suffix: what stands behind it, where the sampler can draw between.
            sampler: its name; by default the objective's own.
            options: fields of the sampler.

        Returns:
            The prompt, what was drawn, and the suffix.

        Raises:
            UserError: the objective has no such sampler, or that no such option; a suffix is given where it
                draws left to right; more tokens than the context that the run was trained with.
        """
        context = self.config.data.context
        head, tail = (self._encoded(text) for text in (prompt, suffix))
        room = context - len(head) - len(tail)
        count = room if length is None else length
        if not 0 < count <= room:
            around = f"a prompt of {len(head)}" + (f" and a suffix of {len(tail)}" if suffix else "")
            raise UserError(
                f"length: {count} more tokens with {around} do not fit the {context} "
                f"tokens of context that the run was trained with; allowed: 1 to {max(room, 0)}"
            )
        tokens = torch.cat([head, head.new_zeros(count), tail])[None]
        given = torch.ones_like(tokens, dtype=torch.bool)
        given[0, len(head) : len(head) + count] = False
        drawn = self.complete(tokens, given, seed, sampler=sampler, **options)
        return self.dataset.decode(drawn[0].tolist())

    def complete(
        self,
        tokens: torch.Tensor,
        given: torch.Tensor,
        seed: int = 0,
        *,
        sampler: str | None = None,
        **options: Any,
    ) -> torch.Tensor:
        """Draw every position that is not given.

        Args:
            tokens: [B, T] int64.
            given: [B, T] bool, true where a token stays.
            seed: of the draws.
            sampler: its name; by default the objective's own.
            options: fields of the sampler.

        Returns:
            [B, T] int64.
        """
        chosen = sampler_of(self.config.objective, sampler, **options)
        device = next(self.model.parameters()).device
        return chosen.complete(self.model, tokens.to(device), given.to(device), seed)

    def _encoded(self, text: str) -> torch.Tensor:
        return torch.as_tensor(self.dataset.encode(text) if text else [], dtype=torch.int64)
