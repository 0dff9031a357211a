"""MMLU with reasoning: the prompt, and the letter against the five patterns of OLMES run as they are."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aftertrain.core.errors import DataError
from aftertrain.plugins.tulu.mmlu_cot import letter_of
from tests.plugins.tulu.conftest import Make, build, judged

ROW = {"question": "Cold?", "choices": ["ice", "fire", "sun", "lava"], "answer": 0, "subject": "world_religions"}
PATTERNS = (
    r"(?i)therefore,?\s*the\s*answer\s*is:?\s*\(?([A-D])\b",
    r"(?i)answer\s*is:?\s*\(?([A-D])\b",
    r"(?i)([A-D])\)?\s+is\s+correct",
    r"\(([A-D])\)",
    r".*\b([A-D])\b",
)


def reference(text: str) -> str | None:
    for pattern in PATTERNS:
        if match := re.search(pattern, text):
            return match.group(1).upper()
    return None


def test_the_prompt(make: Make) -> None:
    (instance,) = make("mmlu_cot", ROW).instances()
    assert [(message.role, message.content) for message in instance.messages] == [
        (
            "user",
            "The following are multiple choice questions about world religions. Summarize your reasoning concisely, "
            "then conclude with 'Therefore, the answer is: X' where X is one of A, B, C, or D.\n\n"
            "Question: Cold?\n A. ice\n B. fire\n C. sun\n D. lava\n",
        )
    ]
    assert (instance.id, instance.group, instance.target) == ("world_religions/0", "world_religions", "A")


def test_the_whole_split_is_read_and_subjects_are_chosen(mapped: Path) -> None:
    task = build("mmlu_cot", mapped, subjects=("anatomy", "virology"))
    instances = task.instances()
    assert {instance.group for instance in instances} == {"anatomy", "virology"}
    assert len(instances) == 135 + 166
    assert [figure.name for figure in task.figures()] == [
        "exact_match (macro)",
        "exact_match",
        "format (macro)",
        "format",
    ]
    with pytest.raises(DataError, match=r"no subject named 'virologi'\. Did you mean 'virology'"):
        build("mmlu_cot", mapped, subjects=("virologi",)).instances()


PIECES = ("therefore, the answer is: ", "The answer is", " B", "(C)", "A) is correct", " D ", "\n", "x", "c", ":", ".")


@given(st.lists(st.sampled_from(PIECES), max_size=9).map("".join))
def test_the_letter_is_that_of_the_patterns(text: str) -> None:
    assert letter_of(text)[0] == reference(text)


@pytest.mark.parametrize(
    ("text", "faulty", "sound"),
    [
        ("That idea is correct, so B.", "A", "B"),
        ("The answer is a matter of taste: (C)", "A", "C"),
        ("B, as a rule. A rule says so", "A", "B"),
        ("A rule says so", "A", None),
        ("Therefore, the answer is: d", "D", None),
        ("Therefore, the answer is: A because", "A", "A"),
        ("(C) it is, not D", "C", "C"),
    ],
)
def test_known_faults_of_the_reference_can_be_left_out(
    make: Make, text: str, faulty: str | None, sound: str | None
) -> None:
    assert reference(text) == faulty
    tasks = [make("mmlu_cot", ROW, compat=compat) for compat in (True, False)]
    (instance,) = tasks[0].instances()
    assert [judged(task, instance, text).extracted for task in tasks] == [faulty, sound]
    assert tasks[0].fingerprint() != tasks[1].fingerprint()


def test_a_letter_is_compared_and_its_announcement_told(make: Make) -> None:
    task = make("mmlu_cot", ROW)
    (instance,) = task.instances()
    for text, right, announced, outcome in (
        ("Ice is cold. Therefore, the answer is: A", 1.0, 1.0, "scored"),
        ("I choose (A).", 1.0, 0.0, "scored"),
        ("Therefore, the answer is: B", 0.0, 1.0, "scored"),
        ("who knows", 0.0, 0.0, "unparsable"),
        ("", 0.0, 0.0, "unparsable"),
    ):
        score = judged(task, instance, text)
        assert (score.metrics, score.outcome) == ({"exact_match": right, "format": announced}, outcome)


def test_long_replies_are_read_in_linear_time(make: Make) -> None:
    task = make("mmlu_cot", ROW)
    (instance,) = task.instances()
    for text in ("x " * 200_000, "answer is " * 40_000, "therefore the answer " * 20_000 + " " * 50_000):
        assert judged(task, instance, text).outcome == "unparsable"
