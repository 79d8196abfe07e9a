"""Autoregression: the objective and its sampler."""

from trainers.objectives.autoregressive.objective import Autoregressive

__all__ = ["Autoregressive"]
