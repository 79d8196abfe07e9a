"""The errors that whoever runs a training tells apart, by class.

Two kinds say what follows. A :class:`UserError` repeats itself until the user changes something. A
:class:`Preempted` says nothing about the run: another attempt goes on from its newest commit. Any other
exception is a fault of the code.
"""

from __future__ import annotations


class UserError(ValueError):
    """Something that the user gave is wrong. The message names the field's path, the value and what is
    allowed.
    """


class ConfigError(UserError):
    """A config is wrong: one line a mistake, with the field, what is wrong and allowed, and the value."""


class CheckpointGone(UserError):
    """The weights of a step are not kept; the run would have to be trained again (``retrain: checkpoint
    gone``).
    """


class MissingParent(UserError):
    """The checkpoint that a run starts from is not there."""


class WrongRun(UserError):
    """The folder holds another run than the one that was to be trained there."""


class Preempted(RuntimeError):
    """This attempt lost the right to go on, or was told to end; the run itself is sound."""


class Superseded(Preempted):
    """A newer attempt has taken the run over; this one must stop, and nothing that it has not committed
    counts.
    """


class Corrupt(RuntimeError):
    """An object is not what the commit that names it says."""
