"""What a reply to DeepMind Mathematics gives as its answer: the closing sentence, a looser one, else all of it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from aftertrain.plugins.unseen.equality import cleaned

_BEGINS = re.compile(r"Therefore, the final answer is ", re.IGNORECASE)
ENDS = {
    "v3": re.compile(r"\. I hope it is correct.", re.IGNORECASE),
    "v0": re.compile(r". I hope it is correct.", re.IGNORECASE),
}
_LOOSER = re.compile(r"answer is:? *", re.IGNORECASE)
_SENTENCE = re.compile(r"\.(?=\s|$)|\n|$")


@dataclass(frozen=True, slots=True)
class Closing:
    """An answer, the step that found it, and how near that is to the form that was asked for."""

    answer: str
    step: str
    form: float


def closing(text: str, prompt: str) -> Closing:
    """The answer of a reply: of several the last one, without marks around it (`cleaned`).

    >>> closing("Therefore, the final answer is $7.5$. I hope it is correct.", "v3")
    Closing(answer='7.5', step='as asked', form=1.0)
    >>> closing("So the answer is 7.5. Done.", "v3"), closing(" 7.5 ", "v3").step
    (Closing(answer='7.5', step='answer is', form=0.5), 'whole reply')
    """
    answer = None
    for answer in asked_for(text, ENDS[prompt]):  # noqa: B007 - the last one
        pass
    if answer is not None:
        return Closing(cleaned(answer), "as asked", 1.0)
    begins = [match.end() for match in _LOOSER.finditer(text)]
    if begins:
        sentence = _SENTENCE.search(text, begins[-1])
        return Closing(cleaned(text[begins[-1] : sentence.start() if sentence else None]), "answer is", 0.5)
    return Closing(cleaned(text), "whole reply", 0.0)


def asked_for(text: str, ends: re.Pattern[str]) -> Iterator[str]:
    """What stands between beginning and end of each closing sentence that is on one line.

    What `BEGINS(.*?)ENDS` finds, in linear time: the next end is looked for once, not from each beginning anew.
    """
    place, end = 0, ends.search(text)
    while end is not None and (begin := _BEGINS.search(text, place)):
        if end.start() < begin.end():
            end = ends.search(text, begin.end())
            continue
        if text.find("\n", begin.end(), end.start()) < 0:
            yield text[begin.end() : end.start()]
            place = end.end()
        else:
            place = begin.start() + 1
