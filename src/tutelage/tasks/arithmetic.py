"""The equations inside a written solution of a word problem: found, checked, and asked where their numbers are from.

`<<16-3=13>>` is the annotation of GSM8K's calculator. An equation follows where its arithmetic holds and every number in it is one that the
question names, an earlier result, or one that everybody knows (1, 2, 100, the days of a week). That is far from being right: a solution
whose every equation follows may answer another question.
"""

from __future__ import annotations

import ast
import math
import operator
import re
from collections.abc import Callable

_ANNOTATION = re.compile(r"<<([^<>=]{1,80})=([^<>=]{1,40})>>")
_WORDS = {
    "one": 1, "two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8, "nine": 9, "ten": 10, "eleven": 11,
    "twelve": 12,
    "twenty": 20, "thirty": 30, "forty": 40, "fifty": 50, "half": 2, "twice": 2, "double": 2, "third": 3, "thrice": 3, "triple": 3,
    "quarter": 4, "dozen": 12, "hundred": 100, "thousand": 1000,
}  # fmt: skip
KNOWN = frozenset({0.0, 1.0, 2.0, 0.5, 4.0, 7.0, 12.0, 24.0, 30.0, 52.0, 60.0, 100.0, 365.0})
"""Numbers that need no source."""
UNUSED_AT_MOST = 2
_OPERATORS: dict[type, Callable[[float, float], float]] = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv,
}  # fmt: skip


def mark_equations(question: str, solution: str) -> list[tuple[str, bool]] | None:
    """Each annotated equation and whether it follows; then, for at most two numbers of the question that no equation used, `left NUMBER`,
    which never follows; last the answer, which follows where it is the last result. None for a solution without equations."""
    given = numbers_in(question)
    heard = set(given) | KNOWN
    used: set[float] = set()
    marked: list[tuple[str, bool]] = []
    last: float | None = None
    for left, right in _ANNOTATION.findall(solution):
        value, result = evaluate(left), number(right)
        inside = set(numbers_in(left))
        follows = value is not None and result is not None and math.isclose(value, result, rel_tol=1e-3, abs_tol=1e-6)
        sourced = all(_near(x, heard) or _near(x / 100, heard) or _near(x * 100, heard) for x in inside)
        marked.append((f"{_bare(left)} = {_bare(right)}", follows and sourced))
        used |= inside | {100 * x for x in inside}
        if result is not None:
            heard.add(result)
            last = result
    if not marked:
        return None
    unused = [x for x in given if not _near(x, used) and x not in (1.0,)]
    marked += [(f"left {x:g}", False) for x in unused[:UNUSED_AT_MOST]]
    said = solution.rpartition("A:")[2].strip() if "A:" in solution else ""
    answer = number(said)
    return [*marked, (f"A {_bare(said)[:20]}", answer is not None and last is not None and math.isclose(answer, last, rel_tol=1e-3))]


def numbers_in(text: str) -> list[float]:
    """Every number of the text, digits or the commonest words, once, in order."""
    found: dict[float, None] = {}
    for token in re.findall(r"[A-Za-z]+|\d{1,3}(?:,\d{3})+(?:\.\d+)?|\d*\.?\d+", text):
        value = _WORDS.get(token.lower()) if token[0].isalpha() else number(token)
        if value is not None:
            found[float(value)] = None
    return list(found)


def number(text: str) -> float | None:
    """The one number that a text is, signs and currency aside."""
    bare = text.strip().lstrip("$").rstrip(".%").replace(",", "").replace(" ", "")
    try:
        value = float(bare)
    except ValueError:
        return None
    return value if math.isfinite(value) and abs(value) < 1e15 else None


def evaluate(expression: str) -> float | None:
    """The value of sums, differences, products and quotients in digits; None for anything else. Nothing is executed."""
    text = expression.replace(",", "").replace("x", "*").replace("$", "").replace("%", "/100").strip()
    try:
        return _value(ast.parse(text, mode="eval").body)
    except (SyntaxError, ValueError, ZeroDivisionError, OverflowError, RecursionError, MemoryError):
        return None


def _value(node: ast.expr) -> float:
    if isinstance(node, ast.Constant) and isinstance(node.value, int | float) and not isinstance(node.value, bool):
        return float(node.value)
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub | ast.UAdd):
        return -_value(node.operand) if isinstance(node.op, ast.USub) else _value(node.operand)
    if isinstance(node, ast.BinOp) and type(node.op) in _OPERATORS:
        return _OPERATORS[type(node.op)](_value(node.left), _value(node.right))
    raise ValueError("not plain arithmetic")


def _near(x: float, others: set[float] | frozenset[float]) -> bool:
    return x in others or any(math.isclose(x, y, rel_tol=1e-6) for y in others)


def _bare(text: str) -> str:
    return re.sub(r"\s+", "", text)
