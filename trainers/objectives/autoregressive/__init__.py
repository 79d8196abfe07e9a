"""Autoregression: the objective and its sampler."""

from trainers.objectives.autoregressive.objective import Autoregressive
from trainers.objectives.autoregressive.sampling import LeftToRight

__all__ = ["Autoregressive", "LeftToRight"]
