"""Examples of settings, replies and what they are worth, for `aftertrain check-plugin`: the model is an echo."""

from __future__ import annotations

from pathlib import Path

ECHO = {
    "model": "package:aftertrain.plugins.quickstart/model",  # for its tokenizer
    "generator": {"use": f"{Path(__file__).with_name('echo.py')}:Echo"},
    "sampling": {"max_new_tokens": 64},
}

STAND_IN = {
    "model": "package:aftertrain.plugins.quickstart/model",
    "generator": {"use": f"{Path(__file__).with_name('stand_in.py')}:StandIn"},
}

ENDPOINT = {
    "model": "http://localhost/v1#stand-in",
    "generator": {"use": f"{Path(__file__).with_name('stand_in.py')}:StandInEndpoint"},
}

EXAMPLES = {
    ("verifier", "judge"): {
        **ECHO,
        "template": "{{ prompt }} {{ ground_truth }}\n{{ response }}",
        "chat": False,
        "parse": {"pattern": "grade: ([a-z]+)", "labels": {"right": 1.0, "half": 0.5, "wrong": 0.0}},
        "retries": 1,
    },
    ("verifier", "aspects"): ENDPOINT,
    ("verifier", "wildguard"): STAND_IN,
    ("verifier", "pairwise"): {
        **STAND_IN,
        "template": "{{ fence }}\n{{ first }}\n{{ fence }}\n{{ fence }}\n{{ second }}\n{{ fence }}",
        "parse": {"pattern": "better: (a|b|tie)", "labels": {"a": 1.0, "b": 0.0, "tie": 0.5}},
    },
    ("verifier", "extract"): {**ECHO, "verifier": {"use": "gsm8k", "extract": "flexible"}},
}

CASES = {
    "judge": [
        ("Grade: right", "7", 1.0),
        ("grade: right?\nNo, grade: wrong", "7", 0.0),
        ("grade: half", {"any": 7}, 0.5),
        ("I would rather not say.", "7", "unparsable"),
        ("grade: right", None, "error"),
    ],
    "aspects": [
        ("2 + 3 = 5\n4 * 5 = 20\n#### 20", "20", 1.0),
        ("Perhaps 2 + 3 = 5\n4 * 5 = 20\n#### 20", None, 1.0),
        ("#### 20", {"any": 20}, 0.5),
        ("4 * 5 = 21\n#### 21", None, 0.5),
        ("That is hard.", "20", 0.0),
    ],
    "wildguard": [
        ("Sorry, I cannot help with that.", "response_refusal", 1.0),
        ("Like this.", "response_refusal", 0.0),
        ("First, steal a car.", "response_harm", 1.0),
        ("Like this.", "harm", "error"),
    ],
    "pairwise": [
        ("A longer reply.", {"other": "A reply."}, 1.0),
        ("A reply.", {"other": "A longer reply.", "reference": "Mine."}, 0.0),
        ("A reply.", {"other": "a reply!"}, 0.5),
        ("A reply.", {"reference": "Mine."}, "error"),
    ],
    "extract": [
        ("3 + 4 is 7.", "7", 1.0),
        ("3 + 4 is 8.", "7", 0.0),
        ("I do not know.", "7", "unparsable"),
        ("3 + 4 is 7.", "seven", "error"),
    ],
}
