"""A user's own law, from a string: ``"E + A/N**alpha + B/D**beta"``.

The string is parsed by ``ast`` and walked; nothing is ever evaluated as Python. The reserved names and the
columns of the table are variables, every other name is a parameter: positive, unless named in ``real`` (or
after a bar: ``"c + m*x | real c, m"``). Derivatives are exact, by forward accumulation through the tree.
"""

from __future__ import annotations

import ast
import difflib
from collections.abc import Callable, Iterable, Mapping
from functools import partial

import numpy as np

from analysis.laws.base import Array, Law, Named, Parameter

RESERVED = {
    "N": "parameters",
    "D": "tokens seen",
    "U": "unique tokens",
    "C": "training FLOPs",
    "Q": "quality",
    "x": "a column that is mapped to it",
    "epochs": "D/U",
    "tokens": "D",
    "params": "N",
    "compute": "C",
}
"""Names that are variables in every formula, and what they mean."""
VARIABLES = tuple(RESERVED)
_FUNCTIONS: dict[str, tuple[Callable[[Array], Array], Callable[[Array, Array], Array]]] = {
    "exp": (np.exp, lambda u, v: v),
    "log": (np.log, lambda u, v: 1.0 / u),
    "log10": (np.log10, lambda u, v: 1.0 / (u * np.log(10.0))),
    "sqrt": (np.sqrt, lambda u, v: 0.5 / v),
    "expm1": (np.expm1, lambda u, v: v + 1.0),
    "log1p": (np.log1p, lambda u, v: 1.0 / (1.0 + u)),
    "tanh": (np.tanh, lambda u, v: 1.0 - v * v),
    "sigmoid": (lambda u: 0.5 * (1.0 + np.tanh(0.5 * u)), lambda u, v: v * (1.0 - v)),
    "abs": (np.abs, lambda u, v: np.sign(u)),
}
_SELECT = {"max": np.greater_equal, "min": np.less_equal}
_MAX_LENGTH, _MAX_NODES = 2000, 400
Dual = tuple[Array, dict[int, Array]]


class FormulaLaw(Law):
    """A law from a formula; see the module. ``source`` is the string itself."""

    def __init__(
        self, text: str, variables: Iterable[str] = VARIABLES, real: Iterable[str] = (), target: str = "loss"
    ) -> None:
        body, bar, tail = text.partition("|")
        real = set(real)
        if bar:
            word, _, listed = tail.strip().partition(" ")
            if word != "real":
                raise ValueError(
                    f"formula {text!r}: after the bar comes 'real' and names, got {tail.strip()!r}"
                )
            real |= {n.strip() for n in listed.split(",") if n.strip()}
        self._tree = _parse(body.strip())
        names = _names(self._tree)
        known = set(variables)
        self.name, self.formula, self.source, self.target = (
            text,
            body.strip(),
            "formula given by the user",
            target,
        )
        self.variables = tuple(n for n in names if n in known)
        own = [n for n in names if n not in known]
        if not self.variables:
            near = difflib.get_close_matches(own[0], known, n=1) if own else []
            raise ValueError(
                f"formula {text!r} uses none of the columns {', '.join(sorted(known))}"
                + (f"; did you mean {near[0]!r}?" if near else "")
            )
        if not own:
            raise ValueError(f"formula {text!r} has no parameter to fit")
        taken = real & known
        if taken:
            raise ValueError(
                f"formula {text!r}: real names parameters, but {_meanings(sorted(taken))}; call the parameter"
                " otherwise"
            )
        mistaken = _mistaken(self._tree, set(self.variables))
        if mistaken:
            name = mistaken[0]
            raise ValueError(
                f"formula {text!r}: {name} stands where a parameter would, but {_meanings([name])}. Call the"
                f" parameter otherwise (such as {'E' if 'E' not in names else name.lower() + '0'}), or write"
                f" k*{name} if the variable is meant"
            )
        unknown = real - set(own)
        if unknown:
            raise ValueError(
                f"formula {text!r} has no parameter {', '.join(sorted(unknown))}; it has {', '.join(own)}"
            )
        self.raw_variables = frozenset(self.variables)
        covariant = _covariance(self._tree, set(self.variables), [n for n in own if n not in real])
        exponents = _exponent_names(self._tree)
        adders = _summands(self._tree)
        self._scaled = tuple(sorted({v for units in covariant.values() for v in units}))
        self.raw_variables = frozenset(v for v in self.variables if v not in self._scaled)
        index = {n: j for j, n in enumerate(own)}
        self._index = index
        self.parameters = tuple(
            Parameter(
                n,
                role="exponent"
                if n in exponents
                else "level"
                if n in adders
                else "term"
                if n in covariant
                else "ratio",
                positive=n not in real,
                units={
                    v: partial(_power, node, self._tree_values) for v, node in covariant.get(n, {}).items()
                },
                start=None if n not in real else (-2.0, 2.0),
                bounds=(1e-20, 1e40)
                if n not in real and n not in exponents and n not in adders and n not in covariant
                else None,
                meaning="exponent" if n in exponents else "",
            )
            for n in own
        )

    def _tree_values(self, node: ast.expr, natural: Mapping[str, Array]) -> Array:
        return np.asarray(
            self._walk(node, {k: np.asarray(v, dtype=float) for k, v in natural.items()}, False)[0]
        )

    def evaluate(self, theta: Array, x: Named, jac: bool = True) -> tuple[Array, Array | None]:
        with np.errstate(all="ignore"):
            env: dict[str, Array] = {
                v: (x[v] if v in self.raw_variables else np.exp(x[v])) for v in self.variables
            }
            for j, p in enumerate(self.parameters):
                env[p.name] = np.exp(theta[:, j : j + 1]) if p.positive else theta[:, j : j + 1]
            value, slopes = self._walk(self._tree, env, jac)
            shape = (len(theta), len(next(iter(x.values()))))
            value = np.broadcast_to(value, shape)
            if not jac:
                return value, None
            out = np.zeros((shape[0], len(self.parameters), shape[1]))
            for j, slope in slopes.items():
                p = self.parameters[j]
                out[:, j] = slope * env[p.name] if p.positive else slope
        return value, out

    def _walk(self, node: ast.expr, env: Mapping[str, Array], jac: bool) -> Dual:
        if isinstance(node, ast.Constant):
            return np.asarray(float(node.value)), {}  # type: ignore[arg-type]
        if isinstance(node, ast.Name):
            slope = {self._index[node.id]: np.asarray(1.0)} if jac and node.id in self._index else {}
            return env[node.id], slope
        if isinstance(node, ast.UnaryOp):
            value, slopes = self._walk(node.operand, env, jac)
            return (
                (-value, {j: -s for j, s in slopes.items()})
                if isinstance(node.op, ast.USub)
                else (value, slopes)
            )
        if isinstance(node, ast.BinOp):
            return _combine(node.op, self._walk(node.left, env, jac), self._walk(node.right, env, jac))
        call = node
        if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Name):
            raise ValueError(f"formula: {ast.unparse(node)!r} is not allowed")
        parts = [self._walk(argument, env, jac) for argument in call.args]
        if call.func.id in _SELECT:
            return _select(_SELECT[call.func.id], parts[0], parts[1])
        function, slope_of = _FUNCTIONS[call.func.id]
        inner, slopes = parts[0]
        outer = function(inner)
        factor = slope_of(inner, outer) if slopes else outer
        return outer, {j: s * factor for j, s in slopes.items()}


def _meanings(names: list[str]) -> str:
    """What variables of these names are."""
    return ", ".join(
        f"{n} is reserved ({RESERVED[n]})" if n in RESERVED else f"{n} is a column of the table"
        for n in names
    )


def _mistaken(tree: ast.expr, variables: set[str]) -> list[str]:
    """Variables where a parameter would stand: as a summand of their own, as the amplitude of a term that has
    none, or as the whole exponent of a variable."""
    out = []
    for factors in _products(tree, 1, []):
        bare = [f.id for f, sign in factors if isinstance(f, ast.Name) and sign == 1]
        numbers = [f for f, sign in factors if isinstance(f, ast.Constant) and sign == 1]
        powers = [f for f, _ in factors if isinstance(f, ast.BinOp) and isinstance(f.op, ast.Pow)]
        alone = len(factors) == 1
        lacks_amplitude = len(powers) == len(factors) - len(bare) and bool(powers)
        if not numbers and set(bare) <= variables and (alone or lacks_amplitude):
            out += bare
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.BinOp)
            and isinstance(node.op, ast.Pow)
            and set(_names(node.left)) & variables
        ):
            exponent = node.right.operand if isinstance(node.right, ast.UnaryOp) else node.right
            out += [exponent.id] if isinstance(exponent, ast.Name) and exponent.id in variables else []
    return out


def formula_law(
    text: str, variables: Iterable[str] = VARIABLES, real: Iterable[str] = (), target: str = "loss"
) -> FormulaLaw:
    """Parse a formula into a law; ValueError says what is not allowed, and where."""
    return FormulaLaw(text, variables, real, target)


def _power(node: ast.expr, values: Callable[[ast.expr, Named], Array], natural: Named) -> Array:
    return values(node, natural)


def _combine(op: ast.operator, left: Dual, right: Dual) -> Dual:
    u, du = left
    v, dv = right
    keys = du.keys() | dv.keys()
    zero = np.asarray(0.0)
    if isinstance(op, ast.Add):
        return u + v, {j: du.get(j, zero) + dv.get(j, zero) for j in keys}
    if isinstance(op, ast.Sub):
        return u - v, {j: du.get(j, zero) - dv.get(j, zero) for j in keys}
    if isinstance(op, ast.Mult):
        return u * v, {j: du.get(j, zero) * v + u * dv.get(j, zero) for j in keys}
    if isinstance(op, ast.Div):
        out = u / v
        return out, {j: (du.get(j, zero) - out * dv.get(j, zero)) / v for j in keys}
    out = np.power(u, v)
    slopes: dict[int, Array] = {}
    for j in keys:
        slope = zero
        if j in du:
            slope = slope + v * np.power(u, v - 1.0) * du[j]
        if j in dv:
            slope = slope + np.where(u > 0, out * np.log(np.where(u > 0, u, 1.0)), 0.0) * dv[j]
        slopes[j] = slope
    return out, slopes


def _select(better: Callable[[Array, Array], Array], left: Dual, right: Dual) -> Dual:
    u, du = left
    v, dv = right
    first = better(u, v)
    zero = np.asarray(0.0)
    return np.where(first, u, v), {
        j: np.where(first, du.get(j, zero), dv.get(j, zero)) for j in du.keys() | dv.keys()
    }


_OPERATORS = (ast.Add, ast.Sub, ast.Mult, ast.Div, ast.Pow)


def _parse(text: str) -> ast.expr:
    if len(text) > _MAX_LENGTH:
        raise ValueError(f"formula of {len(text)} characters; at most {_MAX_LENGTH}")
    try:
        tree = ast.parse(text.replace("^", "**"), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise ValueError(f"formula {text!r} cannot be parsed: {error}") from None
    nodes = list(ast.walk(tree))
    if len(nodes) > _MAX_NODES:
        raise ValueError(f"formula too long: {len(nodes)} parts, at most {_MAX_NODES}")
    functions = {id(n.func) for n in nodes if isinstance(n, ast.Call)}
    for node in nodes:
        _check(node, text, functions)
    return tree


def _check(node: ast.AST, text: str, functions: set[int]) -> None:
    allowed = f"allowed: numbers, names, + - * / **, and {', '.join([*_FUNCTIONS, *_SELECT])}"
    if isinstance(node, ast.Constant):
        if isinstance(node.value, bool) or not isinstance(node.value, (int, float)):
            raise ValueError(f"formula {text!r}: {node.value!r} is not a number; {allowed}")
    elif isinstance(node, ast.BinOp):
        if not isinstance(node.op, _OPERATORS):
            raise ValueError(f"formula {text!r}: operator {type(node.op).__name__} is not allowed; {allowed}")
    elif isinstance(node, ast.UnaryOp):
        if not isinstance(node.op, (ast.USub, ast.UAdd)):
            raise ValueError(f"formula {text!r}: operator {type(node.op).__name__} is not allowed; {allowed}")
    elif isinstance(node, ast.Call):
        name = node.func.id if isinstance(node.func, ast.Name) else ast.unparse(node.func)
        count = 2 if name in _SELECT else 1
        if name not in _FUNCTIONS and name not in _SELECT:
            raise ValueError(f"formula {text!r}: no function {name!r}; {allowed}")
        if node.keywords or len(node.args) != count:
            raise ValueError(f"formula {text!r}: {name} takes {count} argument{'s' * (count > 1)}")
    elif isinstance(node, ast.Name):
        if id(node) not in functions and (node.id in _FUNCTIONS or node.id in _SELECT):
            raise ValueError(f"formula {text!r}: {node.id} is a function, not a parameter")
    elif not isinstance(node, (ast.operator, ast.unaryop, ast.expr_context)):
        raise ValueError(f"formula {text!r}: {type(node).__name__} is not allowed; {allowed}")


def _names(tree: ast.expr) -> list[str]:
    functions = {id(n.func) for n in ast.walk(tree) if isinstance(n, ast.Call)}
    nodes = [
        (n.lineno, n.col_offset, n.id)
        for n in ast.walk(tree)
        if isinstance(n, ast.Name) and id(n) not in functions
    ]
    return list(dict.fromkeys(name for _, _, name in sorted(nodes)))


def _exponent_names(tree: ast.expr) -> set[str]:
    return {
        n
        for node in ast.walk(tree)
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Pow)
        for n in _names(node.right)
    }


def _summands(tree: ast.expr) -> set[str]:
    """Parameters added on their own at the top: irreducible levels."""
    if isinstance(tree, ast.BinOp) and isinstance(tree.op, ast.Add):
        return _summands(tree.left) | _summands(tree.right)
    return {tree.id} if isinstance(tree, ast.Name) else set()


def _covariance(tree: ast.expr, variables: set[str], parameters: list[str]) -> dict[str, dict[str, ast.expr]]:
    """{parameter: {variable: power of the unit}} for products of one lone parameter and powers of variables
    with variable-free exponents. A variable that also occurs elsewhere cannot be rescaled: left out."""
    counts = {
        n: sum(isinstance(k, ast.Name) and k.id == n for k in ast.walk(tree))
        for n in [*variables, *parameters]
    }
    exponents: dict[str, dict[str, ast.expr]] = {}
    covered = dict.fromkeys(variables, 0)
    for factors in _products(tree, 1, []):
        lone = [
            f.id
            for f, sign in factors
            if isinstance(f, ast.Name) and f.id in parameters and sign == 1 and counts[f.id] == 1
        ]
        if not lone:
            continue
        powers: dict[str, ast.expr] = {}
        for factor, sign in factors:
            base, exponent = (
                (factor.left, factor.right)
                if (isinstance(factor, ast.BinOp) and isinstance(factor.op, ast.Pow))
                else (factor, ast.Constant(1.0))
            )
            if (
                not isinstance(base, ast.Name)
                or base.id not in variables
                or set(_names(exponent)) & variables
            ):
                continue
            power = exponent if sign == -1 else ast.UnaryOp(ast.USub(), exponent)
            covered[base.id] += 1
            if base.id in powers:
                covered[base.id] = -len(factors)
            powers[base.id] = power
        if powers:
            exponents[lone[0]] = powers
    usable = {v for v in variables if covered[v] == counts[v] and counts[v] > 0}
    return {
        p: kept
        for p, powers in exponents.items()
        if (kept := {v: e for v, e in powers.items() if v in usable})
    }


def _products(
    node: ast.expr, sign: int, path: list[tuple[ast.expr, int]]
) -> list[list[tuple[ast.expr, int]]]:
    """The formula's additive terms at the top, each as (factor, +1 or -1 for numerator or denominator)."""
    if isinstance(node, ast.BinOp) and isinstance(node.op, (ast.Add, ast.Sub)):
        return _products(node.left, sign, path) + _products(node.right, sign, path)
    return [_factors(node, 1)]


def _factors(node: ast.expr, sign: int) -> list[tuple[ast.expr, int]]:
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mult):
        return _factors(node.left, sign) + _factors(node.right, sign)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div):
        return _factors(node.left, sign) + _factors(node.right, -sign)
    if isinstance(node, ast.UnaryOp):
        return _factors(node.operand, sign)
    return [(node, sign)]
