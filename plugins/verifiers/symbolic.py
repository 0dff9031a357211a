r"""Math-Verify's verdict (F32; Kydlíček 2025, package math-verify 0.9), without its signals and several times faster.

Math-Verify finds candidates in a text, reads the first that it can (ANTLR grammar, SymPy), keeps the first candidate's
text beside it, and compares value with value and text with text. Here the same candidates, in the same order, get the
same verdict, with four savings: equal texts are equal before anything is read; plain numbers are compared as numbers;
what was read is kept; and ANTLR predicts with SLL first, which either yields the parse of full LL or fails. No time
limit is set here (the package's need signals, dead outside the main thread): the process pool around a verifier kills.

The bounds are ours. Of a text the last `LONGEST_TEXT` characters are searched. A candidate of more than
`LONGEST_ANSWER` characters, or with brackets more than `DEEPEST` deep, is not read: ANTLR's time doubles with each
level. Numbers beyond `MOST_DIGITS` digits are not worked out: they equal only themselves.
"""

from __future__ import annotations

import math
import re
import threading
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from itertools import groupby
from typing import Any

from aftertrain.core.errors import AftertrainError, MissingExtra
from aftertrain.plugins.verifiers import number

LONGEST_TEXT = 8_000
LONGEST_ANSWER = 1_000
DEEPEST = 30
MOST_DIGITS = 10_000
MOST_TERMS = 10_000
"""Longest sum or product, in terms, that is worked out."""

KEPT = 4096
"""Read answers and verdicts kept, least recently used ones dropped: a prompt's samples share truth and answers."""
_GRAMMAR = "4.13.2"
_LARGE = r"(?:[0-9]{5}|!|\^\s*\{?\s*(?:[0-9]{4}|[0-9]*\s*[\^({]))"
_EVALUATED = re.compile(
    r"binom\s*\{[^{}]*(?:[0-9]{5}|[!^])|binom\s*\{[^{}]*\}\s*\{[^{}]*(?:[0-9]{5}|[!^])|binom\s*\{[^{}]*\{"
    rf"|(?:gcd|lcm)[^A-Za-z]{{0,40}}{_LARGE}|operatorname\s*\{{\s*(?:eye|zeros|ones|diag)\b"
)
"""What SymPy works out while it reads, before its size can be told."""
_BRACKET = re.compile(r"[][(){}]")
_reading = threading.Lock()
"""ANTLR's tables are shared by all parsers and filled while they parse."""


@dataclass(frozen=True, slots=True)
class Rules:
    """How values are compared: decimals are rounded to `precision` places; `names`: variables keep their names;
    `relations`: an inequality may stand for a set where the truth is a set."""

    precision: int = 6
    names: bool = True
    relations: bool = False


@dataclass(frozen=True, slots=True)
class Candidate:
    """A piece of text that may be the answer.

    Attributes:
        texts: one per expression, as Math-Verify normalises them.
        percent: whether a percent sign follows each.
        raw: as it was written, without the box.
        form: `latex`, `number` or `expression` (in plain text).
        minus: a minus sign and a space stand before a number in plain text ("is - 5"); Math-Verify does not see it.
        follows: the word behind it, which may be a unit.
    """

    texts: tuple[str, ...]
    percent: tuple[bool, ...]
    raw: str
    form: str
    minus: bool = False
    follows: str = ""

    @property
    def written(self) -> str:
        """What Math-Verify keeps as text beside the value."""
        return " and ".join(self.texts) if None not in _values(self) else self.texts[0]


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
        for candidate in _candidates(text[-LONGEST_TEXT:]):
            tried.append(candidate)
            if value(candidate) is not None:
                break
    except Exception:  # noqa: BLE001  whatever a candidate raises (digits of other scripts do) ends Math-Verify's search
        return None
    if not tried:
        return None
    read = tried.pop() if value(tried[-1]) is not None else None
    every = (*tried, read) if read else tuple(tried)
    written = next((one.written for one in every if one.written), "")
    return Found(read, written, every[0].raw, tuple(tried))


def first(text: str) -> Candidate | None:
    """The first candidate, without reading it."""
    try:
        return next(_candidates(text[-LONGEST_TEXT:]), None)
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


def equal(truth: str, found: Found | None, rules: Rules) -> bool:
    """Whether what was found equals the truth, by value or as text."""
    return found is not None and _equal(truth, found.candidate, found.written, rules)


def equal_as_complex(truth: str, found: Found, rules: Rules) -> bool:
    r"""Whether both are equal once both are read as complex. In `5 \cdot i` Math-Verify sees a complex number, in `5i`
    a real variable, and takes one `i` for another than the other."""
    wanted = _of_truth(truth).candidate
    if wanted is None or found.candidate is None or {wanted.form, found.candidate.form} != {"latex"}:
        return False
    texts = (*wanted.texts, *found.candidate.texts)
    if len(texts) != 2 or _is_complex(texts[0]) == _is_complex(texts[1]) or max(map(len, texts)) > LONGEST_ANSWER:
        return False
    mine, theirs = (_read_latex(text, True) for text in texts)
    return mine is not None and theirs is not None and _compare(mine, theirs, rules)


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


@lru_cache(maxsize=KEPT)
def _equal(truth: str, candidate: Candidate | None, written: str, rules: Rules) -> bool:
    return alike(_of_truth(truth), Found(candidate, written, "", ()), rules)


def alike(truth: Found | None, answer: Found | None, rules: Rules) -> bool:
    """Math-Verify's `verify` of two parsed texts: equal values or equal texts."""
    if truth is None or answer is None:
        return False
    mine, theirs = (value(one.candidate) if one.candidate else None for one in (truth, answer))
    if mine is not None and theirs is not None and _compare(mine, theirs, rules):
        return True
    return bool(truth.written.strip()) and truth.written.strip() == answer.written.strip()


def _compare(truth: Any, answer: Any, rules: Rules) -> bool:
    import sympy
    from math_verify.grader import sympy_expr_eq

    try:
        if truth == answer:
            return truth not in (sympy.nan, sympy.zoo)
        if max(_digits(truth), _digits(answer)) > MOST_DIGITS or _apart(truth, answer, rules.precision):
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
    if not all(isinstance(one, sympy.Expr) and not isinstance(one, sympy.Symbol) for one in (truth, answer)):
        return False
    if any(one.has(sympy.UnevaluatedExpr) for one in (truth, answer)):
        return False
    names = sorted(truth.free_symbols | answer.free_symbols, key=lambda name: name.name)
    point = {name: sympy.Rational(113 + 30 * place, 97) for place, name in enumerate(names)}
    try:
        first, second = (complex(one.doit().subs(point).evalf()) for one in (truth, answer))
    except (TypeError, ValueError, ArithmeticError, AttributeError):
        return False
    scale = max(1.0, abs(first), abs(second))
    return math.isfinite(scale) and abs(first - second) > max(1e-6, 2 * 10.0**-precision) * scale


@lru_cache(maxsize=1)
def _patterns() -> tuple[tuple[tuple[re.Pattern[str], Any], ...], ...]:
    """Math-Verify's default patterns in its order, those of equal priority together."""
    from math_verify.parser import ExprExtractionConfig, LatexExtractionConfig, get_extraction_regexes
    from sympy.utilities.exceptions import SymPyDeprecationWarning

    # Math-Verify takes percentages of sets, which SymPy will refuse one day: nothing that a user could mend.
    warnings.filterwarnings("ignore", category=SymPyDeprecationWarning)
    by_target = get_extraction_regexes([LatexExtractionConfig(), ExprExtractionConfig()])
    every = [(pattern, target, priority) for patterns, target in by_target for pattern, priority in patterns]
    every.sort(key=lambda row: row[2])
    return tuple(tuple(row[:2] for row in rows) for _, rows in groupby(every, key=lambda row: row[2]))


def _candidates(text: str) -> Iterator[Candidate]:
    """The candidates in the order in which Math-Verify tries them: by priority, from the right."""
    for patterns in _patterns():
        matches = [(match, target) for pattern, target in patterns for match in pattern.finditer(text)]
        matches.sort(key=lambda pair: (pair[0].end(), -pair[0].start()), reverse=True)
        for match, target in matches:
            yield _in_latex(match, target) if hasattr(target, "boxed_match_priority") else _in_plain_text(match)


def _in_latex(match: re.Match[str], target: Any) -> Candidate:
    from latex2sympy2_extended.math_normalization import extract_boxed_content, normalize_latex

    groups = match.groupdict()
    texts, percent, raw = [], [], []
    for prefix in ("first", *(f"next{place}" for place in range(1, 6))):
        name = next((name for name, text in groups.items() if name.startswith(f"{prefix}_latex") and text), None)
        if name is None:
            continue
        config = target.normalization_config
        boxes = "last" if name.endswith("latexBoxed") else config.boxed
        raw.append(extract_boxed_content(groups[name], mode=boxes))
        texts.append(normalize_latex(raw[-1], config=_unboxed(config)))
        percent.append(bool(groups.get(f"{prefix}_percent")))
    return Candidate(tuple(texts), tuple(percent), " and ".join(raw), "latex", follows=_follows(match))


@lru_cache(maxsize=4)
def _unboxed(config: Any) -> Any:
    from dataclasses import replace

    return replace(config, boxed="none")


def _in_plain_text(match: re.Match[str]) -> Candidate:
    groups = match.groupdict()
    whole = next((text for name, text in groups.items() if name.startswith("integer") and text), "")
    decimal = next((text for name, text in groups.items() if name.startswith("decimal") and text), "")
    percent = bool(groups.get("percent"))
    if whole or decimal:
        text = (whole.translate(_GROUPING).lstrip("0") or "0") + decimal.replace(",", ".")
        at = match.start(next(name for name in groups if name.startswith(("integer", "decimal")) and groups[name]))
        minus = bool(_MINUS.search(match.string[max(0, at - 20) : at]))
        return Candidate((text,), (percent,), text + "%" * percent, "number", minus, _follows(match))
    text = groups.get("expr") or ""
    return Candidate((text,), (False,), text, "expression")


def _follows(match: re.Match[str]) -> str:
    word = _NEXT_WORD.match(match.string, match.end())
    return word.group() if word else ""


_NEXT_WORD = re.compile(r" ?(?:(?:square|cubic|sq\.?) )?[A-Za-z°]{1,20}")
_MINUS = re.compile(r"(?:[=(]|\b(?:is|are|be|equals|to)) ?[-−–] ?\Z")
_GROUPING = str.maketrans("", "", ", ")


def value(candidate: Candidate) -> Any:
    """A candidate as SymPy's object, or None where it cannot be read. Several ("2 and 3") are a set of all elements."""
    from latex2sympy2_extended.sets import FiniteSet

    values = _values(candidate)
    if len(values) == 1 or None in values:
        return values[0]
    return FiniteSet(*(part for one in values for part in (one.args if isinstance(one, FiniteSet) else (one,))))


def _values(candidate: Candidate) -> list[Any]:
    if sum(map(len, candidate.texts)) > LONGEST_ANSWER:
        return [None] * len(candidate.texts)
    read: Callable[[str], Any] = {"latex": _read_latex, "number": _read_number, "expression": _read_expression}[
        candidate.form
    ]  # type: ignore[assignment]
    values = [read(text) for text in candidate.texts]
    pairs = zip(values, candidate.percent, strict=True)
    return [_percentage(one) if percent else one for one, percent in pairs]


def _percentage(one: Any) -> Any:
    from latex2sympy2_extended import convert_to_pct

    try:
        return None if one is None else convert_to_pct(one)
    except TypeError:  # percent of an equation
        return None


@lru_cache(maxsize=KEPT)
def _read_latex(text: str, is_complex: bool | None = None) -> Any:
    """The value of `text`, else of what stands behind the last of several equals signs. Variables are real unless the
    text (or `is_complex`) says that numbers are complex."""
    from math_verify.parser import get_last_eq

    if _EVALUATED.search(text) or _depth(text) > DEEPEST:
        return None
    last = get_last_eq(text)
    for part in (text, last) if last else (text,):
        if (read := _parsed(part, _is_complex(part) if is_complex is None else is_complex)) is not None:
            return read
    return None


def _depth(text: str) -> int:
    depth = deepest = 0
    for bracket in _BRACKET.findall(text):
        depth = depth + 1 if bracket in "([{" else max(0, depth - 1)
        deepest = max(deepest, depth)
    return deepest


def _is_complex(text: str) -> bool:
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


def _digits(expression: Any) -> float:
    """An upper bound of the decimal digits of the numbers that working out `expression` makes."""
    import sympy

    if isinstance(expression, sympy.Rational):
        return math.log10(max(abs(int(expression.p)), int(expression.q)))
    if isinstance(expression, sympy.Float):
        _, _, exponent, bits = expression._mpf_
        return max(0.0, float(exponent + bits) * math.log10(2))
    if isinstance(expression, sympy.Sum | sympy.Product):
        ends = [end for limit in expression.limits for end in limit[1:]]
        if any(end.is_number and _digits(end) > math.log10(MOST_TERMS) for end in ends):
            return math.inf
    parts = [_digits(part) for part in expression.args] if hasattr(expression, "args") else []
    if isinstance(expression, sympy.Add):
        return max(parts) + math.log10(len(parts))
    if isinstance(expression, sympy.Pow) and not expression.exp.free_symbols:
        return max(parts[0] * _power(parts[1]), *parts)
    if isinstance(expression, sympy.factorial | sympy.gamma) and not expression.args[0].free_symbols:
        return math.lgamma(_power(parts[0]) + 2) if parts[0] <= 6 else math.inf
    return sum(parts)


def _power(digits: float) -> float:
    return 10.0**digits if digits < 300 else math.inf
