"""What a run has learned, ready for use: the weights of a kept checkpoint in a module, and text from it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trainers.components.errors import CheckpointGone
from trainers.components.lazy import torch
from trainers.config import RunConfig
from trainers.data import prepare
from trainers.run.loop import default_data_root
from trainers.state.folder import RunFolder

if TYPE_CHECKING:
    from trainers.data.dataset import Dataset


@dataclass(frozen=True)
class Trained:
    """A module in eval mode with the weights that a run had at ``step``, or their average if it keeps one."""

    config: RunConfig
    step: int
    model: torch.nn.Module
    dataset: Dataset

    @classmethod
    def load(
        cls,
        folder: str | os.PathLike[str] | RunFolder,
        step: int | None = None,
        *,
        data_root: str | os.PathLike[str] | None = None,
        device: str = "cpu",
    ) -> Trained:
        """The checkpoint at ``step``, by default the newest; `rescore.CheckpointGone` if it is not kept."""
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
        return cls(config, step, learner.evaluated.eval(), dataset)

    def sample(self, prompt: str = "", length: int | None = None, seed: int = 0, **options: Any) -> str:
        """``prompt`` continued by ``length`` tokens (default: as many as the context holds), prompt included.

        ``options`` are the objective's sampler's (see its ``sample``). Raises ``ValueError`` where it has
        none, for an option that it does not know, and for more tokens than the context that the run was
        trained with.
        """
        context = self.config.data.context
        given = torch.as_tensor(self.dataset.encode(prompt) if prompt else [], dtype=torch.int64)
        room = context - len(given)
        wanted = room if length is None else length
        if not 0 < wanted <= room:
            raise ValueError(
                f"length: {wanted} more tokens after a prompt of {len(given)} do not fit the {context} "
                f"tokens of context that the run was trained with; allowed: 1 to {max(room, 0)}"
            )
        given = given.to(next(self.model.parameters()).device)
        objective = self.config.objective
        try:
            drawn = objective.sample(self.model, given, len(given) + wanted, seed, **options)
        except TypeError as error:
            if "unexpected keyword argument" not in str(error):
                raise
            option = str(error).rpartition(" argument ")[2]
            raise ValueError(f"objective {objective.name!r} has no sampler option {option}") from None
        return self.dataset.decode(drawn.tolist())
