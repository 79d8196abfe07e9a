"""Intervals: profiles, bootstraps, and the rules that choose between them."""
