"""Replies and what they are worth, for `aftertrain check-plugin`."""

from __future__ import annotations

_TWO = {
    "instruction_id_list": ["punctuation:no_comma", "length_constraints:number_words"],
    "kwargs": [{}, {"num_words": 3, "relation": "at least"}],
}
_TULU = {"func_name": "validate_lowercase", "N": None}
_QUIET = {"instruction_id_list": ["format:no_whitespace", "count:numbers"], "kwargs": [{}, {"N": 1.0}]}
_SENTENCES = '{"instruction_id_list": ["sentence:keyword"], "kwargs": [{"word": "fox", "N": 2}]}'

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
    "ifbench": [
        ("area51", _QUIET, 1.0),
        ("area 51", _QUIET, 0.0),
        ("", _QUIET, 0.0),
        ("It snowed. The fox slept.", _SENTENCES, 1.0),
        ("The fox slept. It snowed.", _SENTENCES, 0.0),
        ("7", {"instruction_id_list": ["count:number"], "kwargs": [{"N": 1}]}, "error"),
        ("7", "count:numbers", "error"),
    ],
}
