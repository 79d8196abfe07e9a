"""Reading sweep files: positions, YAML's traps, all errors at once."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from orchestrator.language.loading import load
from tests.orchestrator.language.sweepfiles import errors, write
from trainers.components.source import SpecError, parse


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e18", 1e18),
        ("1.5B", "1.5B"),
        ("1_000", 1000),
        ("1:30", "1:30"),
        ("2024-01-01", "2024-01-01"),
        ("true", True),
        ("'on'", "on"),
        ("~", None),
        ("-.5", -0.5),
        ("y", "y"),
    ],
)
def test_scalars_are_what_people_mean(text: str, value: object) -> None:
    found = parse(text, "f").plain
    assert found == value and type(found) is type(value)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("a: on", r"f:1: a: .*true, or 'on' in quotes"),
        ("a: No", "write false, or 'No' in quotes"),
        ("a: 010", "octal"),
        ("a: .inf", "finite"),
        ("a: 1\nb: 2\na: 3", r"f:3: a: duplicate key 'a', first on line 1"),
        ("a: {b: 1, b: 2}", r"a\.b: duplicate"),
        ("a: !!python/name:os.system x", "tag .* is not allowed"),
        ("a: [1,", "f:1: no valid YAML"),
        ("x: &x {a: 1}\ny: {<<: *x}", "merge keys"),
        ("a: &a [*a]", "must not hold itself"),
    ],
)
def test_yamls_traps_are_errors_with_their_line(text: str, why: str) -> None:
    with pytest.raises(SpecError, match=why):
        parse(text, "f")


def test_all_errors_of_a_file_at_once_each_with_line_key_value_and_remedy(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        """\
bas: {}
base:
  data: {contxt: 128}
  optimizer.lr: -1
  optimizer: {weight_decay: lots}
  model: {siz: d64, size: d65}
  schedule: {name: wsd, warmup: true}
  budget: {tokens: 1M, epochs: 3}
  objective: masked_difusion
axes:
  model.sizes: [d32, d64]
  batch_size: [3.5, 16]
  data.quality: [{name: clean, x: 1}]
  ema: 0.9
seeds: [0, 0]
analysis: {pair: [a], pair_ovr: []}
""",
    )
    found = errors(path)
    for line, key, text in [
        (1, "bas", "did you mean 'base'"),
        (3, "base.data.contxt", "did you mean 'context'"),
        (4, "base.optimizer.lr", "greater than 0 (found -1)"),
        (5, "base.optimizer.weight_decay", "expected a number such as"),
        (6, "base.model.siz", "did you mean 'size'"),
        (6, "base.model.size", "did you mean 'd64'"),
        (7, "base.schedule.warmup", "(found True)"),
        (
            8,
            "base.budget",
            "steps, tokens, epochs, flops, tokens_per_parameter is given; found tokens and epochs",
        ),
        (9, "base.objective", "did you mean 'masked_diffusion'"),
        (11, "axes.model.sizes", "did you mean 'model.size'"),
        (12, "axes.batch_size[0]", "whole number"),
        (13, "axes.data.quality[0].x", "unknown field 'x'"),
        (14, "axes.ema", "an axis is a list of values"),
        (15, "seeds", "twice"),
        (16, "analysis.pair", "required"),
        (16, "analysis.pair_ovr", "did you mean 'pair_over'"),
    ]:
        assert any(e.startswith(f"F:{line}: {key}: ") and text in e for e in found), (key, found)
    assert len(found) == 16
    assert found == sorted(found, key=lambda e: int(re.match(r"F:(\d+)", e)[1]))  # type: ignore[index]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("base: {resources: {compile: on}}", "in quotes"),
        ("base: {data: {repack: 'on'}}", "expected true or false"),
        ("base: {data: {unique_tokens: 1M, unique_bytes: 1M}}", "not both"),
        ("base: {optimizer.lr: 1e-3, optimizer: {lr: 2e-3}}", "line 1 sets the same field"),
        ("axes: {model.size: []}", "at least one value"),
        ("axes: {model.size: [d32, d32]}", "listed twice"),
        ("axes: {seed: [0, 1]}", "use `seeds`"),
        ("axes: {budget.steps: [1, 2], budget.tokens: [1M]}", "same field"),
        ("axes: {steps: [1, 2], budget.steps: [3]}", "same field"),
        ("axes: {objective: [autoregressive]}\nzip: [{objective: [autoregressive]}]", "same field"),
        ("zip: [{ema: [0.9, 0.99], batch_size: [1]}]", "equal length"),
        ("zip: {ema: [0.9]}", "list of groups"),
        ("seeds: [0]\nbase: {seed: 3}", "leave one of them out"),
        ("base: {budget: {epochs: 3}}", "epochs need U"),
        ("base: {budget: {steps: 1.5}}", "whole number"),
        ("base: {budget: {tokens: 1M, convention: 6DN}}", "one of matmul, 6ND"),
        ("base: {optimizer.lr: {rule: widht, base: 1, at: 2}}", "did you mean 'width'"),
        ("base: {batch_size: {rule: step-law}, budget: {steps: 5}}", "needs D"),
        ("axes: {objective: [autoregressive]}\nexclude: [{objective: autoregressive}]", "no cell is left"),
        ("exclude: [{objektive: autoregressive}]", "did you mean 'objective'"),
        ("axes: {ema: [0.9]}\nwhen: [{match: {}, set: {ema: 0.5}}]", "the axis ema sets this field"),
        ("resources: {gpus: 1}\nbase: {resources: {gpus: 2}}", "same field"),
        ("axes: {model: [{size: d32}, {size: d48}], model.size: [d64]}", "same field"),
        ("axes: {ema: [0.9]}\nwhen: [{match: {}, axes: {ema: [0.5]}}]", "same field"),
        ("analysis: {pair: [autoregressive, autoregressive]}", "a pair has two objectives"),
        ("axes: {ema: [0.9]}\nanalysis: {pair_over: [dtype]}", "no axis of this sweep, which has ema"),
        ("base: {dtype: flaot32}", "'float32' or 'bfloat16'; did you mean 'float32'?"),
        ("axes: {data.unique_bytes: [5k], data.unique_tokens: [5k]}", "same field"),
        ("base: {budget: {tokns: 1M}}", "did you mean 'tokens'"),
        ("base: {model: d64}", "a size is written `model.size: d64`"),
        ("base: {objective: null}", "an objective is a name"),
        ("base: {model: [d64]}", "a model is a name"),
        ("base: {data.unique_bytes: 1B, budget.epochs: 1e300}", "more tokens than"),
        (
            "base: {budget.tokens: {rule: power, base: 1, of: N, at: 1, exponent: 1e9}}",
            "finite",
        ),
        ("axes: {model.architecture: [[deep]]}", "unknown architecture"),
        ("base: {data.corpus: {files: a.txt}}", "'files' of 'prose' (but of 'text'). Known: sources"),
        ("base: {data.corpus: {name: text, files: []}}", "needs 1 items or more"),
        ("extends: nowhere.yaml", "no such file"),
        ("name: a/b", "letters, digits"),
        ("- a", "a sweep is a mapping"),
    ],
)
def test_mistakes_are_named(tmp_path: Path, text: str, why: str) -> None:
    found = errors(write(tmp_path, text))
    assert len(found) == 1 and why in found[0], found


def test_traps_of_yaml_do_not_hide_other_errors(tmp_path: Path) -> None:
    found = errors(write(tmp_path, "base: {optimizer.lr: on}\naxes: {objectiv: [x]}\nseeds: off"))
    assert [e.split(": ")[:2] for e in found] == [
        ["F:1", "base.optimizer.lr"],
        ["F:2", "axes.objectiv"],
        ["F:3", "seeds"],
    ]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (
            "exclude: [{objective: masked_difusion}]",
            r"exclude\[0\].objective: .*did you mean 'masked_diffusion'",
        ),
        ("exclude: [{model.size: [d32, d65]}]", r"exclude\[0\].model.size\[1\]: .*did you mean"),
        ("exclude: [{data.unique_bytes: 10q}]", r"exclude\[0\].data.unique_bytes: expected a number"),
        (
            "when: [{match: {data.quality: cleen}, set: {steps: 3}}]",
            r"when\[0\].match.data.quality: .*'clean'",
        ),
    ],
)
def test_a_condition_that_no_cell_could_meet_is_an_error(tmp_path: Path, text: str, why: str) -> None:
    (found,) = errors(write(tmp_path, text))
    assert re.search(why, found)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("analysis: {pair_over: [optimizer.weight_deacy]}", "did you mean 'optimizer.weight_decay'"),
        ("analysis: {pair: [autoregresive, masked_diffusion]}", "did you mean 'autoregressive'"),
        ("axes: {data.unique_bytes: [10k, 10000]}", "listed twice .found 10000"),
        ("when: [{set: {steps: 3}}]", "when\\[0\\]: 'match' is required"),
        ("base: {optimizer.betas: [1, 2, 3]}", "found \\[1, 2, 3\\]"),
        (
            "base: {budget.tokens: {rule: power, base: 1M, of: Q, at: 1k, exponent: 1}}",
            "of: expected .*'width'.*found 'Q'",
        ),
        (
            "base: {data.corpus: {name: text, files: nowhere.txt}}",
            "data.corpus.files: no file matches '.*nowhere.txt'",
        ),
    ],
)
def test_what_is_wrong_inside_a_value_is_named_in_one_line(tmp_path: Path, text: str, why: str) -> None:
    (found,) = errors(write(tmp_path, text))
    assert re.search(why, found) and "\n" not in found


@pytest.mark.parametrize(
    ("text", "places"),
    [
        (
            "exclude:\n- 5\n- {objektive: x}",
            {"exclude[0]": "expected a mapping", "exclude[1].objektive": "'objective'"},
        ),
        (
            "when:\n- {match: {objektive: x}, sett: {steps: 3}, axes: {ema: 0.9}}\n- {set: {step: 3}}",
            {
                "when[0].sett": "did you mean 'set'",
                "when[0].axes.ema": "expected a list",
                "when[0].match.objektive": "'objective'",
                "when[1]": "'match' is required",
                "when[1].set.step": "did you mean 'steps'",
            },
        ),
        (
            "analysis:\n  decoding: -1\n  pair: [autoregresive, masked_diffusion]\n  x: [token]",
            {
                "analysis.decoding": "greater than or equal to 0",
                "analysis.pair[0]": "'autoregressive'",
                "analysis.x[0]": "'tokens', 'epochs' or 'flops'",
            },
        ),
        (
            "seeds: [0, -1, x]\nbase: {stepss: 3}",
            {
                "seeds[1]": "greater than or equal to 0",
                "seeds[2]": "expected a number",
                "base.stepss": "'steps'",
            },
        ),
        (
            "zip:\n- {ema: 0.9}\n- {emma: [0.9]}\n- - {stepss: 3}",
            {
                "zip[0].ema": "list of groups",
                "zip[1].emma": "did you mean 'ema'",
                "zip[2][0].stepss": "'steps'",
            },
        ),
        (
            "extend:\n- {match: {objektive: x}}\n- {to: 3y, match: {stepss: 3}}",
            {
                "extend[0]": "'to' is required",
                "extend[0].match.objektive": "'objective'",
                "extend[1].to": "a multiple",
                "extend[1].match.stepss": "'steps'",
            },
        ),
        ("extends: [5]\nseeds: []", {"extends[0]": "expected text", "seeds": "1 items or more"}),
    ],
)
def test_an_error_of_structure_hides_no_other(tmp_path: Path, text: str, places: dict[str, str]) -> None:
    found = errors(write(tmp_path, text))
    for key, why in places.items():
        assert any(f": {key}: " in e and why in e for e in found), (key, found)
    assert len(found) == len(places), found


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (
            "base: {objective: {name: autoregressive, epsilon: 1e-3}}",
            "unknown field 'epsilon' of 'autoregressive' (but of 'masked_diffusion'). Known: input_mask",
        ),
        (
            "base: {objective: {name: autoregressive, input_msk: 0.1}}",
            "unknown field 'input_msk' of 'autoregressive'; did you mean 'input_mask'? Known: input_mask",
        ),
        (
            "axes: {data.quality: [{name: replace_words, fractoin: 0.2}]}",
            "unknown field 'fractoin' of 'replace_words'; did you mean 'fraction'? Known: fraction",
        ),
        ("base: {data.quality: {name: clean, x: 1}}", "unknown field 'x' of 'clean', which has no options"),
        (
            "base: {model: {name: transformer, siz: d64}}",
            "unknown field 'siz' of 'transformer'; did you mean 'size'?",
        ),
    ],
)
def test_an_unknown_option_lists_those_of_its_kind(tmp_path: Path, text: str, why: str) -> None:
    (found,) = errors(write(tmp_path, text))
    assert why in re.sub(r" \(found .*\)$", "", found)


def test_errors_of_values_by_rule_and_of_fields_come_together(tmp_path: Path) -> None:
    found = errors(
        write(
            tmp_path,
            "base:\n  optimizer.lr: {rule: power, base: 1e-3, of: D}\n  batch_size: {rule: width}\n"
            "  budget: {steps: 0}\n  dtype: fp32",
        )
    )
    assert [e.split(": ")[:2] for e in found] == [
        ["F:2", "base.optimizer.lr"],
        ["F:3", "base.batch_size"],
        ["F:4", "base.budget.steps"],
        ["F:5", "base.dtype"],
    ]
    assert "'at' is required" in found[0] and "'exponent' is required" in found[0]


def test_a_slip_of_the_suffix_does_not_list_a_billion_seeds(tmp_path: Path) -> None:
    assert any("less than or equal to" in e for e in errors(write(tmp_path, "seeds: 1e9")))


def test_errors_of_an_axis_are_said_once_though_many_cells_have_them(tmp_path: Path) -> None:
    path = write(tmp_path, "axes:\n  optimizer.lr: [1e-3, -1]\n  batch_size: [1, 2, 4]\nseeds: 3")
    assert errors(path) == ["F:2: axes.optimizer.lr[1]: must be greater than 0 (found -1)"]


def test_a_missing_file_is_an_error_too(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="cannot be read"):
        load([tmp_path / "none.yaml"])


def test_defaults_of_a_sweep_are_those_that_reports_were_made_with(tmp_path: Path) -> None:
    (spec,) = load([write(tmp_path, "axes: {model.size: [d32]}", "named.yaml")])
    assert (spec.name, spec.seeds, spec.command) == ("named", (0,), str(tmp_path / "named.yaml"))
    assert spec.analysis.model_dump() == {
        "pair": ("autoregressive", "masked_diffusion"),
        "pair_over": (),
        "metric": "nll",
        "x": ("tokens", "epochs", "flops"),
        "stop": None,
        "decoding": 8,
    }


def test_limits_of_a_sweeps_own_keys_are_where_they_are_said_to_be(tmp_path: Path) -> None:
    for text, seeds in (("10000", 10_000), ("1", 1), ("[0]", 1)):
        (spec,) = load([write(tmp_path, f"seeds: {text}")])
        assert len(spec.seeds) == seeds
    for text in ("10001", "0", "[]", "[-1]"):
        assert len(errors(write(tmp_path, f"seeds: {text}"))) == 1, text
    for text in ("{stop: {after_crossing: 0.9}}", "{decoding: -1}"):
        assert len(errors(write(tmp_path, f"analysis: {text}"))) == 1, text
    (spec,) = load([write(tmp_path, "analysis: {stop: {after_crossing: 1}, decoding: 0}")])
    assert spec.analysis.stop is not None and spec.analysis.decoding == 0


@pytest.mark.parametrize(
    "text",
    [
        "base: {objective: {nme: x}}",
        "seeds: [x]",
        "exclude: [{model.size: 5, objektive: x}]",
        "base: {batch_size: {rule: power, base: 1, of: N, at: 1, exponent: 400}}",
        "base: {optimizer.lr: {rule: power, base: 1, of: N, at: 1, exponent: 400}}",
    ],
)
def test_one_mistake_is_one_error_at_its_place(tmp_path: Path, text: str) -> None:
    (error,) = errors(write(tmp_path, text))
    key = text.partition("{")[2].partition(":")[0] if "rule" in text else text.partition(":")[0]
    assert error.startswith("F:1: ") and key in error.partition(": ")[2].partition(": ")[0]


def test_a_clash_names_the_first_value_of_either_axis(tmp_path: Path) -> None:
    text = "axes:\n  steps:\n  - 5\n  - 6\n  budget.steps:\n  - 7\n  - 8\n"
    (error,) = errors(write(tmp_path, text))
    assert error.startswith("F:3: axes.steps[0]: sets the same field as axes.budget.steps[0] on line 6")


def test_an_error_of_the_corpus_is_told_once_at_its_field(tmp_path: Path) -> None:
    text = "base:\n  data:\n    corpus:\n      name: text\n      files: nowhere.txt\n"
    (error,) = errors(write(tmp_path, text))
    assert error.startswith("F:5: base.data.corpus.files: no file matches")
