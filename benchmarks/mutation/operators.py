"""Mutants of a module: its source with one small fault, by the standard operators.

Comparison (boundary and negation), arithmetic, boolean, unary, constant (a number plus or minus one, the
other truth value), condition negated, returned value lost, statement removed, `break` and `continue` swapped.

Left out: strings, formatted ones with what they hold, and messages; annotations and decorators; what only
type checkers see; ``strict=`` of zip, which guards what cannot be.
"""

from __future__ import annotations

import ast
import difflib
import hashlib
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace

_COMPARISONS: dict[type[ast.cmpop], tuple[str, tuple[str, ...]]] = {
    ast.Lt: ("<", ("<=", ">=")),
    ast.LtE: ("<=", ("<", ">")),
    ast.Gt: (">", (">=", "<=")),
    ast.GtE: (">=", (">", "<")),
    ast.Eq: ("==", ("!=",)),
    ast.NotEq: ("!=", ("==",)),
    ast.Is: ("is", ("is not",)),
    ast.IsNot: (r"is\s+not", ("is",)),
    ast.In: ("in", ("not in",)),
    ast.NotIn: (r"not\s+in", ("in",)),
}
_ARITHMETIC: dict[type[ast.operator], tuple[str, str]] = {
    ast.Add: (r"\+", "-"),
    ast.Sub: ("-", "+"),
    ast.Mult: (r"\*", "/"),
    ast.Div: ("/", "*"),
    ast.FloorDiv: ("//", "*"),
    ast.Mod: ("%", "*"),
    ast.Pow: (r"\*\*", "*"),
    ast.BitAnd: ("&", "|"),
    ast.BitOr: (r"\|", "&"),
    ast.LShift: ("<<", ">>"),
    ast.RShift: (">>", "<<"),
}


@dataclass(frozen=True)
class Mutant:
    """One fault: bytes ``start`` to ``stop`` of the file ``path`` become ``text``.

    ``scope`` is the qualified name of the function or class it is in. ``lines`` are those of the innermost
    statement, whose execution runs the fault; None where importing the module does.
    """

    path: str
    scope: str
    operator: str
    start: int
    stop: int
    text: str
    line: int
    before: str
    after: str
    lines: tuple[int, int] | None
    copy: int = 0

    def key(self, seed: int) -> str:
        """A digest to sample by; changes elsewhere in the file leave it alone."""
        parts = (seed, self.path, self.scope, self.operator, self.before, self.after, self.copy)
        return hashlib.sha256(repr(parts).encode()).hexdigest()[:16]

    def applied(self, source: bytes) -> bytes:
        """The mutated source."""
        return source[: self.start] + self.text.encode() + source[self.stop :]

    def diff(self, source: bytes) -> str:
        """The fault as a unified diff."""
        old, new = (s.decode().splitlines() for s in (source, self.applied(source)))
        return "\n".join(difflib.unified_diff(old, new, self.path, self.path, n=1, lineterm=""))


def mutants(path: str, source: bytes) -> list[Mutant]:
    """Every mutant of a module, in the order of its source."""
    copies = Counter[str]()
    result = []
    for mutant in sorted(_Walk(path, source).body(), key=lambda m: (m.start, m.stop, m.text)):
        copies[mutant.key(0)] += 1
        result.append(replace(mutant, copy=copies[mutant.key(0)] - 1))
    return result


class _Walk:
    def __init__(self, path: str, source: bytes) -> None:
        self.path, self.source, self.tree = path, source, ast.parse(source)
        self.offsets = [0]
        for line in source.splitlines(keepends=True):
            self.offsets.append(self.offsets[-1] + len(line))

    def body(self) -> Iterator[Mutant]:
        yield from self.within(self.tree, "", None)

    def span(self, node: ast.AST) -> tuple[int, int]:
        return (
            self.offsets[node.lineno - 1] + node.col_offset,  # type: ignore[attr-defined]
            self.offsets[node.end_lineno - 1] + node.end_col_offset,  # type: ignore[attr-defined]
        )

    def within(self, node: ast.AST, scope: str, lines: tuple[int, int] | None) -> Iterator[Mutant]:
        """Mutants of a node and of all below it. ``lines`` is None outside functions."""
        if isinstance(node, ast.stmt) and lines is not None:
            body = getattr(node, "body", None)
            lines = node.lineno, max(node.lineno, body[0].lineno - 1) if body else node.end_lineno or 0
        for operator, (start, stop), text in self.faults(node):
            yield self.mutant(scope, operator, start, stop, text, lines)
        inner, at = scope, lines
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            inner = f"{scope}.{node.name}".lstrip(".")
            at = (0, 0) if isinstance(node, ast.FunctionDef) else None
        for field, value in ast.iter_fields(node):
            for child in value if isinstance(value, list) else [value]:
                if isinstance(child, ast.AST) and not _left_out(node, field, child):
                    own = field == "body" and isinstance(node, ast.FunctionDef | ast.ClassDef)
                    yield from self.within(child, inner if own else scope, at if own else lines)

    def mutant(
        self,
        scope: str,
        operator: str,
        start: int,
        stop: int,
        text: str,
        lines: tuple[int, int] | None,
    ) -> Mutant:
        line = self.source.count(b"\n", 0, start) + 1
        first = self.source.rfind(b"\n", 0, start) + 1
        last = self.source.find(b"\n", stop)
        head, tail = self.source[first:start].decode(), self.source[stop:last].decode()
        before, after = (
            " ".join((head + middle + tail).split()) for middle in (self.source[start:stop].decode(), text)
        )
        return Mutant(self.path, scope, operator, start, stop, text, line, before, after, lines)

    def swapped(
        self, node: ast.AST, left: ast.AST, right: ast.AST, token: str, new: str
    ) -> tuple[tuple[int, int], str]:
        """The operator between two operands of a node in other words."""
        start, stop = self.span(left)[1], self.span(right)[0]
        gap = re.sub(token, lambda _: new, self.source[start:stop].decode(), count=1)
        if token != r"\*\*":
            return (start, stop), gap
        low, high = self.span(node)
        return (low, high), f"({self.source[low:start].decode()}{gap}{self.source[stop:high].decode()})"

    def faults(self, node: ast.AST) -> Iterator[tuple[str, tuple[int, int], str]]:
        """Operator, bytes that it replaces, and by what: of this node alone."""
        match node:
            case ast.Compare():
                for a, op, b in zip([node.left, *node.comparators], node.ops, node.comparators, strict=False):
                    token, others = _COMPARISONS[type(op)]
                    for new in others:
                        yield "comparison", *self.swapped(node, a, b, token, new)
            case ast.BinOp(op=op) if type(op) in _ARITHMETIC and not _text(node):
                yield "arithmetic", *self.swapped(node, node.left, node.right, *_ARITHMETIC[type(op)])
            case ast.AugAssign(op=op) if type(op) in _ARITHMETIC and not _text(node.value):
                token, new = _ARITHMETIC[type(op)]
                start, stop = self.span(node.target)[1], self.span(node.value)[0]
                gap = re.sub(f"{token}=", f"{new}=", self.source[start:stop].decode(), count=1)
                yield "arithmetic", (start, stop), gap
            case ast.BoolOp():
                old, new = ("and", "or") if isinstance(node.op, ast.And) else ("or", "and")
                text, at = "", self.span(node)[0]
                for a, b in zip(node.values, node.values[1:], strict=False):
                    start, stop = self.span(a)[1], self.span(b)[0]
                    gap = re.sub(rf"\b{old}\b", new, self.source[start:stop].decode(), count=1)
                    text, at = text + self.source[at:start].decode() + gap, stop
                yield "boolean", self.span(node), f"({text}{self.source[at : self.span(node)[1]].decode()})"
            case ast.UnaryOp():
                low, high = self.span(node)
                symbol = 3 if isinstance(node.op, ast.Not) else 1
                yield "unary", (low, high), self.source[low + symbol : high].decode().lstrip()
            case ast.Constant(value=bool() as value):
                yield "constant", self.span(node), str(not value)
            case ast.Constant(value=int() | float() as value):
                for number in (value + 1, value - 1):
                    yield "constant", self.span(node), repr(number) if number >= 0 else f"({number!r})"
            case ast.Return(value=ast.expr() as value) if not isinstance(value, ast.Constant):
                yield "return", self.span(node), "return None"
            case ast.Expr(value=value) if not isinstance(value, ast.Constant):
                yield "statement", self.span(node), "pass"
            case ast.Break():
                yield "statement", self.span(node), "continue"
            case ast.Continue():
                yield "statement", self.span(node), "break"
        if isinstance(node, ast.AugAssign | ast.Raise | ast.Delete) or (
            isinstance(node, ast.Assign)
            and not any(isinstance(t, ast.Name | ast.Tuple) for t in node.targets)
        ):
            yield "statement", self.span(node), "pass"
        test = getattr(node, "test", None)
        for condition in [*getattr(node, "ifs", []), *([test] if test is not None else [])]:
            if not isinstance(condition, ast.Compare | ast.UnaryOp | ast.Constant):
                low, high = self.span(condition)
                yield "condition", (low, high), f"not ({self.source[low:high].decode()})"


def _text(node: ast.AST) -> bool:
    """Whether an operand of an expression is a string as written."""
    if isinstance(node, ast.BinOp):
        return _text(node.left) or _text(node.right)
    return isinstance(node, ast.JoinedStr) or (isinstance(node, ast.Constant) and isinstance(node.value, str))


def _left_out(parent: ast.AST, field: str, child: ast.AST) -> bool:
    unseen = isinstance(child, ast.If) and "TYPE_CHECKING" in ast.dump(child.test)
    guard = isinstance(child, ast.keyword) and child.arg == "strict"
    message = isinstance(parent, ast.Raise)
    names = {"annotation", "returns", "decorator_list"}
    return field in names or unseen or guard or message or isinstance(child, ast.JoinedStr)
