"""Crossovers of fitted laws: surfaces of either arm, where they meet, which runs would narrow it."""
