"""TruthfulQA: MC1 and MC2 by hand, both layouts of the data."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from aftertrain.core.errors import DataError
from aftertrain.core.eval_task import ChoiceScores
from aftertrain.plugins.evaluation.settings import TruthfulQASettings
from aftertrain.plugins.evaluation.truthfulqa import TruthfulQA

ROW = {
    "question": "Seeds?",
    "best_answer": "They pass",
    "correct_answers": ["Nothing", "They pass"],
    "incorrect_answers": ["They grow", "You die"],
}


def task(tmp_path: Path, row: dict[str, Any] = ROW, **settings: Any) -> TruthfulQA:
    path = tmp_path / "q.jsonl"
    path.write_text(json.dumps(row))
    given = TruthfulQASettings(path=str(path), **{"chat": False, **settings})
    return TruthfulQA(given, None)  # type: ignore[arg-type]


def scores(*logprobs: float) -> ChoiceScores:
    return ChoiceScores(logprobs, (1,) * len(logprobs), (False,) * len(logprobs))


def test_mc1_and_mc2_by_hand(tmp_path: Path) -> None:
    """Masses 0.4 (best), 0.2 and 0.1 (false), 0.3 (true): MC2 = 0.7; the best beats both false ones."""
    made = task(tmp_path)
    (instance,) = made.instances()
    assert tuple(choice.text for choice in instance.choices) == (" They pass", " They grow", " You die", " Nothing")
    found = made.score(instance, scores(*map(math.log, (0.4, 0.2, 0.1, 0.3)))).metrics
    assert found == {"mc1": 1.0, "mc2": pytest.approx(0.7)}
    found = made.score(instance, scores(*map(math.log, (0.2, 0.4, 0.1, 0.3)))).metrics
    assert found == {"mc1": 0.0, "mc2": pytest.approx(0.5)}


def test_long_answers_do_not_underflow(tmp_path: Path) -> None:
    """exp(-2000) is 0 in float64; the share is still e⁰ / (e⁰ + e⁻¹) for one true and one false answer that matter."""
    made = task(tmp_path)
    found = made.score(made.instances()[0], scores(-2000.0, -2001.0, -9000.0, -9000.0)).metrics
    assert found["mc2"] == pytest.approx(1 / (1 + math.exp(-1)))


def test_the_primer_comes_first(tmp_path: Path) -> None:
    (instance,) = task(tmp_path).instances()
    text = instance.messages[0].content
    assert text.startswith("Q: What is human life expectancy in the United States?\nA: ")
    assert text.endswith("\n\nQ: Seeds?\nA:")
    assert text.count("Q: ") == 7
    (chat,) = task(tmp_path, chat=True, primer=False).instances()
    assert [(m.role, m.content) for m in chat.messages] == [("user", "Q: Seeds?\nA:")]
    assert [choice.text for choice in chat.choices] == ["They pass", "They grow", "You die", "Nothing"]
    assert TruthfulQASettings().chat, "Tülu 3's row is asked in chat"


def _function_of_lm_eval(file: str, name: str) -> Any:
    """One function of a file whose imports take a quarter of a minute."""
    import ast
    from importlib.util import find_spec

    import numpy as np

    package = find_spec("lm_eval")
    if package is None or not package.submodule_search_locations:
        pytest.skip("lm_eval is not installed")
    source = ast.parse(Path(package.submodule_search_locations[0], "tasks", file).read_text(encoding="utf-8"))
    source.body = [node for node in source.body if isinstance(node, ast.FunctionDef) and node.name == name]
    names: dict[str, Any] = {"np": np}
    exec(compile(source, file, "exec"), names)
    return names[name]


def test_mc2_is_that_of_lm_eval(tmp_path: Path) -> None:
    """Its formula (`process_results_mc2`) on its column, for answers of any likelihood."""
    import random

    reference = _function_of_lm_eval("truthfulqa/utils.py", "process_results_mc2")
    rng = random.Random(0)
    for _ in range(20):
        true, false = rng.randint(1, 4), rng.randint(1, 4)
        choices, labels = [f"answer {i}" for i in range(true + false)], [1] * true + [0] * false
        row = {
            "question": "Seeds?",
            "mc1_targets": {"choices": [choices[0], *choices[true:]], "labels": [1] + [0] * false},
            "mc2_targets": {"choices": choices, "labels": labels},
        }
        made = task(tmp_path, row)
        (instance,) = made.instances()
        logprob = {f" {choice}": rng.uniform(-30, 0) for choice in choices}
        ours = made.score(instance, scores(*(logprob[choice.text] for choice in instance.choices))).metrics
        theirs = reference(row, [(logprob[f" {choice}"], False) for choice in choices])
        assert ours["mc2"] == pytest.approx(theirs["acc"], rel=1e-12)
        best = max((choices[0], *choices[true:]), key=lambda choice: logprob[f" {choice}"])
        assert ours["mc1"] == float(best == choices[0])


def test_rows_are_those_of_the_hub_by_the_one_rule(tmp_path: Path) -> None:
    row = {
        "question": "Seeds?",
        "mc1_targets": {"choices": ["They pass", "They grow"], "labels": [1, 0]},
        "mc2_targets": {"choices": ["They pass", "They grow"], "labels": [1, 0]},
    }
    file = tmp_path / "truthfulqa" / "truthful_qa" / "multiple_choice" / "validation.jsonl"
    file.parent.mkdir(parents=True)
    file.write_text(json.dumps(row))
    laid = TruthfulQA(TruthfulQASettings(data=str(tmp_path), chat=False), None)  # type: ignore[arg-type]
    assert laid.instances() == task(tmp_path, row).instances()
    file.write_text(json.dumps({**row, "mc2_targets": {"choices": ["a"], "labels": [1, 0]}}))
    with pytest.raises(DataError, match=r"validation\.jsonl:1: 1 choices need as many labels, found 2"):
        TruthfulQA(TruthfulQASettings(data=str(tmp_path)), None).instances()  # type: ignore[arg-type]


def test_the_primer_is_the_list_of_olmes(shared_data: Path) -> None:
    import gzip

    from aftertrain.plugins.evaluation.truthfulqa import PRIMER

    theirs = json.loads(gzip.decompress((shared_data / "olmes" / "olmes_fewshot_sources.json.gz").read_bytes()))
    assert (
        "".join(
            f"Q: {example['question']}\nA: {example['choices'][0]}\n\n" for example in theirs["Original:TruthfulQA"]
        )
        == PRIMER
    )


def test_the_hub_layout_keeps_its_two_lists(tmp_path: Path) -> None:
    row = {
        "question": "Seeds?",
        "mc1_targets": {"choices": ["They pass", "They grow"], "labels": [1, 0]},
        "mc2_targets": {"choices": ["They pass", "Nothing", "You die"], "labels": [1, 1, 0]},
    }
    made = task(tmp_path, row)
    (instance,) = made.instances()
    assert tuple(choice.text for choice in instance.choices) == (" They pass", " They grow", " Nothing", " You die")
    assert instance.target == {"best": 0, "mc1": [0, 1], "mc2": [1, None, 1, 0]}
    found = made.score(instance, scores(*map(math.log, (0.2, 0.4, 0.1, 0.3)))).metrics
    assert found == {"mc1": 0.0, "mc2": pytest.approx(0.5)}


def test_rows_without_false_answers_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"q\.jsonl:1: true and false answers are both needed"):
        task(tmp_path, {**ROW, "incorrect_answers": []}).instances()


def test_the_shared_file_is_read(shared_data: Path) -> None:
    settings = TruthfulQASettings(path=str(shared_data / "truthfulqa" / "truthfulqa.jsonl"))
    instances = TruthfulQA(settings, None).instances()  # type: ignore[arg-type]
    assert len(instances) == 817
    assert all(len(instance.choices) == len(set(instance.choices)) >= 2 for instance in instances)
