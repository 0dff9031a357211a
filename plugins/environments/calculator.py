"""A calculator: sums are worked out in rational numbers, so that an answer is exact as long as it is short."""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from typing import ClassVar

from aftertrain.core.text.tool_calls import Tool
from aftertrain.core.tool_environment import ToolEnvironment
from aftertrain.plugins.environments.settings import CalculatorSettings

LONGEST = 1000
"""Characters of an expression."""
BITS = 4096
"""Size of a number, in bits of numerator and denominator, from which on it is refused."""
DIGITS = 12
"""Significant digits of an answer that is no whole number."""
TWO: Mapping[type[ast.operator], Callable[[Fraction, Fraction], Fraction | int]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
}


class Calculator(ToolEnvironment[CalculatorSettings]):
    """One tool, `calculate`."""

    Config = CalculatorSettings
    isolated: ClassVar[bool] = False

    def functions(self) -> Sequence[Tool]:
        """The calculator."""
        return (calculate,)


def calculate(expression: str) -> str:
    """Works out an arithmetic expression.

    Args:
        expression: Numbers, + - * / // % **, and parentheses, such as "(3 + 4) * 2.5".

    Returns:
        The result.

    Raises:
        ValueError: it is no such expression, or the result is too large.

    >>> calculate("(3 + 4) * 2.5"), calculate("0.1 + 0.2"), calculate("1 / 3"), calculate("2 ** 10")
    ('17.5', '0.3', '0.333333333333', '1024')
    """
    if len(expression) > LONGEST:
        raise ValueError(f"the expression is over {LONGEST} characters long")
    try:
        # Where ^ is written for a power, as most people do.
        tree = ast.parse(expression.strip().replace("^", "**").replace(",", ""), mode="eval")
        value = _value(tree.body)
        return str(value.numerator) if value.denominator == 1 else f"{float(value):.{DIGITS}g}"
    except ZeroDivisionError:
        raise ValueError("division by zero") from None
    except OverflowError:
        raise ValueError("the result is too large") from None
    except (SyntaxError, RecursionError, MemoryError):
        raise ValueError(f"not an arithmetic expression: {expression[:100]}") from None


def _value(node: ast.expr) -> Fraction:
    match node:
        case ast.Constant(value=int() | float() as number) if not isinstance(number, bool):
            # The text of 0.1 is a tenth; the float is not.
            return _sized(Fraction(repr(number)))
        case ast.UnaryOp(op=ast.USub() | ast.UAdd() as sign, operand=operand):
            value = _value(operand)
            return -value if isinstance(sign, ast.USub) else value
        case ast.BinOp(left=left, op=ast.Pow(), right=right):
            return _power(_value(left), _value(right))
        case ast.BinOp(left=left, op=sign, right=right) if type(sign) in TWO:
            return _sized(Fraction(TWO[type(sign)](_value(left), _value(right))))
    raise ValueError("only numbers, + - * / // % ** and parentheses can be worked out")


def _power(base: Fraction, exponent: Fraction) -> Fraction:
    if exponent.denominator != 1:
        return _sized(Fraction(repr(float(base) ** float(exponent)))) if base >= 0 else _complex()
    if abs(exponent) * max(_bits(base), 1) > BITS:
        raise ValueError("the result is too large")
    return base ** int(exponent)


def _complex() -> Fraction:
    raise ValueError("a root of a negative number is no real number")


def _sized(value: Fraction) -> Fraction:
    if _bits(value) > BITS:
        raise ValueError("the result is too large")
    return value


def _bits(value: Fraction) -> int:
    return max(value.numerator.bit_length(), value.denominator.bit_length())
