"""Replies and what they are worth, for `aftertrain check-plugin`."""

from __future__ import annotations

_CHECK = {"test": "def check(candidate):\n    assert candidate(3) == 9\n", "entry_point": "square"}
_ASSERTS = ["assert square(3) == 9", "assert square(-2) == 4"]
_ADD = {"inputs": ["1 2\n", "5 5\n"], "outputs": ["3\n", "10\n"]}

EXAMPLES = {("verifier", "code"): {"timeout": 1.0}}

CASES = {
    "code": [
        ("```python\ndef square(x):\n    return x * x\n```", _CHECK, 1.0),
        ("def square(x):\n    return x + x", _CHECK, 0.0),
        ("import os\nos._exit(0)", _CHECK, 0.0),
        ("def square(x):\n    return x * x", _ASSERTS, 1.0),
        ("print(sum(map(int, input().split())))", _ADD, 1.0),
        ("print(3)", _ADD, 0.0),
        ("", _ADD, "unparsable"),
        ("print(3)", {"unit_tests": []}, "error"),
    ],
}
