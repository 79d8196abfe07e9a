"""Where a run starts: at the initialiser, at a checkpoint of another run of the store, or at the weights of a
folder.
"""

from __future__ import annotations

from trainers import flops
from trainers.components.errors import MissingParent
from trainers.config import Parent, Pretrained, Scratch
from trainers.run.importing import adopt
from trainers.run.learner import Learner
from trainers.state.checkpoint import read
from trainers.state.folder import RunFolder


def start(learner: Learner, folder: RunFolder, init: Scratch | Parent | Pretrained) -> bool:
    """Bring a new learner of the run in ``folder`` to where its config says that it starts; whether that is
    elsewhere than at the initialiser.
    """
    if isinstance(init, Parent):
        inherit(learner, folder, init)
    elif isinstance(init, Pretrained):
        adopt(learner, init)
    return not isinstance(init, Scratch)


def inherit(learner: Learner, folder: RunFolder, parent: Parent) -> None:
    """Give a new learner of the run in ``folder`` what its parent's checkpoint holds: the weights, or all but
    the count of its own tokens. Raises :class:`MissingParent`."""
    origin = folder.sibling(parent.run)
    commit = origin.last_commit()
    kept = None if commit is None else commit.checkpoints.get(parent.step)
    if commit is None or kept is None or (parent.load == "all" and kept.state is None):
        raise MissingParent(
            f"run {parent.run} has no checkpoint at step {parent.step} to load {parent.load} from"
        )
    snapshot, other = read(origin, commit, parent.step), origin.config()
    if parent.load == "all":
        learner.restore(snapshot)
        learner.tokens = 0
    else:
        same = other.objective.name == learner.config.objective.name
        learner.load_weights(snapshot, fresh=() if same else ("extra", "objective."))
    inherited, tokens = snapshot.counters["inherited"], snapshot.counters["tokens"]
    learner.inherited = {
        "tokens": inherited["tokens"] + tokens,
        "flops": inherited["flops"] + tokens * flops.training_flops(other),
    }
