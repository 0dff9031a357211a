"""An error of judging is no 0: a score is over what has a verdict, with its bounds; no difference is built on it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from aftertrain.cli.evaluate import echo_scores
from aftertrain.core.errors import DataError
from aftertrain.core.eval_task import InstanceScore
from aftertrain.core.events import Difference, ScoreRow
from aftertrain.core.figures import mean
from aftertrain.core.records import Verdict, VerificationCase
from aftertrain.core.settings import Settings, Use
from aftertrain.core.statistics import wilson
from aftertrain.core.verifier import Verifier
from aftertrain.plugins.evaluation.problems import Problems, score_of
from aftertrain.plugins.observers import wording


class Doubtful(Verifier[Settings]):
    """Right for all, but fails on some replies, by the number in the prompt."""

    isolated = False
    errors: Sequence[str] = ()
    timeouts: Sequence[str] = ()
    wrong: Sequence[str] = ()
    answer: str | None = None

    def verify(self, cases: Sequence[VerificationCase]) -> list[Verdict]:
        return [self._one(case) for case in cases]

    def _one(self, case: VerificationCase) -> Verdict:
        if not case.response:
            return Verdict.scored(0.0)
        number = case.prompt.split()[0]
        if number in self.errors:
            return Verdict.error("broken")
        if number in self.timeouts:
            return Verdict.timeout("slow")
        return Verdict.scored(float(number not in self.wrong), self.answer)


@pytest.fixture
def doubtful(builder: Any, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    def choose(errors: Sequence[str] = (), timeouts: Sequence[str] = (), wrong: Sequence[str] = ()) -> None:
        monkeypatch.setattr(Doubtful, "errors", errors)
        monkeypatch.setattr(Doubtful, "timeouts", timeouts)
        monkeypatch.setattr(Doubtful, "wrong", wrong)

    builder.classes["verifier", "equal"] = Doubtful
    return choose


def test_one_error_is_told_with_the_score(
    evaluate: Callable[..., Any], stand: Callable[..., Any], doubtful: Callable[..., None], capsys: Any
) -> None:
    """Of 12 replies 9 are right, one wrong, one an error and one a timeout: 9/10, between 9/12 and 11/12."""
    doubtful(["3"], ["5"], ["7"])
    here = stand()
    exact = evaluate(withhold_above=0.2).run(here.context).details["scores"][0]
    assert (exact["mean"], exact["n"], exact["of"], exact["unjudged"]) == (pytest.approx(9 / 10), 10, 12, 2)
    assert (exact["low"], exact["high"]) == (pytest.approx(wilson(9, 10).low), pytest.approx(wilson(9, 10).high))
    assert (exact["lowest"], exact["highest"]) == (pytest.approx(9 / 12), pytest.approx(11 / 12))
    assert [data["message"] for data in here.named("warning")] == [
        "problems at temperature 0: 2 of 12 replies could not be judged (1 error, 1 timeout): exact_match is over 10 "
        "of 12 questions, and lies between 0.750 and 0.917 over all of them; see 'detail' in samples/instances.jsonl"
    ]
    assert wording.score(ScoreRow(**exact)).endswith("n = 10 of 12, 2 could not be judged: between 0.750 and 0.917")
    echo_scores([exact])
    assert "not judged" in (shown := capsys.readouterr().out)
    assert shown.splitlines()[1].split()[-8:-1] == ["10", "of", "12", "2:", "75.0", "to", "91.7"]


def test_a_score_of_which_too_much_is_open_is_withheld(
    evaluate: Callable[..., Any], stand: Callable[..., Any], doubtful: Callable[..., None], capsys: Any
) -> None:
    """2 of 12 is more than 5 %: in the table, in words and in the warning stand bounds, and no score."""
    doubtful(["3"], ["5"])
    here = stand()
    details = evaluate().run(here.context).details
    exact = details["scores"][0]
    assert (exact["withheld"], details["scores"][1]["withheld"]) == (True, True)
    assert (exact["mean"], exact["low"], exact["high"]) == (None, None, None)
    assert (
        "exact_match is withheld, and lies between 0.833 and 1.000 over all of them (withheld, too: format)"
        in (here.named("warning")[0]["message"])
    )
    assert wording.score(ScoreRow(**exact)) == (
        "problems exact_match at temperature 0: withheld, n = 10 of 12, 2 could not be judged: between 0.833 and 1.000"
    )
    echo_scores([exact])
    line = capsys.readouterr().out.splitlines()[1]
    words = [
        "problems",
        "exact_match",
        "0",
        "withheld",
        "10",
        "of",
        "12",
        "2:",
        "83.3",
        "to",
        "100.0",
        exact["fingerprint"][:12],
    ]
    assert line.split() == words


def test_the_health_of_replies_is_counted(
    evaluate: Callable[..., Any], stand: Callable[..., Any], doubtful: Callable[..., None], builder: Any
) -> None:
    """Of 12 replies two could not be judged, the rest are right; and all of them were cut."""
    doubtful(["3"], ["5"])
    health = evaluate().run(stand().context).details["health"][0]
    assert (health["formatted"], health["completed"], health["n_completed"]) == (1.0, 1.0, 10)
    builder.replies.finish = "length"
    here = stand(folder="cut")
    health = evaluate().run(here.context).details["health"][0]
    assert (health["truncated"], health["completed"], health["n_completed"]) == (12, None, 0)
    assert any("12 of 12 replies (100%) were cut" in data["message"] for data in here.named("warning"))


def test_what_hangs_on_the_part_that_is_read_is_counted() -> None:
    from aftertrain.plugins.evaluation.doubts import alarms
    from aftertrain.plugins.evaluation.health import health
    from aftertrain.plugins.evaluation.rows import ScoredInstance

    class Task:
        name, figures, metrics = "t", [mean("acc")], ("acc",)

        @property
        def task(self) -> Task:
            return self

    def row(number: int, acc: float, other: float | None) -> ScoredInstance:
        detail = ["boxed, equal", "last number, unequal"][number % 2]
        return ScoredInstance(
            str(number), "t", 0.0, "", "so 4", 4, "4", "scored", {"acc": acc}, detail, "stop", other_rule=other
        )

    (found,) = health([Task()], [row(0, 1.0, None), row(1, 1.0, 0.0), row(2, 0.0, 0.0), row(3, 0.0, 1.0)])  # type: ignore[list-item]
    assert (found.other_rule, found.paths, found.completed) == (2, {"boxed": 2, "last number": 2}, 0.5)
    assert alarms([found]) == [
        "t at temperature 0: 2 of 4 replies (50%) would be worth something else by the other setting of 'answer'; "
        "say which was read"
    ]


def test_several_replies_are_counted_as_replies_and_votes_bounded(
    evaluate: Callable[..., Any],
    stand: Callable[..., Any],
    doubtful: Callable[..., None],
    sums_task: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """All 3 replies to one of 12 questions fail: 3 of 36; a vote over them lies between wrong and right.

    Of a verifier that reads no answers there is no vote: where all are right it would be 0.
    """
    doubtful(["3"])
    settings = sums_task.settings.model_copy(update={"samples": 3, "temperature": 1.0})
    here = stand()
    details = evaluate(tasks=(Use("eval_task", "problems", settings),)).run(here.context).details
    (warning,) = (data["message"] for data in here.named("warning"))
    assert "3 of 36 replies could not be judged (3 error)" in warning
    assert [row["metric"] for row in details["scores"] if row["metric"].startswith("maj@")] == []
    monkeypatch.setattr(Doubtful, "answer", "4")
    details = evaluate(tasks=(Use("eval_task", "problems", settings),)).run(stand(folder="two").context).details
    bounds = {row["metric"]: (row["lowest"], row["highest"]) for row in details["scores"]}
    assert bounds["maj@3"] == bounds["pass@3"] == bounds["exact_match"] == (pytest.approx(11 / 12), 1.0)


def test_all_errors_leave_everything_open(
    evaluate: Callable[..., Any], stand: Callable[..., Any], doubtful: Callable[..., None]
) -> None:
    doubtful()
    base = evaluate().run(stand("base-eval").context)
    doubtful([str(n) for n in range(12)])
    made = evaluate(compare="base-eval").run(stand("eval", {"compare:base-eval": base}).context)
    exact = made.details["scores"][0]
    assert (exact["mean"], exact["lowest"], exact["highest"], exact["unjudged"]) == (None, 0.0, 1.0, 12)
    assert (exact["withheld"], exact["n"], exact["of"]) == (True, 0, 12)
    assert made.details["differences"] == [], "no pair has two verdicts"
    made = evaluate(withhold_above=1.0).run(stand("all-allowed").context)
    assert made.details["scores"][0]["withheld"], "of nothing there is no mean, whatever is allowed"


def test_errors_on_one_side_make_no_fall(
    evaluate: Callable[..., Any], stand: Callable[..., Any], doubtful: Callable[..., None]
) -> None:
    """8 of 12 fail to be judged: as zeros they would be a fall (p = 2/2^8); of the pairs that were judged none fell.

    All 12 are right before, and 4 of 4 after: the difference is 0 over 4 pairs, and between 4/12 - 1 and 0 over all.
    """
    doubtful()
    base = evaluate().run(stand("base-eval").context)
    doubtful([str(n) for n in range(8)])
    made = evaluate(compare="base-eval").run(stand("eval", {"compare:base-eval": base}).context)
    difference = made.details["differences"][0]
    assert (difference["mean"], difference["worse"], difference["p"]) == (0.0, 0, 1.0)
    assert (difference["n"], difference["unjudged"]) == (4, 8)
    assert (difference["lowest"], difference["highest"]) == (pytest.approx(-8 / 12), 0.0)
    told = "p = 1, 8 pairs could not be judged and are left out: between -0.667 and 0.000"
    assert told in wording.difference(Difference(**difference))


@pytest.mark.parametrize(
    ("verdicts", "outcome", "value"),
    [
        ([Verdict.scored(0.0), Verdict.error("x")], "scored", 0.0),
        ([Verdict.error("x"), Verdict.unparsable()], "unparsable", 0.0),
        ([Verdict.scored(0.5), Verdict.error("x")], "error", 0.0),
        ([Verdict.timeout(), Verdict.scored(1.0)], "timeout", 0.0),
        ([Verdict.scored(0.5), Verdict.scored(1.0)], "scored", 0.5),
    ],
)
def test_a_check_that_fails_decides_whatever_could_not_be_judged(
    verdicts: list[Verdict], outcome: str, value: float
) -> None:
    found = score_of(verdicts)
    assert (found.outcome, found.metrics["exact_match"]) == (outcome, value)


@pytest.mark.parametrize(
    ("broken", "told"),
    [
        (lambda scores: scores[:-1], "gave 11 scores for 12 outputs"),
        (lambda scores: [*scores[:-1], InstanceScore({"exact_match": float("nan"), "format": 1.0})], "is nan; it must"),
        (lambda scores: [*scores[:-1], InstanceScore({"format": 1.0})], "'sum-11' has no metric 'exact_match'"),
        (
            lambda scores: [*scores[:-1], InstanceScore({**scores[0].metrics, "own": 1.0})],
            "'sum-11' has an unannounced metric 'own'",
        ),
    ],
)
def test_a_task_that_does_not_score_every_instance_is_named(
    evaluate: Callable[..., Any],
    stand: Callable[..., Any],
    builder: Any,
    broken: Callable[[list[InstanceScore]], list[InstanceScore]],
    told: str,
) -> None:
    class Broken(Problems):
        def score_all(self, instances: Any, outputs: Any) -> list[InstanceScore]:
            return broken(super().score_all(instances, outputs))

    stage = evaluate()
    builder.classes["eval_task", "problems"] = Broken
    with pytest.raises(DataError, match=f"task 'problems': .*{told}"):
        stage.run(stand().context)
