"""Unicode mathematics in LaTeX: each sign with its spelling, and what keeps its shape because it has two meanings."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aftertrain.core.text.notation import latex


@pytest.mark.parametrize(
    ("text", "spelling"),
    [
        *((f"{sign}5", "-5") for sign in "−–‐‑‒－﹣➖"),
        ("９，５００．２５％", "9,500.25\\%"),
        ("𝟕𝟐", "72"),
        ("9\u202f500\u00a0000", "9 500 000"),
        ("9’500", "9'500"),
        ("½ ⅔ ¾ ⅕ ⅞ ⅑ ⅒", " ".join(f"\\frac{{{a}}}{{{b}}}" for a, b in ["12", "23", "34", "15", "78", "19", (1, 10)])),
        ("2½", "2\\frac{1}{2}"),
        ("1⁄2", "1/2"),
        ("¹⁄₂", "\\frac{1}{2}"),
        ("x²", "x^{2}"),
        ("10⁻¹⁹", "10^{-19}"),
        ("x₁", "x_{1}"),
        ("12₅", "12_{5}"),
        ("√2", "\\sqrt{2}"),
        ("2√3", "2\\sqrt{3}"),
        ("√(x+1)", "\\sqrt{x+1}"),
        ("∛8", "\\sqrt[3]{8}"),
        ("√½", "\\sqrt{\\frac{1}{2}}"),
        ("√{x}", "\\sqrt{x}"),
        ("25℃", "25^\\circ C"),
        ("√(1+√2)", "\\sqrt{1+\\sqrt{2}}"),
        ("90°", "90^\\circ "),
        ("∅", "\\emptyset "),
        ("2×10", "2\\times 10"),
        ("x ≤ π", "x \\le  \\pi "),
        ("＄5", "\\$5"),
    ],
)
def test_one_meaning_has_one_spelling(text: str, spelling: str) -> None:
    assert latex(text) == spelling


@pytest.mark.parametrize("text", ["—5", "٤٢", "€10", "4\u200b2", "\u202e24\u202c", "√", "√(", "⅟", "\ud800", "plain"])
def test_what_may_mean_two_things_stays(text: str) -> None:
    assert latex(text) == text


@pytest.mark.timeout(20)
def test_long_texts_take_linear_time() -> None:
    for text in ("√(" * 100_000, "²" * 1_000_000, "√" * 1_000_000, "−½" * 200_000, "√{" * 100_000 + "}" * 100_000):
        assert latex(text)


@given(st.text(alphabet=st.characters() | st.sampled_from("−½²₂√∛°()１")))
def test_it_is_done_at_once(text: str) -> None:
    """Nothing that it writes is rewritten again, roots beyond its depth aside."""
    once = latex(text)
    assert latex(once) == once or "√" in text or "∛" in text
