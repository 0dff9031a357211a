"""Replies and what they are worth, for `aftertrain check-plugin`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

CASES = {
    "gsm8k": [
        ("3 + 4 = 7\n#### 7", "7", 1.0),
        ("3 + 4 = 8\n#### 8", "7", 0.0),
        ("#### 1,234.0", "so many.\n#### 1234", 1.0),
        ("#### -0", "0", 1.0),
        ("It is seven.", "7", "unparsable"),
        ("#### 7", "seven", "error"),
    ],
    "math": [
        ("so it is $\\boxed{\\dfrac12}$.", "\\frac{1}{2}", 1.0),
        ("so it is $\\boxed{\\frac13}$.", "\\frac{1}{2}", 0.0),
        ("so it is $\\boxed{2(x+1)}$.", "2x + 2", 1.0),
        ("so it is $\\boxed{50\\text{ cm}}$.", "50^\\circ", 0.0),
        ("Final Answer: The final answer is $x = 7$ cm. I hope it is correct.", "7", 1.0),
        ("first $7$, then $8$", "7", 0.0),
        ("It is seven.", "7", "unparsable"),
        ("$7$", None, "error"),
    ],
    "minerva": [
        ("so it is $\\boxed{\\dfrac12}$.", "we get $\\boxed{\\frac{1}{2}}$", 1.0),
        ("so it is $\\boxed{2(x+1)}$.", "2x + 2", 1.0),
        ("Final Answer: The final answer is $7$. I hope it is correct.", "7", 1.0),
        ("first $7$, then $8$", "7", 0.0),
        ("It is seven.", "7", "unparsable"),
        ("$7$", None, "error"),
    ],
    "string": [
        (" Paris\n", "Paris", 1.0),
        ("Rome", "Paris", 0.0),
        ("", "Paris", 0.0),
        ("Lutetia", ["Paris", "Lutetia"], 1.0),
    ],
    "f1": [
        ("The cat sat.", "a cat sat", 1.0),
        ("cat", ["dog", "black cat"], 2 / 3),
        ("dog", "black cat", 0.0),
        ("cat", 7, "error"),
    ],
    "triviaqa": [
        ("the Beatles!", ["Fab Four", "Beatles"], 1.0),
        ("The Rolling Stones", ["Fab Four", "Beatles"], 0.0),
        ("Paris", {"value": "Paris"}, "error"),
    ],
    "multiple_choice": [
        ("The answer is (B).", "B", 1.0),
        ("(A) is tempting, but **C** it is: the answer is C.", "B", 0.0),
        ("I do not know.", "B", "unparsable"),
        ("The answer is B.", "Paris", "error"),
    ],
    "format": [
        ("<think>3 + 4 = 7</think>\n<answer>7</answer>", None, 1.0),
        ("<answer>7</answer>", None, 0.0),
    ],
    "regex": [
        ("<answer> Paris </answer>", "Paris", 1.0),
        ("<answer>Rome</answer>", ["Paris", "Lutetia"], 0.0),
        ("Paris", "Paris", "unparsable"),
        ("<answer>Paris</answer>", 7, "error"),
    ],
    "trl_reward": [
        ("a black cat", "black cat", 1.0),
        ("a cat", "black cat", 0.5),
        ("a dog", "black cat", 0.0),
        ("a dog", 7, "error"),
    ],
}

FUNCTION = """
def share_of_words(completions, solution, **columns):
    if any(not isinstance(truth, str) for truth in solution):
        raise TypeError("a solution is a text")
    words = [set(completion[0]["content"].split()) for completion in completions]
    return [len(found & set(truth.split())) / len(truth.split()) for found, truth in zip(words, solution)]
"""


def trl_reward(folder: Path) -> dict[str, Any]:
    """A function in a file."""
    path = folder / "rewards.py"
    path.write_text(FUNCTION, encoding="utf-8")
    return {"function": f"{path}:share_of_words"}


EXAMPLES = {
    ("verifier", "regex"): {"pattern": "<answer>([^<]*)</answer>"},
    ("verifier", "trl_reward"): trl_reward,
}
