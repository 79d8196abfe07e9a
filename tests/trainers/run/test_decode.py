"""Exact likelihoods of a masked-diffusion run under decoding orders, kept with the run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from trainers.components.errors import CheckpointGone
from trainers.config import RunConfig
from trainers.evaluation.scoring import Half
from trainers.run.loop import train
from trainers.run.rescoring import decode
from trainers.run.trained import Trained
from trainers.state.folder import RunFolder


def test_decodings_are_exact_scored_once_and_apart(
    tiny: Callable[..., RunConfig], data_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tiny(objective="masked_diffusion", steps=12)
    train(config, tmp_path / "run", data_root=data_root)
    events = decode(tmp_path / "run", 12, sequences=3, data_root=data_root)
    assert [e["order"] for e in events] == ["left_to_right", "confidence"]
    run = Trained.load(tmp_path / "run", 12, data_root=data_root)
    batch = run.dataset.validation("b", 3)
    for event in events:
        with torch.no_grad():
            own = Half.of(config.objective.score_in_order(run.model, batch, event["order"]), exact=True)
        assert event["b"] == {"nll": own.nll, "se": own.se} and event["kind"] == "exact"
    folder = RunFolder(tmp_path / "run")
    assert len(folder.scores("decoding")) == 2 and folder.scores() == [], "no evaluation of the curve"
    monkeypatch.setattr("trainers.run.rescoring._Reader", None)
    assert decode(tmp_path / "run", 12, sequences=3, data_root=data_root) == events
    monkeypatch.undo()
    with pytest.raises(CheckpointGone):
        decode(tmp_path / "run", 8, data_root=data_root)


def test_only_masked_diffusion_decodes_in_orders(
    tiny: Callable[..., RunConfig], data_root: Path, tmp_path: Path
) -> None:
    train(tiny(steps=4), tmp_path / "run", data_root=data_root)
    with pytest.raises(ValueError, match="'autoregressive' has no decoding orders"):
        decode(tmp_path / "run", 4, data_root=data_root)
