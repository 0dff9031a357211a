"""Which letter a reply chooses, against OLMES's own patterns on texts of any form, and on hostile ones."""

from __future__ import annotations

import re
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aftertrain.plugins.unseen.reading import Cascade, Found, parenthesised, read, stated

PIECES = (
    "Therefore, the answer is (B)", "Therefore, the answer is B", "the answer is", "Answer is: (c", "Answer:",
    "answer: ", "Answer: Answer:", "(D)", "( E)", "The correct answer is: ", "A", "B", " C ", "J", "Go", "I think",
    "\n", " ", ".", "é",
)  # fmt: skip
TEXTS = st.lists(st.sampled_from(PIECES), max_size=12).map("".join)


def olmes(text: str, letters: str, looser: tuple[tuple[str, bool], ...]) -> tuple[str, float]:
    """The rules as OLMES's code has them: (pattern, last match or first), and how each grade comes about."""
    if asked := re.findall(rf"Therefore, the answer is \(([{letters}])\)", text):
        return asked[-1], 1.0
    for pattern, last in looser:
        if found := re.findall(pattern, text) if last else [m.group(1)] if (m := re.search(pattern, text)) else []:
            return found[-1], 0.5
    rest = re.findall(rf".*\b([{letters}])\b", text)
    return (rest[-1] if rest else ""), 0.0


def answer(cascade: Cascade, text: str) -> tuple[str, float]:
    found = read(cascade, text)
    return (found.letter, found.form) if found else ("", 0.0)


@settings(max_examples=60)
@given(TEXTS)
def test_mmlu_pro_reads_as_olmes(text: str) -> None:
    looser = ((r"(?i)answer is:?\s*\(?([A-J])\)?", False), (r".*[aA]nswer:\s*([A-J])", False))
    letter, form = olmes(text, "A-J", looser)
    assert answer(stated("A-J"), text) == (letter.upper(), form)


@settings(max_examples=60)
@given(TEXTS)
def test_gpqa_reads_as_olmes(text: str) -> None:
    looser = ((r"\(([A-D])\)", True), (r"(?<=The correct answer is: )([A-D])", False))
    assert answer(parenthesised("A-D"), text) == olmes(text, "A-D", looser)


@pytest.mark.parametrize(
    ("text", "step"),
    [
        ("Not (A). Therefore, the answer is (B)", "as asked"),
        ("the answer is b, Answer: C", "answer is"),
        ("Answer: A or Answer: B\nAnswer: C", "answer:"),
        ("maybe A, maybe B", "last letter"),
    ],
)
def test_the_step_is_named(text: str, step: str) -> None:
    assert read(stated("A-J"), text) == Found("B", step, {"as asked": 1.0, "last letter": 0.0}.get(step, 0.5))


@pytest.mark.parametrize(
    ("text", "faulty", "sound"),
    [
        ("The answer is dear to me: C", "D", "C"),
        ("the answer is a guess. Answer: B", "A", "B"),
        ("Answer: Banal. I take C", "B", "C"),
        ("It is E, I think", "I", "E"),
        ("It is E, I'm sure", "I", "E"),
        ("E. A last word", "A", "E"),
        ("the answer is (A) because", "A", "A"),
        ("the answer is I think, unclear", "I", ""),
        ("Therefore, the answer is (I)", "I", "I"),
    ],
)
def test_known_faults_of_the_reference_can_be_left_out(text: str, faulty: str, sound: str) -> None:
    looser = ((r"(?i)answer is:?\s*\(?([A-J])\)?", False), (r".*[aA]nswer:\s*([A-J])", False))
    assert olmes(text, "A-J", looser)[0].upper() == faulty
    assert [answer(stated("A-J", compat=compat), text)[0] for compat in (True, False)] == [faulty, sound]


def test_gpqas_lone_letter_may_be_no_article() -> None:
    assert [answer(parenthesised("A-D", compat=compat), "D. A word")[0] for compat in (True, False)] == ["A", "D"]


@pytest.mark.parametrize("piece", ["Answer: ", "answer is ", "x", "Therefore, the answer is (", " ", "\n", "(A", "𝒜"])
def test_any_text_is_read_in_linear_time(piece: str) -> None:
    """OLMES's `.*answer:` tries each place of a long line anew: quadratic, and such a text takes minutes."""
    text, begun = piece * (300_000 // len(piece)), time.perf_counter()
    for cascade in (form("A-J", compat=compat) for form in (stated, parenthesised) for compat in (True, False)):
        read(cascade, text)
    assert time.perf_counter() - begun < 5
