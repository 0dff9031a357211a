"""What crosses between a program and its tests."""

from __future__ import annotations

import collections
import decimal
import enum
import fractions
import json
import math
import os
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aftertrain.core.sandbox import plan, wire


def crossed(value: Any) -> Any:
    kept: list[Any] = []
    data = wire.encode(value, lambda item: [kept.append(item), len(kept) - 1][1])
    return wire.decode(json.loads(json.dumps(data)), lambda number: kept[number])


hashable = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary()
hashable |= st.complex_numbers(allow_nan=False) | st.decimals(allow_nan=False) | st.fractions()
hashable |= st.tuples(hashable, hashable) | st.frozensets(hashable, max_size=3)
values = st.recursive(
    hashable | st.sets(hashable, max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(hashable, inner, max_size=3) | st.tuples(inner),
    max_leaves=8,
)


@given(values)
def test_plain_data_arrives_as_it_was(value: Any) -> None:
    arrived = crossed(value)
    assert arrived == value
    assert type(arrived) is type(value)


@pytest.mark.parametrize(
    ("value", "arrived"),
    [
        (collections.Counter("aab"), {"a": 2, "b": 1}),
        (collections.namedtuple("P", "x y")(1, 2), (1, 2)),
        (enum.IntEnum("E", "A B").B, 2),
        (collections.deque([1]), collections.deque([1])),
        (range(1, 9, 2), range(1, 9, 2)),
        (2**200, 2**200),
        ("\ud800", "\ud800"),
        (math.inf, math.inf),
        (decimal.Decimal("0.10"), decimal.Decimal("0.1")),
        (fractions.Fraction(1, 3), fractions.Fraction(1, 3)),
        (bytearray(b"ab"), bytearray(b"ab")),
    ],
)
def test_kinds_of_values(value: Any, arrived: Any) -> None:
    assert crossed(value) == arrived


def test_a_subclass_cannot_answer_for_itself() -> None:
    """What arrives is the base's own value, whatever the subclass says of itself."""

    class Liar(list[int]):
        def __iter__(self) -> Any:
            return iter([9])

        def __eq__(self, other: object) -> bool:
            return True

        __hash__ = None  # type: ignore[assignment]

    arrived = crossed(Liar([1]))
    assert type(arrived) is list
    assert arrived == [1] != [9]


def test_nonsense_is_the_end_of_the_line() -> None:
    for nonsense in (b"", b"\xff\xff\xff\xff", b"\x02\x00\x00\x00{]", b"\x09\x00\x00\x00short"):
        reader, writer = os.pipe()
        os.write(writer, nonsense)
        os.close(writer)
        with pytest.raises(wire.Gone):
            wire.receive(reader)
        os.close(reader)


def test_names_of_tests() -> None:
    """Builtins are the tests' own, except where tests call nothing else."""
    (asserts,) = [plan.ast.parse("assert set(f(1)) == set([1]) and math.pi")]
    assert plan.meanings([asserts], None) == (frozenset({"math"}), frozenset({"f"}))
    assert plan.meanings([plan.ast.parse("assert sum(1, 2) == 3")], None)[1] == {"sum"}
    assert plan.meanings([asserts], "g")[1] == {"g"}


@pytest.mark.parametrize(
    ("source", "first"),
    [
        ("assert f(1) == 2\nassert f([2], 'a') == f(-3)", [("f", [1]), ("f", [[2], "a"]), ("f", [-3])]),
        ("assert f(1) == 2\nfor i in [1]: f(i)\nassert f(4)", [("f", [1])]),
        ("assert f(1) or f(2)", []),
        ("assert f(1) == 1\nx = 2\nassert f(x) == 2\nassert f(3) == 3", [("f", [1])]),
        ("assert f(f(1)) == 2", []),
        ("assert list(map(f, [1])) == [1]\nassert f(2)", []),
        ("assert f(1) == 1, f(2)", [("f", [1])]),
        ("def check(c):\n    assert c(1) == 2\n    assert c(2) == 3\ncheck(f)", [("f", [1]), ("f", [2])]),
    ],
)
def test_calls_that_come_first_whatever_happens(source: str, first: list[Any]) -> None:
    assert plan.first_calls([plan.ast.parse(source)], frozenset({"f"})) == first
