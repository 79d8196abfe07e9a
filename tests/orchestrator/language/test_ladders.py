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


def rows(ladder: str) -> list[tuple[int, int, int, int, int]]:
    """(millions in the name, width, ffn, heads, layers) of a ladder."""
    return [
        (int(name.partition("-")[2][:-1]), s["width"], s["ffn"], s["heads"], s["layers"])
        for name, s in LADDERS[ladder].items()
    ]


def test_smdm_names_count_parameters_without_embeddings() -> None:
    """Attention and a gated MLP, to about the nearest million (one is rounded up from 830.47)."""
    for millions, width, ffn, heads, layers in rows("smdm"):
        assert abs(layers * (4 * width**2 + 3 * width * ffn) / 1e6 - millions) < 0.6
        assert width // heads in (64, 80, 128) and width % heads == 0
        assert non_embedding(f"smdm-{millions}M") == pytest.approx(millions * 1e6, rel=0.06)


def test_quokka_names_count_twelve_squares_a_layer() -> None:
    """Attention and an MLP of four times the width without a gate, to the nearest million."""
    for millions, width, ffn, heads, layers in rows("quokka"):
        assert round(layers * (4 * width**2 + 2 * width * ffn) / 1e6) == millions
        assert ffn == 4 * width and width // heads in (32, 64) and width % heads == 0


def test_datablations_names_go_up_by_thirteen_squares_a_layer() -> None:
    """From 44M the published counts are 13 L d^2 + 32768 d, to 2M; the first four are as in the paper."""
    shapes = rows("datablations")
    assert [row[:2] + row[4:] for row in shapes[:4]] == [
        (7, 128, 3),
        (14, 224, 4),
        (20, 288, 5),
        (35, 448, 6),
    ]
    for millions, width, _, _, layers in shapes[4:]:
        assert abs((13 * layers * width**2 + 32768 * width) / 1e6 - millions) < 2
    assert all(ffn == 4 * width and width // heads in (32, 64, 128) for _, width, ffn, heads, _ in shapes)
    twins = [(m, width, int(8 / 3 * width / 64) * 64, heads, n) for m, width, _, heads, n in shapes]
    assert rows("dba") == twins


def test_pocket_sizes_are_those_that_runs_have_been_made_of() -> None:
    layers = {32: 2, 48: 3, 64: 3, 96: 4, 128: 4, 192: 6, 256: 8, 384: 8, 512: 10, 768: 12}
    assert LADDERS["pocket"] == {
        f"d{d}": {"width": d, "layers": n, "rope_base": 200} for d, n in layers.items()
    }


def test_heads_of_another_architecture_are_about_as_wide() -> None:
    for name, architecture, width, heads in (
        ("d256", "deep", 192, 3),
        ("smdm-113M", "deep", 576, 9),
        ("smdm-113M", "wide", 1024, 16),
    ):
        other = reshape(Transformer.model_validate(SIZES[name]), architecture)
        assert isinstance(other, Transformer) and (other.width, other.n_heads) == (width, heads)


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
    for wrong, near in (("quoka-8M", "quokka-7M"), ("smdm-1000M", "smdm-1028M"), ("sdl-9B", "sdl-8B")):
        with pytest.raises(ValueError, match=f"did you mean '{near}'"):
            size(wrong)
    with pytest.raises(ValueError, match="did you mean 'deep'"):
        reshape(Transformer(), "deeep")
    with pytest.raises(ValueError, match="at least 2 heads"):
        reshape(Transformer(width=32), "gqa")
