"""Masked diffusion: the objective, its likelihoods, and its sampler."""

from trainers.objectives.masked_diffusion.objective import MaskedDiffusion

__all__ = ["MaskedDiffusion"]
