"""A candidate as SymPy's object, read by Math-Verify's grammar, and how large working it out would be."""

from __future__ import annotations

import math
import re
import threading
from collections.abc import Callable
from functools import lru_cache
from typing import Any

from aftertrain.plugins.verifiers.candidate import Candidate

LONGEST_ANSWER = 1_000
DEEPEST = 30
MOST_TERMS = 10_000
"""Longest sum or product, in terms, that is worked out."""
KEPT = 4096
"""Read answers and verdicts kept, least recently used ones dropped: a prompt's samples share truth and answers."""

_LARGE = r"(?:[0-9]{5}|!|\^\s*\{?\s*(?:[0-9]{4}|[0-9]*\s*[\^({]))"
_EVALUATED = re.compile(
    r"binom\s*\{[^{}]*(?:[0-9]{5}|[!^])|binom\s*\{[^{}]*\}\s*\{[^{}]*(?:[0-9]{5}|[!^])|binom\s*\{[^{}]*\{"
    rf"|(?:gcd|lcm)[^A-Za-z]{{0,40}}{_LARGE}|operatorname\s*\{{\s*(?:eye|zeros|ones|diag)\b"
)
"""What SymPy works out while it reads, before its size can be told."""
_BRACKET = re.compile(r"[][(){}]")
_TOWER = re.compile(r"(?:[\^_]\s?\{?\s?[-+]?(?:\\[A-Za-z]{1,20}|[0-9]{1,20}|[A-Za-z])\s?\}?\s?){10}")
"""Powers of powers, or indices of indices, so high that ANTLR takes seconds."""
_reading = threading.Lock()
"""ANTLR's tables are shared by all parsers and filled while they parse."""


def written(candidate: Candidate) -> str:
    """What Math-Verify keeps as text beside the value."""
    if candidate.form != "latex":
        return candidate.texts[0]
    return " and ".join(candidate.texts) if None not in _values(candidate) else candidate.texts[0]


def value(candidate: Candidate) -> Any:
    """A candidate as SymPy's object, or None where it cannot be read. Several ("2 and 3") are a set of all elements."""
    from latex2sympy2_extended.sets import FiniteSet

    values = _values(candidate)
    if len(values) == 1 or None in values:
        return values[0]
    return FiniteSet(
        *(part for solution in values for part in (solution.args if isinstance(solution, FiniteSet) else (solution,)))
    )


def _values(candidate: Candidate) -> list[Any]:
    if sum(map(len, candidate.texts)) > LONGEST_ANSWER:
        return [None] * len(candidate.texts)
    read: Callable[[str], Any] = {"latex": read_latex, "number": _read_number, "expression": _read_expression}[
        candidate.form
    ]  # type: ignore[assignment]
    values = [read(text) for text in candidate.texts]
    pairs = zip(values, candidate.percent, strict=True)
    return [_percentage(number) if percent else number for number, percent in pairs]


def _percentage(number: Any) -> Any:
    from latex2sympy2_extended import convert_to_pct

    try:
        return None if number is None else convert_to_pct(number)
    except TypeError:  # percent of an equation
        return None


@lru_cache(maxsize=KEPT)
def read_latex(text: str, is_complex: bool | None = None) -> Any:
    """The value of `text`, else of what stands behind the last of several equals signs. Variables are real unless the
    text (or `is_complex`) says that numbers are complex."""
    from math_verify.parser import get_last_eq

    if _EVALUATED.search(text) or _TOWER.search(text) or _depth(text) > DEEPEST:
        return None
    last = get_last_eq(text)
    for part in (text, last) if last else (text,):
        if (read := _parsed(part, is_complex_text(part) if is_complex is None else is_complex)) is not None:
            return read
    return None


def _depth(text: str) -> int:
    depth = deepest = 0
    for bracket in _BRACKET.findall(text):
        depth = depth + 1 if bracket in "([{" else max(0, depth - 1)
        deepest = max(deepest, depth)
    return deepest


def is_complex_text(text: str) -> bool:
    """Whether Math-Verify takes the variables in `text` for complex."""
    from math_verify.grader import should_treat_as_complex

    return bool(should_treat_as_complex(text))


def _parsed(text: str, is_complex: bool) -> Any:
    from antlr4.atn.PredictionMode import PredictionMode  # type: ignore[import-untyped]

    for mode in (PredictionMode.SLL, PredictionMode.LL):
        try:
            with _reading:
                return _reader()(mode, is_complex).parse(text)
        except Exception:  # noqa: BLE001  the package raises bare exceptions on what it cannot read
            continue
    return None


@lru_cache(maxsize=1)
def _reader() -> Any:
    from latex2sympy2_extended.latex2sympy2 import _Latex2Sympy
    from sympy import Integer

    class Reader(_Latex2Sympy):  # type: ignore[misc]
        def __init__(self, mode: int, is_complex: bool) -> None:
            super().__init__(is_real=not is_complex)
            self._mode = mode

        def create_parser(self, latex_str: str) -> Any:
            parser = super().create_parser(latex_str)
            parser._interp.predictionMode = self._mode
            return parser

        def parse_number(self, text: str) -> Any:
            whole = text.replace(",", "")
            # SymPy would run Python's tokenizer and compiler on each number.
            return Integer(int(whole)) if whole.isascii() and whole.isdigit() else super().parse_number(text)

    return Reader


def _read_number(text: str) -> Any:
    from sympy import Number

    return Number(text)


def _read_expression(text: str) -> Any:
    from sympy.parsing import parse_expr

    try:
        return parse_expr(text.replace("\n", " ").replace("^", "**"), evaluate=False) if text else None
    except Exception:  # noqa: BLE001  text that looks like arithmetic and is none raises anything
        return None


def digits(expression: Any) -> float:
    """An upper bound of the decimal digits of the numbers that working out `expression` makes."""
    import sympy

    if isinstance(expression, sympy.Rational):
        return math.log10(max(abs(int(expression.p)), int(expression.q)))
    if isinstance(expression, sympy.Float):
        _, _, exponent, bits = expression._mpf_
        return max(0.0, float(exponent + bits) * math.log10(2))
    if isinstance(expression, sympy.Sum | sympy.Product):
        ends = [end for limit in expression.limits for end in limit[1:]]
        if any(end.is_number and digits(end) > math.log10(MOST_TERMS) for end in ends):
            return math.inf
    parts = [digits(part) for part in expression.args] if hasattr(expression, "args") else []
    if isinstance(expression, sympy.Add):
        return max(parts) + math.log10(len(parts))
    if isinstance(expression, sympy.Pow) and not expression.exp.free_symbols:
        return max(parts[0] * _power(parts[1]), *parts)
    if isinstance(expression, sympy.factorial | sympy.gamma) and not expression.args[0].free_symbols:
        return math.lgamma(_power(parts[0]) + 2) if parts[0] <= 6 else math.inf
    return sum(parts)


def _power(exponent: float) -> float:
    return 10.0**exponent if exponent < 300 else math.inf
