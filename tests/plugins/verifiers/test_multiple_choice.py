"""The multiple_choice verifier: its rules one by one, their order, what chooses nothing, hostile text."""

from __future__ import annotations

import pickle
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from aftertrain.core.records import Verdict, VerificationCase
from aftertrain.plugins.verifiers.multiple_choice import MultipleChoice
from aftertrain.plugins.verifiers.settings import MultipleChoiceSettings


def _verifier(**settings: Any) -> MultipleChoice:
    return MultipleChoice(MultipleChoiceSettings.model_validate(settings), builder=None)  # type: ignore[arg-type]


def _judge(response: str, truth: Any = "B", **settings: Any) -> Verdict:
    (verdict,) = _verifier(**settings).verify([VerificationCase("x", "", response, truth)])
    return verdict


@pytest.mark.parametrize(
    ("response", "letter", "rule"),
    [
        ("<answer>B</answer>", "B", "tag"),
        ("<think>(A)?</think><answer> (b) </answer>", "B", "after </think>: tag"),
        ("<answer>C. Paris</answer>", "C", "tag"),
        (r"so \boxed{B}", "B", "boxed"),
        (r"so $\boxed{\text{(C)}}$.", "C", "boxed"),
        (r"\boxed{A}, no: \boxed{D}", "D", "boxed"),
        ("The answer is (B).", "B", "phrase"),
        ("the answer is (b)", "B", "phrase"),
        ("The answer is B", "B", "phrase"),
        ("The correct answer is: option C, as shown.", "C", "phrase"),
        ("**Answer:** C", "C", "phrase"),
        ("**Answer**: **(C)**", "C", "phrase"),
        ("ANSWER: D) Rome", "D", "phrase"),
        ("The correct option is A because of (B).", "A", "phrase"),
        (r"The answer is $\textbf{(A)}$", "A", "phrase"),
        ("The answer is A. Wait: the answer is B.", "B", "phrase"),
        ("I take (B), not (C)... yes, (B)", "B", "parentheses"),
        ("I take (B), not (C).", "B", "parentheses"),
        ("It is **B**, and isn't **C**.", "B", "bold"),
        ("B, not A", "B", "standing"),
        ("It must be **C**.", "C", "bold"),
        ("**B. Paris**", "B", "bold"),
        ("C", "C", "standing"),
        ("C) Paris", "C", "standing"),
        ("Not A. I would say B.", "B", "standing"),
        ("A is right", "A", "standing"),
        ("It is D: a cat", "D", "standing"),
    ],
)
def test_each_rule(response: str, letter: str, rule: str) -> None:
    verdict = _judge(response)
    assert (verdict.extracted, verdict.detail) == (letter, rule)
    assert verdict.value == float(letter == "B")


@pytest.mark.parametrize(
    "response",
    [
        "",
        "I do not know.",
        "A dog bit me.",
        "The answer is a dog.",
        "The answer is Because",
        "(a) first, (b) second",
        "**A good answer**",
        "E",
        "ABCD",
        "b or c",
        "A-level",
        "B's",
        "vitaminC",
        "(AB)",
        r"\boxed{Both}",
        "<answer>Denver</answer>",
        "The answer is (E).",
        "Ｂ",
        "В",  # Cyrillic
    ],
)
def test_what_chooses_no_letter_is_unparsable(response: str) -> None:
    assert _judge(response).outcome == "unparsable"


@pytest.mark.parametrize(
    ("response", "letter"),
    [
        ("Neither A nor B", None),
        ("Neither (A) nor (B); it is C.", "C"),
        ("I'd rule out B.", None),
        ("I ruled out: A, C, D", None),
        ("We can rule out A and C, so B.", "B"),
        ("Eliminate A, C, and D. That leaves B.", "B"),
        ("A is the only one left after excluding B, C and D", "A"),
        ("After ruling out B, A remains", "A"),
        ("All except B", None),
        ("Everything but B.", None),
        ("None of A, B or C", None),
        ("It is none other than B", "B"),
        ("B is wrong.", None),
        ("Both A and B are incorrect", None),
        ("A and B are wrong, C is right.", "C"),
        ("**A** is incorrect; **C** is correct.", "C"),
        ("B cannot be right.", None),
        ("B can be ruled out.", None),
        ("B isn't the right one", None),
        ("B is not wrong.", "B"),
        ("B does not depend on x", "B"),
        ("I don't think the answer is B.", None),
        ("The answer can't be (B).", None),
        ("The wrong answers are A, B and D", None),
        ("It is false that the answer is B", None),
        ("Not A but B.", "B"),
        ("not A, and B is correct", "B"),
        ("I am not sure, but B", "B"),
        ("The answer is B, not A.", "B"),
        ("A is better than B.", "A"),
        ("I prefer A over B", "A"),
        ("I would choose C instead of B", "C"),
        ("Unlike B, A holds", "A"),
        ("B? No.", None),
        ("Is it B? Yes", "B"),
        ("No way it's B", None),
        ("We can rule B out.", None),
        ("B out of the four", "B"),
        ("B doesn't fit.", None),
        ("B contradicts the text.", None),
        ("B is a distractor.", None),
        ("Anything but B", None),
        ("The statement that is not true is B.", "B"),
        ("The incorrect option is B.", "B"),
        ("The one that isn't correct is: B", "B"),
        ("It is not true that it is B", None),
        ("The answer is not A, it is B", "B"),
        ("It's not A, it's not C, it's B.", "B"),
        ("I would exclude A and pick B.", "B"),
        ("I eliminate A and choose B", "B"),
        ("I would avoid A and B", None),
        ("Don't choose A, choose B", "B"),
        ("Don't choose A or B", None),
        ("Rather than A, choose B", "B"),
        ("I can't say it's A, or that it's B", None),
        ("It cannot be said that it is A, or B", None),
        ("Eliminating A and C, B is left", "B"),
        ("B is left out", None),
        ("All except B are wrong.", "B"),
        ("All options but B are incorrect", "B"),
        ("Everything is wrong except B", "B"),
        ("No option other than B works", "B"),
        ("None except B are wrong", None),
        ("C is right, but B is wrong", "C"),
        ("hardly B", None),
        ("far from B", None),
        ("It is less likely to be B", None),
        ("B is worse than A", "A"),
        ("B is less likely than A", "A"),
        ("__B__", "B"),
        ("_b_", "B"),
        ("snake_B_case", None),
        ("B isn't wrong", "B"),
        ("B isn't right; C is.", "C"),
        ("No other option than B fits", "B"),
        ("I refuse to pick B", None),
        ("I doubt it's B", None),
        ("No doubt it's B", "B"),
        ("I don't doubt it is B", "B"),
        ("B seems right but is wrong", None),
        ("B is tempting, but it is not the answer", None),
        ("A is right but B is wrong", "A"),
        ("B is odd but is right", "B"),
        ("The answer is A? Hmm, no, B", "B"),
    ],
)
def test_letters_that_are_turned_down(response: str, letter: str | None) -> None:
    assert _judge(response).extracted == letter


@pytest.mark.parametrize("response", ["Neither A nor B", "The answer is not B.", "It isn't (B), and it isn’t B."])
def test_turning_the_right_letter_down_is_wrong_and_choosing_none_is_no_answer(response: str) -> None:
    assert _judge(response, "B").value == 0.0
    assert _judge(response, "C").outcome == "unparsable"


@pytest.mark.parametrize(
    ("response", "letter"),
    [
        ("answer: c", "C"),
        ("**Answer:** c", "C"),
        ("answer = d", "D"),
        ("The answer is c.", "C"),
        ("the answer is a", "A"),
        ("The answer is a dog.", None),
        ("The answer is b because of a", "B"),
        ("The final answer is b) Paris", "B"),
        ("I choose option d.", "D"),
        ("option b is right", "B"),
        ("choice a person makes", None),
        ("The answer: not b", None),
        ("c", "C"),
        ("(c)", "C"),
        ("**c**", "C"),
        ("it is **c**, I think", "C"),
        ("a b c", None),
        ("that is c", None),
    ],
)
def test_small_letters(response: str, letter: str | None) -> None:
    assert _judge(response).extracted == letter


def test_the_clearer_rule_goes_first_wherever_it_stands() -> None:
    """Taken away one by one from the front, the rules find what each of them would."""
    response = r"<answer>A</answer> \boxed{B} the answer is C (D) **A** B"
    rules = ["tag", "boxed", "phrase", "parentheses", "bold", "standing"]
    found = [_judge(response, rules=rules[first:]).extracted for first in range(6)]
    assert found == ["A", "B", "C", "D", "A", "B"]


def test_rules_and_letters_are_settings() -> None:
    assert _judge("I say B.", rules=["phrase"]).detail == "no letter by the rules phrase"
    assert _judge("The answer is (E).", "E", letters="ABCDEFGHIJ").value == 1.0
    assert _judge("The answer is (C).", "A", letters="AB").outcome == "unparsable"
    assert _judge("I think I know.", "I", letters="ABCDEFGHIJ").outcome == "unparsable"
    for wrong in ({"letters": "A"}, {"letters": "AA"}, {"letters": "a-z"}, {"rules": []}, {"rules": ["last"]}):
        with pytest.raises(ValidationError):
            _verifier(**wrong)


def test_the_ground_truth_may_be_small() -> None:
    assert _judge("The answer is (B).", " b ").value == 1.0


@pytest.mark.parametrize(
    "truth", [None, 1, True, "", "E", "AB", "Paris", ["B"], {"a": "B"}, b"B", [10**5000], "ﬀ", "ß"]
)
def test_a_ground_truth_that_is_no_letter_is_an_error_that_says_so(truth: Any) -> None:
    verdict = _judge("The answer is (B).", truth)
    assert verdict.outcome == "error"
    assert "the ground truth must be one of the letters ABCD" in verdict.detail


@given(st.text() | st.text(alphabet="ABab answeri:*(){}<>/\\$\n.", max_size=80))
def test_any_text_has_a_verdict(text: str) -> None:
    verdict = _judge(text)
    assert verdict.outcome in {"scored", "unparsable"}
    assert verdict.extracted in {"A", "B", "C", "D", None}


@pytest.mark.timeout(30)
@pytest.mark.parametrize(
    "text",
    [
        "answer is " * 100_000,
        "answer" + " " * 1_000_000,
        "answer is" + "*" * 1_000_000,
        "answer : option " * 60_000,
        "answer is ((((((((" * 50_000,
        "answer would  " * 70_000,
        "<answer>" * 120_000,
        "<answer>" + " (" * 400_000,
        "\\boxed{" * 140_000,
        "\\boxed{\\text{(" * 70_000,
        "**" * 500_000,
        "**(" * 300_000,
        "(" * 1_000_000,
        " A a" * 250_000,
        "A " * 10 + " " * 1_000_000 + "a",
        "'-’" * 300_000,
        "\ud800\x00\u202e" * 100_000,
    ],
    ids=lambda text: repr(text[:12]),
)
def test_hostile_text_takes_linear_time(text: str) -> None:
    """A million characters each; a rule that looked back over them would take hours."""
    assert _judge(text).value in {0.0, None}


def test_it_can_be_sent_to_a_worker() -> None:
    case = VerificationCase("x", "", "The answer is (B).", "B")
    assert pickle.loads(pickle.dumps(_verifier())).verify([case]) == _verifier().verify([case])
