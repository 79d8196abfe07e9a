"""Named sizes have the counts that their papers state, and other architectures the parameters of the standard
one."""

from __future__ import annotations

import pytest

from orchestrator.language.derived.architectures import ARCHITECTURES, reshape
from orchestrator.language.derived.ladders import LADDERS, SIZES, size
from trainers.models.transformer import Transformer


def non_embedding(name: str) -> int:
    return Transformer.model_validate(SIZES[name]).parameters(1, 0).non_embedding


def test_every_size_is_a_transformer_and_ladders_share_no_name() -> None:
    for fields in SIZES.values():
        Transformer.model_validate(fields)
    assert sum(map(len, LADDERS.values())) == len(SIZES)


@pytest.mark.parametrize("name", [name for name in LADDERS["smdm"] if name != "smdm-75M"])
def test_smdm_names_count_parameters_without_embeddings(name: str) -> None:
    assert non_embedding(name) == pytest.approx(float(name[5:-1]) * 1e6, rel=0.06)


@pytest.mark.parametrize(
    ("name", "millions"), [("dba-117M", 123.6), ("dba-217M", 217.5), ("dba-425M", 416.9), ("dba-724M", 700.3)]
)
def test_dba_counts_are_those_of_its_formula(name: str, millions: float) -> None:
    # science.md 1.4: 4 L d^2 + 3 L d ffn + 6 L d + V d, V = 50257 padded to a multiple of 128
    s = SIZES[name]
    d, layers, ffn = s["width"], s["layers"], s["ffn"]
    assert 4 * layers * d**2 + 3 * layers * d * ffn + 6 * layers * d + 50304 * d == pytest.approx(
        millions * 1e6, rel=1e-3
    )
    counted = Transformer.model_validate(s).parameters(50304, 0)
    assert counted.total == pytest.approx(millions * 1e6, rel=2e-3)


@pytest.mark.parametrize(("name", "billions"), [("sdl-1B", 1), ("sdl-2B", 2), ("sdl-4B", 4), ("sdl-8B", 8)])
def test_sdl_sizes_have_their_count(name: str, billions: float) -> None:
    assert Transformer.model_validate(SIZES[name]).parameters(50257, 0).total == pytest.approx(
        billions * 1e9, rel=0.1
    )


def test_the_prototypes_sizes() -> None:
    assert Transformer.model_validate(SIZES["d64"]).parameters(256, 0).total == pytest.approx(190e3, rel=0.03)
    assert Transformer.model_validate(SIZES["d32"]).parameters(256, 0).total == pytest.approx(40e3, rel=0.1)


@pytest.mark.parametrize("name", ["d32", "d48", "d64", "d96", "d128", "d256", "smdm-113M", "sdl-1B"])
@pytest.mark.parametrize("architecture", sorted(ARCHITECTURES))
def test_architectures_have_equal_parameters_outside_embeddings(name: str, architecture: str) -> None:
    standard = Transformer.model_validate(SIZES[name])
    if architecture == "gqa" and standard.n_heads < 2:
        pytest.skip("one head")
    other = reshape(standard, architecture)
    assert isinstance(other, Transformer)
    step = 3 * other.width * other.layers  # parameters of one more unit of the FFN
    assert abs(other.parameters(1, 0).non_embedding - standard.parameters(1, 0).non_embedding) <= step / 2
    if architecture == "deep":
        assert other.layers > standard.layers and other.width < standard.width
    if architecture == "wide":
        assert other.layers < standard.layers and other.width > standard.width
    if architecture == "gqa":
        assert (
            other.n_kv_heads < other.n_heads
            and other.parameters(256, 1).embedding == standard.parameters(256, 1).embedding
        )


def test_unknown_names_name_the_nearest() -> None:
    with pytest.raises(ValueError, match="did you mean 'd64'"):
        size("d65")
    with pytest.raises(ValueError, match="did you mean 'quokka-7M'"):
        size("quoka-7M")
    with pytest.raises(ValueError, match="did you mean 'deep'"):
        reshape(Transformer(), "deeep")
    with pytest.raises(ValueError, match="at least 2 heads"):
        reshape(Transformer(width=32), "gqa")
