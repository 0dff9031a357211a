"""DeepMind Mathematics (F45): prompts by hand from OLMES's configuration, how answers are found and compared."""

from __future__ import annotations

import doctest
import gzip
import json
import random
import re
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aftertrain.core.errors import DataError
from aftertrain.core.records import VerificationCase
from aftertrain.core.settings import Settings
from aftertrain.plugins.unseen import closing, equality
from aftertrain.plugins.unseen.categories import CATEGORIES
from aftertrain.plugins.unseen.equality import Equality, cleaned, same_expression, same_text
from aftertrain.plugins.unseen.examples import SUM
from tests.plugins.unseen.conftest import Make, build
from tests.plugins.unseen.test_choice import reply

SAY = "Therefore, the final answer is {}. I hope it is correct."
NOTE = (
    "Note the formatting for the following answer types:\n"
    "- If the answer is a list (e.g., when there are two solutions to an equation), unless otherwise specified, "
    "present the solutions in a list separated by commas ordering them from the smallest to biggest  e.g.: 2, 10\n"
    "- Powers should be written with **, for instance x to the power of 2 should be written as x**2\n"
    "- Use * for multiplication, e.g.: 2*x"
)


def sums(**categories: Any) -> dict[str, Any]:
    """Rows of every category; one where none are named."""
    return {f"deepmind/math_dataset/{name}/test": categories.get(name, [SUM]) for name in CATEGORIES}


@pytest.mark.parametrize("module", [closing, equality])
def test_examples_in_docstrings(module: Any) -> None:
    assert doctest.testmod(module).failed == 0


def test_v3_shows_three_answers_of_the_category(make: Make, tmp_path: Path) -> None:
    lines = [{"category": name, "answers": [f"{place}", "b", "c"]} for place, name in enumerate(CATEGORIES)]
    mine = tmp_path / "mine.jsonl"
    mine.write_text("".join(json.dumps(line) + "\n" for line in lines))
    task = make("deepmind_math", sums(), answers=str(mine))
    second = task.instances()[1]
    shown = "\n".join(f'- If the answer is {a}, conclude with "{SAY.format(a)}"' for a in ("1", "b", "c"))
    assert second.messages[0].content == (
        "Solve the following math problem efficiently:\nWhat is 2 + 3?\n\nShow your work and conclude with the exact "
        f'phrasing "{SAY.format("[answer]")}" where [answer] is just the final number, expression, or answer label '
        f"representing the solution.  Some example answers from this question category:\n{shown}\n\n{NOTE}\n"
        "- For fractions, separate the numerator and denominator with a slash (/) e.g.: -2/7"
    )
    assert (second.id, second.target, second.group) == (f"{CATEGORIES[1]}/0", "5", CATEGORIES[1])
    mine.write_text("".join(json.dumps(line) + "\n" for line in lines[1:]))
    with pytest.raises(DataError, match="3 answers of category 'algebra__linear_1d' are needed"):
        make("deepmind_math", {}, answers=str(mine)).instances()


def test_v0_shows_one_answer(make: Make) -> None:
    task = make("deepmind_math", sums(), prompt="v0")
    assert task.instances()[0].messages[0].content == (
        "Solve the following math problem efficiently:\nWhat is 2 + 3?\n\nShow your work and conclude with the exact "
        f'phrasing "{SAY.format("[answer]")}" where [answer] is just the final number or expression that solves the '
        f'problem. E.g., if the answer is 6, conclude with "{SAY.format("6")}"\n{NOTE}'
    )
    assert next(iter(task.figures())).name == "exact_match (macro)"
    assert task.sampling().max_new_tokens == 2048


def test_olmes_leaves_marks_around_questions_with_an_apostrophe(make: Make) -> None:
    row = {"question": r'''b"What is the n'th term?\n"''', "answer": r"b'n\n'"}
    rows = sums(algebra__sequence_nth_term=[row])
    asked = [
        next(i for i in make("deepmind_math", rows, compat=compat).instances() if i.group.endswith("nth_term"))
        for compat in (False, True)
    ]
    begun = "Solve the following math problem efficiently:\n"
    assert asked[0].messages[0].content.startswith(f"{begun}What is the n'th term?\n\nShow")
    assert asked[1].messages[0].content.startswith(f"{begun}{row['question']}\n\nShow")
    assert [instance.target for instance in asked] == ["n", "n"]
    with pytest.raises(DataError, match="column 'question' is no text of bytes"):
        make("deepmind_math", sums(arithmetic__div=[{**SUM, "question": "b'a' + 1"}])).instances()


def test_a_hundred_of_a_category_are_drawn(make: Make) -> None:
    many = [{"question": f"q{place}", "answer": str(place)} for place in range(300)]
    rows = sums(arithmetic__div=many)
    drawn = [i.target for i in make("deepmind_math", rows).instances() if i.group == "arithmetic__div"]
    assert drawn == [str(place) for place in random.Random(1234).sample(range(300), 100)]
    assert len(make("deepmind_math", {}, per_category=None).instances()) == 355


PIECES = (
    "Therefore, the final answer is ", "therefore, the FINAL answer is ", "7", " .", ". I hope it is correct.",
    "! i hope it is correct?", "I hope it is correct", "\n", "**", "$", " ", "<s>", "x", "(", ")", "\\",
)  # fmt: skip
TEXTS = st.lists(st.sampled_from(PIECES), max_size=12).map("".join)


@settings(max_examples=80)
@given(TEXTS)
def test_closing_sentences_are_found_as_olmes_finds_them(text: str) -> None:
    for prompt, end in (("v3", r"\."), ("v0", ".")):
        pattern = rf"(?i)Therefore, the final answer is (.*?){end} I hope it is correct."
        assert list(closing.asked_for(text, closing.ENDS[prompt])) == re.findall(pattern, text)


@settings(max_examples=80)
@given(TEXTS)
def test_answers_are_cleaned_as_olmes_cleans_them(text: str) -> None:
    """By the patterns of olmo-eval's port; the closing sentence with the white space before it."""
    rest = re.sub(r"\s*\.?\s*I hope it is correct.*", "", text)
    for token in ("<end_of_turn>", "<|eot_id|>", "<s>", "</s>"):
        rest = rest.replace(token, "")
    rest = re.sub(r"\.\s*$", "", rest.strip()).strip()
    for left, right in (
        (r"\$", r"\$"),
        (r"\\\(", r"\\\)"),
        (r"\*\*", r"\*\*"),
        (r"\*{3}", r"\*{3}"),
        (r"\\\[", r"\\\]"),
    ):
        rest = re.sub(f"^{left}(.*){right}$", r"\1", rest).strip()
    assert cleaned(text) == rest


@pytest.mark.parametrize(
    ("truth", "answer", "equal"),
    [
        ("13", "13.0", True),
        ("1/2", "0.5", True),
        ("-1, 13/2", "-1, 6.5", False),  # lists are compared part by part, and a float is no fraction
        ("-1, 13/2", "(-1, 26/4)", True),
        ("2*x**2 - 2", "2*(x - 1)*(x + 1)", True),
        ("2*x**2 - 2", "2*(y - 1)*(y + 1)", False),
        ("b**(-4438/45)", "1/b**(4438/45)", True),
        ("15360*sqrt(7)/2", "7680*sqrt(7)", True),
        ("b", "(b)", True),
        ("0.003", "3/1000", True),
        ("5", "1/(x - x)", False),
        ("5", "sqrt(-25)", False),
    ],
)
def test_expressions_are_equal_by_value(truth: str, answer: str, equal: bool) -> None:
    assert same_text(truth, answer) is None
    assert same_expression(truth, answer) is equal
    case = VerificationCase("a", "", answer, truth)
    assert Equality(Settings(), None).verify([case])[0].value == equal  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "answer",
    [
        "__import__('os').getcwd()",
        "x.is_prime",
        "(1).bit_length()",
        "lambda: 1",
        "[1]",
        "x if x else y",
        "9!" * 600,
        "9**9**9",
        "9**(2*9**9)",
        "1e999999999",
    ],
)
def test_what_is_no_expression_never_reaches_the_parser(answer: str) -> None:
    assert same_text("5", answer) is False


def test_a_reply_is_graded_by_how_its_answer_was_found(make: Make) -> None:
    rows = sums(numbers__is_prime=[{"question": "b'Is 7 prime?\\n'", "answer": "b'True\\n'"}])
    task = make("deepmind_math", rows)
    sum_, prime = (next(i for i in task.instances() if i.group == g) for g in ("arithmetic__div", "numbers__is_prime"))
    given = [
        (sum_, f"{SAY.format('4')} No: {SAY.format('$5$')}", 1.0, 1.0, "5", "scored", "as asked"),
        (sum_, "I think the answer is 5.", 1.0, 0.5, "5", "scored", "answer is"),
        (sum_, "5", 1.0, 0.0, "5", "scored", "whole reply"),
        (sum_, "many", 0.0, 0.0, "many", "unparsable", "whole reply"),
        (sum_, "", 0.0, 0.0, None, "unparsable", "whole reply"),
        (prime, SAY.format("Yes"), 1.0, 1.0, "Yes", "scored", "as asked"),
        (prime, SAY.format("no"), 0.0, 1.0, "no", "scored", "as asked"),
    ]
    for instance, text, match, form, answer, outcome, step in given:
        score = task.score(instance, reply(text))
        assert score.metrics == {"exact_match": match, "answer_format_correct": form}, text
        assert (score.extracted, score.outcome, score.detail) == (answer, outcome, step)


@pytest.mark.parametrize(
    "piece", ["Therefore, the final answer is ", "answer is ", "I hope it is correct", " ", "\n.", "$"]
)
def test_any_text_is_read_in_linear_time(piece: str) -> None:
    text, begun = piece * (300_000 // len(piece)), time.perf_counter()
    for end in ("", "\n. I hope it is correct."):
        closing.closing(text + end, "v3")
    assert time.perf_counter() - begun < 5


@pytest.mark.slow
def test_what_has_no_end_is_ended(make: Make) -> None:
    task = make("deepmind_math", sums(), verification={"workers": 1, "timeout": 1.0})
    first, *_ = task.instances()
    endless, after = task.score_all([first, first], [reply(SAY.format("3**999999999")), reply(SAY.format("10/2"))])
    assert (endless.outcome, endless.metrics["exact_match"]) == ("timeout", 0.0)
    assert endless.detail.startswith("as asked: no verdict")
    assert after.metrics["exact_match"] == 1.0


@pytest.mark.slow
def test_the_shared_rows_are_all_read(mapped: Path, shared_data: Path) -> None:
    instances = build("deepmind_math", mapped).instances()
    assert len(instances) == 5600
    with gzip.open(shared_data / "dm_math" / "dm_math_sample100.jsonl.gz", "rt") as file:
        rows = [json.loads(line) for line in file]
    assert tuple(dict.fromkeys(row["category"] for row in rows)) == CATEGORIES
    begun = "Solve the following math problem efficiently:\n"
    assert all(instance.messages[0].content.startswith(begun) for instance in instances)
    assert not any(instance.messages[0].content.startswith((begun + "b'", begun + 'b"')) for instance in instances)
