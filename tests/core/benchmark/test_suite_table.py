"""A suite's table against sums by hand."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
from pydantic import ValidationError

from aftertrain.core.benchmark.outline import Node, SuiteOutline
from aftertrain.core.benchmark.table import Line, remarks, suite_table
from aftertrain.core.events import Health, Missing, ScoreRow

SE = 0.01


def outline(rows: dict[str, Any], average: dict[str, Any] | None = None) -> SuiteOutline:
    full = {name: {"tasks": {name: {}}, **row} for name, row in rows.items()}
    return SuiteOutline.model_validate({"name": "s", "rows": full, "average": average})


def score(task: str, mean: float, *, metric: str = "acc", primary: bool = True, **more: Any) -> ScoreRow:
    half = 1.959963984540054 * SE
    return ScoreRow(task, metric, 0.0, mean, mean - half, mean + half, n=100, primary=primary, share=True, **more)


def lines(suite: SuiteOutline, *scores: ScoreRow, reference: str | None = None, **why: str) -> dict[str, Line]:
    missing = [Missing(task, reason) for task, reason in why.items()]
    return {line.name: line for line in suite_table(suite, reference, scores, missing)}


def half(line: Line) -> float:
    """Half of an even interval, as a standard error."""
    assert line.low is not None
    assert line.high is not None
    return (line.high - line.low) / (2 * 1.959963984540054)


def test_a_mean_is_over_what_there_is_and_says_so() -> None:
    table = lines(outline({"a": {}, "b": {}, "c": {}}), score("a", 0.2), score("b", 0.6), c="no judge")
    average = table["average"]
    assert average.value == pytest.approx(0.4)
    assert average.of == (2, 3)
    assert table["c"].value is None
    assert table["c"].missing == "no judge"
    # Two independent rows of standard error 0.01: 0.01 / sqrt(2).
    assert half(average) == pytest.approx(SE / math.sqrt(2))


def test_a_weighted_mean_divides_by_the_number_of_rows() -> None:
    """F48: M = (1/|T|) Σ w·P."""
    suite = outline({"a": {"weight": 2.0}, "b": {"weight": 0.5}}, {"name": "M", "weighted": ["a", "b"]})
    average = lines(suite, score("a", 0.3), score("b", 0.8))["M"]
    assert average.value == pytest.approx((2 * 0.3 + 0.5 * 0.8) / 2)
    assert half(average) == pytest.approx(SE * math.hypot(1.0, 0.25))


def test_a_sum_of_factors_is_missing_with_a_part() -> None:
    """F49: P = γ·A_direct + (1-γ)·A_CoT."""
    suite = outline({"direct": {}, "cot": {}}, {"name": "P", "sum": {"direct": 0.25, "cot": 0.75}})
    assert lines(suite, score("direct", 0.4), score("cot", 0.8))["P"].value == pytest.approx(0.7)
    alone = lines(suite, score("direct", 0.4))["P"]
    assert alone.value is None
    assert alone.missing == "no score of cot"


def test_the_best_of_formulations_counts_and_is_missing_without_one() -> None:
    suite = outline({"arc": {"tasks": {"arc:mc": {}, "arc:rc": {}}}})
    both = lines(suite, score("arc:mc", 0.3), score("arc:rc", 0.5))
    assert (both["arc"].value, both["arc"].task) == (0.5, "arc:rc")
    assert lines(suite, score("arc:rc", 0.5))["arc"].missing == "arc:mc was not scored"


def test_nodes_nest_and_count_rows() -> None:
    tree = {"name": "all", "mean": ["a", {"name": "safety", "mean": ["b", "c"]}]}
    table = lines(
        outline({"a": {}, "b": {}, "c": {}, "beside": {}}, tree),
        *(score(t, v) for t, v in zip("abc", (0.9, 0.1, 0.3), strict=True)),
    )
    assert table["all"].value == pytest.approx((0.9 + 0.2) / 2)
    assert table["all"].of == (3, 3)
    assert [(line.name, line.depth) for line in table.values()] == [
        ("all", 0),
        ("a", 1),
        ("safety", 1),
        ("b", 2),
        ("c", 2),
        ("beside", 0),
    ]


def test_a_row_alone_makes_no_number_of_its_suite() -> None:
    """Chosen by its name: neither an average of one row of three, nor a best of what was not asked."""
    both = Node(name="both", sum={"a": 0.5, "b": 0.5})
    whole = outline({"a": {}, "b": {}, "c": {}}).model_copy(update={"beside": (both,)})
    scores = [score("a", 0.5), score("b", 0.7)]

    def names(*rows: str) -> list[str]:
        chosen = whole.model_copy(update={"average": whole.tree, "rows": {name: whole.rows[name] for name in rows}})
        return [line.name for line in suite_table(chosen, None, scores)]

    assert names("a") == ["a"]
    assert names("a", "b") == ["average", "a", "b", "both"]
    assert names("a", "b", "c") == ["average", "a", "b", "c", "both"]


def test_the_named_figure_counts() -> None:
    suite = outline({"a": {"metric": "f1"}})
    assert lines(suite, score("a", 0.1), score("a", 0.7, metric="f1", primary=False))["a"].value == 0.7


def test_what_could_not_be_judged_is_no_score() -> None:
    table = lines(outline({"a": {}}), score("a", 0.1, unjudged=50, withheld=True))
    assert table["a"].value is None
    assert "50" in table["a"].missing
    assert table["average"].value is None


@pytest.mark.parametrize(
    ("published", "n", "standing"),
    [
        (50.0, 100_000, "within noise"),
        (53.0, 100_000, "below"),
        (47.0, 100_000, "above"),
        # Of 100 questions a published 53 % has a standard error of 5 points itself.
        (53.0, 100, "within noise"),
        (53.0, None, None),
    ],
)
def test_a_published_score_stands_beside(published: float, n: int | None, standing: str | None) -> None:
    suite = outline({"a": {"references": {"theirs": published}, "n": n}})
    row = lines(suite, score("a", 0.5), reference="theirs")["a"]
    assert row.reference == pytest.approx(published / 100)
    assert row.standing == standing


def test_an_average_in_part_stands_beside_the_published_of_the_same_rows() -> None:
    rows: dict[str, Any] = {
        name: {"references": {"theirs": value}, "n": 1000} for name, value in (("a", 40.0), ("b", 60.0), ("c", 95.0))
    }
    suite = outline(rows, {"name": "all", "mean": ["a", "b", "c"], "references": {"theirs": 65.0}})
    whole = lines(suite, *(score(task, 0.65) for task in "abc"), reference="theirs")["all"]
    assert (whole.reference, whole.standing) == (0.65, "within noise")
    part = lines(suite, score("a", 0.5), score("b", 0.5), reference="theirs")["all"]
    assert part.reference == pytest.approx(0.5)
    assert (part.standing, part.table) == ("within noise", "of the same rows")


def test_a_node_has_one_rule() -> None:
    with pytest.raises(ValidationError, match="needs one of mean, weighted, pooled, listed, best, sum"):
        Node(name="x")
    with pytest.raises(ValidationError, match="has mean and best"):
        Node(name="x", mean=("a",), best=("b",))


def test_rows_are_weighed_by_their_questions_and_by_another_figure() -> None:
    """100 questions of each: (0.2 + 0.6)/2 by `f1`, which c lacks; 50 of b's: (100·0.2 + 50·0.6)/150."""
    rows: dict[str, Any] = {"a": {}, "b": {}, "c": {}}
    figures = dict.fromkeys(rows, "f1")
    suite = outline(rows, {"name": "all", "pooled": list(rows), "metrics": figures})
    own = [score(task, 0.9) for task in rows]
    f1 = [score(task, value, metric="f1", primary=False) for task, value in (("a", 0.2), ("b", 0.6))]
    table = lines(suite, *own, *f1)
    assert (table["all"].value, table["all"].of) == (pytest.approx(0.4), (2, 3))
    assert (table["a"].value, table["a"].metric) == (0.9, "acc")
    fewer = lines(suite, *own, f1[0], replace(f1[1], n=50))["all"]
    assert fewer.value == pytest.approx((100 * 0.2 + 50 * 0.6) / 150)
    with pytest.raises(ValidationError, match="metrics: c is no row of it"):
        Node(name="x", mean=("a",), metrics={"c": "f1"})


def test_rows_that_are_listed_make_no_number() -> None:
    first = lines(outline({"a": {}}, {"name": "all", "listed": ["a"]}), score("a", 0.2))["all"]
    assert (first.value, first.missing) == (None, "no number is made of these rows together")


def test_verdicts_that_hang_on_thoughts_are_counted() -> None:
    health = [Health("a", 0.0, 100, 0, 0, 5.0, other_rule=7), Health("a", 1.0, 100, 0, 0, 5.0, other_rule=9)]
    (_, row) = suite_table(outline({"a": {}}), None, [score("a", 0.5)], (), health)
    assert row.other_rule == 7


def test_an_interval_that_ends_at_one_is_not_taken_for_an_even_one() -> None:
    """MOVER: one of three rows that are all right, from 0.4 to 1.0: a third of its way down, and no way up."""
    sure = ScoreRow("a", "acc", 0.0, 1.0, 0.4, 1.0, n=5, primary=True, share=True)
    rows = [sure, *(ScoreRow(t, "acc", 0.0, 0.5, 0.5, 0.5, n=5, primary=True, share=True) for t in "bc")]
    average = lines(outline({"a": {}, "b": {}, "c": {}}), *rows)["average"]
    assert average.value == pytest.approx(2 / 3)
    assert average.low == pytest.approx(2 / 3 - 0.2)
    assert average.high == pytest.approx(2 / 3)
    # The side that faces the published score decides: 0.4 lies inside of 0 to 0.49.
    none = ScoreRow("a", "acc", 0.0, 0.0, 0.0, 0.49, n=4, primary=True, share=True)
    suite = outline({"a": {"references": {"theirs": 40.0}, "n": 100_000}})
    assert lines(suite, none, reference="theirs")["a"].standing == "within noise"


def test_where_and_in_which_version_a_score_was_published() -> None:
    """The suite's, unless the row has its own; of a row without a published score nothing."""
    rows: dict[str, Any] = {"a": {"tasks": {"a": {}}, "references": {"theirs": 50}, "n": 9}, "b": {"tasks": {"b": {}}}}
    rows["c"] = {**rows["a"], "tasks": {"c": {}}, "table": "model card", "table_version": "2 of May"}
    suite = SuiteOutline.model_validate({"name": "s", "table": "a paper, table 3", "table_version": "v5", "rows": rows})
    found = lines(suite, *(score(name, 0.5) for name in "abc"), reference="theirs")
    assert [found[name].source for name in "abc"] == ["a paper, table 3, v5", "", "model card, 2 of May"]


def test_no_standing_where_protocols_differ() -> None:
    row = {"references": {"theirs": 90.0}, "n": 1000, "published": "acc", "needs": ["judge"]}
    by_words = lines(outline({"a": row}), score("a", 0.5, metric="acc_by_words"), reference="theirs")["a"]
    assert by_words.reference is None
    judged = lines(outline({"a": {**row, "changed": ["judge"]}}), score("a", 0.5), reference="theirs")["a"]
    assert judged.standing == "below"
    shorter = lines(outline({"a": {**row, "changed": ["shots"]}}), score("a", 0.5), reference="theirs")
    assert (shorter["a"].standing, shorter["average"].standing) == (None, None)
    replies = Health("a", 0.0, 100, 0, 0, 5.0, formatted=1.0)
    for health, standing in (([replies], None), ([], "below")):
        table = suite_table(outline({"a": row}), "theirs", [score("a", 0.5)], (), health, altered=["max_new_tokens"])
        assert table[1].standing == standing
    assert "not asked as published (shots set)" in remarks(shorter["a"])


def test_what_could_not_be_judged_widens_what_is_said() -> None:
    suite = outline({"a": {"references": {"theirs": 55.0}, "n": 100_000}, "b": {}})
    unjudged = score("a", 0.5, unjudged=8, lowest=0.5, highest=0.58)
    table = lines(suite, unjudged, score("b", 0.9), reference="theirs")
    assert table["a"].standing == "within noise"
    assert (table["average"].lowest, table["average"].highest) == (pytest.approx(0.7), pytest.approx(0.74))
    assert remarks(table["average"]) == ["70.0 to 74.0 by what could not be judged"]


def test_the_best_of_two_is_bounded_by_both() -> None:
    """0.5 lies between 0.45 and 0.7, 0.6 is sure: the best is 0.6, and may be 0.7 but no less."""
    suite = outline({"arc": {"tasks": {"arc:mc": {}, "arc:rc": {}}}})
    unjudged = score("arc:mc", 0.5, unjudged=25, lowest=0.45, highest=0.7)
    best = lines(suite, unjudged, score("arc:rc", 0.6))["arc"]
    assert (best.value, best.lowest, best.highest) == (0.6, 0.6, 0.7)


def test_rows_are_pooled_by_what_was_asked() -> None:
    """A row of which 10 of 100 have no verdict weighs as 100, so that bounds are the pool's: (0.45 + 0.9) / 2."""
    suite = outline({"a": {}, "b": {}}, {"name": "pool", "pooled": ["a", "b"]})
    part = replace(score("a", 0.5, unjudged=10, lowest=0.45, highest=0.55), n=90, of=100)
    pool = lines(suite, part, score("b", 0.9))["pool"]
    assert pool.value == pytest.approx(0.7)
    assert (pool.lowest, pool.highest) == (pytest.approx(0.675), pytest.approx(0.725))
    assert lines(suite, part)["a"].counted == "90 of 100"


def test_an_unknown_figure_is_told() -> None:
    assert lines(outline({"a": {"metric": "f1"}}), score("a", 0.1))["a"].missing == "a has no figure 'f1'; it has acc"
