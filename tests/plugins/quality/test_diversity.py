"""Figures of a data set (F7, F8), by hand and from a recipe that measures before and after rows are left out."""

from __future__ import annotations

import gc
import json
import math
import random
import weakref
from pathlib import Path
from typing import Any

import pytest

from aftertrain.cli import main
from aftertrain.core.operator import Row
from aftertrain.core.records import Document
from aftertrain.plugins.quality.diversity import Diversity, Sample, lexical
from aftertrain.plugins.quality.diversity_settings import DiversitySettings, EmbeddingsSettings
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


EMBEDDED = """
name: scored
stages:
  curate:
    use: curate
    data: {use: jsonl, path: a.jsonl, format: prompt_response}
    operators:
      - use: diversity
        of: reply
        parts: {vendi_balance: 0.25, distinct_1: 0.75}
        embeddings: {model: MODEL, max_tokens: 12}
    workers: 1
"""
MODEL = "package:aftertrain.plugins.quickstart/model"
REPLIES = ["3 + 4 = 7", "3 + 4 = 7", "Ann has 2 apples and Bob has 5 pears, so that they have 7.", "Who?", " "]


def test_embeddings_by_transformers_and_numpy_from_a_recipe(tmp_path: Path) -> None:
    """Each pair's distance and the eigenvalues of the whole K/n, over means of states of plain transformers: the third
    reply is cut at 12 tokens, and the blank one is not embedded."""
    import numpy as np
    import torch
    from transformers import AutoModel, AutoTokenizer

    from aftertrain.core.run.base_model import find_model

    rows = [{"prompt": f"{number}?", "response": reply} for number, reply in enumerate(REPLIES)]
    (tmp_path / "a.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")
    (tmp_path / "recipe.yaml").write_text(EMBEDDED.replace("MODEL", MODEL), encoding="utf-8")
    assert main(["run", str(tmp_path / "recipe.yaml"), "--out", str(tmp_path / "runs")]) == 0
    found = json.loads((data(tmp_path) / "funnel.json").read_text(encoding="utf-8"))["passages"]["diversity"]["figures"]

    folder = find_model(MODEL, Path.cwd())
    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModel.from_pretrained(folder, dtype=torch.float32)
    vectors = []
    for reply in REPLIES[:4]:
        ids = tokenizer(reply, return_tensors="pt")["input_ids"][:, :12]
        with torch.no_grad():
            mean = model.eval()(input_ids=ids).last_hidden_state[0].double().numpy().mean(axis=0)
        vectors.append(mean / np.linalg.norm(mean))
    n = len(vectors)
    distances = [1 - vectors[i] @ vectors[j] for i in range(n) for j in range(i)]
    kernel = np.array([[one @ other for other in vectors] for one in vectors])
    shares = [share for share in np.linalg.eigvalsh(kernel / n) if share > 1e-12]
    score = math.exp(-sum(share * math.log(share) for share in shares))
    assert found["embedded"] == 4
    assert found["embedding_distance"] == pytest.approx(np.mean(distances), abs=1e-4)
    assert found["vendi"] == pytest.approx(score, abs=1e-3)
    assert 1 < score < 3  # two of the four are one
    assert found["vendi_balance"] == pytest.approx(math.log(score) / math.log(4), abs=1e-3)
    assert found["diversity"] == pytest.approx(0.25 * found["vendi_balance"] + 0.75 * found["distinct_1"], abs=1e-5)


def test_of_one_row_there_is_no_balance_and_no_score_and_the_model_is_let_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two rows, of which one is blank: how alike rows are is not 0 of one row, but nothing."""
    from transformers import AutoModel

    loaded: list[weakref.ref[Any]] = []
    load = AutoModel.from_pretrained

    def watched(*args: Any, **keywords: Any) -> Any:
        loaded.append(weakref.ref(model := load(*args, **keywords)))
        return model

    monkeypatch.setattr(AutoModel, "from_pretrained", watched)
    settings = DiversitySettings(
        parts={"vendi_balance": 0.25, "distinct_1": 0.75},
        embeddings=EmbeddingsSettings(model=MODEL),
        quality="length.words",
    )
    operator = Diversity(settings, None)  # type: ignore[arg-type]
    rows = [Row(Document(text, text, "a"), {"length.words": 1}) for text in ("Who?", " ")]
    operator.learn(rows, tmp_path, 0)
    gc.collect()
    assert [model() for model in loaded] == [None]
    operator.recall(tmp_path)
    found = operator.figures()
    assert (found["embedded"], found["vendi"], found["quality"]) == (1, 1.0, 1.0)
    assert [found[name] for name in ("vendi_balance", "diversity", "score")] == [None] * 3


def test_the_vendi_score_counts_what_differs() -> None:
    """Of k kinds in equal numbers, at right angles to one another, it is k; mixed 3 : 1, exp of their entropy."""
    import numpy as np

    from aftertrain.plugins.quality.embeddings import mean_distance, vendi

    kinds = np.eye(5)
    assert vendi(np.repeat(kinds[:3], 4, axis=0)) == pytest.approx(3)
    mixed = kinds[[0, 0, 0, 1]]
    assert vendi(mixed) == pytest.approx(math.exp(-(0.75 * math.log(0.75) + 0.25 * math.log(0.25))))
    assert mean_distance(mixed) == pytest.approx(3 / 6)  # three of six pairs differ
    assert vendi(np.ones((1, 1))) == 1.0


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (("embeddings: {model: MODEL, max_tokens: 12}", "words: 9"), "vendi_balance is a part of V(D) only with emb"),
        (("MODEL", "./nowhere"), "nowhere"),
    ],
)
def test_embeddings_that_cannot_be_are_refused_by_the_plan(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], change: tuple[str, str], told: str
) -> None:
    (tmp_path / "a.jsonl").write_text(json.dumps({"prompt": "a", "response": "b"}) + "\n", encoding="utf-8")
    (tmp_path / "recipe.yaml").write_text(EMBEDDED.replace(*change).replace("MODEL", MODEL), encoding="utf-8")
    assert main(["plan", str(tmp_path / "recipe.yaml")]) != 0
    assert told in "".join(capsys.readouterr())
