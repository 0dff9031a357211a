"""Which letter a reply chooses: one cascade of named steps for each protocol, read as OLMES reads.

A step is a rule of OLMES's, in an equal form that reads any text in linear time. Its name is a score's `detail`, so
that a table shows by which way answers were found; its `form` is OLMES's `answer_format_correct`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Found:
    """A letter, upper case, the step that found it, and how near that is to the form that was asked for."""

    letter: str
    step: str
    form: float


@dataclass(frozen=True, slots=True)
class Step:
    """A named rule: the letter it finds in a text, or None."""

    name: str
    form: float
    find: Callable[[str], str | None]


WHOLE = r"\b(?!['’])(?!(?<=I)\s+[a-z])"
"""Behind a letter, without the reference's faults: no more of a word, and I is not who speaks ("I think", "I'm")."""
NO_WORD = r"(?!(?<=A)\s+[a-z])"
"""And A, where no sentence announced a letter, no article ("A word")."""
Cascade = tuple[Step, ...]
"""Steps in the order in which they are tried."""


def read(cascade: Cascade, text: str) -> Found | None:
    """What the first step that finds a letter finds."""
    for step in cascade:
        if (letter := step.find(text)) is not None:
            return Found(letter.upper(), step.name, step.form)
    return None


def stated(letters: str, *, compat: bool = True) -> Cascade:
    """MMLU-Pro's cascade for the letters of a class such as `A-J`.

    With `compat` letters are also those with which a word begins, as in OLMES: "answer is dear" names D.
    """
    end = "" if compat else WHOLE
    begin = rf"(?i)answer is:?\s*\(?([{letters}])" if compat else rf"(?i:answer is):?\s*\(?([{letters}]){end}"
    return (
        _asked_for(letters),
        Step("answer is", 0.5, _first(begin)),
        Step("answer:", 0.5, _last_of_first_line(rf"[aA](?=nswer:\s*([{letters}]){end})")),
        _alone(letters, compat=compat),
    )


def parenthesised(letters: str, *, compat: bool = True) -> Cascade:
    """GPQA's cascade: any letter in parentheses comes before a sentence that states one."""
    end = "" if compat else WHOLE
    return (
        _asked_for(letters),
        Step("in parentheses", 0.5, _last(rf"\(([{letters}])\)")),
        Step("correct answer is", 0.5, _first(rf"The correct answer is: ([{letters}]){end}")),
        _alone(letters, compat=compat),
    )


def _asked_for(letters: str) -> Step:
    return Step("as asked", 1.0, _last(rf"Therefore, the answer is \(([{letters}])\)"))


def _alone(letters: str, *, compat: bool) -> Step:
    return Step("last letter", 0.0, _last(rf"\b([{letters}])" + (r"\b" if compat else WHOLE + NO_WORD)))


def _first(pattern: str) -> Callable[[str], str | None]:
    compiled = re.compile(pattern)

    def find(text: str) -> str | None:
        match = compiled.search(text)
        return match.group(1) if match else None

    return find


def _last(pattern: str) -> Callable[[str], str | None]:
    compiled = re.compile(pattern)

    def find(text: str) -> str | None:
        letter = None
        for match in compiled.finditer(text):
            letter = match.group(1)
        return letter

    return find


def _last_of_first_line(pattern: str) -> Callable[[str], str | None]:
    """The last match that begins on the first line on which one does: what a greedy `.*` before the pattern finds."""
    compiled = re.compile(pattern)

    def find(text: str) -> str | None:
        letter = None
        for match in compiled.finditer(text):
            if letter is None:
                line_end = text.find("\n", match.start())
            elif 0 <= line_end < match.start():
                break
            letter = match.group(1)
        return letter

    return find
