"""Plain numbers: the values they have, what is left to Math-Verify, and its verdicts on the others."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aftertrain.plugins.verifiers import symbolic
from aftertrain.plugins.verifiers.number import equal, plain

WHOLE = st.one_of(st.integers(-20, 20), st.integers(-(10**7), 10**7)).map(str)
DECIMAL = st.builds(lambda sign, whole, part: f"{sign}{whole}.{part}", st.sampled_from(["", "-"]), st.integers(0, 20),
                    st.text("0159", min_size=1, max_size=6))  # fmt: skip
FRACTION = st.builds(lambda sign, above, below: f"{sign}\\frac{{{above}}}{{{below}}}", st.sampled_from(["", "-"]),
                     st.integers(0, 12), st.integers(1, 12))  # fmt: skip
SLASH = st.builds(lambda above, below: f"{above}/{below}", st.integers(-12, 12), st.integers(1, 12))
NUMBER = st.one_of(WHOLE, DECIMAL, FRACTION, SLASH)


@pytest.mark.parametrize(
    ("text", "value"),
    [("7", 7), ("-7", -7), ("0.50", 0.5), ("-0.5", -0.5), ("\\frac{3}{6}", 0.5), ("-3/6", -0.5), (" 7 ", 7)],
)
def test_the_value_of_a_plain_number(text: str, value: float) -> None:
    number = plain(text)
    assert number is not None
    assert number.value == Fraction(value)


@pytest.mark.parametrize(
    "text",
    ["", "-", "007", "1,000", "1.2345678", "123456789.5", "\\frac{1}{0}", "1/0", "2x", "７", "1e3", "+7", "9" * 101],
)
def test_other_texts_are_left_to_math_verify(text: str) -> None:
    assert plain(text) is None
    assert equal(text, "7") is equal("7", text) is None


def test_decimals_are_not_compared_with_what_must_be_rounded() -> None:
    """Math-Verify rounds to six places: 0.333333 is 1/3 there, and 10^15 has no more digits to spare."""
    assert equal("0.333333", "1/3") is None
    assert equal("1000000000000000.5", "7") is None
    assert equal("0.5", "1000000000000000") is None
    assert equal("0.50", "\\frac{1}{2}") is None
    assert equal("2.0", "\\frac{4}{2}") is True


@settings(max_examples=150, deadline=None)
@given(NUMBER, NUMBER)
def test_math_verify_has_the_same_verdict(truth: str, answer: str) -> None:
    """The package itself, on what is decided without it."""
    from math_verify import parse, verify

    decided = equal(truth, answer)
    gold, found = (parse(f"\\boxed{{{text}}}", parsing_timeout=None) for text in (truth, answer))
    theirs = verify(gold, found, timeout_seconds=None)
    if decided is not None:
        assert decided == theirs
    assert symbolic.verdict(truth, f"\\boxed{{{answer}}}", symbolic.Rules()) == theirs
