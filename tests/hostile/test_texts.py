"""No text hangs a verifier beyond its deadline, breaks the pool, or earns a reward it should not."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aftertrain.api.evaluation import build_verifier
from aftertrain.core.records import VerificationCase
from aftertrain.core.verification import PoolSettings, VerifierPool, isolate
from aftertrain.registry.discovery import installed
from tests.hostile.texts import CASES, MUST, NOISE, NULL, SURROGATE, TO_LEFT, ZERO_WIDTH, Case, written

DEADLINE = 5.0
"""Seconds; those of `regex`, whose patterns are the user's, are fewer."""
GRACE = 1.0


@pytest.fixture(scope="module")
def pool() -> Iterator[VerifierPool]:
    with VerifierPool(PoolSettings(workers=1, timeout=DEADLINE, memory_gib=3.0)) as pool:
        yield pool


def _wrong_answers() -> list[Case]:
    """Every noise against every verifier that needs no model, with a ground truth that it does not hold."""
    postscript = {"instruction_id_list": ["detectable_content:postscript"], "kwargs": [{"postscript_marker": "P.S."}]}
    numbers = {"instruction_id_list": ["count:numbers"], "kwargs": [{"N": 3}]}
    asked: dict[str, Any] = {"gsm8k": "42", "math": "42", "f1": "black cat", "triviaqa": ["Paris"], "string": "Paris"}
    asked |= {"minerva": "42"}
    asked |= {"ifeval": postscript, "ifbench": numbers}
    return [
        Case(name, verifier, "not right", text, truth)
        for verifier, truth in asked.items()
        for name, text in NOISE.items()
    ]


@pytest.mark.parametrize("case", [*CASES, *_wrong_answers()], ids=lambda case: case.id)
def test_a_hostile_case_gets_its_verdict_in_time(pool: VerifierPool, case: Case) -> None:
    verifier = isolate(build_verifier(case.verifier, case.settings), pool)
    plain = VerificationCase("plain", "", "", case.truth)
    verifier.verify([plain])  # starting a process and importing libraries is not the case's time
    hostile = VerificationCase("hostile", case.prompt, written(case.response), case.truth)
    started = time.monotonic()
    (verdict,) = verifier.verify([hostile])
    assert time.monotonic() - started < DEADLINE + GRACE
    assert MUST[case.must](verdict), f"it must be {case.must!r} and is {verdict}"


QUOTED = {
    "instruction_id_list": ["startend:quotation", "language:response_language"],
    "kwargs": [{}, {"language": "en"}],
}
OVERLAP = {
    "instruction_id_list": ["ratio:overlap", "words:vowel"],
    "kwargs": [{"percentage": 20, "reference_text": "A word."}, {}],
}
PARTS = [{"verifier": {"use": "math"}}, {"verifier": {"use": "gsm8k", "extract": "flexible"}}]
FUZZED: dict[str, tuple[dict[str, Any], Any]] = {
    "gsm8k": ({}, "42"),
    "math": ({}, r"\frac{1}{2}"),
    "minerva": ({}, r"\frac{1}{2}"),
    "string": ({}, "Paris"),
    "f1": ({}, "black cat"),
    "triviaqa": ({}, ["Paris"]),
    "multiple_choice": ({}, "B"),
    "format": ({}, None),
    "refusal_by_words": ({}, "response_refusal"),
    "regex": ({"pattern": r"[Aa]nswer(?: is)?\W*(\S+)"}, "B"),
    "ifeval": ({"mode": "loose"}, QUOTED),
    "ifbench": ({"mode": "loose"}, OVERLAP),
    "code": ({"timeout": 2.0}, {"inputs": ["1 2\n"], "outputs": ["3\n"]}),
    "weighted": ({"parts": PARTS}, "42"),
    "all": ({"parts": PARTS}, "42"),
    "any": ({"parts": PARTS}, "42"),
    "first": ({"parts": PARTS}, "42"),
    "by_source": ({"routes": {"trivia": {"use": "triviaqa"}}}, ["Paris"]),
}
"""Settings and a ground truth for every verifier that needs no model."""
ASK_A_MODEL = {"judge", "aspects", "extract", "pairwise", "wildguard"}
RUN_A_STRANGERS = {"trl_reward"}
"""Their verdict is what a function of the user's returns: see tests/plugins/verifiers."""
WORDS = r"""
42 - . , $ % #### \boxed{ { } \frac \text{ ^ _ ** ( ) *** ``` ```python <answer> </answer> The answer is A B P.S. << >>
* ! é 10^9 word Word. " ' {"a":
"""
PIECES = st.sampled_from((*WORDS.split(), "\n", "\n\n", " ", "#### ", ZERO_WIDTH, TO_LEFT, SURROGATE, NULL))
FUZZ = st.one_of(
    st.text(), st.lists(PIECES, max_size=60).map("".join), st.lists(st.text(max_size=4), max_size=40).map("".join)
)


@pytest.mark.parametrize("name", FUZZED)
@settings(max_examples=40)
@given(texts=st.lists(FUZZ, min_size=1, max_size=8))
def test_any_text_gets_a_verdict(pool: VerifierPool, name: str, texts: list[str]) -> None:
    """One per text, none from a crash, and the same when asked again."""
    chosen, truth = FUZZED[name]
    verifier = isolate(build_verifier(name, chosen), pool)
    cases = [VerificationCase(str(number), "Why?", text, truth, "trivia") for number, text in enumerate(texts)]
    verdicts = verifier.verify(cases)
    assert len(verdicts) == len(cases)
    assert {verdict.outcome for verdict in verdicts} <= {"scored", "unparsable", "timeout"}
    again = verifier.verify(cases[::-1])[::-1]
    assert [one for one in again if one.outcome != "timeout"] == [one for one in verdicts if one.outcome != "timeout"]


def test_every_verifier_meets_any_text() -> None:
    ours = {row.name for row in installed().registrations("verifier") if row.origin.built_in}
    assert ours == set(FUZZED) | ASK_A_MODEL | RUN_A_STRANGERS


def test_there_are_enough_and_none_twice() -> None:
    ids = [case.id for case in [*CASES, *_wrong_answers()]]
    assert [name for name, count in Counter(ids).items() if count > 1] == []
    assert len(ids) >= 200
