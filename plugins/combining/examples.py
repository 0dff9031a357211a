"""Examples of settings, replies and what they are worth, for `aftertrain check-plugin`."""

from __future__ import annotations

GSM8K = {"verifier": {"use": "gsm8k"}}
FLEXIBLE = {"verifier": {"use": "gsm8k", "extract": "flexible"}}
SHORT = {"verifier": {"use": "format", "tags": [], "max_words": 6}}

EXAMPLES = {
    ("verifier", "weighted"): {"parts": [{**GSM8K, "weight": 3.0}, SHORT]},
    ("verifier", "all"): {"parts": [SHORT, GSM8K]},
    ("verifier", "any"): {"parts": [GSM8K, FLEXIBLE]},
    ("verifier", "first"): {"parts": [GSM8K, FLEXIBLE]},
    ("verifier", "by_source"): {"routes": {"conformance": {"use": "gsm8k"}, "squad": {"use": "f1"}}},
}

CASES = {
    "weighted": [
        ("#### 7", "7", 1.0),
        ("one two three four five six #### 7", "7", 0.75),
        ("#### 8", "7", 0.25),
        ("one two three four five six #### 8", "7", 0.0),
        ("seven", "7", "unparsable"),
        ("#### 7", "seven", "error"),
    ],
    "all": [
        ("#### 7", "7", 1.0),
        ("#### 8", "7", 0.0),
        ("one two three four five six #### 7", "7", 0.0),
        ("seven", "7", "unparsable"),
    ],
    "any": [
        ("#### 7", "7", 1.0),
        ("It is 7.", "7", 1.0),
        ("It is 8.", "7", 0.0),
        ("seven", "7", "unparsable"),
    ],
    "first": [
        ("7 it is. #### 8", "7", 0.0),
        ("It is 7.", "7", 1.0),
        ("seven", "7", "unparsable"),
        ("7", "seven", "error"),
    ],
    "by_source": [
        ("#### 7", "7", 1.0),
        ("#### 8", "7", 0.0),
        ("seven", "7", "unparsable"),
    ],
}
