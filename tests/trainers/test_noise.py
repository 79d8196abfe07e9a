"""Noise is a function of seed, stream, counter and index, and as random as it should be."""

from __future__ import annotations

import math

import pytest
import torch

from trainers.components.splitmix import mix
from trainers.noise import Noise, hash_normal, stream_key


def of_step(step: int, batch: int = 8, seed: int = 0) -> Noise:
    return Noise(seed, torch.arange(batch) + step * batch, batch)


def test_mix_is_splitmix64() -> None:
    """The first outputs of the reference implementation for seed 1234567 (Vigna's splitmix64.c)."""
    golden = 0x9E3779B97F4A7C15
    states = [(1234567 + golden * (i + 1)) % 2**64 for i in range(5)]
    signed = torch.tensor([s - 2**64 if s >= 2**63 else s for s in states])
    expected = [6457827717110365317, 3203168211198807973, 9817491932198370423, 4593380528125082431]
    assert [int(x) % 2**64 for x in mix(signed)][:4] == expected


def test_values_are_pinned() -> None:
    """Runs of yesterday must be reproduced: these numbers may never change."""
    noise = Noise(3, torch.tensor([0, 1, 70]), 2)
    assert stream_key(3, "mask") == -843481844479860551
    assert noise.uniform("mask", 2).flatten().tolist() == [
        0.8846927881240845,
        0.7665519118309021,
        0.5032088160514832,
        0.8971618413925171,
        0.6578063368797302,
        0.15710681676864624,
    ]
    assert noise.integers("i", 1000).tolist() == [842, 604, 686]


@pytest.mark.parametrize("draw", ["uniform", "normal", "stratified", "integers"])
def test_micro_batches_and_their_order_do_not_matter(draw: str) -> None:
    def values(noise: Noise) -> torch.Tensor:
        if draw == "stratified":
            return noise.stratified("t")
        return noise.integers("x", 50, 3) if draw == "integers" else getattr(noise, draw)("x", 3)

    whole = values(of_step(5))
    for rows in (slice(0, 3), slice(3, 8), slice(7, 8)):
        counters = (torch.arange(8) + 40)[rows]
        assert torch.equal(values(Noise(0, counters, 8)), whole[rows])


def test_everything_that_should_move_the_noise_moves_it() -> None:
    base = of_step(1).uniform("mask", 64)
    others = [
        of_step(2).uniform("mask", 64),
        of_step(1, seed=1).uniform("mask", 64),
        of_step(1).uniform("other", 64),
        of_step(1).derive("a").uniform("mask", 64),
    ]
    assert all((base != other).float().mean() > 0.99 for other in others)
    assert torch.equal(of_step(1).derive("a").uniform("b"), of_step(1).uniform("a/b"))


def test_noise_derived_twice_knows_both_parts() -> None:
    """Two layers' dropout inside two evaluation draws: four streams."""
    draws = [
        of_step(1).derive(outer).derive(inner).uniform("drop", 64)
        for outer in ("draw/0", "draw/1")
        for inner in ("layer/0", "layer/1")
    ]
    assert all((draws[i] != draws[j]).float().mean() > 0.99 for i in range(4) for j in range(i))
    assert torch.equal(draws[3], of_step(1).uniform("draw/1/layer/1/drop", 64))


def test_uniform_is_uniform_and_independent_along_both_axes() -> None:
    u = Noise(0, torch.arange(512), 512).uniform("x", 512)
    assert u.min() >= 0 and u.max() < 1
    counts = torch.histc(u, 64, 0, 1)
    chi2 = ((counts - u.numel() / 64) ** 2 / (u.numel() / 64)).sum()
    assert chi2 < 63 + 5 * math.sqrt(2 * 63)
    centred = u - 0.5
    for shifted in (centred.roll(1, 0), centred.roll(1, 1)):
        assert abs((centred * shifted).mean() * 12) < 5 / math.sqrt(u.numel())


def test_normal_has_the_moments_of_a_normal() -> None:
    z = hash_normal(1, "w", torch.arange(1 << 18))
    error = 1 / math.sqrt(len(z))
    assert abs(z.mean()) < 5 * error
    assert abs(z.var() - 1) < 5 * math.sqrt(2) * error
    assert abs(z.pow(4).mean() - 3) < 5 * math.sqrt(96) * error
    assert z.abs().max() < 7 and z.isfinite().all()


def test_stratified_has_one_in_each_interval_of_a_batch_at_no_fixed_place() -> None:
    batch, steps = 16, 200
    t = torch.stack([of_step(s, batch).stratified("t") for s in range(steps)])
    assert torch.equal((t * batch).long().sort(1).values, torch.arange(batch).expand(steps, -1))
    assert (t.mean(0) - 0.5).abs().max() < 5 / math.sqrt(12 * steps)
    within = (t * batch).frac()
    assert abs(within.mean() - 0.5) < 5 / math.sqrt(12 * within.numel())


def test_integers_reach_all_and_only_what_is_allowed() -> None:
    i = Noise(0, torch.arange(4), 4).integers("x", 5, 1000)
    assert i.unique().tolist() == [0, 1, 2, 3, 4]
    with pytest.raises(ValueError, match="high"):
        of_step(0).integers("x", 0)


def test_hash_normal_is_a_function_of_the_index() -> None:
    index = torch.randperm(100, generator=torch.Generator().manual_seed(0))
    assert torch.equal(hash_normal(0, "s", torch.arange(100))[index], hash_normal(0, "s", index))
