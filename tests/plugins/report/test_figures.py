"""Numbers as text, ticks, and model text made visible."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aftertrain.core.ground.cleaning import visible
from aftertrain.plugins.report.numbers import count, counted, duration, nice_ticks, number, percent, signed
from aftertrain.plugins.report.outline import outline
from aftertrain.plugins.report.page import environment
from aftertrain.plugins.report.settings import HtmlSettings


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0"),
        (0.00312, "0.00312"),
        (2e-3, "0.002"),
        (2.1e-6, "2.1×10⁻⁶"),
        (-0.5, "−0.5"),
        (12345.6, "12\u202f346"),
        (float("nan"), "not finite"),
        (float("-inf"), "−∞"),
    ],
)
def test_number(value: float, text: str) -> None:
    assert number(value) == text


def test_percent_keeps_one_decimal_so_that_columns_line_up() -> None:
    assert [percent(0.5), percent(1.0), percent(0.0004)] == ["50.0\u202f%", "100.0\u202f%", "0.0\u202f%"]


def test_signed_has_a_real_minus_and_no_sign_at_zero() -> None:
    assert [signed(12.34), signed(-0.44), signed(0.04), signed(-0.04)] == ["+12.3", "−0.4", "0.0", "0.0"]


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.25, "0.25 s"), (59.4, "59.4 s"), (59.9, "1 min"), (65, "1 min 5 s"), (7322, "2 h 2 min")]
)
def test_duration(seconds: float, text: str) -> None:
    assert duration(seconds).replace("\u202f", " ") == text


def test_count_groups_thousands() -> None:
    assert count(1234567) == "1\u202f234\u202f567"


@given(low=st.floats(-1e9, 1e9), width=st.floats(1e-6, 1e9))
def test_ticks_are_inside_even_and_few(low: float, width: float) -> None:
    ticks = nice_ticks(low, low + width)
    slack = 1e-6 * max(1.0, abs(low), width)
    assert all(low - slack <= tick <= low + width + slack for tick in ticks)
    assert len(ticks) <= 6
    assert ticks == sorted(ticks)


def test_hidden_characters_are_shown() -> None:
    assert visible("a\x00b\x1b[31m\u202egnp.exe\r\n") == "a␀b␛[31m⟨U+202E⟩gnp.exe\n"


@given(st.text(st.characters(), max_size=200))
def test_visible_text_has_no_controls_and_is_encodable(text: str) -> None:
    shown = visible(text)
    assert not any(ord(char) < 32 and char not in "\n\t" for char in shown)
    assert not set(shown) & set("\u202a\u202b\u202d\u202e\u2066\u2067\u2068\u2069")
    shown.encode("utf-8")


def test_one_has_a_noun_of_its_own() -> None:
    words = [counted(1, "step"), counted(1200, "step"), counted(2, "micro-batch", "micro-batches")]
    assert [text.replace("\u202f", " ") for text in words] == ["1 step", "1 200 steps", "2 micro-batches"]


def test_excerpt_counts_what_it_leaves_out() -> None:
    filters = environment(HtmlSettings(characters=100)).filters
    assert (filters["excerpt"]("x" * 130), filters["hidden"]("x" * 130)) == ("x" * 100, 30)
    assert (filters["excerpt"]("x"), filters["hidden"]("x")) == ("x", 0)


def test_outline_reads_like_a_recipe() -> None:
    data = {
        "loss": {"use": "sft", "beta": 5.0},
        "betas": [0.9, 0.95],
        "tasks": [{"use": "a", "n": 1}, "b"],
        "none": None,
    }
    assert outline(data).splitlines() == [
        "loss:",
        "  use: sft",
        "  beta: 5.0",
        "betas: [0.9, 0.95]",
        "tasks:",
        "  - use: a",
        "    n: 1",
        "  - b",
        "none: null",
    ]
