"""Compute-optimal crossovers: Pareto fronts of either arm and where they meet."""
