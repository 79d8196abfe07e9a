"""Masked diffusion: the objective, its likelihoods, and its samplers."""

from trainers.objectives.masked_diffusion.objective import MaskedDiffusion
from trainers.objectives.masked_diffusion.sampling import Ancestral, Confidence

__all__ = ["Ancestral", "Confidence", "MaskedDiffusion"]
