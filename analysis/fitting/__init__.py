"""Fitting a law to a table: starts, solver, estimands, uncertainty, and the result."""
