"""A user's pattern: groups, equality, what does not match, and patterns that are none."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from aftertrain.core.records import Verdict, VerificationCase
from aftertrain.plugins.verifiers.regex import Regex
from aftertrain.plugins.verifiers.settings import RegexSettings


def judge(response: str, truth: Any, **settings: Any) -> Verdict:
    verifier = Regex(RegexSettings(**settings), None)  # type: ignore[arg-type]
    (verdict,) = verifier.verify([VerificationCase("1", "?", response, truth)])
    return verdict


@pytest.mark.parametrize(
    ("settings", "response", "truth", "expected"),
    [
        ({"pattern": r"<answer>(.*?)</answer>"}, "<answer>4</answer> no, <answer> 5 </answer>", "5", 1.0),
        ({"pattern": r"<answer>(.*?)</answer>", "which": "first"}, "<answer>4</answer><answer>5</answer>", "5", 0.0),
        ({"pattern": r"<answer>(.*?)</answer>"}, "<answer>4\n</answer>", "4", "unparsable"),
        ({"pattern": r"<answer>(.*?)</answer>", "flags": ["dotall"]}, "<answer>4\n</answer>", "4", 1.0),
        ({"pattern": "answer: (.*)", "normalize": "none"}, "answer: a ", "a", 0.0),
        ({"pattern": "ANSWER: (.*)", "flags": ["ignorecase"], "normalize": "lower"}, "answer: Paris", "PARIS", 1.0),
        ({"pattern": "answer: (.*)", "normalize": "squad"}, "answer: The Hague!", ["Rome", "hague"], 1.0),
        ({"pattern": "^[a-z]+$", "flags": ["multiline"]}, "1\nabc\n2", "abc", 1.0),
        ({"pattern": "(?P<x>a)(?P<y>b)?", "group": "y"}, "ab", "b", 1.0),
        ({"pattern": "(?P<x>a)(?P<y>b)?", "group": "y"}, "a", "b", "unparsable"),
        ({"pattern": "(a)(b)", "group": 0}, "ab", "ab", 1.0),
        ({"pattern": "= (.*)", "equality": "decimal"}, "= $1,234.50", 1234.5, 1.0),
        ({"pattern": "= (.*)", "equality": "decimal"}, "= 72.0", "so\n#### 72", 1.0),
        ({"pattern": "= (.*)", "equality": "decimal"}, "= -72", "72", 0.0),
        ({"pattern": "= (.*)", "equality": "decimal"}, "= −7{,}200", "-7200", 1.0),
        ({"pattern": "= (.*)", "equality": "decimal"}, "= 1,5", "15", "unparsable"),
        ({"pattern": "= (.*)", "equality": "decimal"}, "= many", "72", "unparsable"),
        ({"pattern": "= (.*)", "equality": "decimal"}, "= 72", "many", "error"),
        ({"pattern": "sorry", "equality": "search"}, "so sorry", None, 1.0),
        ({"pattern": "sorry", "equality": "search"}, "glad", {"any": 1}, 0.0),
        ({"pattern": "sorry", "equality": "search"}, "glad", b"", "error"),
        ({"pattern": "a"}, "a", 7, "error"),
        ({"pattern": "a"}, "a", [], "error"),
    ],
)
def test_verdicts(settings: dict[str, Any], response: str, truth: Any, expected: float | str) -> None:
    verdict = judge(response, truth, **settings)
    assert (verdict.outcome if verdict.value is None else verdict.value) == expected, verdict


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"pattern": "ab(c"}, r"not a regular expression: missing \), unterminated subpattern at position 2"),
        ({"pattern": "a{2,1}"}, "min repeat greater than max repeat at position 2"),
        ({"pattern": "[[a]"}, "not a pattern to rely on: Possible nested set at position 1"),
        ({"pattern": "(" * 5000 + ")" * 5000}, "not a"),
        ({"pattern": "(a)", "group": 2}, "has no group 2; there are: 0, 1"),
        ({"pattern": "(?P<x>a)", "group": "y"}, "has no group 'y'; there are: 0, 1, x"),
        ({"pattern": ""}, "at least 1"),
        ({"pattern": "a", "timeout": 0}, "greater than 0"),
        ({}, "pattern"),
        (
            {"pattern": "a", "equality": "search", "normalize": "lower"},
            "it is for equality: string, and equality is search",
        ),
    ],
)
def test_what_is_no_pattern_is_refused_with_its_position(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        RegexSettings(**settings)


def test_it_runs_where_it_can_be_killed_with_a_short_deadline() -> None:
    """A pattern that never ends is stopped from outside: the class does not opt out, its deadline is the setting."""
    verifier = Regex(RegexSettings(pattern="(a+)+$"), None)  # type: ignore[arg-type]
    assert verifier.isolated
    assert verifier.timeout == 2.0
    assert Regex(RegexSettings(pattern="a", timeout=0.5), None).timeout == 0.5  # type: ignore[arg-type]


@given(st.text(), st.text())
def test_any_text_gets_a_verdict(response: str, truth: str) -> None:
    """The last match of a linear pattern is what re itself finds."""
    verdict = judge(response, truth, pattern="[0-9a-c]+", normalize="none")
    matches = re.findall("[0-9a-c]+", response)
    assert verdict.value == (float(matches[-1] == truth) if matches else None)


@pytest.mark.slow
def test_a_pattern_that_never_ends_is_a_time_out_and_its_neighbours_are_judged() -> None:
    """(a+)+$ on sixty letters takes longer than the universe has; in the pool it takes the deadline."""
    import aftertrain

    cases = [{"response": response, "ground_truth": "aaa"} for response in ("aaa", "a" * 60 + "!", "aab aaa")]
    verdicts = aftertrain.verify("regex", cases, pattern="((?:a+)+)$", timeout=0.5)
    assert [verdict.outcome for verdict in verdicts] == ["scored", "timeout", "scored"]
    assert [verdicts[0].value, verdicts[2].value] == [1.0, 1.0]
