"""Where Math-Verify looks for an answer: the pieces of a text that may be one, in the order in which it tries them."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import groupby
from typing import Any


@dataclass(frozen=True, slots=True)
class Candidate:
    """A piece of text that may be the answer.

    Attributes:
        texts: one per expression, as Math-Verify normalises them.
        percent: whether a percent sign follows each.
        raw: as it was written, without the box.
        form: `latex`, `number` or `expression` (in plain text).
        minus: a minus sign and a space stand before a number in plain text ("is - 5"); Math-Verify does not see it.
        follows: the word, sign or base behind it, or the currency before it, which may be a unit.
        part: a power or fraction is attached to a number in plain text; Math-Verify does not see it.
    """

    texts: tuple[str, ...]
    percent: tuple[bool, ...]
    raw: str
    form: str
    minus: bool = False
    follows: str = ""
    part: bool = False


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


def candidates(text: str) -> Iterator[Candidate]:
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
        before = "".join(_CURRENCY.findall(match.string[max(0, at - 3) : at]))
        part = bool(_ATTACHED.match(match.string, match.end()))
        return Candidate((text,), (percent,), text + "%" * percent, "number", minus, _follows(match) + before, part)
    text = groups.get("expr") or ""
    return Candidate((text,), (False,), text, "expression")


def _follows(match: re.Match[str]) -> str:
    word = _NEXT_WORD.match(match.string, match.end())
    return word.group() if word else ""


_NEXT_WORD = re.compile(
    r" ?(?:(?:square|cubic|sq\.?) )?[A-Za-z°]{1,20}|\\%|\s?\^\s?\{?\s?\\circ|_\{?[0-9A-Za-z]{1,8}\}?"
)
_MINUS = re.compile(r"(?:[=(]|\b(?:is|are|be|equals|to)) ?[-−–] ?\Z")
_CURRENCY = re.compile(r"[€£¥₹₩₽]|\\\$")
_ATTACHED = re.compile(r"\s?\^(?!\s?\{?\s?\\circ)|\\[dt]?frac|['~][0-9]|\{,\}\s?[0-9]|\\[,;:!> ][0-9]")
_GROUPING = str.maketrans("", "", ", ")
