"""What a verifier promises: pure, picklable, thread-safe, bounded in time, honest about 0.0, and never raising."""

from __future__ import annotations

import pickle
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from aftertrain.core.records import OUTCOMES, Verdict, VerificationCase
from aftertrain.core.verifier import Verifier
from aftertrain.testing.fresh import in_child
from aftertrain.testing.promise import Subject, Unchecked, require

PATIENCE = 30.0
"""Seconds that one hostile text may take, generous for a busy machine."""
ROUNDS, ENOUGH = 4, 10.0
"""How often eight threads judge at once; no further round after so many seconds."""

HOSTILE = (
    "",
    " ",
    "\x00",
    "\n" * 5_000,
    " " * 100_000,
    "9" * 100_000,
    "-" * 50_000,
    "1," * 50_000,
    "3.1.4.1.5",
    "(" * 20_000,
    "[" * 20_000,
    "{" * 20_000,
    "\\boxed{" * 5_000,
    "\\frac{" * 5_000 + "1",
    "$" * 9_999,
    "a" * 50_000 + "!",
    "aA" * 20_000 + "\n",
    "####" * 10_000,
    "#### ",
    "1e999999999",
    "NaN",
    "-inf",
    "1/0",
    "10**10**10",
    "9" * 400 + "!" * 400,
    "٣٤ १२ ４２ Ⅷ ½",
    "\ud800 lone surrogate",
    "\u202e\u200b\ufeff",
    "é" * 10_000,
    "𝟜𝟚",
    "__import__('os')._exit(3)",
    "<answer>",
    '{"answer": [[[',
    "The answer is " * 10_000,
    "%s %d %n {0} {x!r} \\",
    "\r\n\t\v\f",
)
"""Replies that have broken verifiers: empty, huge, deeply nested, slow for regular expressions, no valid Unicode."""


def known_cases_get_their_verdict(subject: Subject) -> None:
    """Each of the plugin's `CASES` gets the value or outcome it should; a true 0.0 is scored 0.0."""
    if not subject.cases:
        raise Unchecked(f"no CASES for {subject.entry.name!r} beside the plugin, as (response, ground truth, value)")
    verdicts = subject.component().verify(_cases(subject))
    for (response, truth, expected), verdict in zip(subject.cases, verdicts, strict=True):
        outcome = verdict.value if verdict.outcome == "scored" else verdict.outcome
        require(outcome == expected, f"{response!r} against {truth!r} is {verdict}, should be {expected!r}")
    values = [expected for _, _, expected in subject.cases]
    require(0.0 in values, "no case has the value 0.0: that a wrong answer is scored, not refused, is unproven")
    require(any(value not in (0.0, *OUTCOMES) for value in values), "no case has a value above 0")


def it_is_pure(subject: Subject) -> None:
    """Equal cases get equal verdicts: again, in a new instance, alone or in a batch, in any order."""
    verifier, cases = subject.component(), _plain_cases(subject)
    first = _verify(verifier, cases)
    require(first == _verify(verifier, cases), "judged twice, verdicts differ")
    require(first == _verify(subject.component(), cases), "a new instance judges differently")
    require(first == [_verify(verifier, [case])[0] for case in cases], "alone and in a batch, verdicts differ")
    require(first == _verify(verifier, cases[::-1])[::-1], "in reversed order, verdicts differ")
    require(verifier.verify([]) == [], "an empty batch does not give an empty list")


def it_is_picklable(subject: Subject) -> None:
    """Out of pickle it gives the same verdicts."""
    verifier, cases = subject.component(), _plain_cases(subject)
    copy = pickle.loads(pickle.dumps(verifier))
    require(_verify(copy, cases) == _verify(verifier, cases), "out of pickle it judges differently")


def it_is_thread_safe(subject: Subject) -> None:
    """Eight threads that share it get the verdicts that one gets; where the machine is busy, some may be time-outs."""
    verifier, cases = subject.component(), _plain_cases(subject)
    alone = _verify(verifier, cases)
    together: list[list[Verdict]] = []
    started = time.monotonic()
    with ThreadPoolExecutor(8) as pool:
        for _ in range(ROUNDS):
            together += pool.map(lambda _: _verify(verifier, cases), range(8))
            if time.monotonic() - started > ENOUGH:
                break
    for verdicts in together:
        for case, single, shared in zip(cases, alone, verdicts, strict=True):
            late = "timeout" in (single.outcome, shared.outcome)
            require(late or single == shared, f"threads that share it get other verdicts: {case.response!r}: {shared}")


def hostile_text_is_judged_in_time(subject: Subject) -> None:
    """No text makes it raise, hang or bring its process down (tried in a process that can be killed)."""
    work = subject.component(), _truths(subject) or ["42"]
    verdicts = in_child(judge_hostile, work, patience=PATIENCE, doing="starting")
    require(len(verdicts) == len(HOSTILE) * len(work[1]), f"{len(verdicts)} verdicts")


def wrong_ground_truth_is_an_error_verdict(subject: Subject) -> None:
    """A ground truth of a type that no data set has is an error verdict that says so."""
    (verdict,) = _verify(subject.component(), [_case(0, "42", b"\x00 not JSON")])
    require(verdict.outcome == "error", f"bytes as ground truth give {verdict}")
    require(verdict.detail, "the error verdict does not say what is wrong")


def good_cases_meet_no_objection(subject: Subject) -> None:
    """Asked before any response is there, it objects to no ground truth that a known case can be scored by."""
    cases = [case for case, (_, _, wanted) in zip(_cases(subject), subject.cases, strict=True) if wanted != "error"]
    objections = subject.component().objections(cases)
    require(len(objections) == len(cases), f"{len(cases)} cases give {len(objections)} objections")
    for case, reason in zip(cases, objections, strict=True):
        require(reason is None, f"objects to the ground truth {case.ground_truth!r}: {reason} (a blank response?)")


def judge_hostile(work: tuple[Any, Sequence[Any]], tell: Callable[[str], None]) -> list[str]:
    """Judge every hostile text against every ground truth; runs in a child process."""
    verifier, truths = work
    outcomes: list[str] = []
    for number, text in enumerate(HOSTILE):
        for truth in truths:
            tell(f"judging hostile text {number} ({_short(text)}) against {truth!r}")
            (verdict,) = _verify(verifier, [_case(number, text, truth)])
            outcomes.append(verdict.outcome)
    return outcomes


def _verify(verifier: Verifier[Any], cases: Sequence[VerificationCase]) -> list[Verdict]:
    verdicts = verifier.verify(cases)
    require(isinstance(verdicts, list) and len(verdicts) == len(cases), f"{len(cases)} cases give {verdicts!r}")
    require(all(isinstance(verdict, Verdict) for verdict in verdicts), f"not all are verdicts: {verdicts!r}")
    return verdicts


def _case(number: int, response: str, truth: Any) -> VerificationCase:
    return VerificationCase(f"case-{number}", "What is asked?", response, truth, "conformance")


def _cases(subject: Subject) -> list[VerificationCase]:
    return [_case(number, response, truth) for number, (response, truth, _) in enumerate(subject.cases)]


def _plain_cases(subject: Subject) -> list[VerificationCase]:
    """The known cases, and short odd texts against each of their ground truths."""
    odd = [text for text in HOSTILE if len(text) < 100]
    more = [_case(1000 + n, text, truth) for truth in _truths(subject) or ["42"] for n, text in enumerate(odd)]
    return [*_cases(subject), *more]


def _truths(subject: Subject) -> list[Any]:
    """The different ground truths of the known cases, at most three."""
    truths: list[Any] = []
    for _, truth, _ in subject.cases:
        if truth not in truths:
            truths.append(truth)
    return truths[:3]


def _short(text: str) -> str:
    return repr(text) if len(text) <= 40 else f"{text[:20]!r}…, {len(text)} characters"
