"""Mutation testing of the rooms that numbers come from, by sample: ``make mutate``."""
