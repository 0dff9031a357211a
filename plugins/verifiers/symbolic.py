r"""Math-Verify's verdict (F32; Kydlíček 2025, package math-verify 0.9), without its signals and several times faster.

Math-Verify finds candidates in a text, reads the first that it can (ANTLR grammar, SymPy), keeps the first candidate's
text beside it, and compares value with value and text with text. Here the same candidates, in the same order, get the
same verdict, with four savings: equal texts are equal before anything is read; plain numbers are compared as numbers;
what was read is kept; and ANTLR predicts with SLL first, which either yields the parse of full LL or fails. No time
limit is set here (the package's need signals, dead outside the main thread): the process pool around a verifier kills.

The bounds are ours. Of a text the last `LONGEST_TEXT` characters are searched. A candidate of more than
`LONGEST_ANSWER` characters, or with brackets more than `DEEPEST` deep, is not read (`expression.py`): ANTLR's time
doubles with each level. Numbers beyond `MOST_DIGITS` digits are not worked out: they equal only themselves.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from typing import Any

from aftertrain.core.errors import AftertrainError, MissingExtra
from aftertrain.plugins.verifiers import number
from aftertrain.plugins.verifiers.candidate import Candidate, candidates
from aftertrain.plugins.verifiers.expression import (
    KEPT,
    LONGEST_ANSWER,
    digits,
    is_complex_text,
    read_latex,
    value,
    written,
)
from aftertrain.plugins.verifiers.magnitude import apart_by_rounding, at_a_point

LONGEST_TEXT = 8_000
MOST_DIGITS = 10_000
_GRAMMAR = "4.13.2"


@dataclass(frozen=True, slots=True)
class Rules:
    """How values are compared: decimals are rounded to `precision` places; `names`: variables keep their names;
    `relations`: an inequality may stand for a set where the truth is a set."""

    precision: int = 6
    names: bool = True
    relations: bool = False


@dataclass(frozen=True, slots=True)
class Found:
    """What Math-Verify's parse finds in a text.

    Attributes:
        candidate: the first candidate that could be read, None where none could.
        written: the first candidate's text, "" where it is empty.
        raw: the first candidate as it was written, for people and for string rules.
        skipped: candidates before, which could not be read.
    """

    candidate: Candidate | None
    written: str
    raw: str
    skipped: tuple[Candidate, ...]


def preflight(used_by: str) -> None:
    """Check the packages, without importing them.

    Raises:
        MissingExtra: math-verify is not installed.
        AftertrainError: a version under which verdicts differ; the message has the line that mends it.
    """
    if find_spec("math_verify") is None:
        raise MissingExtra("math-verify", "verifiers", used_by)
    for package, wanted in (("math-verify", "0.9."), ("antlr4-python3-runtime", _GRAMMAR)):
        try:
            present = version(package)
        except PackageNotFoundError:
            present = "none"
        if not present.startswith(wanted):
            raise AftertrainError(
                f"{used_by} needs {package} {wanted.rstrip('.')}, found {present}: other versions give other verdicts "
                f"(under ANTLR 4.11 about one in forty, most of them percentages). "
                f"pip install 'math-verify[antlr4_13_2]>=0.9,<0.10' (lm-eval[math] pins ANTLR 4.11: give it its own "
                f"environment)"
            )


def find(text: str) -> Found | None:
    """What Math-Verify extracts from the end of `text`, or None where it sees no candidate."""
    tried: list[Candidate] = []
    try:
        for candidate in candidates(text[-LONGEST_TEXT:]):
            tried.append(candidate)
            if value(candidate) is not None:
                break
    except Exception:  # noqa: BLE001  whatever a candidate raises (digits of other scripts do) ends Math-Verify's search
        return None
    if not tried:
        return None
    read = tried.pop() if value(tried[-1]) is not None else None
    every = (*tried, read) if read else tuple(tried)
    text = next(filter(None, map(written, every)), "")
    return Found(read, text, every[0].raw, tuple(tried))


def first(text: str) -> Candidate | None:
    """The first candidate, without reading it."""
    try:
        return next(candidates(text[-LONGEST_TEXT:]), None)
    except Exception:  # noqa: BLE001  as in `find`
        return None


def verdict(truth: str, text: str, rules: Rules) -> bool | None:
    r"""`verify(parse("\boxed{truth}"), parse(text))`; None where `text` holds no candidate."""
    wanted, head = _of_truth(truth), first(text)
    if head is None:
        return None
    if head.form == "expression" or len(head.texts) > 1 or not head.texts[0] or not _readable(head):
        return equal(truth, find(text), rules)
    if wanted.written.strip() == head.texts[0].strip():
        return True
    if not head.percent[0] and (same := _as_numbers(wanted, head.texts[0])) is not None:
        return same
    return equal(truth, find(text), rules)


@lru_cache(maxsize=KEPT)
def equal(truth: str, answer: Found | None, rules: Rules) -> bool:
    """Whether what was found equals the truth, by value or as text."""
    return alike(_of_truth(truth), answer, rules)


def equal_as_complex(truth: str, answer: Found, rules: Rules) -> bool:
    r"""Whether both are equal once both are read as complex. In `5 \cdot i` Math-Verify sees a complex number, in `5i`
    a real variable, and takes one `i` for another than the other."""
    wanted = _of_truth(truth).candidate
    if wanted is None or answer.candidate is None or {wanted.form, answer.candidate.form} != {"latex"}:
        return False
    texts = (*wanted.texts, *answer.candidate.texts)
    if (
        len(texts) != 2
        or is_complex_text(texts[0]) == is_complex_text(texts[1])
        or max(map(len, texts)) > LONGEST_ANSWER
    ):
        return False
    mine, theirs = (read_latex(text, True) for text in texts)
    return mine is not None and theirs is not None and _compare(mine, theirs, rules)


def equal_by_rounding_only(truth: str, answer: Found, rules: Rules) -> bool:
    """Whether two answers that are equal to `precision` places differ in a number too small for those places."""
    wanted = _of_truth(truth)
    if wanted.candidate is None or answer.candidate is None or wanted.written.strip() == answer.written.strip():
        return False
    mine, theirs = value(wanted.candidate), value(answer.candidate)
    if mine is None or theirs is None or mine == theirs or max(digits(mine), digits(theirs)) > MOST_DIGITS:
        return False
    return apart_by_rounding(mine, theirs, rules.precision)


@lru_cache(maxsize=KEPT)
def _of_truth(truth: str) -> Found:
    return find(f"\\boxed{{{truth}}}") or Found(None, "", "", ())


def _readable(head: Candidate) -> bool:
    return head.form == "latex" or head.texts[0].isascii()


def _as_numbers(wanted: Found, text: str) -> bool | None:
    alone = wanted.candidate is not None and wanted.candidate.form == "latex" and len(wanted.candidate.texts) == 1
    if not alone or wanted.skipped or wanted.candidate is None or wanted.candidate.percent[0]:
        return None
    return number.equal(wanted.candidate.texts[0], text)


def alike(truth: Found | None, answer: Found | None, rules: Rules) -> bool:
    """Math-Verify's `verify` of two parsed texts: equal values or equal texts."""
    if truth is None or answer is None:
        return False
    mine, theirs = (value(text.candidate) if text.candidate else None for text in (truth, answer))
    if mine is not None and theirs is not None and _compare(mine, theirs, rules):
        return True
    return bool(truth.written.strip()) and truth.written.strip() == answer.written.strip()


def _compare(truth: Any, answer: Any, rules: Rules) -> bool:
    import sympy
    from math_verify.grader import sympy_expr_eq

    try:
        if truth == answer:
            return truth not in (sympy.nan, sympy.zoo)
        if max(digits(truth), digits(answer)) > MOST_DIGITS or _apart(truth, answer, rules.precision):
            return False
        # With several variables the package pairs them in hash order, another one in each process.
        names = rules.names or len(truth.free_symbols) != 1
        return bool(sympy_expr_eq(truth, answer, rules.precision, 15, rules.relations, names))
    except Exception:  # noqa: BLE001  SymPy raises anything on what it cannot compare; Math-Verify takes that as unequal
        return False


def _apart(truth: Any, answer: Any, precision: int) -> bool:
    """Whether two expressions surely differ: as fractions, or in value where their variables have certain values. It
    spares SymPy's simplification, which could not make zero of their difference."""
    import sympy

    if isinstance(truth, sympy.Rational) and isinstance(answer, sympy.Rational):
        return True
    if not all(isinstance(side, sympy.Expr) and not isinstance(side, sympy.Symbol) for side in (truth, answer)):
        return False
    if any(side.has(sympy.UnevaluatedExpr) for side in (truth, answer)):
        return False
    first, second = (at_a_point(side, truth.free_symbols | answer.free_symbols) for side in (truth, answer))
    if first is None or second is None:
        return False
    scale = max(1.0, abs(first), abs(second))
    return math.isfinite(scale) and abs(first - second) > max(1e-6, 2 * 10.0**-precision) * scale
