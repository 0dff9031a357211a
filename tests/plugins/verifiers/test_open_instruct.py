"""open-instruct's own cases of its puzzle matcher and its F1 (open_instruct/test_ground_truth_utils.py): our `string`
with `normalize: squad` and our `f1` agree with every one."""

from __future__ import annotations

import pytest

from aftertrain.api.evaluation import build_verifier
from aftertrain.core.records import VerificationCase

PUZZLES = [
    ("The answer is 42", "answer is 42", 1.0),
    ("<think>Let me solve this</think>Paris", "paris", 1.0),
    ("<answer>New York City!</answer>", "new york city", 1.0),
    ("Wrong answer", "correct answer", 0.0),
    (
        "<think>This is about geography</think><answer>The capital of France is Paris.</answer>",
        "capital of france is paris",
        1.0,
    ),
    ("42", "42", 1.0),
    ("hello world", "hello world", 1.0),
    ("Hello World", "hello world", 1.0),
    ("<think>Let me think about this...</think>42", "42", 1.0),
    ("<think>This is complex</think>hello world", "hello world", 1.0),
    ("<think>Analysis...</think>Wrong Answer", "42", 0.0),
    ("<answer>42</answer>", "42", 1.0),
    ("<answer>hello world</answer>", "hello world", 1.0),
    ("<answer>wrong</answer>", "42", 0.0),
    ("<think>Thinking...</think><answer>42</answer>", "42", 1.0),
    ("<think>Let me solve this step by step</think><answer>hello world</answer>", "hello world", 1.0),
    ("The answer is 42!", "answer is 42", 1.0),
    ("A simple test.", "simple test", 1.0),
    ("Hello, world!", "hello world", 1.0),
    ("  hello   world  ", "hello world", 1.0),
    ("hello\tworld\n", "hello world", 1.0),
    ("42", "43", 0.0),
    ("hello", "world", 0.0),
    ("", "42", 0.0),
    ("<answer>London</answer>", "london", 1.0),
    ("<think>Animal question</think>The elephant", "elephant", 1.0),
    ("<answer>Albert Einstein</answer>", "albert einstein", 1.0),
    ("Romeo and Juliet by Shakespeare", "romeo and juliet by shakespeare", 1.0),
    ("<answer>United States of America</answer>", "united states of america", 1.0),
]
SHARES = [
    ("hello world", "hello world", 1.0),
    ("hello world", "hello", 2 / 3),
    ("hello world", "goodbye", 0.0),
    ("<think>Let me think...</think>hello world", "hello world", 1.0),
    ("<think>Analysis</think>hello world", "hello", 2 / 3),
    ("<answer>hello world</answer>", "hello world", 1.0),
    ("<think>Thinking...</think><answer>hello world</answer>", "hello world", 1.0),
    ("hello world", ["hello world", "goodbye"], 1.0),
    ("hello world", ["goodbye", "hello world"], 1.0),
    ("hello world", ["hello", "world"], 2 / 3),
    ("hello world", ["foo", "bar", "baz"], 0.0),
    ("hello world", ["hello world"], 1.0),
    ("<think>hmm</think>hello world", ["goodbye", "hello world"], 1.0),
]


@pytest.mark.parametrize(("reply", "truth", "score"), PUZZLES)
def test_puzzles(reply: str, truth: str, score: float) -> None:
    (verdict,) = build_verifier("string", {"normalize": "squad"}).verify([VerificationCase("x", "", reply, truth)])
    assert verdict.value == score


@pytest.mark.parametrize(("reply", "truth", "score"), SHARES)
def test_shares_of_words(reply: str, truth: str | list[str], score: float) -> None:
    (verdict,) = build_verifier("f1").verify([VerificationCase("x", "", reply, truth)])
    assert verdict.value == pytest.approx(score)
