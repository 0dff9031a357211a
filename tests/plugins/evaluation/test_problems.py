"""The task `problems`: which checks are judged, and what a verdict becomes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from aftertrain.core.errors import DataError
from aftertrain.core.records import Check, Completion, Conversation, Message, Problem, Verdict, VerificationCase
from aftertrain.core.settings import Settings, Use
from aftertrain.core.verifier import Verifier
from aftertrain.plugins.evaluation.problems import Problems
from aftertrain.plugins.evaluation.settings import ProblemsSettings


def reply(text: str) -> Completion:
    return Completion("1", (1,), (2,), (0.0,), (0,), "stop", text)


def over(builder: Any, *records: Any, **settings: Any) -> Problems:
    class Given:
        def __init__(self, settings: Settings, builder: Any) -> None: ...
        def __iter__(self) -> Any:
            return iter(records)

        def fingerprint(self) -> str:
            return str(len(records))

    data = builder.use(Given, "dataset", "given", Settings())
    return Problems(ProblemsSettings(data=data, verifier=Use("verifier", "equal", Settings()), **settings), builder)


def problem(*checks: Check) -> Problem:
    return Problem("p", (Message("system", "Be brief."), Message("user", "1 + 1 =")), checks, "s")


def test_a_reply_is_judged(builder: Any) -> None:
    task = over(builder, problem(Check("equal", "2"), Check("other", "9")), prefill="It is")
    (instance,) = task.instances()
    assert instance.messages[-1] == Message("assistant", "It is")
    assert instance.target == ["2"]
    right, wrong, none = (task.score(instance, reply(text)) for text in (" 2", " 3", " two"))
    assert right.metrics == {"exact_match": 1.0, "format": 1.0}
    assert wrong.metrics == {"exact_match": 0.0, "format": 1.0}
    assert none.metrics == {"exact_match": 0.0, "format": 0.0}
    assert (none.outcome, none.detail) == ("unparsable", "no number")


def test_all_checks_of_the_name_must_pass(builder: Any) -> None:
    task = over(builder, problem(Check("equal", "2"), Check("equal", "3")))
    (instance,) = task.instances()
    assert task.score(instance, reply("2")).metrics["exact_match"] == 0.0


def test_verdicts_stay_with_their_instances(builder: Any) -> None:
    """Instances with one and two checks, judged in one call of the verifier."""
    calls: list[list[VerificationCase]] = []

    class Recording(Verifier[Settings]):
        isolated = False

        def verify(self, cases: Sequence[VerificationCase]) -> list[Verdict]:
            calls.append(list(cases))
            return [Verdict.scored(float(case.response == case.ground_truth)) for case in cases]

    builder.classes["verifier", "equal"] = Recording
    records = [Problem(str(n), (Message("user", "?"),), (Check("equal", "a"),) * n, "s") for n in (1, 2, 1)]
    task = over(builder, *records)
    instances = task.instances()
    calls.clear()
    found = task.score_all(instances, [reply("a"), reply("b"), reply("a")])
    assert [score.metrics["exact_match"] for score in found] == [1.0, 0.0, 1.0]
    assert [[case.id for case in call] for call in calls] == [["1#0", "2#0", "2#1", "1#0"]]


def test_a_verifier_that_fails_scores_zero_and_says_so(builder: Any) -> None:
    class Failing(Verifier[Settings]):
        isolated = False

        def verify(self, cases: Sequence[VerificationCase]) -> list[Verdict]:
            return [Verdict.timeout("10 s") for _ in cases]

    builder.classes["verifier", "equal"] = Failing
    task = over(builder, problem(Check("equal", "2")))
    score = task.score(task.instances()[0], reply("2"))
    assert (score.outcome, score.detail, score.metrics["exact_match"]) == ("timeout", "10 s", 0.0)


def test_a_ground_truth_that_cannot_be_judged_is_told_before_any_reply(builder: Any) -> None:
    class Reading(Verifier[Settings]):
        isolated = False

        def verify(self, cases: Sequence[VerificationCase]) -> list[Verdict]:
            return [Verdict.scored(1.0) if case.ground_truth == "2" else Verdict.error("no number") for case in cases]

    builder.classes["verifier", "equal"] = Reading
    with pytest.raises(DataError, match=r"1 of 2 ground truths cannot be judged by 'equal'; problem p#1: no number"):
        over(builder, problem(Check("equal", "2"), Check("equal", "two"))).instances()


def test_a_case_names_the_data_set_its_problem_is_from(builder: Any) -> None:
    """Routing by source goes by it."""

    class BySource(Verifier[Settings]):
        isolated = False

        def verify(self, cases: Sequence[VerificationCase]) -> list[Verdict]:
            return [Verdict.scored(float(case.source == "s")) for case in cases]

    builder.classes["verifier", "equal"] = BySource
    task = over(builder, problem(Check("equal", "2")))
    assert task.score(task.instances()[0], reply("2")).metrics["exact_match"] == 1.0


def test_a_problem_without_the_check_is_named(builder: Any) -> None:
    with pytest.raises(DataError, match=r"problem 'p' has no check 'equal' \(it has: math\); choose that verifier"):
        over(builder, problem(Check("math", "2"))).instances()
    (instance,) = over(builder, problem(Check("math", "2")), check="math").instances()
    assert instance.target == ["2"]


def test_other_records_are_refused(builder: Any) -> None:
    with pytest.raises(DataError, match="'given' yields Conversation records; the task 'problems' needs Problem"):
        over(builder, Conversation("c", (), "s")).instances()
    with pytest.raises(DataError, match="'given' has no rows"):
        over(builder).instances()


def test_the_fingerprint_is_of_content_and_rules(builder: Any) -> None:
    first = over(builder, problem(Check("equal", "2"))).fingerprint()
    assert first == over(builder, problem(Check("equal", "2")), name="other").fingerprint()
    assert first != over(builder, problem(Check("equal", "2")), max_new_tokens=3).fingerprint()
    assert first != over(builder).fingerprint()


def test_several_sources_have_a_mean_of_their_means(builder: Any) -> None:
    """A large source would else hide a small one."""
    two = [Problem(f"p{n}", (Message("user", "?"),), (Check("equal", "2"),), source) for n, source in enumerate("ab")]
    task = over(builder, *two)
    assert [instance.group for instance in task.instances()] == ["a", "b"]
    assert [figure.name for figure in task.figures()] == ["exact_match", "format", "exact_match (macro)"]
    assert [figure.name for figure in over(builder, two[0]).figures()] == ["exact_match", "format"]
