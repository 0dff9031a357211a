"""Small numbers that only rounding makes equal: `1.6e-19` and `9.1e-31` are both 0.000000 to six places.

Math-Verify rounds to `precision` places, so that of a number below about 10**-precision nothing is left. Numbers that
keep fewer than half of those digits are compared by their leading `precision` digits instead, wherever they stand: in
sets, intervals, tuples, matrices, relations, and as factors.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

_NOTHING = 1e-300
"""Below, a value is zero: what is left of a difference that cancels."""


def apart_by_rounding(truth: Any, answer: Any, precision: int) -> bool:
    """Whether two SymPy objects that are equal to `precision` places hold a small number that the other does not."""
    small = 10.0 ** -max(precision / 2, precision - 3)
    mine, theirs = (list(_values(side)) for side in (truth, answer))
    for values, others in ((mine, theirs), (theirs, mine)):
        for value in values:
            if _NOTHING < abs(value) < small and not any(_close(value, other, precision) for other in others):
                return True
    return False


def _close(first: complex, second: complex, precision: int) -> bool:
    return abs(first - second) <= 10.0**-precision * max(abs(first), abs(second))


def _values(expression: Any) -> Iterator[complex]:
    """The numbers of which an object is made, with certain values for its variables."""
    import sympy

    if isinstance(expression, sympy.MatrixBase | list | tuple):
        for entry in expression:
            yield from _values(entry)
    elif isinstance(expression, sympy.Expr) and not isinstance(expression, sympy.MatrixExpr):
        if (number := at_a_point(expression, expression.free_symbols)) is not None:
            yield number
    else:
        for part in getattr(expression, "args", ()):
            yield from _values(part)


def at_a_point(expression: Any, variables: Iterable[Any]) -> complex | None:
    """The value for certain values of the variables; None where it is infinite or undefined, or a function has none."""
    import sympy

    point = {name: sympy.Rational(113 + 30 * place, 97) for place, name in enumerate(sorted(variables, key=str))}
    try:
        return complex(expression.doit().subs(point).evalf())
    except (TypeError, ValueError, ArithmeticError, AttributeError):
        return None
