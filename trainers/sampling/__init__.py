"""Samplers, one module a paradigm. All noise is counter-based, and Gumbel noise is float64."""
