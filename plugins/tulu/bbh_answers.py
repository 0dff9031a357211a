"""How BBH's answers are read from a reply (OLMES `cot-v1` and `cot`), in linear time."""

from __future__ import annotations

import re
import string
from functools import cache

from aftertrain.plugins.tulu.bbh_tasks import LETTERED, TASKS

_PUNCTUATION = str.maketrans("", "", string.punctuation)
_STRICT = re.compile(r"the answer is (.+)")
_OPENINGS = (re.compile("(?i)answer:"), re.compile(r"(?i)answer\b"))
_LONE_LETTER = re.compile(r"\b([A-Z])\b")


def cascade(text: str, task: str, *, compat: bool = True) -> tuple[str, bool]:
    """The answer by the first of six ways that finds one, each time its last place; and whether it was the first way.

    "So the answer is X", "answer is X", "answer: … X" and "answer … X" within a line, X, and X in either case, X being
    what an answer of the task looks like. The reference means to look for a lone capital letter before the last way,
    where choices are lettered, and never finds one (its pattern has backspaces for word borders).

    >>> cascade("So the answer is (B).", "snarks"), cascade("answer: we get 3, then 4", "object_counting")
    (('(B)', True), ('3', False))
    """
    answer = TASKS[task][1]
    for way, pattern in enumerate(_said(answer)):
        if found := pattern.findall(text):
            return found[-1].strip(), way == 0
    for opening in _OPENINGS:
        if (last := _behind(opening, answer, text)) is not None:
            return last.strip(), False
    exactly, in_any_case = _anywhere(answer)
    if found := exactly.findall(text):
        return found[-1].strip(), False
    if not compat and task in LETTERED and (found := _LONE_LETTER.findall(text)):
        return f"({found[-1]})", False
    if found := in_any_case.findall(text):
        return found[-1].strip(), False
    return "", False


@cache
def _said(answer: str) -> tuple[re.Pattern[str], ...]:
    return tuple(re.compile(f"(?i){words} ({answer})") for words in ("so the answer is", "answer is"))


@cache
def _anywhere(answer: str) -> tuple[re.Pattern[str], re.Pattern[str]]:
    return re.compile(answer), re.compile(answer, re.IGNORECASE)


def _behind(opening: re.Pattern[str], answer: str, text: str) -> str | None:
    """The last of all that stand behind an opening in its line, as `opening.*?(answer)` finds them."""
    pattern, last, place = _anywhere(answer)[1], None, 0
    while opened := opening.search(text, place):
        end = text.find("\n", opened.end())
        end = len(text) if end < 0 else end
        if found := pattern.search(text, opened.end(), end):
            last, place = found[0], found.end()
        else:
            place = end  # no later opening of this line has one either
    return last


def strict(text: str, *, compat: bool = True) -> str:
    """What follows the first "the answer is " in its line, without full stops; the reference drops the last character.

    >>> strict("So the answer is 42."), strict("So the answer is 42"), strict("So the answer is 42", compat=False)
    ('42', '4', '42')
    """
    found = _STRICT.search(text)
    return (found[1][:-1] if compat else found[1]).strip(".").strip() if found else ""


def same(answer: str, truth: str, task: str) -> bool:
    """Equal but for case and, where the answer is not made of it, punctuation."""
    answer, truth = answer.lower(), truth.lower()
    if task == "dyck_languages":
        return answer == truth
    return answer.translate(_PUNCTUATION) == truth.translate(_PUNCTUATION)
