"""What the tasks of OLMES make of a row, by hand: wording, the four ways to compare choices, rows that do not fit."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest

from aftertrain.core.errors import DataError
from aftertrain.core.eval_task import ChoiceScores, InstanceScore
from tests.plugins.olmes.conftest import Make

ARC = {
    "id": "a",
    "question": "Cold?",
    "choices": {"text": ["fire", "ice", "sun"], "label": ["1", "2", "3"]},
    "answerKey": "2",
}


def test_labels_may_be_digits(make: Make) -> None:
    (instance,) = make("arc_easy", ARC, shots=0, formulation="mc").instances()
    assert instance.messages[0].content == "Question: Cold?\n A. fire\n B. ice\n C. sun\nAnswer:"
    assert [choice.text for choice in instance.choices] == [" A", " B", " C"]
    assert (instance.target, instance.id, instance.baseline) == (1, "a", None)


def test_four_ways_to_compare_choices_by_hand(make: Make) -> None:
    """Each way prefers another choice; a character is one of the scored text, space included."""
    row = {**ARC, "choices": {"text": ["abc", "a", "abcdefghijk"], "label": ["A", "B", "C"]}, "answerKey": "C"}
    task = make("arc_challenge", row, shots=0)
    (instance,) = task.instances()
    assert [choice.text for choice in instance.choices] == [" abc", " a", " abcdefghijk"]
    assert instance.baseline == "Answer:"
    # raw -3, -2, -6; per token -1.5, -2, -1; per char -0.75, -1, -0.5; uncond 3, -1, -2
    scores = ChoiceScores((-3.0, -2.0, -6.0), (2, 1, 6), (False,) * 3, (-6.0, -1.0, -4.0))
    score = task.score(instance, scores)
    assert score.metrics == {
        "acc_uncond": 0.0,
        "acc_raw": 0.0,
        "acc_per_token": 1.0,
        "acc_per_char": 1.0,
        "bits_per_byte": 6.0 / math.log(2) / 12,
    }
    assert tuple(score.metrics) != task.metrics or task.metrics[0] == "acc_uncond"
    assert set(score.metrics) == set(task.metrics)
    assert score.extracted == "abc", "what the protocol's own way prefers"


def test_the_space_before_a_choice_is_a_character(make: Make) -> None:
    """-2/(1+1) = -1 against -2.7/(2+1) = -0.9; without the space -2 against -1.35 would agree, -1/1 and -1.9/2 do not.

    With it -1/2 > -1.6/3 prefers the first; without it -1/1 < -1.6/2 the second, as lm-eval counts.
    """
    row = {**ARC, "choices": {"text": ["a", "bc"], "label": ["A", "B"]}, "answerKey": "A"}
    task = make("arc_easy", row, shots=0)
    score = task.score(task.instances()[0], ChoiceScores((-1.0, -1.6), (1, 1), (False,) * 2, (-1.0, -1.0)))
    assert score.metrics["acc_per_char"] == 1.0
    assert task.metrics[0] == "acc_per_char"


def test_of_equal_choices_the_first_is_preferred(make: Make) -> None:
    task = make("csqa", {**ARC, "answerKey": "1"}, shots=0, formulation="mc")
    score = task.score(task.instances()[0], ChoiceScores((-1.0, -1.0, -1.0), (1, 1, 1), (True,) * 3))
    assert score.metrics == {"acc_raw": 1.0, "bits_per_byte": 1 / math.log(2) / 2}


@pytest.mark.parametrize(
    ("task", "own"),
    [
        ("arc_easy", "acc_per_char"),
        ("arc_challenge", "acc_uncond"),
        ("boolq", "acc_raw"),
        ("csqa", "acc_uncond"),
        ("hellaswag", "acc_per_char"),
        ("openbookqa", "acc_uncond"),
        ("piqa", "acc_per_char"),
        ("socialiqa", "acc_per_char"),
        ("winogrande", "acc_raw"),
        ("mmlu", "acc_per_char"),
    ],
)
def test_the_protocols_own_way_comes_first(make: Make, task: str, own: str) -> None:
    cloze = make(task).metrics
    assert cloze[0] == own
    assert set(cloze) >= {"acc_raw", "acc_per_token", "acc_per_char", "bits_per_byte"}
    assert ("acc_uncond" in cloze) == (task not in {"boolq", "winogrande"})
    assert make(task, formulation="mc").metrics == ("acc_raw", "bits_per_byte")


def test_winogrande_compares_beginnings_by_one_tail(make: Make) -> None:
    row = {"sentence": "Ann thanked Bea, for _ had helped.", "option1": "Ann", "option2": "Bea", "answer": "2"}
    task = make("winogrande", row, shots=1)
    (instance,) = task.instances()
    first, second = instance.choices
    assert first.text == second.text == " had helped."
    assert first.context == (
        "John moved the couch from the garage to the backyard to create space. The garage is small.\n\n"
        "Ann thanked Bea, for Ann"
    )
    assert second.context is not None
    assert second.context.endswith("\n\nAnn thanked Bea, for Bea")
    score = task.score(instance, ChoiceScores((-3.0, -2.0), (3, 3), (False, False)))
    assert (score.metrics["acc_raw"], score.extracted) == (1.0, "B")


def test_mmlu_shows_its_subjects_examples_and_averages_subjects_first(make: Make) -> None:
    """Two subjects of three and one questions: right 1, 0, 0 and 1 are (1/3 + 1)/2 macro and 2/4 micro."""
    base = {"choices": ["a", "b"], "answer": 1}
    rows = [{**base, "question": f"{n}?", "subject": s} for n, s in enumerate(["x_y", "x_y", "x_y", "z"])]
    dev = [{**base, "question": f"dev {s}?", "subject": s} for s in ("z", "x_y")]
    make("mmlu", *dev, split="dev")
    task = make("mmlu", *rows, shots=1)
    instances = task.instances()
    assert instances[0].messages[0].content == (
        "The following are multiple choice questions (with answers) about x y.\n\n"
        "Question: dev x_y?\nAnswer: b\n\nQuestion: 0?\nAnswer:"
    )
    assert [instance.id for instance in instances] == ["x_y/0", "x_y/1", "x_y/2", "z/0"]
    macro, micro, *_ = task.figures()
    assert (macro.name, macro.grouped, micro.name, micro.grouped) == (
        "acc_per_char (macro)",
        True,
        "acc_per_char",
        False,
    )

    from aftertrain.core.statistics import Weights, mean_interval

    values = [figure_value(micro, right) for right in (1.0, 0.0, 0.0, 1.0)]
    assert mean_interval(values).mean == 0.5
    weights = Weights.of_groups([instance.group for instance in instances])
    assert mean_interval(values, weights).mean == pytest.approx((1 / 3 + 1) / 2)


def figure_value(figure: Any, right: float) -> float:
    value: float = figure.value([InstanceScore({"acc_per_char": right})])
    return value


def test_a_subject_without_enough_examples_is_named(make: Make) -> None:
    row = {"question": "?", "choices": ["a", "b"], "answer": 0, "subject": "z"}
    make("mmlu", row, split="dev")
    with pytest.raises(DataError, match="task 'mmlu': 1 examples of 'z' are asked for, there are 0"):
        make("mmlu", row, shots=1).instances()


@pytest.mark.parametrize(
    ("task", "row", "message"),
    [
        ("arc_easy", {**ARC, "answerKey": "B"}, r"test.jsonl:1: column 'answerKey' must be one of the labels"),
        ("arc_easy", {"qestion": "?"}, r"has no field 'question'.*did you mean 'qestion'"),
        ("arc_easy", {**ARC, "choices": {"text": ["a", "b"], "label": ["A"]}}, "need as many different labels"),
        ("arc_easy", {**ARC, "choices": {"text": ["a", ""], "label": ["A", "B"]}}, "none of them empty"),
        ("boolq", {"passage": "p", "question": "q", "label": 2}, "column 'label' must name one of 2 choices by 0 to 1"),
        (
            "socialiqa",
            {"context": "c", "question": "q", "answerA": "a", "answerB": "b", "answerC": "c", "label": "0"},
            "by 1 to 3, found '0'",
        ),
        ("winogrande", {"sentence": "s", "option1": "a", "option2": "b", "answer": ""}, "blank '_'"),
        (
            "hellaswag",
            {"activity_label": "a", "ctx_a": "", "ctx_b": "", "endings": ["a", "b"], "label": ""},
            "found ''",
        ),
        ("piqa", {"goal": 1}, "field 'goal' must be a str"),
    ],
)
def test_rows_that_do_not_fit_are_told_by_place_and_column(make: Make, task: str, row: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        make(task, row, shots=0).instances()


def test_repeated_ids_are_numbered_and_questions_decide_the_fingerprint(make: Make) -> None:
    task = make("arc_easy", ARC, ARC, shots=0)
    assert [instance.id for instance in task.instances()] == ["a", "a-2"]
    assert task.notes() == ("1 row has the id of an earlier one: each is scored, under an id with a number ('a-2')",)
    assert make("arc_easy", ARC, shots=0).notes() == ()
    prints = {
        task.fingerprint(),
        make("arc_easy", ARC, ARC, shots=1).fingerprint(),
        make("arc_easy", ARC, ARC, shots=0, formulation="mc").fingerprint(),
        make("arc_easy", ARC, {**ARC, "answerKey": "1"}, shots=0).fingerprint(),
    }
    assert len(prints) == 4
    assert make("arc_easy", ARC, ARC, shots=0, name="mine").fingerprint() in prints


def test_a_worked_example_is_never_the_question_itself(make: Make) -> None:
    from aftertrain.core.benchmark.shots import curated

    first = dict(curated("aftertrain.plugins.olmes", "shots.json", "OLMES:ARC-Easy")[0].fields)
    (instance,) = make("arc_easy", first, shots=7).instances()
    assert instance.messages[0].content.count(first["question"]) == 1
    with pytest.raises(DataError, match="task 'arc_easy': 8 examples are asked for, there are 7"):
        make("arc_easy", first, shots=8).instances()
    assert json.dumps(first)


@pytest.mark.parametrize(
    ("task", "row", "asked"),
    [
        ("arc_easy", ARC, None),
        (
            "winogrande",
            {"sentence": "Ann saw Eve as _ slept.", "option1": "Ann", "option2": "Eve", "answer": "2"},
            "Fill in the blank: Ann saw Eve as ___ slept.\n A. Ann\n B. Eve\nAnswer:",
        ),
    ],
)
def test_any_task_of_letters_may_be_asked_in_chat(
    make: Make, task: str, row: dict[str, Any], asked: str | None
) -> None:
    (plain,) = make(task, row, formulation="mc", shots=2).instances()
    (chat,) = make(task, row, formulation="mc", shots=2, chat=True).instances()
    first, one, second, two, last = chat.messages
    assert [message.role for message in chat.messages] == ["user", "assistant"] * 2 + ["user"]
    shown = [f"{question.content} {letter.content}" for question, letter in ((first, one), (second, two))]
    assert "\n\n".join([*shown, last.content]) == plain.messages[0].content
    assert asked in (None, last.content)
    assert [f" {choice.text}" for choice in chat.choices] == [choice.text for choice in plain.choices]
    assert (chat.target, chat.chat, chat.baseline) == (plain.target, True, None)


def test_mmlu_in_chat_shows_examples_as_turns_and_scores_bare_letters(make: Make) -> None:
    """OLMES `mmlu:mc::tulu`: the header before the first turn, `Answer:` ends each, the reply is the letter."""
    row = {"question": "Cold?", "choices": ["ice", "fire", "sun", "lava"], "answer": 0, "subject": "world_religions"}
    make("mmlu", {**row, "question": "Hot?", "answer": 1}, {**row, "question": "Old?"}, split="dev")
    task = make("mmlu", row, formulation="mc", shots=2, chat=True)
    (instance,) = task.instances()
    header = "The following are multiple choice questions (with answers) about world religions.\n\n"
    listed = " A. ice\n B. fire\n C. sun\n D. lava\nAnswer:"
    assert [(message.role, message.content) for message in instance.messages] == [
        ("user", f"{header}Question: Hot?\n{listed}"),
        ("assistant", "B"),
        ("user", f"Question: Old?\n{listed}"),
        ("assistant", "A"),
        ("user", f"Question: Cold?\n{listed}"),
    ]
    assert (instance.chat, [choice.text for choice in instance.choices]) == (True, ["A", "B", "C", "D"])
    (bare,) = make("mmlu", row, formulation="mc", shots=0, chat=True).instances()
    assert [message.content for message in bare.messages] == [f"{header}Question: Cold?\n{listed}"]
    assert task.fingerprint() != make("mmlu", row, formulation="mc", shots=2).fingerprint()
    with pytest.raises(ValueError, match="chat asks for letters: it needs formulation mc"):
        make("mmlu", row, chat=True)
