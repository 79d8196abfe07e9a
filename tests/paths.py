"""Where things lie, for every test."""

from pathlib import Path

ROOT = Path(__file__).parents[1]
"""The checkout."""
PUBLISHED = ROOT / "tests" / "data" / "published"
"""Published runs of others."""
