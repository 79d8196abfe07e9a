"""Sweep files for tests, and what is wrong with them."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.language.expansion import expand
from orchestrator.language.loading import load
from trainers.components.source import SpecError


def write(folder: Path, text: str, name: str = "sweep.yaml") -> Path:
    path = folder / name
    path.write_text(text)
    return path


def errors(path: Path, **options: list[str]) -> list[str]:
    with pytest.raises(SpecError) as caught:
        for spec in load([path], **options):
            expand(spec)
    return [str(issue).replace(str(path), "F") for issue in caught.value.issues]
