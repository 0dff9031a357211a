"""Every kind of figure where some questions have no verdict: never a 0, bounded over all questions, or withheld.

By hand throughout: of ten questions two have no verdict, so that a figure is over eight of ten.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from aftertrain.core.events import Contamination, ScoreRow
from aftertrain.core.figures import Figure, best_of, grouped, majority, mean, pass_at, ratio, share_of
from aftertrain.core.statistics import mcnemar
from aftertrain.plugins.evaluation import comparing, contamination, summary
from aftertrain.plugins.evaluation.rows import ScoredInstance
from aftertrain.plugins.instructions.by_kind import of_kind, over_kinds

VALUES = (1, 1, 1, 0, 0, 1, 1, 1, None, None)
"""Right or wrong, None without a verdict: 6 of 8; between 6 of 10 and 8 of 10."""


def task(*figures: Figure, withhold_above: float = 0.25) -> Any:
    inner = SimpleNamespace(metrics=("acc",), clustered_by="passage")
    return SimpleNamespace(
        name="t", temperatures=(0.0,), figures=figures, withhold_above=withhold_above, fingerprint="f", task=inner
    )


def row(
    number: int, value: float | None, sample: int = 0, *, group: str = "", parts: Any = None, **metrics: float
) -> ScoredInstance:
    return ScoredInstance(
        str(number),
        "t",
        0.0,
        "",
        "said",
        None,
        None if value is None else str(value),
        "error" if value is None else "scored",
        {"acc": 0.0 if value is None else float(value), **metrics},
        finish_reason="stop",
        sample=sample,
        group=group,
        parts=parts or {},
    )


ROWS = [row(number, value) for number, value in enumerate(VALUES)]


def shown(figure: Figure, rows: Sequence[ScoredInstance] = ROWS, **more: Any) -> ScoreRow:
    (found,) = summary.scores([task(figure, **more)], rows)
    assert (found.mean is None) == bool(found.withheld)
    return found


def test_a_mean_is_over_what_has_a_verdict() -> None:
    found = shown(mean("acc"))
    assert (found.mean, found.n, found.of, found.unjudged) == (6 / 8, 8, 10, 2)
    assert (found.lowest, found.highest) == (pytest.approx(6 / 10), pytest.approx(8 / 10))


@pytest.mark.parametrize(
    "figure",
    [
        mean("acc", share=False),
        ratio("bits", "acc", "acc"),
        Figure("perplexity", lambda scores: scores[0].metrics["acc"], shown=math.exp, share=False),
        Figure("rate", mean("acc").value, corpus=lambda questions: len(questions) / 10),
    ],
    ids=["no share", "ratio", "perplexity", "corpus"],
)
def test_what_nothing_bounds_is_withheld_for_one_of_a_hundred(figure: Figure) -> None:
    rows = [row(number, 1) for number in range(99)]
    whole = shown(figure, [*rows, row(99, 1)])
    assert whole.mean is not None
    found = shown(figure, [*rows, row(99, None)])
    assert (found.withheld, found.lowest, found.highest) == (True, None, None)


def test_a_rising_number_of_a_corpus_has_bounds() -> None:
    """The square of a mean: (6/8)², between (6/10)² and (8/10)²."""

    def squared(questions: Sequence[Sequence[Any]]) -> float:
        return float((sum(scores[0].metrics["acc"] for scores in questions) / len(questions)) ** 2)

    found = shown(Figure("squared", mean("acc").value, corpus=squared, rising=True))
    assert (found.mean, found.n, found.of) == (pytest.approx(36 / 64), 8, 10)
    assert (found.lowest, found.highest) == (pytest.approx(0.36), pytest.approx(0.64))


def test_a_mean_of_groups_is_withheld_without_one_of_them() -> None:
    """Groups of two: without a verdict for the last group, its mean is not there to be averaged."""
    rows = [row(number, value, group=str(number // 2)) for number, value in enumerate(VALUES)]
    found = shown(grouped(mean("acc")), rows)
    assert (found.withheld, found.n, found.of) == (True, 8, 10)
    # Means of the other groups are 1, 1/2, 1/2, 1; of five with 0, and with 1: 3/5 and 4/5.
    assert (found.lowest, found.highest) == (pytest.approx(3 / 5), pytest.approx(4 / 5))
    half = [row(8, 1, group="4") if scored.id == "8" else scored for scored in rows]
    found = shown(grouped(mean("acc")), half)
    assert found.mean == pytest.approx((1 + 0.5 + 0.5 + 1 + 1) / 5)
    assert (found.lowest, found.highest) == (pytest.approx((3 + 0.5) / 5), pytest.approx((3 + 1) / 5))


def test_a_rate_of_a_part_knows_the_part_of_what_has_no_verdict() -> None:
    """Safe: questions 4 to 9, of which 3 of 4 are refused and two not judged."""
    rows = [row(number, value, parts={"safe": number >= 4}) for number, value in enumerate(VALUES)]
    found = shown(share_of("refusal_of_safe", "acc", "safe"), rows, withhold_above=0.5)
    assert (found.mean, found.n, found.of) == (3 / 4, 4, 6)
    assert (found.lowest, found.highest) == (pytest.approx(3 / 6), pytest.approx(5 / 6))
    assert shown(share_of("refusal_of_safe", "acc", "safe"), rows).withheld, "2 of its 6, if 2 of 10"


def test_of_several_replies_those_with_a_verdict_count_where_they_are_enough() -> None:
    """Four replies to each of two questions; one of the second fails, three of the first do."""
    rows = [
        *(row(0, value, sample) for sample, value in enumerate((1, None, None, None))),
        *(row(1, value, sample) for sample, value in enumerate((1, 0, None, 0))),
    ]
    found = shown(mean("acc"), rows, withhold_above=0.9)
    assert (found.mean, found.n, found.of, found.unjudged) == (pytest.approx((1 + 1 / 3) / 2), 2, 2, 4)
    assert (found.lowest, found.highest) == (pytest.approx(0.25), pytest.approx((1 + 0.5) / 2))
    found = shown(pass_at("acc", 2), rows, withhold_above=0.9)
    # Only the second has two: 1 right of 3, so that of 3 pairs 2 hold it.
    assert (found.mean, found.n, found.of) == (pytest.approx(2 / 3), 1, 2)
    for figure in (best_of("acc", 3), majority("acc", 3)):
        found = shown(figure, rows, withhold_above=0.9)
        assert (found.n, found.of) == (1, 2)
    assert shown(best_of("acc", 3), rows, withhold_above=0.9).mean == 1.0
    assert shown(majority("acc", 3), rows, withhold_above=0.9).mean == 0.0


def test_instructions_of_a_question_without_a_verdict_are_all_followed_or_none() -> None:
    def asked(number: int, kinds: str, followed: str, *, judged: bool = True) -> ScoredInstance:
        verdicts = [[kind, judged and kind in followed] for kind in kinds]
        parts = {"loose": verdicts, "strict": verdicts}
        whole = float(judged and set(kinds) <= set(followed))
        return row(number, 1 if judged else None, parts=parts, prompt_level_loose_acc=whole)

    rows = [asked(0, "ab", "a"), asked(1, "a", ""), asked(2, "ab", "", judged=False)]
    found = shown(over_kinds("macro", "loose"), rows, withhold_above=0.5)
    # a: 1 of 2, b: 0 of 1. With the third: a 1 to 2 of 3, b 0 to 1 of 2.
    assert found.mean == pytest.approx((1 / 2 + 0) / 2)
    assert found.lowest == pytest.approx((1 / 3 + 0) / 2)
    assert found.highest == pytest.approx((2 / 3 + 1 / 2) / 2)
    found = shown(of_kind("b"), rows, withhold_above=0.5)
    assert (found.mean, found.n, found.of) == (0.0, 1, 2)
    assert (found.lowest, found.highest) == (0.0, pytest.approx(1 / 2))


def test_pairs_have_two_verdicts() -> None:
    """After: as before, but question 0 is wrong and 1 has no verdict: seven pairs, of which one fell."""
    after = [replace(scored, metrics={"acc": 0.0}) if scored.id == "0" else scored for scored in ROWS]
    after = [row(1, None) if scored.id == "1" else scored for scored in after]
    ready = task(mean("acc"))
    (found,) = summary.differences([ready], after, {"before": ROWS})
    assert (found.mean, found.n, found.unjudged) == (pytest.approx(-1 / 7), 7, 3)
    assert (found.better, found.worse, found.p) == (0, 1, mcnemar([1, 1, 0, 0, 1, 1, 1], [0, 1, 0, 0, 1, 1, 1]))
    # Over all ten: 4 to 7 right after, 6 to 8 before.
    assert (found.lowest, found.highest) == (pytest.approx(4 / 10 - 8 / 10), pytest.approx(7 / 10 - 6 / 10))
    assert found.direction == "none"
    assert [flip.id for flip in comparing.flips([ready], after, {"before": ROWS})] == ["0"]


def test_a_difference_that_nothing_bounds_has_no_direction() -> None:
    lower = [row(number, None if number == 9 else 0) for number in range(10)]
    upper = [row(number, 1) for number in range(10)]
    (found,) = summary.differences([task(mean("acc", share=False))], lower, {"before": upper})
    assert (found.mean, found.unjudged, found.lowest) == (-1.0, 1, None)
    assert found.p is not None
    assert found.p < 0.01
    assert found.direction == "none"


def test_clean_questions_are_those_with_a_verdict() -> None:
    checked = [contamination.Checked(Contamination("t", 10, 10, 2), frozenset({"0", "8"}))]
    (found,) = contamination.scored(checked, [task(mean("acc"))], ROWS)
    assert (found.clean[0], found.clean[3]) == (pytest.approx(5 / 7), 7)
    assert (found.contaminated[0], found.contaminated[3]) == (1.0, 1)


def test_lm_eval_gets_a_figure_of_verdicts_or_none() -> None:
    pytest.importorskip("lm_eval")
    from aftertrain.api.lm_eval_task import number_of, without_verdict

    items = [
        {"group": "", "scores": [{"metrics": dict(r.metrics), "extracted": None, "outcome": r.outcome}]} for r in ROWS
    ]
    assert number_of(mean("acc"), items) == 6 / 8
    assert without_verdict(items) == 2
    assert math.isnan(number_of(mean("acc", share=False), items))
    assert number_of(mean("acc", share=False), items[:8]) == 6 / 8
    assert math.isnan(number_of(mean("acc"), items[8:]))


def test_results_for_others_say_what_has_no_verdict() -> None:
    """lm-eval's file and a model card; a score that is withheld is in neither, its bounds are in both."""
    from aftertrain.api.results import lm_eval_results, model_card

    scores = summary.scores([task(mean("acc"), mean("acc", "cost", share=False))], ROWS)
    stage = SimpleNamespace(settings=SimpleNamespace(tasks=(), limit=None))
    manifest = SimpleNamespace(recipe={"model": "m"}, base=SimpleNamespace(digest="d"), seed=0, packages={})
    finished: Any = SimpleNamespace(
        scores=tuple(scores), missing=(), contaminations={}, built=lambda: stage, manifest=manifest
    )
    made = lm_eval_results(finished)
    assert made["results"]["t"]["acc,none"] == 6 / 8
    assert "cost,none" not in made["results"]["t"]
    assert made["n-samples"]["t"] == {"original": 10, "effective": 8}
    assert made["config"]["withheld"] == ["t: cost"]
    assert made["config"]["unjudged"] == {
        "t: acc": {"replies": 2, "lowest": pytest.approx(0.6), "highest": pytest.approx(0.8)},
        "t: cost": {"replies": 2, "lowest": None, "highest": None},
    }
    assert "| acc | 75.0 (60.0 – 80.0 by what could not be judged) |" in model_card(finished)
    assert "| 8 of 10 |" in model_card(finished)


def test_the_report_compares_and_shows_what_has_two_verdicts(tmp_path: Path) -> None:
    """First and last of a series: seven pairs of ten, none of which fell; the others are in no group."""
    from aftertrain.plugins.evaluation.rows import write_instances
    from aftertrain.plugins.report.facts import Score
    from aftertrain.plugins.report.instances import Instances
    from aftertrain.plugins.report.outcome import ScoreSeries, comparisons
    from aftertrain.plugins.report.suites import heat_maps

    after = [row(1, None) if scored.id == "1" else scored for scored in ROWS]
    sides = {"base": ROWS, "last": after}
    scores = []
    for stage, rows in sides.items():
        grouped_rows = [replace(scored, group="ab"[int(scored.id) % 2]) for scored in rows]
        write_instances(tmp_path / stage / "samples" / "instances.jsonl", grouped_rows)
        (found,) = summary.scores([task(mean("acc"), withhold_above=0.5)], rows)
        scores.append(Score(**asdict(found), stage=stage))
    instances = Instances({stage: tmp_path / stage for stage in sides})
    run: Any = SimpleNamespace(scores=scores, differences=[])
    (comparison,) = comparisons(run, ScoreSeries("t", "acc", 0.0, tuple(scores)), instances)
    difference = comparison.difference
    assert (difference.mean, difference.n, difference.unjudged) == (0.0, 7, 3)
    chosen = instances.choose(list(sides), "t", "acc", 0.0, 10)
    assert chosen is not None
    assert (chosen.total, chosen.counts["became wrong"], chosen.counts["wrong before and after"]) == (7, 0, 2)
    (heat,) = heat_maps(run, instances)
    # Even ids 0, 2, 4, 6 have verdicts 1, 1, 0, 1; odd ones 1, 3, 5, 7 have 1, 0, 1, 1, after none for 1.
    assert [[text for text, _ in line.cells] for line in heat.rows] == [
        ["75.0\u202f%", "75.0\u202f%"],
        ["75.0\u202f%", "66.7\u202f%"],
    ]
