"""PopQA: the examples of other relations, and which replies hold an alias."""

from __future__ import annotations

from pathlib import Path

import pytest

from aftertrain.core.benchmark.shots import curated
from aftertrain.core.errors import DataError
from tests.plugins.tulu.conftest import Make, judged

TEMPLATES = {
    22: "What is {}'s occupation?",
    218: "In what city was {} born?",
    91: "What genre is {}?",
    257: "Who is the father of {}?",
    182: "In what country is {}?",
    164: "Who was the producer of {}?",
    526: "Who was the director of {}?",
    97: "What is {} the capital of?",
    533: "Who was the screenwriter for {}?",
    639: "Who was the composer of {}?",
    472: "What color is {}?",
    106: "What is the religion of {}?",
    560: "What sport does {} play?",
    484: "Who is the author of {}?",
    292: "Who is the mother of {}?",
    422: "What is the capital of {}?",
}
"""Mallen et al.'s, by `prop_id`."""
LIMA = {
    "id": 7,
    "prop": "capital of",
    "prop_id": 97,
    "question": "What is Rome the capital of?",
    "obj": "Italy",
    "possible_answers": '["Italy", "italian Republic", " "]',
}


def rows() -> list[dict[str, object]]:
    return [dict(row.fields) for row in curated("aftertrain.plugins.tulu", "shots.json", "popqa")]


def test_the_column_question_is_the_template_of_its_relation() -> None:
    assert {row["prop_id"]: row["question"] for row in rows()} == {
        prop: template.format(next(row["subj"] for row in rows() if row["prop_id"] == prop))
        for prop, template in TEMPLATES.items()
    }


def test_examples_are_those_of_the_other_fifteen_relations(make: Make) -> None:
    (instance,) = make("popqa", LIMA).instances()
    contents = [message.content for message in instance.messages]
    assert len(contents) == 31
    assert contents[:2] == ["Q: What is Thomas Widdrington's occupation? A:", "politician"]
    assert "Q: What is Lima the capital of? A:" not in contents
    assert contents[-1] == "Q: What is Rome the capital of? A:"
    (first,) = make("popqa", LIMA, examples="first").instances()
    assert "Q: What is Lima the capital of? A:" in [message.content for message in first.messages]
    assert "Q: What is the capital of Kingdom of Italy? A:" not in [message.content for message in first.messages]
    (plain,) = make("popqa", LIMA, chat=False, shots=1).instances()
    assert plain.messages[0].content == (
        "Q: What is Thomas Widdrington's occupation? A: politician\n\nQ: What is Rome the capital of? A:"
    )


@pytest.mark.parametrize(
    ("text", "found", "outcome"),
    [
        (" Italy.", 1.0, "scored"),
        ("the ITALIAN republic", 0.0, "scored"),
        ("the Italian republic", 1.0, "scored"),  # "italian Republic".capitalize()
        ("ITALY", 0.0, "scored"),
        ("italy", 1.0, "scored"),
        ("France", 0.0, "scored"),
        ("", 0.0, "unparsable"),
    ],
)
def test_an_alias_stands_in_the_reply(make: Make, text: str, found: float, outcome: str) -> None:
    task = make("popqa", LIMA)
    score = judged(task, task.instances()[0], text)
    assert (score.metrics, score.outcome) == ({"contains": found}, outcome)


@pytest.mark.parametrize("answers", ['["", " "]', "[]", '"Italy"', [1]])
def test_rows_without_a_name_of_the_answer_are_told(make: Make, answers: object) -> None:
    with pytest.raises(DataError, match=r"test\.jsonl:1: column 'possible_answers' must hold the answer's names"):
        make("popqa", {**LIMA, "possible_answers": answers}).instances()


def test_the_carried_rows_are_read_as_a_split(make: Make) -> None:
    """They are rows of the data set: asked themselves, each is shown the fifteen others."""
    instances = make("popqa", *rows()).instances()
    assert len(instances) == 16
    for instance in instances:
        shown = [message.content for message in instance.messages[:-1]]
        assert len(shown) == 30
        assert instance.messages[-1].content not in shown


def test_the_carried_lists_are_those_of_olmes(shared_data: Path) -> None:
    import gzip
    import json

    from aftertrain.plugins import tulu

    theirs = json.loads(gzip.decompress((shared_data / "olmes" / "olmes_fewshot_sources.json.gz").read_bytes()))
    ours = json.loads((Path(tulu.__file__).parent / "shots.json").read_text(encoding="utf-8"))["lists"]
    assert len(ours) == 28
    assert all(ours[name]["rows"] == theirs[name] and ours[name]["licence"] == "MIT" for name in ours)
