"""Row filters from a string, such as ``C > 1e21 and `val loss` < 4``, without ``eval``.

Comparisons, ``and``, ``or``, ``not``, ``in [..]`` and arithmetic on columns; names that are not identifiers
go between backticks. Used by ``where`` and ``holdout``.
"""

from __future__ import annotations

import ast
import operator
import re
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pandas as pd

from analysis.tables.keywords import nearest

_COMPARE: dict[type[ast.cmpop], Callable[[Any, Any], Any]] = {
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
}
_ARITHMETIC: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.Pow: operator.pow,
}


def select(expression: str, columns: Mapping[str, pd.Series]) -> np.ndarray:
    """Boolean mask (n,) of the rows for which ``expression`` holds; ValueError says what is wrong with it.

    Comparisons with missing values are false.
    """
    quoted: dict[str, str] = {}

    def take(match: re.Match[str]) -> str:
        name = f"_quoted_{len(quoted)}"
        quoted[name] = match.group(1)
        return name

    text = re.sub(r"`([^`]+)`", take, expression)
    try:
        tree = ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise ValueError(f"filter {expression!r} cannot be parsed: {error}") from None
    with np.errstate(all="ignore"):
        try:
            result = _walk(tree, columns, quoted, expression)
        except TypeError as error:
            raise ValueError(f"filter {expression!r}: values cannot be compared: {error}") from None
    mask = np.asarray(result)
    size = len(next(iter(columns.values()))) if columns else 0
    if mask.dtype != bool or mask.shape != (size,):
        raise ValueError(f"filter {expression!r} is not a condition on rows; write for instance 'C > 1e21'")
    return mask


def _walk(node: ast.expr, columns: Mapping[str, pd.Series], quoted: Mapping[str, str], text: str) -> Any:
    def walk(child: ast.expr) -> Any:
        return _walk(child, columns, quoted, text)

    if isinstance(node, ast.Constant) and isinstance(node.value, (int, float, str, bool)):
        return node.value
    if isinstance(node, ast.Name):
        name = quoted.get(node.id, node.id)
        if name not in columns:
            hint = nearest(name, columns) or "."
            raise ValueError(
                f"filter {text!r}: no column {name!r}{hint} Columns: {', '.join(map(str, columns))}"
            )
        return columns[name].to_numpy()
    if isinstance(node, (ast.List, ast.Tuple)):
        return [walk(item) for item in node.elts]
    if isinstance(node, ast.BoolOp):
        parts = [np.asarray(walk(v)) for v in node.values]
        if any(p.dtype != bool for p in parts):
            raise ValueError(f"filter {text!r}: 'and' and 'or' join conditions")
        join = np.logical_and if isinstance(node.op, ast.And) else np.logical_or
        out = parts[0]
        for part in parts[1:]:
            out = join(out, part)
        return out
    if isinstance(node, ast.UnaryOp):
        value = walk(node.operand)
        if isinstance(node.op, ast.Not):
            return np.logical_not(value)
        if isinstance(node.op, ast.USub):
            return -value
    if isinstance(node, ast.BinOp) and type(node.op) in _ARITHMETIC:
        return _ARITHMETIC[type(node.op)](walk(node.left), walk(node.right))
    if isinstance(node, ast.Compare):
        left = walk(node.left)
        mask: Any = None
        for op, right_node in zip(node.ops, node.comparators, strict=True):
            right = walk(right_node)
            if isinstance(op, (ast.In, ast.NotIn)):
                if not isinstance(right, list):
                    raise ValueError(f"filter {text!r}: 'in' takes a list, such as [1, 2]")
                part = np.isin(left, right)
                part = ~part if isinstance(op, ast.NotIn) else part
            elif type(op) in _COMPARE:
                part = np.asarray(_COMPARE[type(op)](left, right))
            else:
                raise ValueError(f"filter {text!r}: operator {type(op).__name__} is not allowed")
            mask = part if mask is None else mask & part
            left = right
        return mask
    raise ValueError(
        f"filter {text!r}: {type(node).__name__} is not allowed; comparisons, and/or/not, in, + - * / **"
    )
