"""Every law: derivatives against central differences, units, and round trips of the coordinates."""

from __future__ import annotations

import numpy as np
import pytest

from analysis.fitting.solver.multistart import draw_starts
from analysis.laws import get_law, law_names, list_laws

FORMULAS = (
    "E + A/N**alpha + B/D**beta",
    "E + (A/N**alpha + B/D**beta)**gamma",
    "A/N**alpha + B/(U*(1 + R*(1-exp(-max(D/U-1,0)/R))))**beta",
    "E + A*x**-alpha * sigmoid(k*log(x)) | real k",
)


def _data(rng: np.random.Generator, n: int = 17) -> dict[str, np.ndarray]:
    unique = 10 ** rng.uniform(7, 9, n)
    return {
        "N": 10 ** rng.uniform(7, 10, n),
        "U": unique,
        "D": unique * 10 ** rng.uniform(0.05, 2, n),
        "C": 10 ** rng.uniform(17, 21, n),
        "Q": rng.uniform(0.2, 1, n),
        "x": 10 ** rng.uniform(3, 7, n),
    }


@pytest.mark.parametrize("name", [*law_names(), "bnsl4", *FORMULAS])
def test_gradient_and_units(name: str) -> None:
    law = get_law(name)
    rng = np.random.default_rng(0)
    data = _data(rng)
    units = law.centre({v: data[v] for v in law.variables})
    x = law.inputs(data, units)
    starts = draw_starts(law.start_ranges(x, np.full(17, 3.0)), 40, seed=1)
    value, jac = law.evaluate(starts, x)
    assert value.shape == (40, 17) and jac is not None and jac.shape == (40, len(law.parameters), 17)
    step = 1e-5
    for j in range(starts.shape[1]):
        up, down = starts.copy(), starts.copy()
        up[:, j] += step
        down[:, j] -= step
        numeric = (law.evaluate(up, x, False)[0] - law.evaluate(down, x, False)[0]) / (2 * step)
        scale = np.abs(value) + np.abs(jac[:, j]) + 1e-12
        good = np.isfinite(numeric) & np.isfinite(scale)
        error = np.where(good, np.abs(numeric - jac[:, j]) / scale, 0)
        # a kink (min, max), or a curvature beyond differences, for a few entries
        assert np.mean(error > 1e-6) < 0.03, law.parameter_names[j]
        assert good.mean() > 0.9
    # the same law in original units gives the same predictions
    natural = law.to_natural(starts, units)
    raw, _ = law.evaluate(law.to_internal(natural), law.inputs(data), jac=False)
    fine = np.isfinite(raw) & np.isfinite(value) & (np.abs(value) < 1e100) & (np.abs(value) > 1e-100)
    np.testing.assert_allclose(raw[fine], value[fine], rtol=1e-8)
    np.testing.assert_allclose(law.to_internal(natural, units), starts, rtol=1e-9, atol=1e-9)


def test_every_law_states_formula_source_and_interval() -> None:
    for row in list_laws():
        assert row["formula"] and len(row["source"]) > 15 and row["interval"] in {"profile", "bootstrap", "t"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("__import__('os').system('true')", "no function"),
        ("E + A/N**alpha + (lambda: 1)()", "not allowed|no function"),
        ("N.real + A", "Attribute"),
        ("[A for A in N]", "ListComp"),
        ("E + A/", "cannot be parsed"),
        ("a + b", "none of the columns"),
        ("N**2", "no parameter"),
        ("exp + N", "is a function"),
        ("E + 'x'*N", "not a number"),
        ("A*N if 1 else 2", "IfExp"),
        ("E + A/N**alpha | real q", "no parameter q"),
    ],
)
def test_formula_refuses_what_is_not_arithmetic(text: str, message: str) -> None:
    from analysis.laws import formula_law

    with pytest.raises(ValueError, match=message):
        formula_law(text)


def test_formula_is_centred_like_the_registered_law() -> None:
    law, own = get_law("chinchilla"), get_law("E + A/N**alpha + B/D**beta")
    data = _data(np.random.default_rng(3))
    assert set(own.centre(data)) == {"N", "D"}
    values = {"A": 400.0, "B": 900.0, "E": 1.7, "alpha": 0.3, "beta": 0.4}
    np.testing.assert_allclose(law.predict(values, data), own.predict(values, data), rtol=1e-13)


def test_unknown_law_names_the_nearest() -> None:
    with pytest.raises(ValueError, match="did you mean 'chinchilla'"):
        get_law("chinchila")
