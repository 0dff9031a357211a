"""Replies and what they are worth, for `aftertrain check-plugin`."""

from __future__ import annotations

_TWO = {
    "instruction_id_list": ["punctuation:no_comma", "length_constraints:number_words"],
    "kwargs": [{}, {"num_words": 3, "relation": "at least"}],
}
_TULU = {"func_name": "validate_lowercase", "N": None}

CASES = {
    "ifeval": [
        ("one two three", _TWO, 1.0),
        ("one, two, three", _TWO, 0.0),
        ("", _TWO, 0.0),
        ("all small", _TULU, 1.0),
        ("Not All", _TULU, 0.0),
        ("x", '{"func_name": "validate_title"}', 0.0),
        ("x", {"instruction_id_list": ["punctuation:no_comas"], "kwargs": [{}]}, "error"),
    ],
}
