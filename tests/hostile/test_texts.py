"""No text hangs a verifier beyond its deadline, breaks the pool, or earns a reward it should not."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aftertrain.api_evaluation import build_verifier
from aftertrain.core.records import VerificationCase
from aftertrain.core.verification import PoolSettings, VerifierPool, isolate
from tests.hostile.texts import CASES, MUST, NOISE, Case, written

DEADLINE = 5.0
"""Seconds; those of `regex`, whose patterns are the user's, are fewer."""
GRACE = 1.0


@pytest.fixture(scope="module")
def pool() -> Iterator[VerifierPool]:
    with VerifierPool(PoolSettings(workers=1, deadline=DEADLINE, memory_gib=3.0)) as pool:
        yield pool


def _wrong_answers() -> list[Case]:
    """Every noise against every verifier that needs no model, with a ground truth that it does not hold."""
    asked: dict[str, Any] = {"gsm8k": "42", "math": "42", "f1": "black cat", "triviaqa": ["Paris"], "string": "Paris"}
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


def test_there_are_enough_and_none_twice() -> None:
    ids = [case.id for case in [*CASES, *_wrong_answers()]]
    assert [name for name, count in Counter(ids).items() if count > 1] == []
    assert len(ids) >= 200
