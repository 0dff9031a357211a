"""Figures as people read them: rounding, units, durations, axis ticks. Pure functions of numbers to text.

A minus is U+2212 and a unit follows a narrow no-break space, so that a figure never breaks over two lines.
"""

from __future__ import annotations

import math

from aftertrain.core.ground import wording

SPACE = "\u202f"
MINUS = "\u2212"


def number(value: float, digits: int = 3) -> str:
    """`value` with `digits` significant digits, thousands grouped, powers of ten beyond what eyes can count.

    >>> number(0.00312), number(0.0000021), number(-0.5)
    ('0.00312', '2.1×10⁻⁶', '−0.5')
    """
    if not math.isfinite(value):
        return "not finite" if math.isnan(value) else ("∞" if value > 0 else MINUS + "∞")
    if value == 0:
        return "0"
    size = math.floor(math.log10(abs(value)))
    if size < -4 or size > 8:
        mantissa = f"{abs(value) / 10.0**size:.{digits - 1}f}".rstrip("0").rstrip(".")
        text = f"{mantissa}×10{_superscript(size)}"
    else:
        text = f"{abs(value):,.{max(0, digits - 1 - size)}f}".replace(",", SPACE)
        text = text.rstrip("0").rstrip(".") if "." in text else text
    return (MINUS if value < 0 else "") + text


def count(value: float) -> str:
    """A whole number with its thousands grouped."""
    return f"{value:,.0f}".replace(",", SPACE).replace("-", MINUS)


def counted(value: int, noun: str, plural: str = "") -> str:
    """A whole number and its noun, the thousands grouped."""
    return wording.counted(value, noun, plural).replace(",", SPACE)


def percent(fraction: float) -> str:
    """A fraction in [0, 1] as per cent with one decimal, always: `74.8 %`, so that columns line up."""
    return f"{100 * fraction:.1f}{SPACE}%".replace("-", MINUS)


def signed(value: float, digits: int = 1) -> str:
    """A difference with its sign and fixed decimals: `+12.3`, `−0.4`, `0.0`."""
    text = f"{abs(value):.{digits}f}"
    if float(text) == 0:
        return text
    return (MINUS if value < 0 else "+") + text


def duration(seconds: float) -> str:
    """A span of time in the two largest units that matter.

    >>> [duration(seconds).replace(SPACE, " ") for seconds in (0.25, 65, 7322)]
    ['0.25 s', '1 min 5 s', '2 h 2 min']
    """
    if seconds < 59.5:
        return f"{number(seconds, 2 if seconds < 10 else 3)}{SPACE}s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes}{SPACE}min" + (f" {rest}{SPACE}s" if rest else "")
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{count(hours)}{SPACE}h" + (f" {minutes}{SPACE}min" if minutes else "")


def nice_ticks(low: float, high: float, about: int = 4) -> list[float]:
    """Round values (1, 2, 2.5 or 5 times a power of ten apart) within [low, high], roughly `about` of them.

    >>> nice_ticks(0.0, 1.0)
    [0.0, 0.25, 0.5, 0.75, 1.0]
    """
    if not high > low:
        return [low]
    raw = (high - low) / about
    power = 10.0 ** math.floor(math.log10(raw))
    gap = next(step * power for step in (1, 2, 2.5, 5, 10) if step * power >= raw * 0.999)
    first, last = math.ceil(low / gap - 1e-9), math.floor(high / gap + 1e-9)
    return [round(index * gap, 12) + 0.0 for index in range(first, last + 1)]


def _superscript(power: int) -> str:
    return str(power).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))
