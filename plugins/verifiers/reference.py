r"""The ground truth of `math`: the reference answer's LaTeX, found where it is wrapped, refused where it is a solution.

A whole box or formula is its inside, a solution with a single box that stands for the answer is that box. Text that
solves the problem in words has no place that is the answer for certain, and would be paid at random.
"""

from __future__ import annotations

import re

from aftertrain.core.errors import AftertrainError
from aftertrain.core.records import JSON
from aftertrain.plugins.verifiers.extraction import boxes, phrase

_LARGEST = 10**1000
"""Numbers beyond are no ground truth: infinity, NaN, and whole numbers that Python refuses to write."""
SHOWN = 80
MARK = "#### "

_BOX = re.compile(r"\\f?boxed")
_SIMPLE_BOX = re.compile(r"\\boxed\{([^{}]*)\}")
_WRAPPED = re.compile(
    r"\A\s*(?:\$\$?([^$]*)\$\$?|\\\(((?:(?!\\\)).)*)\\\)|\\\[((?:(?!\\\]).)*)\\\])\s*\.?\s*\Z", re.DOTALL
)
_SIGN_BEFORE = re.compile(r"(?:[-+−*/^_0-9]|(?<!\\)[({\[])\s?\Z|\\(?:cdot|times|sqrt|frac|not|pm|mp|text)\s?\{?\s?\Z")
_SIGN_AFTER = re.compile(
    r"\s?(?:[-+*/^_!0-9)}\]]|\\(?:cdot|times|pm|cup|cap)(?![A-Za-z])|\\\\(?!\s*\\end)|\$?\s*(?:and|or)\b"
    r"|\\(?:text|mbox|mathrm)\s?\{\s*(?:and|or|hundred|thousand|million|billion|dozen)\b)"
)
_FORMULA = re.compile(r"\$[^$]+\$|\\\(|\\\[|\\begin\{(?:align|equation|gather)")
_COMMAND = re.compile(r"\\(?:text|mbox|mathrm|textbf)\s?\{[^{}]*\}|\\[A-Za-z]+")
_WORD = re.compile(r"[A-Za-z]{2,}")
_MOST_WORDS = 5
"""Words around a formula in an answer such as `between $3$ and $4$`."""
_REASONING = re.compile(
    r"\b(?:therefore|thus|hence|because|since|we (?:have|get|find|add|see|know|obtain|can|note|need|first)"
    r"|the (?:final )?answer (?:is|must)|it follows|so the|let (?:us|\$|[a-z]\b))",
    re.IGNORECASE,
)
_SENTENCES = re.compile(r"[A-Za-z0-9)}$]\.\s+(?:[A-Z][a-z]|[$\\])")


def reference(truth: JSON) -> str:
    """The reference answer's text.

    Raises:
        AftertrainError: the ground truth is of another kind, blank, or a whole solution.
    """
    if not isinstance(truth, str):
        if isinstance(truth, bool) or not isinstance(truth, int | float) or not abs(truth) < _LARGEST:
            raise _wrong(f"a {type(truth).__name__}")
        return str(truth)
    if not truth.strip():
        raise _wrong("blank")
    if MARK in truth:
        truth = truth[truth.rfind(MARK) + len(MARK) :].strip()
        if not truth:
            raise _wrong("blank behind its last '####'")
    return _answer_of(truth)


def _answer_of(truth: str) -> str:
    wrapped = _WRAPPED.match(truth)
    inside = next((part for part in wrapped.groups() if part is not None), "") if wrapped else truth
    if "boxed" in inside and _BOX.search(inside):
        return _boxed_answer(inside)
    if (sentence := phrase(truth)) is not None and sentence.strip("$ "):
        return sentence.strip("$ ")
    if wrapped and inside.strip():
        return inside.strip()
    if _is_solution(truth):
        raise _wrong(f"a whole solution: {truth[:SHOWN]!r}; give its answer alone")
    return truth


def _boxed_answer(text: str) -> str:
    """The inside of the only box, of equal boxes, or the list that the boxes make."""
    run = boxes(text)
    if run and len(_BOX.findall(text)) == len(run):
        inside = list(dict.fromkeys(box.inside.strip() for box in run))
        if all(inside) and _stands_alone(text, run[0].start, run[-1].end):
            return inside[0] if len(inside) == 1 else ", ".join(box.named.strip() for box in run)
    repeated = list(_SIMPLE_BOX.finditer(text))
    same = {box[1].strip() for box in repeated}
    every = len(repeated) == len(_BOX.findall(text))
    if (
        len(same) == 1
        and same != {""}
        and every
        and all(_stands_alone(text, box.start(), box.end()) for box in repeated)
    ):
        return str(same.pop())
    raise _wrong(f"a text of which no one box is the answer: {text[:SHOWN]!r}; give the answer alone")


def _stands_alone(text: str, start: int, end: int) -> bool:
    """Whether no sign or operation before or behind makes the box a part of the answer."""
    return not _SIGN_BEFORE.search(text, max(0, start - 40), start) and not _SIGN_AFTER.match(text, end)


def _is_solution(truth: str) -> bool:
    """Whether the text argues: sentences, words of reasoning, or formulas among more words than an answer has."""
    words = len(_WORD.findall(_COMMAND.sub(" ", truth)))
    if words < 3:
        return False
    if _SENTENCES.search(truth) or (_REASONING.search(truth) and re.search(r"[0-9=$\\]", truth)):
        return True
    return words > _MOST_WORDS and bool(_FORMULA.search(truth) or "=" in truth)


def _wrong(what: str) -> AftertrainError:
    return AftertrainError(f"the ground truth must be an answer's text or a number of moderate size, not {what}")
