"""The YAML reader as a property: what a YAML 1.2 writer writes is read as it was; overrides touch one place only."""

from __future__ import annotations

import io
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from ruamel.yaml import YAML

from aftertrain.registry.document import Tree, override, read

SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False)
    | st.text(
        st.characters(codec="utf-8", exclude_categories=("Cc", "Cs", "Cn", "Zl", "Zp"), exclude_characters="\ufeff")
    )
    | st.sampled_from(
        ["yes", "no", "on", "1_000", "0o7", "0x1f", "5e-6", ".5", "+1", "1.", "~", "null", "<<", "=", "12:30"]
    )
)
FEW = settings(max_examples=25, deadline=None)
KEYS = st.from_regex(r"[a-z][a-z0-9_]{0,8}", fullmatch=True)
DATA = st.dictionaries(
    KEYS, st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3))
)


def written(data: Any) -> str:
    stream = io.StringIO()
    YAML(typ="safe", pure=True).dump(data, stream)
    return stream.getvalue()


@FEW
@given(DATA)
def test_reading_undoes_writing(data: dict[str, Any]) -> None:
    assert read(written(data), "x").plain() == data


@FEW
@given(DATA)
def test_every_value_knows_its_line(data: dict[str, Any]) -> None:
    text = written(data)
    lines = len(text.splitlines()) + 1

    def check(tree: Tree) -> None:
        name, line, column = tree.where.split(":")
        assert name == "x"
        assert 1 <= int(line) <= lines
        assert int(column) >= 1
        children = tree.value.values() if isinstance(tree.value, dict) else tree.value
        for child in children if isinstance(tree.value, dict | list) else ():
            check(child)

    check(read(text, "x"))


@FEW
@given(DATA, KEYS, SCALARS)
def test_an_override_changes_one_place(data: dict[str, Any], key: str, value: Any) -> None:
    tree = read(written(data), "x")
    changed = override(tree, f"inserted.{key}", {"value": value})
    assert changed.plain() == {**data, "inserted": {key: {"value": value}}} or "inserted" in data
    assert tree.plain() == data


def test_yaml_1_2_words_and_numbers() -> None:
    text = "a: [0o17, 0x1F, -0, +3, 1., .5, 5e-6, -.inf, ~, null, True, yes, 1_0, 1e5, .e5, '7', !!str 7, '']"
    inf = float("inf")
    expected = [15, 31, 0, 3, 1.0, 0.5, 5e-6, -inf, None, None, True, "yes", "1_0", 1e5, ".e5", "7", "7", ""]
    found = read(text, "x").plain()["a"]
    assert found == expected
    assert [type(value) for value in found] == [type(value) for value in expected]
