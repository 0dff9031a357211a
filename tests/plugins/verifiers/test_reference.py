r"""Ground truths of `math`: wrapped answers are unwrapped, whole solutions judged by their one box or refused."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import aftertrain
from aftertrain.core.errors import AftertrainError
from aftertrain.plugins.verifiers.reference import reference


@pytest.mark.parametrize(
    ("truth", "answer"),
    [
        *((text, "5") for text in ("\\boxed{5}", "$\\boxed{5}$", "$5$", "$$5$$", "\\(5\\)", "\\[ 5 \\]")),
        ("We add them. $1+1=2$ so the answer is $\\boxed{5}$.", "5"),
        ("Thus $x = \\boxed{\\frac{1}{2}}$", "\\frac{1}{2}"),
        ("Thus, $129^{34} \\equiv \\boxed{9} \\pmod{11}.$", "9"),
        ("\\begin{align*} x &= 1 + 2 \\\\ &= \\boxed{3} \\end{align*}", "3"),
        ("so \\boxed{7}. Hence the answer is \\boxed{7}.", "7"),
        ("\\boxed{1} and \\boxed{2}", "1, 2"),
        ("\\(\\boxed{1}\\) and \\(\\boxed{-2}\\).", "1, -2"),
        ("Final Answer: The final answer is $28 \\%$. I hope it is correct.", "28 \\%"),
        ("3 + 4 = 7\n#### 7", "7"),
        *((text, text) for text in ("x = 5", "\\$5", "$5", "5\\text{ cm}", "Evelyn", "a, b", "\\text{no solution}")),
        *((text, text) for text in ("all real numbers except $2$", "between $3$ and $4$", "7 and 9", "1\\text{ or }2")),
        ("The midpoints form a regular hexagon", "The midpoints form a regular hexagon"),
        ("any prime number greater than 2 that ends in 3", "any prime number greater than 2 that ends in 3"),
    ],
)
def test_an_answer_is_found_where_it_is_wrapped(truth: str, answer: str) -> None:
    assert reference(truth) == answer


@pytest.mark.parametrize(
    "truth",
    [
        "We add them. $1+1=2$ so the answer is $5$.",
        "We add them. 1+1=2 so the answer is 5.",
        "First $x=2$. Then $y=3$. Therefore $x+y=5$.",
        "Let $x$ be the number. We have $x+1=3$, so $x=2$.",
        "Step 1: compute 2+3=5. Step 2: Done. Answer 5",
        "Adding both equations of the system gives $2x = 10$",
        "Since 2 + 2 = 4, there are 4",
        "First \\boxed{1}. Later we get \\boxed{2}.",
        "$-\\boxed{5}$",
        "$\\boxed{5}^2$",
        "$2 \\cdot \\boxed{5}$",
        "\\boxed{5",
        "\\boxed{}",
        "#### ",
    ],
)
def test_a_whole_solution_is_an_error_that_says_so(truth: str) -> None:
    """From the API: it was paid at random, for any number in it."""
    numbers = [{"response": f"\\boxed{{{number}}}", "ground_truth": truth} for number in (1, 2, 4, 5)]
    for verdict in aftertrain.verify("math", numbers):
        assert verdict.outcome == "error"
        assert "the ground truth must be" in verdict.detail


def test_the_box_of_a_solution_is_what_pays() -> None:
    truth = "We add them. $1+1=2$ so the answer is $\\boxed{5}$."
    cases = [{"response": f"\\boxed{{{answer}}}", "ground_truth": truth} for answer in ("5", "2", "1", "-5")]
    assert [verdict.value for verdict in aftertrain.verify("math", cases)] == [1.0, 0.0, 0.0, 0.0]


def test_answers_of_public_data_are_none_of_them_solutions(shared_data: Path) -> None:
    """The golden cases' 798 and MATH-500's, as they stand."""
    with gzip.open(shared_data / "golden" / "math.jsonl.gz", "rt", encoding="utf-8") as file:
        truths = {json.loads(line)["gold"] for line in file}
    lines = (shared_data / "math" / "math500.jsonl").read_text(encoding="utf-8").splitlines()
    truths |= {json.loads(line)["answer"] for line in lines}
    assert [truth for truth in truths if reference(truth) != truth] == []


def test_solutions_of_public_data_have_their_answers(shared_data: Path) -> None:
    """MATH-500's solutions: each is its answer, or an error."""
    lines = (shared_data / "math" / "math500.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    found = 0
    for row in rows:
        try:
            answer = reference(row["solution"])
        except AftertrainError:
            continue
        found += 1
        if row["solution"].count("boxed") == 1:
            assert answer.replace(" ", "") == row["answer"].replace(" ", ""), row["solution"]
    assert found > 0.97 * len(rows)


@given(st.text())
def test_any_text_is_an_answer_or_an_error(text: str) -> None:
    refused = None
    try:
        assert reference(text)
    except AftertrainError as error:
        refused = str(error)
    assert refused is None or "the ground truth must be" in refused
