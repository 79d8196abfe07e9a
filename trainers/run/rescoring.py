"""Evaluations wanted after training, computed from kept checkpoints and added to the run folder once and for
all.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from trainers.components.component import digest
from trainers.components.errors import CheckpointGone, Corrupt, UserError
from trainers.config import EvaluationConfig, Parent, Resources, RunConfig, Scratch
from trainers.data import prepare
from trainers.evaluation.scoring import Half, evaluate, scoring, to_precision
from trainers.flops import training_flops
from trainers.machine.allocator import allocation_errors
from trainers.machine.numerics import configure_process, describe
from trainers.objectives.masked_diffusion.likelihood import DecodingOrder, exact_under_order
from trainers.run.learner import Learner
from trainers.run.lineage import inherit
from trainers.run.loop import default_data_root
from trainers.state.checkpoint import Snapshot, read, resumable
from trainers.state.folder import Event, RunFolder, step_of


def score_key(config: RunConfig, step: int, evaluation: EvaluationConfig, precise: bool) -> str:
    """Key of an added evaluation: the evaluation key, and whether it is scored to ``evaluation.precise`` or
    as on curves.
    """
    key = config.model_copy(update={"evaluation": evaluation}).evaluation_key(step)
    return digest([key, "precise"]) if precise else key


def checkpoint_at(folder: RunFolder, step: int) -> Snapshot:
    """The checkpoint at ``step``, of this run or of the trunk that it shares; :class:`CheckpointGone` where
    none is kept.
    """
    commit = folder.last_commit()
    if commit is not None and step in commit.checkpoints:
        try:
            return read(folder, commit, step)
        except Corrupt as error:
            raise CheckpointGone(str(error)) from error
    if commit is not None and commit.trunk is not None and step <= commit.trunk.step:
        return checkpoint_at(folder.sibling(commit.trunk.run), step)
    raise CheckpointGone(f"run {folder.name} keeps no checkpoint at step {step}")


def state_before(folder: RunFolder, step: int) -> Snapshot | None:
    """The newest checkpoint at or before ``step`` with its state, of this run or of its trunk."""
    commit = folder.last_commit()
    if commit is None:
        return None
    own = resumable(folder, commit, step)
    if own is not None or commit.trunk is None:
        return own
    return state_before(folder.sibling(commit.trunk.run), min(step, commit.trunk.step))


@allocation_errors()
def rescore(
    folder: str | os.PathLike[str] | RunFolder,
    steps: int | Iterable[int],
    *,
    evaluation: EvaluationConfig | None = None,
    precise: bool = True,
    replay: bool = False,
    data_root: str | os.PathLike[str] | None = None,
    resources: Resources | None = None,
) -> list[Event]:
    """Evaluation events of ``steps``, in that order; what is there already is read, and never computed again.

    ``precise``: with as many draws as it takes for a Monte-Carlo standard error of ``evaluation.precise`` in
    half B; otherwise as on curves, which is for steps or an ``evaluation`` config that the run was not
    trained with (default: the one that it was). Weights come from kept checkpoints; with ``replay``, a step
    without one is reached by training again from the newest state before it, which gives the same weights:
    that is how a bracket is refined. Without it, such a step raises :class:`CheckpointGone`.
    """
    folder = RunFolder.of(folder)
    config = folder.config()
    wanted = evaluation or config.evaluation
    asked = [steps] if isinstance(steps, int) else list(steps)
    found: dict[int, Event] = {}
    for event in folder.history():
        known = event["event"] == "evaluation" and step_of(event) in asked
        if known and suffices(event, config.evaluation, wanted, precise):
            found[step_of(event)] = event
    keys = {step: score_key(config, step, wanted, precise) for step in asked if step not in found}
    stored = {step: folder.score(key) for step, key in keys.items()}
    found |= {step: score["event"] for step, score in stored.items() if score is not None}
    missing = sorted(set(asked) - set(found))
    if missing:
        root = Path(data_root) if data_root is not None else default_data_root(folder)
        reader = _Reader(folder, config, root, resources or config.resources, replay)
        for step in missing:
            found[step] = reader.event(step, wanted, precise)
            score = {"evaluation": wanted.identity(), "event": found[step], "numerics": reader.numerics}
            folder.add_score(keys[step], score)
    return [found[step] for step in asked]


@allocation_errors()
def decode(
    folder: str | os.PathLike[str] | RunFolder,
    step: int,
    *,
    orders: Iterable[DecodingOrder] = ("left_to_right", "confidence"),
    sequences: int = 8,
    data_root: str | os.PathLike[str] | None = None,
    resources: Resources | None = None,
) -> list[Event]:
    """``decoding`` events: a masked-diffusion run's exact NLL under decoding orders, a token a forward pass.

    On the first ``sequences`` of half B, for a verdict that it loses: a bound above another model's loss
    proves nothing, a decoder's exact NLL above it does. Kept in the run folder, and never computed again.
    Takes as many forward passes a sequence and order as there are tokens. Raises :class:`CheckpointGone`;
    ``ValueError`` for other objectives.
    """
    folder = RunFolder.of(folder)
    config = folder.config()
    objective = config.objective
    if "mask" not in objective.extra_tokens or objective.likelihood != "upper_bound":
        raise UserError(f"objective {objective.name!r} has no decoding orders: only masked diffusion has")
    evaluation = config.evaluation.model_copy(update={"sequences": sequences})
    keys = {
        order: digest([score_key(config, step, evaluation, False), "decoding", order, 1]) for order in orders
    }
    found = {order: folder.score(key) for order, key in keys.items()}
    missing = [order for order, score in found.items() if score is None]
    if missing:
        root = Path(data_root) if data_root is not None else default_data_root(folder)
        reader = _Reader(folder, config, root, resources or config.resources, replay=False)
        for order in missing:
            event = reader.decoding(step, order, sequences)
            found[order] = {"evaluation": evaluation.identity(), "event": event, "numerics": reader.numerics}
            folder.add_score(keys[order], found[order] or {})
    return [score["event"] for score in found.values() if score is not None]


def suffices(event: Event, recorded: EvaluationConfig, wanted: EvaluationConfig, precise: bool) -> bool:
    """Whether an evaluation in the history already is what is wanted."""
    if recorded.sequences != wanted.sequences:
        return False
    if event["kind"] == "exact":
        return True
    if not precise:
        return bool(event["draws"] == wanted.draws)
    # The error of few draws is itself too rough to rest a verdict on.
    return event["draws"] >= 8 and event["b"]["mc_se"] <= wanted.precise


class _Reader:
    """The weights of a run at any kept step, and with ``replay`` at any step."""

    def __init__(
        self, folder: RunFolder, config: RunConfig, root: Path, resources: Resources, replay: bool
    ) -> None:
        self.folder, self.replay = folder, replay
        self.config = config.model_copy(update={"resources": resources})
        self.device = configure_process(resources)
        self.dataset = prepare(config.data, root)
        self.learner = Learner(self.config, self.dataset, self.device)
        self.live = isinstance(config.init, Scratch)
        """Whether the learner can go on training from where it is: it has been given weights and state alike.
        """
        self.numerics = describe(self.device, resources, config.dtype, self.learner.compiled)["class"]

    def event(self, step: int, evaluation: EvaluationConfig, precise: bool) -> Event:
        """The evaluation of a step as it would stand in the history."""
        self.reach(step)
        learner, score = self.learner, to_precision if precise else evaluate
        result = score(learner.evaluated, self.config.objective, self.dataset, evaluation)
        return {"event": "evaluation", **self._position(), **result.event()}

    def decoding(self, step: int, order: DecodingOrder, sequences: int) -> Event:
        """The exact NLL of half B under a decoding order."""
        self.reach(step)
        with scoring(self.learner.evaluated) as device:
            batch = self.dataset.validation("b", sequences).to(device)
            mask = self.dataset.vocab + self.config.objective.extra_tokens.index("mask")
            half = Half.of(exact_under_order(self.learner.evaluated, mask, batch, order), exact=True)
        return {
            "event": "decoding",
            **self._position(),
            "order": order,
            "tokens_per_step": 1,
            "kind": "exact",
            "b": {"nll": half.nll, "se": half.se},
            "scores": {"b": half.scores.values[:, 0].tolist()},
            "sequence_tokens": {"b": half.scores.tokens.tolist()},
        }

    def _position(self) -> Event:
        tokens = self.learner.tokens
        return {
            "step": self.learner.step,
            "tokens": tokens,
            "epochs": tokens / self.dataset.unique_tokens,
            "flops": tokens * training_flops(self.config),
        }

    def reach(self, step: int) -> None:
        """Bring the learner to ``step``."""
        try:
            snapshot = checkpoint_at(self.folder, step)
        except CheckpointGone:
            if not self.replay:
                raise
        else:
            self.learner.restore(snapshot)
            self.live = snapshot.state is not None
            return
        before = state_before(self.folder, step)
        if not self.live or self.learner.step > step or (before and before.step > self.learner.step):
            if before is not None:
                self.learner.restore(before)
            else:
                self.learner = Learner(self.config, self.dataset, self.device)
                if isinstance(self.config.init, Parent):
                    inherit(self.learner, self.folder, self.config.init)
            self.live = True
        while self.learner.step < step:
            self.learner.update()
