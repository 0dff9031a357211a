"""What gold answers cost: every request of OLMES's that is stored, byte for byte, and the cost by hand."""

from __future__ import annotations

import doctest
import gzip
import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from aftertrain.cli import main
from aftertrain.core.errors import DataError, Unavailable
from aftertrain.core.eval_task import ChoiceScores
from aftertrain.core.figures import Figure
from aftertrain.plugins.gold import benchmarks
from aftertrain.plugins.gold.examples import gsm8k
from aftertrain.plugins.gold.settings import GoldSettings
from aftertrain.plugins.gold.task import GoldBits

STORED = {
    "gsm8k": ("gsm8k", 65),
    "naturalqs": ("naturalqs_open", 66),
    "drop": ("drop", 57),
    "humaneval": ("codex_humaneval", 65),
    "mbpp": ("codex_mbpp", 65),
    "math_500": ("minerva_math_500", 65),
    "minerva_math": ("minerva_math_algebra", 57),
}
"""By benchmark: OLMES's name, and how many of its documents are stored."""


def task(benchmark: str, data: Path, **settings: Any) -> GoldBits:
    if "math" in benchmark:
        settings = {"shots_path": str(data / "minerva.jsonl"), **settings}
    return GoldBits(GoldSettings(benchmark=benchmark, data=str(data), **settings), None)  # type: ignore[arg-type]


def stored(shared_data: Path, name: str) -> Iterator[Mapping[str, Any]]:
    with gzip.open(shared_data / "golden" / "olmes_requests.jsonl.gz", "rt", encoding="utf-8") as file:
        yield from (row for line in file if (row := json.loads(line))["task"] == name and "bpb" in row["variant"])


def written(folder: Path, place: str, rows: list[dict[str, Any]]) -> None:
    file = folder / f"{place}.jsonl"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


@pytest.fixture
def data(tmp_path: Path, shared_data: Path) -> Path:
    """Whole splits by a map; DROP and MATH from the stored documents' own fields, in the hub's columns."""
    (tmp_path / "data.yaml").write_text(
        f"gsm8k: {{file: '{shared_data}/gsm8k/test.jsonl'}}\n"
        f"naturalqs: {{file: '{shared_data}/hub/google-research-datasets/nq_open/nq_open/validation'}}\n"
        f"humaneval: {{file: '{shared_data}/humaneval/HumanEval.jsonl.gz'}}\n"
        f"mbpp: {{file: '{shared_data}/mbpp/mbpp_test.jsonl'}}\n"
        f"math_500: {{file: '{shared_data}/math/math500.jsonl'}}\n"
    )
    with gzip.open(shared_data / "olmes" / "olmes_fewshot_sources.json.gz", "rt", encoding="utf-8") as file:
        minerva = json.load(file)["Minerva:MATH:fixed"]
    (tmp_path / "minerva.jsonl").write_text("".join(json.dumps(row) + "\n" for row in minerva), encoding="utf-8")
    drop = [
        {**row["doc"], "answer": {"number": "", "spans": row["doc"]["answers"][0]}}
        for row in stored(shared_data, "drop")
    ]
    written(tmp_path, "EleutherAI/drop/default/validation", drop)
    algebra = [row["doc"] for row in stored(shared_data, "minerva_math_algebra")]
    for source in benchmarks.BENCHMARKS["minerva_math"].sources:
        written(tmp_path, str(source), algebra if source.config == "algebra" else algebra[:1])
    return tmp_path


@pytest.mark.parametrize("benchmark", STORED)
def test_requests_equal_olmes_byte_for_byte(benchmark: str, data: Path, shared_data: Path) -> None:
    name, count = STORED[benchmark]
    asked = task(benchmark, data).instances()
    by_prompt = {instance.messages[0].content: instance for instance in asked}
    whole = benchmark not in ("drop", "minerva_math")  # the split, or OLMES's draw of it, in its order
    rows = list(stored(shared_data, name))
    for row in rows:
        (request,) = row["requests"]
        instance = asked[row["doc_id"]] if whole else by_prompt[row["context"]]
        assert instance.messages[0].content == row["context"], row["id"]
        assert instance.choices[0].text == request["continuation"], row["id"]
    assert len(rows) == count


def test_what_is_shared_is_where_olmes_says(data: Path) -> None:
    counts = {
        name: len(task(name, data).instances()) for name in ("gsm8k", "naturalqs", "humaneval", "mbpp", "math_500")
    }
    assert counts == {"gsm8k": 1319, "naturalqs": 1000, "humaneval": 164, "mbpp": 500, "math_500": 500}
    assert len(task("naturalqs", data, subset=False).instances()) == 3610


def test_examples_in_docstrings() -> None:
    assert doctest.testmod(benchmarks).failed == 0


def test_the_cost_by_hand(tmp_path: Path) -> None:
    """40 bytes of an answer at 20 bits cost half a bit each; of two the mean is not the ratio of sums."""
    made = task("gsm8k", tmp_path, **{k: v for k, v in gsm8k(tmp_path).items() if k == "shots"})
    first, second = made.instances()
    assert first.messages[0].content == "Question: What is 2 and 3?\nAnswer:"
    (choice,) = first.choices
    assert choice.text == " It is 2 + 3 = 5. So the answer is 5."
    size = len(choice.text)
    scores = [
        made.score(instance, ChoiceScores((-bits * math.log(2),), (9,), (greedy,)))
        for instance, bits, greedy in ((first, 18.5, True), (second, 37.0, False))
    ]
    assert scores[0].metrics == pytest.approx(
        {"bits_per_byte": 18.5 / size, "greedy": 1.0, "bits": 18.5, "bytes": size}
    )
    assert set(scores[0].metrics) == set(made.metrics)
    bits, pooled, greedy = made.figures()
    assert [figure.name for figure in (bits, pooled, greedy)] == ["bits_per_byte", "bits_per_byte (pooled)", "greedy"]
    assert _value(bits, scores[1:]) == pytest.approx(37.0 / size)


def _value(figure: Figure, scores: Any) -> float:
    return figure.value(scores)


def test_rows_that_do_not_fit_are_told(tmp_path: Path) -> None:
    written(tmp_path, "openai/gsm8k/main/test", [{"question": "?", "answer": "five"}])
    with pytest.raises(DataError, match=r"test\.jsonl:1: column 'answer' must have a number behind '####'"):
        task("gsm8k", tmp_path).instances()
    written(tmp_path, "google-research-datasets/nq_open/nq_open/validation", [{"question": "?", "answer": []}])
    with pytest.raises(DataError, match="column 'answer' must begin with a text"):
        task("naturalqs", tmp_path).instances()


@pytest.mark.slow
def test_from_the_command(tmp_path: Path, tiny_model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    gsm8k(tmp_path)
    words = ["gold_bits", "benchmark=gsm8k", "shots=0", "--data", str(tmp_path), "--out", str(tmp_path / "run")]
    assert main(["evaluate", str(tiny_model), *words]) == 0, capsys.readouterr().err
    told = capsys.readouterr().out
    assert "bits_per_byte (pooled)" in told


def test_examples_that_are_not_passed_on_are_asked_for(data: Path) -> None:
    with pytest.raises(Unavailable, match="set 'shots_path', or take shots=0"):
        task("math_500", data, shots_path=None).instances()
    assert len(task("math_500", data, shots_path=None, shots=0).instances()) == 500
