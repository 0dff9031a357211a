"""Scores and thresholds from a recipe: facts beside rows, Q(d) of them (F1), and who is left out for it."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any

import pytest

from aftertrain.cli import main

RECIPE = """
name: scored
stages:
  curate:
    use: curate
    data: {{use: jsonl, path: rows.jsonl, format: prompt_response}}
    shard_rows: 4
    workers: 1
    operators: {operators}
"""
ROWS = [{"prompt": f"Say {n}", "response": " ".join(["word"] * n) or " "} for n in range(1, 11)]
"""Ten rows: the reply of the n-th has n words."""


def run(folder: Path, operators: str) -> int:
    (folder / "rows.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in ROWS), encoding="utf-8")
    (folder / "recipe.yaml").write_text(RECIPE.format(operators=operators), encoding="utf-8")
    return main(["run", str(folder / "recipe.yaml"), "--out", str(folder / "runs")])


def data(folder: Path) -> Path:
    (found,) = (folder / "runs" / "scored" / "stages").glob("curate-*/data")
    return found


def lines(folder: Path, name: str) -> list[dict[str, Any]]:
    return [
        json.loads(line)
        for path in sorted((data(folder) / name).glob("*.jsonl"))
        for line in path.read_text(encoding="utf-8").splitlines()
    ]


def test_quality_is_a_weighted_sum_of_facts_and_a_threshold_keeps_the_best(tmp_path: Path) -> None:
    """F1 by hand: of n words q₁ = min(1, n/5); of n words that repeat each other q₂ = 1 − (n ≥ 2), as the most frequent
    bigram of n ≥ 3 equal words is most of the text. Q = 0.75·q₁ + 0.25·q₂."""
    operators = """
      - {use: length, of: reply}
      - {use: repetition, top: [1], repeated: [1]}
      - use: quality
        parts:
          - {fact: length.words, weight: 0.75, best: 5}
          - {fact: repetition.top_1_gram, weight: 0.25, worst: 0.5, best: 0}
      - {use: threshold, fact: quality.score, at_least: 0.6}
    """
    assert run(tmp_path, operators) == 0
    kept, dropped = lines(tmp_path, "rows"), lines(tmp_path, "dropped")
    facts = {len(row["messages"][1]["content"].split()): json.loads(row["facts"]) for row in kept}
    left_out = {json.loads(row["facts"])["length.words"]: row for row in dropped}
    # n = 1: q = 0.2 and 1, Q = 0.4; n = 2 … 3: Q = 0.15·n; n = 4: 0.6 stays; from 5 on 0.75.
    assert sorted(facts) == [4, 5, 6, 7, 8, 9, 10]
    assert [facts[n]["quality.score"] for n in sorted(facts)] == pytest.approx([0.6, *[0.75] * 6])
    assert facts[4]["quality.parts"] == {"length.words": 0.8, "repetition.top_1_gram": 0.0}
    assert json.loads(left_out[1]["evidence"]) == {"fact": "quality.score", "value": 0.4, "bound": 0.6}
    assert {row["reason"] for row in dropped} == {"below"}


def test_a_quantile_is_learnt_over_all_rows(tmp_path: Path) -> None:
    """Of 10 rows in three shards the lowest bound is the 3rd (0.3·10) and the highest the 9th: 3 … 9 stay."""
    operators = """
      - {use: length, of: reply}
      - {use: threshold, fact: length.words, at_least: {quantile: 0.3}, at_most: {quantile: 0.9}}
    """
    assert run(tmp_path, operators) == 0
    words = [json.loads(row["facts"])["length.words"] for row in lines(tmp_path, "rows")]
    assert words == [3, 4, 5, 6, 7, 8, 9]
    funnel = json.loads((data(tmp_path) / "funnel.json").read_text(encoding="utf-8"))
    assert funnel["passages"]["threshold:length.words"]["figures"] == {"at_least": 3.0, "at_most": 9.0}
    assert sorted(funnel["facts"]["length.words"]["bounds"]) == [3.0, 9.0]
    assert "| threshold:length.words | at_least | 3 |" in (data(tmp_path) / "README.md").read_text(encoding="utf-8")


def test_bounds_that_no_row_misses_are_in_the_histogram_all_the_same(tmp_path: Path) -> None:
    """A threshold that is given and stands in the midst of a group, and leaves nothing out; rows go from 1 to 10."""
    operators = "[{use: length, of: reply}, {use: threshold, fact: length.words, at_least: 1, at_most: 50}, markup]"
    assert run(tmp_path, f"{operators}\nobservers: [html]") == 0
    assert not lines(tmp_path, "dropped")
    funnel = json.loads((data(tmp_path) / "funnel.json").read_text(encoding="utf-8"))
    assert funnel["facts"]["length.words"]["bounds"] == [1.0, 50.0]
    page = (tmp_path / "runs" / "scored" / "report.html").read_text(encoding="utf-8")
    assert "10 rows from 1 to 10, median 5. Bound 1. Bound 50." in page


def test_a_bound_far_from_all_rows_squashes_no_histogram(tmp_path: Path) -> None:
    """Ten lengths are ten bars over the whole axis; of three bounds the two among the rows are lines."""
    operators = """
      - {use: length, of: reply}
      - {use: threshold, fact: length.words, at_least: 2, at_most: 900}
      - {use: threshold, fact: length.words, at_least: 3}
    observers: [html]
    """
    assert run(tmp_path, operators.replace("    observers", "observers")) == 0
    page = (tmp_path / "runs" / "scored" / "report.html").read_text(encoding="utf-8")
    (drawn,) = re.findall(r'aria-label="Histogram of length\.words\..*?</figure>', page, re.S)
    assert len(re.findall(r'<rect class="bin (?:kept|out)"', drawn)) == 10
    assert re.findall(r"<title>bound (.*?)</title>", drawn) == ["2", "3"]
    assert all(f"Bound {bound}." in drawn for bound in ("2", "3", "900"))


@pytest.mark.parametrize(
    ("operators", "told"),
    [
        (
            "[length, {use: threshold, fact: length.word, at_least: 3}]",
            "threshold:length.word: no fact named 'length.word'. Did you mean 'length.words'?",
        ),
        (
            "[length, {use: deduplicate, keep: {highest: length.wrods}}]",
            "deduplicate: no fact named 'length.wrods'. Did you mean 'length.words'?",
        ),
        ("[length, {use: diversity, quality: quality.score}]", "diversity: no fact named 'quality.score'."),
        ("[{use: threshold, fact: length.words, at_least: 1}, length]", "There are none. length does not stand before"),
        ("[length, {use: quality, parts: [{fact: length.tokens}]}]", "quality: no fact named 'length.tokens'."),
        ("[{use: repetition, top: [2]}, {use: threshold, fact: repetition.top_3_gram, at_most: 0.1}]",
         "Did you mean 'repetition.top_2_gram'?"),
        ("[{use: verdict, verifier: string, truth_from: a.b}]", "verdict: no fact named 'a.b'. There are none."),
    ],
)  # fmt: skip
def test_a_fact_that_nobody_finds_is_refused_by_the_plan(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], operators: str, told: str
) -> None:
    """And by the run, before its first row."""
    assert run(tmp_path, operators) != 0
    output = capsys.readouterr()
    assert told in " ".join((output.out + output.err).split())
    assert not list((tmp_path / "runs").glob("scored/stages/curate-*/work/0/part-*"))
    assert main(["plan", str(tmp_path / "recipe.yaml")]) != 0
    output = capsys.readouterr()
    assert told in " ".join((output.out + output.err).split())


STRANGER = """
from aftertrain.core.operator import Row, Scorer
from aftertrain.core.settings import Settings


class Marks(Scorer[Settings]):
    Config = Settings

    def facts(self, row: Row) -> dict[str, int]:
        return {"count": row.text.count("!")}


class Told(Marks):
    finds = ("count",)
"""


def test_facts_of_an_operator_that_names_none_are_not_checked_and_the_plan_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Ten lines of a stranger stay ten lines; with one more, `finds`, a wrong name is found before the first row."""
    (tmp_path / "marks.py").write_text(STRANGER, encoding="utf-8")
    assert run(tmp_path, "[./marks.py:Marks, {use: threshold, fact: Marks.count, at_most: 3}]") == 0
    capsys.readouterr()
    assert main(["plan", str(tmp_path / "recipe.yaml")]) == 0
    told = " ".join(capsys.readouterr().out.split())
    assert "threshold:Marks.count: Marks.count; Marks does not say which facts it finds" in told
    assert run(tmp_path, "[./marks.py:Told, {use: threshold, fact: Told.cuont, at_most: 3}]") != 0
    output = capsys.readouterr()
    assert "no fact named 'Told.cuont'. Did you mean 'Told.count'?" in " ".join((output.out + output.err).split())


def test_facts_that_an_earlier_stage_found_are_known(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """They stand in its `data.json`; until it is done the plan cannot know them."""
    recipe = (
        RECIPE.format(operators="[length]")
        + """
  more:
    use: curate
    data: {use: stage, from: curate}
    operators: [{use: threshold, fact: length.words, at_least: 3}]
  wrong:
    use: curate
    data: {use: mixture, parts: [{data: {use: stage, from: curate}}, {data: {use: stage, from: more}}]}
    operators: [{use: threshold, fact: length.worse, at_least: 3}]
"""
    )
    (tmp_path / "rows.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in ROWS), encoding="utf-8")
    (tmp_path / "recipe.yaml").write_text(recipe, encoding="utf-8")
    assert main(["run", str(tmp_path / "recipe.yaml"), "--out", str(tmp_path / "runs")]) != 0
    output = capsys.readouterr()
    assert "no fact named 'length.worse'. Did you mean 'length.words'?" in " ".join((output.out + output.err).split())
    assert list((tmp_path / "runs").glob("scored/stages/more-*/done.json"))


@pytest.mark.parametrize(
    ("operators", "told"),
    [
        ("[{use: threshold, fact: a.b}]", "give at_least or at_most (or both), or one_of"),
        ("[{use: threshold, fact: a.b, at_least: 3, at_most: 2}]", "no value is at least 3 and at most 2"),
        ("[{use: quality, parts: [{fact: a.b, weight: 0.4}, {fact: a.c, weight: 0.5}]}]", "the weights sum to 0.9"),
        ("[{use: quality, parts: [{fact: a.b, weight: 0.4}, {fact: a.c}]}]", "give every part a weight, or none"),
        ("[{use: quality, parts: [{fact: a.b, worst: 1}]}]", "worst and best are both 1.0"),
        ("[{use: language, languages: [en]}]", "one language cannot be told from others"),
    ],
)
def test_settings_that_mean_nothing_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], operators: str, told: str
) -> None:
    assert run(tmp_path, operators) != 0
    output = capsys.readouterr()
    assert told in output.out + output.err


def test_quantiles_by_hand() -> None:
    """Type 1: the value at place ⌈p·n⌉; 0.07 of 100 is the 7th, though 0.07·100 is a little more than 7 in floats."""
    from aftertrain.plugins.quality.threshold import quantile

    assert math.ceil(0.07 * 100) == 8
    ordered = [float(n) for n in range(1, 101)]
    assert [quantile(ordered, share) for share in (0.0, 0.07, 0.5, 0.991, 1.0)] == [1, 7, 50, 100, 100]
