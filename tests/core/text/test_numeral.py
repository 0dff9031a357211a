r"""Numbers in texts, worked by hand: each kind's members, and neighbours that only look like them."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aftertrain.core.text import numeral
from aftertrain.core.text.notation import latex

MINUS = [
    "−5",
    "–5",
    "‐5",
    "‑5",
    "－５",
    "-$5",
    "$-5",
    "-\\$5",
    "−€5",
    "-{5}",
    "\\boxed{-5}",
    "\\(-5\\)",
    "**-5**",
    "(-5)",
]
MINUS_IN_WORDS = ["is - 5", "x = - 5", "equals – 5", "(- 5)", "negative 5", "is minus 5", "is negative $5", "to -5"]
SEPARATORS = [",", "{,}", "\\,", "\\ ", "\\;", "\\:", "\\!", ",\\!", "\\!,", "~", "'", "’", "{\\,}", "\\thinspace "]
SPACES = [" ", "\u00a0", "\u2009", "\u202f", "\u2007", "\u2005"]
PARTS = [
    *("1,5", "1,2345", "12,34,5", "7.000,00", "1.234.567", "1.234,56", "9{,}50", "9\\,50", "1'5"),  # no one reading
    *("9_500", "9\\text{,}500", "9\\hspace{1mm}500", "9&nbsp;500", "9&#8239;500", "4\u200b2", "4\u206042", "٤2", "2٤"),
    *("10-5", "10–5", "10−5", "(3)-5", "--5", "COVID-19", "is—5", "— 5 —5", "10 minus 5", "Answer: - 5"),  # signs
    *(
        "9**9",
        "2^5",
        "2^{5}",
        "x^5",
        "x^{-5}",
        "5²",
        "10⁻³",
        "x_5",
        "x_{5}",
        "12₅",
        "\\sqrt{25}",
        "√25",
        "√(√(25",
        "∛8",
    ),
    *(
        "∛8",
        "\\sqrt[3]{8}",
        "\\binom{5}{2}",
        "\\frac{x}{5}",
        "\\log 5",
        "\\ln{5}",
        "3:30",
        "1/2/3",
        "11 7/6",
        "3/0",
        "2:3",
    ),
    *("9·500", "9٬500", "9´500", "9`500", "9˙500", "9ʹ500", "3*5", "3×5", "3÷5", "3x5", "±5", "⁻5"),
]


def _last(text: str) -> Decimal | Fraction | None:
    number = numeral.last(latex(text))
    assert number is not None
    return number.value


@pytest.mark.parametrize("text", MINUS + MINUS_IN_WORDS)
def test_a_minus_sign_in_any_spelling(text: str) -> None:
    assert _last(f"The loss {text}" if text in MINUS_IN_WORDS else f"The loss is {text}.") == -5


@pytest.mark.parametrize(
    "text", ["10 - 5", "It has one root:\n- 5", "non-negative 5", "5-year-old", "5–year", "is 5 -"]
)
def test_a_dash_that_is_no_minus_sign(text: str) -> None:
    assert _last(text) == 5


@pytest.mark.parametrize("separator", SEPARATORS + SPACES)
def test_groups_of_three_digits(separator: str) -> None:
    for sign in ("", "-", "−"):
        assert _last(f"${sign}9{separator}500$") == (-9500 if sign else 9500)
        assert _last(f"is {sign}12{separator}009{separator}500.25") == Decimal(f"{sign and '-'}12009500.25")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1,00,000", 100_000),
        ("14 {, }916", 14_916),
        ("in 2020 100 came", 100),
        ("9, 500", 500),
        ("6.000", 6),
        ("４２", 42),
        ("１，２３４", 1_234),
        ("072", 72),
        ("72...", 72),
        ("50\\%", 50),
        ("90°", 90),
        ("90^\\circ", 90),
        ("25 cm²", 25),
        ("25\\text{ cm}^3", 25),
        ("12x", 12),
        ("½", Fraction(1, 2)),
        ("-½", Fraction(-1, 2)),
        ("1/2", Fraction(1, 2)),
        ("\\frac{3}{4}", Fraction(3, 4)),
        ("-\\dfrac34", Fraction(-3, 4)),
        ("2½", Fraction(5, 2)),
        ("-2 1/2", Fraction(-5, 2)),
        ("2\\frac12", Fraction(5, 2)),
        ("1.5e3", 1_500),
        ("1.5×10³", 1_500),
        ("1.5 × 10³", 1_500),
        ("1.5 \\times 10^{-1}", Decimal("0.15")),
        ("2 x 10^3", 2_000),
    ],
)
def test_the_value_of_a_number(text: str, value: Decimal | Fraction) -> None:
    found = _last(f"So it is {text}")
    assert found is not None
    assert numeral.same(found, Decimal(value) if isinstance(value, int) else value)


@pytest.mark.parametrize("text", PARTS)
def test_a_piece_of_something_else_is_no_number(text: str) -> None:
    assert _last(text) is None
    assert numeral.value(latex(text)) is None


def test_a_number_is_read_from_its_first_digit() -> None:
    for text, value in [
        ("9{,}500 coins", 9500),
        ("9 + 500", None),
        ("9 = 500", None),
        ("9\n- 500", 9),
        ("9**500", None),
    ]:
        assert numeral.at(text, 0).value == value


def test_values_of_two_kinds() -> None:
    assert numeral.same(Decimal("0.5"), Fraction(1, 2))
    assert not numeral.same(Decimal("0.333333"), Fraction(1, 3))
    assert not numeral.same(Decimal("1e99999"), Fraction(1, 3))


@pytest.mark.timeout(20)
def test_long_numbers_take_linear_time() -> None:
    for text in ("9" * 1_000_000, "1\\,000" * 100_000, "1 000" * 100_000, "7 " * 500_000, "-" * 1_000_000 + "7"):
        assert numeral.last(text) is not None
    assert _last("9" * 100_000) == Decimal("9" * 100_000)
    assert _last("cm^2" * 100_000 + "7") is None


@given(st.text() | st.text("0123.,-/ {}\\^_$ex*'"))
def test_any_text_is_read(text: str) -> None:
    number = numeral.last(latex(text))
    assert number is None or number.text in latex(text)
    numeral.value(text)


@given(st.integers(-(10**12), 10**12), st.sampled_from(SEPARATORS + SPACES))
def test_every_grouped_number_has_its_value(number: int, separator: str) -> None:
    assert _last(f"{number:,}".replace(",", separator)) == number
