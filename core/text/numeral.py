r"""Numbers as people write them in replies: `-$1,234.50`, `9{,}500`, `2 1/2`, `\frac{3}{4}`, `1.5 \times 10^3`.

A number is taken whole, with all that is attached to it, or is said to be a part of something else (`1,5`, `7.000,00`,
`9**9`, `3:30`, `10-5`, `\sqrt{25}`), so that no piece of it is mistaken for it. Where two readings are usual none is
taken. Texts go through `notation.latex` first.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction

_BEFORE, _AFTER = 200, 120
"""Characters around a run of digits in which the rest of its number is looked for."""
_LONGEST = 60
"""Digits of a number that is compared with a fraction."""

_DIGITS = "0123456789"
_SEPARATOR = r"(?:,\\! ?|\\!,|\ ?\{,\ ?\}\ ?|\{\\[,:;> ]\}|\\[,:;>! ]|\\thinspace\ ?|,|'|~|\ )"
_INTEGER = (
    rf"(?:[0-9]{{1,3}}(?P<group>{_SEPARATOR})[0-9]{{3}}(?:(?P=group)[0-9]{{3}})*(?![0-9])"
    r"|[0-9]{1,2}(?:,[0-9]{2})+,[0-9]{3}(?![0-9])|[0-9]+)"  # the second is India's: 1,00,000
)
_PART = rf"[0-9]{{1,{_LONGEST}}}"
_FRACTION = (
    rf"\\[dtc]?frac\s?(?:\{{\s?(?P<above>{_PART})\s?\}}|(?P<above_digit>[0-9]))"
    rf"\s?(?:\{{\s?(?P<below>{_PART})\s?\}}|(?P<below_digit>[0-9]))"
)
_NUMBER = re.compile(
    rf"""(?:(?P<sign>[-+])\{{?)? (?:\\?\$\ ?|[€£¥₹₩]\ ?)? (?P<inner>[-+](?=[0-9.\\]))?
    (?: {_FRACTION}
      | (?P<number>{_INTEGER}(?:\.[0-9]*)?|\.[0-9]+)
        (?: \ ?\ ?(?:\\times|\\cdot|\*|x)\ ?\ ?10\ ?\^\ ?
            (?:\{{\ ?(?P<power>[-+]?[0-9]+)\ ?\}}|(?P<bare_power>[-+]?[0-9]+))
          | [eE](?P<exponent>[-+]?[0-9]+)
          | \ (?P<part>{_PART})\ ?/\ ?(?P<of>{_PART})
          | \ ?/\ ?(?P<divisor>{_PART})
          | \ ?{_FRACTION.replace("P<", "P<mixed_")}
        )?
    )""",
    re.VERBOSE,
)
_MINUS_BEFORE = re.compile(
    r"(?:[=(]|\b(?:is|are|was|be|equals|to)\b:?)\s?(?:-|minus)\s\Z|(?<!non-)(?<!non)\bnegative\s\Z|\Aminus\s\Z", re.I
)
_UNIT_BEFORE = re.compile(
    r"(?:\b[cdkm]?m|\bft|\bin|\byd|\binch(?:es)?|feet|foot|yards?|miles?|met(?:er|re)s?|units?|\bs|\bsec)"
    r"\s?\}?\s?\^\s?\{?\s?-?\Z"
)
_PART_BEFORE = re.compile(
    r"""(?: \d | \d[.,:_'~] | [.,]\s?\} | [\^_]\s?\{? | \d\ ?\*\* | [\d)\]}]\s?/\s? | \}\{ | \bminus\s | —|―
      | \d[`´ˋˊʹ˙·‧•∙・٬٫،⎖‚‛❜*x] | \d\\(?:cdot|times|div)\s? | \^\{[-+]\} | \\(?:pm|mp)\s{0,2}
      | \d\\[,:;>!\ ] | \\[hm]space\*?\{[^{}]*\} | \\kern\S{1,8}\s? | &\#?\w{1,8}; | [√∛∜]\s?[({]?
      | \\(?:sqrt|[dtc]?frac|[dt]?binom|log|ln|exp|sin|cos|tan|gcd|lcm)\s?(?:\[\d{1,3}\])?\s?[{(]?\s?
      | \d\ *: | [:;]\ ?-\s | [\u00ad\u200b-\u200f\u202a-\u202e\u2060-\u2064\ufeff] )\Z""",
    re.VERBOSE,
)
_PART_BEFORE_SIGN = re.compile(
    r"(?:[^\W_]|[)\]}/^+*-]|[\^_√]\s?\{?|\\(?:sqrt|log|ln|exp|sin|cos|tan)\s?(?:\[\d{1,3}\])?\s?[{(]?)\Z|[—―]\Z"
)
_LIST_BEFORE = re.compile(r"[0-9]\s?,\s\Z")
"""Before a number that begins with zeros: `12, 000` is one number, badly spaced."""
_CLEAR = re.compile(r"(?:(?:(?<=[^\w)}\]*])|\A)\*{1,3}|\b(?:US|USD|EUR|GBP))\Z")
"""Markdown's bold and a currency's code before a sign."""
_PART_AFTER = re.compile(
    r"""\d | [.,:_'~]\d | _\{ | \ ?\{,\ ?\}\ ?\d | \\[,:;>!\ ]\d | \ ?/\ ?[\d(\\] | \ ?\^(?!\s?\{?\s?\\circ)
      | \ {0,2}(?:\*{1,2}|[-+=x]|\\times|\\cdot|\\div)\ {0,2}\\?\$?\d | \\[dtc]?frac | \ ?\\sqrt
      | [\u00ad\u200b-\u200f\u202a-\u202e\u2060-\u2064\ufeff]""",
    re.VERBOSE,
)


@dataclass(frozen=True, slots=True)
class Numeral:
    """A number in a text.

    Attributes:
        text: as it is written.
        value: exactly; None where it is part of an expression or has two usual readings.
    """

    text: str
    value: Decimal | Fraction | None


def last(text: str) -> Numeral | None:
    """The last number of `text`, powers of units (`cm^2`) aside; None where it has no digit."""
    end = len(text)
    while (place := max(text.rfind(digit, 0, end) for digit in _DIGITS)) >= 0:
        start = len(text[: place + 1].rstrip(_DIGITS))
        if not _UNIT_BEFORE.search(text[max(0, start - 20) : start]):
            return at(text, place)
        end = start
    return None


def at(text: str, place: int) -> Numeral:
    """The number whose digit, or sign or point before the first digit, stands at `place`."""
    start = len(text[:place].rstrip(_DIGITS))
    end = next((i for i in range(place, len(text)) if text[i] not in _DIGITS), len(text))
    left = max(0, start - _BEFORE)
    window, within = text[left : end + _AFTER], place - left
    for number in _NUMBER.finditer(window):
        if number.end() > within:
            if number.start() > within or (left and number.start() < 2):
                break
            return Numeral(number[0].strip(), _alone(number, window[: number.start()], window[number.end() :]))
    return Numeral(text[start:end], None)


def value(text: str) -> Decimal | Fraction | None:
    """The value of a text that is one number, a percent sign and a last period aside; else None."""
    number = _NUMBER.fullmatch(text.strip().removesuffix("%").removesuffix("\\").rstrip(". "))
    return _value(number) if number else None


def same(first: Decimal | Fraction, second: Decimal | Fraction) -> bool:
    """Whether two values are equal; very long or large numbers equal no fraction."""
    if isinstance(first, Decimal) and isinstance(second, Decimal):
        return first == second
    return all(map(_moderate, (first, second))) and Fraction(first) == Fraction(second)


def _moderate(number: Decimal | Fraction) -> bool:
    return isinstance(number, Fraction) or max(len(number.as_tuple().digits), abs(number.adjusted())) <= 2 * _LONGEST


def _alone(number: re.Match[str], before: str, after: str) -> Decimal | Fraction | None:
    """The value of a number that stands clear of what is before and after it, else None."""
    signed = number["sign"] is not None or number["inner"] is not None
    negative = None if signed else _MINUS_BEFORE.search(before)
    part = _PART_BEFORE_SIGN if signed else _PART_BEFORE
    if re.match("0[0-9]", number["number"] or "") and _LIST_BEFORE.search(before):
        return None
    if (part.search(before) and not negative and not _CLEAR.search(before)) or _PART_AFTER.match(after):
        return None
    value = _value(number)
    return -value if value is not None and negative else value


def _value(number: re.Match[str]) -> Decimal | Fraction | None:
    if number["sign"] and number["inner"]:
        return None
    negative = "-" in (number["sign"], number["inner"])
    value: Decimal | Fraction | None
    if number["number"] is None:
        value = _ratio(number["above"] or number["above_digit"], number["below"] or number["below_digit"])
    else:
        value = _scaled(number)
    return -value if value is not None and negative else value


def _scaled(number: re.Match[str]) -> Decimal | Fraction | None:
    units = Decimal(re.sub("[^0-9.]", "", number["number"]))
    if (power := number["power"] or number["bare_power"] or number["exponent"]) is not None:
        return units.scaleb(int(power)) if len(power) <= 5 else None
    if number["divisor"]:
        return None if not _moderate(units) or not int(number["divisor"]) else Fraction(units) / int(number["divisor"])
    above = number["part"] or number["mixed_above"] or number["mixed_above_digit"]
    if above is None:
        return units
    fraction = _ratio(above, number["of"] or number["mixed_below"] or number["mixed_below_digit"])
    if fraction is None or fraction >= 1 or "." in number["number"] or not _moderate(units):
        return None  # no mixed number
    return Fraction(units) + fraction


def _ratio(above: str, below: str) -> Fraction | None:
    return Fraction(int(above), int(below)) if int(below) else None
