"""Figures of a data set (F7, F8), by hand and from a recipe that measures before and after rows are left out."""

from __future__ import annotations

import json
import math
import random
from pathlib import Path
from typing import Any

import pytest

from aftertrain.cli import main
from aftertrain.core.operator import Row
from aftertrain.core.records import Document
from aftertrain.plugins.quality.diversity import Diversity, Sample, lexical
from aftertrain.plugins.quality.diversity_settings import DiversitySettings
from tests.plugins.quality.test_recipe import data

RECIPE = """
name: scored
stages:
  curate:
    use: curate
    data:
      use: mixture
      order: concatenated
      parts:
        - {rows: 6, data: {use: jsonl, path: a.jsonl, format: prompt_response}}
        - {rows: 2, data: {use: jsonl, path: b.jsonl, format: prompt_response}}
    operators:
      - {use: length, of: reply}
      - {use: quality, parts: [{fact: length.words, best: 4}]}
      - {use: diversity, quality: quality.score, alpha: 0.25}
      - {use: threshold, fact: quality.score, at_least: 0.75}
      - {use: diversity, quality: quality.score, alpha: 0.25}
    workers: 1
"""


def figures(rows: list[Row], state: Path, **settings: Any) -> dict[str, Any]:
    operator = Diversity(DiversitySettings(**settings), None)  # type: ignore[arg-type]
    state.mkdir(exist_ok=True)
    operator.learn(rows, state, 0)
    operator.recall(state)
    assert list(operator.apply(rows, 0)) == rows
    return dict(operator.figures())


def test_source_entropy_by_hand(tmp_path: Path) -> None:
    """F8: of shares ½, ¼ and ¼ −Σ p·log p = ½·log 2 + ½·log 4 = 1.5·log 2, of log 3 at most."""
    rows = [Row(Document(str(number), "x", source)) for number, source in enumerate("aabc")]
    found = figures(rows, tmp_path)
    assert found["source_entropy"] == pytest.approx(1.5 * math.log(2), abs=1e-6)
    assert found["source_balance"] == pytest.approx(1.5 * math.log(2) / math.log(3), abs=1e-6)
    one = figures([row for row in rows if row.source == "a"], tmp_path)
    assert (one["sources"], one["source_entropy"], one["source_balance"]) == (1, 0.0, 0.0)


def test_distinct_n_by_hand() -> None:
    """a b a and b a: words a b of 5, bigrams ab ba of 3 (not "a b" across the two), one trigram."""
    found = lexical([["a", "b", "a"], ["b", "a"]])
    assert found == {"words": 5, "distinct_1": 0.4, "distinct_2": 0.666667, "distinct_3": 1.0}


def test_the_sample_does_not_depend_on_the_order_and_holds_what_it_says() -> None:
    rng = random.Random(0)
    rows = [(f"r{number}", [f"w{number}"] * rng.randint(1, 30)) for number in range(300)]
    samples = []
    for _ in range(3):
        rng.shuffle(rows)
        sample = Sample(500)
        for id, found in rows:
            sample.add(id, " ".join(found))
        samples.append(sample.texts())
    assert samples[0] == samples[1] == samples[2]
    assert sum(map(len, samples[0])) == 500
    small = Sample(10_000)
    for id, found in rows:
        small.add(id, " ".join(found))
    assert sum(map(len, small.texts())) == sum(len(found) for _, found in rows)


def test_score_before_and_after_from_a_recipe(tmp_path: Path) -> None:
    """Replies of 1 … 6 words of a, 1 and 2 of b; q = min(1, n/4). M = ¼·Q + ¾·V (F7), V half balance, half distinct_2.

    Before, Q = (¼ + ½ + ¾ + 3 + ¼ + ½)/8, the shares of the sources ¾ and ¼; after, of n ≥ 3 alone, Q = 3.75/4 and one
    source is left, so that V is ½·distinct_2.
    """
    for name, count in (("a", 6), ("b", 2)):
        rows = [
            {"prompt": f"{name} {n}", "response": " ".join(f"{name}{n}{k}" for k in range(n))}
            for n in range(1, count + 1)
        ]
        (tmp_path / f"{name}.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")
    (tmp_path / "recipe.yaml").write_text(RECIPE, encoding="utf-8")
    assert main(["run", str(tmp_path / "recipe.yaml"), "--out", str(tmp_path / "runs")]) == 0
    passages = json.loads((data(tmp_path) / "funnel.json").read_text(encoding="utf-8"))["passages"]
    before, after = passages["diversity"]["figures"], passages["diversity#2"]["figures"]
    assert before["quality"] == pytest.approx(5.25 / 8)
    assert before["source_entropy"] == pytest.approx(-(0.75 * math.log(0.75) + 0.25 * math.log(0.25)), abs=1e-6)
    assert (after["rows"], after["quality"], after["source_entropy"]) == (4, 0.9375, 0.0)
    for found in (before, after):
        diverse = 0.5 * found["source_balance"] + 0.5 * found["distinct_2"]
        assert found["diversity"] == pytest.approx(diverse, abs=1e-6)
        assert found["score"] == pytest.approx(0.25 * found["quality"] + 0.75 * diverse, abs=2e-6)
    card = (data(tmp_path) / "README.md").read_text(encoding="utf-8")
    assert "| diversity#2 | source_entropy | 0 |" in card
