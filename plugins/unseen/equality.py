"""Whether two answers of DeepMind Mathematics are equal: as text, as yes and true, or as expressions of SymPy.

SymPy's parser evaluates what it is given, so that only texts made of numbers, single letters, `sqrt`, brackets, commas
and the signs of arithmetic reach it, without powers in exponents, in a process that can be killed.
"""

from __future__ import annotations

import ast
import math
import random
import re
import warnings
from collections.abc import Sequence
from tokenize import TokenError
from typing import Any

from aftertrain.core.records import Verdict, VerificationCase
from aftertrain.core.settings import Settings
from aftertrain.core.verifier import Verifier

LONGEST = 1000
"""Characters of a text that is taken for an expression. Answers have 30 at most."""
_ARITHMETIC = (
    ast.Expression, ast.Load, ast.Tuple, ast.BinOp, ast.UnaryOp,
    ast.Add, ast.Sub, ast.Mult, ast.Div, ast.Pow, ast.USub, ast.UAdd,
)  # fmt: skip
_HUGE = 10**9
"""No number in an exponent is as large."""
_PLAIN = re.compile(r"-?(?:0|[1-9]\d*)|[a-z]")  # of which each has one form
_DELIMITERS = (("$", "$"), (r"\(", r"\)"), ("**", "**"), ("***", "***"), (r"\[", r"\]"))
_SPECIAL = ("<end_of_turn>", "<|eot_id|>", "<s>", "</s>")
_END = "I hope it is correct"


class Equality(Verifier[Settings]):
    """Whether a response that is nothing but an answer equals the ground truth by SymPy."""

    @property
    def timeout(self) -> float:
        """Answers of the data set take milliseconds."""
        return 5.0

    def warm_up(self) -> None:
        """Load SymPy before any case's time runs."""
        import sympy  # noqa: F401

    def verify(self, cases: Sequence[VerificationCase]) -> list[Verdict]:
        """Scored 1 or 0."""
        return [Verdict.scored(float(same_expression(str(case.ground_truth), case.response))) for case in cases]


def same_text(truth: str, answer: str) -> bool | None:
    """Whether two answers are equal, as far as texts tell: None where only SymPy can.

    >>> same_text("True", "yes"), same_text("9:36 AM", "9:36 am"), same_text("1/2", "0.5"), same_text("2", "two")
    (True, True, None, False)
    """
    truth, answer = truth.lower(), answer.lower()
    if truth == answer:
        return True
    if truth in ("true", "false"):
        return (truth, answer) in (("true", "yes"), ("false", "no"))
    both = (truth, answer)
    if all(_PLAIN.fullmatch(text) for text in both):
        return False
    return None if all(map(_is_expression, both)) else False


def same_expression(truth: str, answer: str) -> bool:
    """Whether two texts that `same_text` leaves open are one value: equal lists, or expressions that differ by 0."""
    import sympy

    try:
        first, second = sympy.parse_expr(truth), sympy.parse_expr(answer)
        return _equal(first, second)
    except (ArithmeticError, AttributeError, RecursionError, SyntaxError, TokenError, TypeError, ValueError):
        return False  # not an expression, such as `2 3`, or one without a value, such as `1/(x - x)`


def _is_expression(text: str) -> bool:
    """Whether a text is arithmetic of Python's whose value has an end: `9**9**9` has none in practice."""
    if len(text) > LONGEST:
        return False
    try:
        with warnings.catch_warnings(action="ignore"):  # of what replies hold that is odd Python, such as "\\d"
            nodes = list(ast.walk(ast.parse(text.strip(), mode="eval")))
    except (MemoryError, RecursionError, SyntaxError, ValueError):
        return False
    exponents = [node.right for node in nodes if _is_power(node)]  # type: ignore[attr-defined]
    inner = [node for exponent in exponents for node in ast.walk(exponent)]
    return all(map(_is_arithmetic, nodes)) and not any(
        _is_power(node) or (isinstance(node, ast.Constant) and abs(node.value) >= _HUGE)  # type: ignore[arg-type]
        for node in inner
    )


def _is_arithmetic(node: ast.AST) -> bool:
    if isinstance(node, ast.Constant):
        return type(node.value) in (int, float) and abs(node.value) != math.inf  # type: ignore[arg-type]
    if isinstance(node, ast.Name):
        return len(node.id) == 1 or node.id == "sqrt"
    if isinstance(node, ast.Call):
        return isinstance(node.func, ast.Name) and node.func.id == "sqrt" and not node.keywords
    return isinstance(node, _ARITHMETIC)


def _is_power(node: ast.AST) -> bool:
    return isinstance(node, ast.BinOp) and isinstance(node.op, ast.Pow)


def _equal(first: Any, second: Any) -> bool:
    import sympy

    if not isinstance(first, sympy.Expr) or not isinstance(second, sympy.Expr):
        return bool(first == second)  # lists, in their order
    if first.free_symbols != second.free_symbols:
        return False
    rng = random.Random(42)
    place = {symbol: rng.random() for symbol in sorted(first.free_symbols, key=str)}
    values = [float(side.subs(place)) for side in (first, second)]
    # What differs at one place is different; what does not is asked in earnest, which takes longer.
    return math.isclose(*values, rel_tol=1e-5, abs_tol=1e-8) and first.equals(second) is True


def cleaned(answer: str) -> str:
    """An answer without the closing sentence, special tokens, a last period, and marks of mathematics around it.

    >>> cleaned("$x = 2$. I hope it is correct."), cleaned("**6*a**2**.")
    ('x = 2', '6*a**2')
    """
    head, *others = answer.split(_END)
    pieces = [head, *(other[other.find("\n") :] if "\n" in other else "" for other in others)]
    *ended, last = pieces
    text = "".join([*(piece.rstrip().removesuffix(".").rstrip() for piece in ended), last])
    for token in _SPECIAL:
        text = text.replace(token, "")
    text = text.strip().removesuffix(".").strip()
    for left, right in _DELIMITERS:
        inner = text.removeprefix(left).removesuffix(right)
        if len(text) - len(inner) == len(left) + len(right) and "\n" not in text:
            text = inner.strip()
    return text
