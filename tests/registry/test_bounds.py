"""Recipes and overrides that are bombs or no recipes at all: a word with the place, in bounded time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from aftertrain.core.errors import RecipeError
from aftertrain.registry.document import override, read
from aftertrain.registry.recipe import load

NINES = "".join(f"a{i + 1}: &a{i + 1} [{', '.join([f'*a{i}'] * 9)}]\n" for i in range(9))
BOMBS = {
    "doubling aliases": (
        f"a0: &a0 [x]\n{NINES}",
        "x:1:",
        "written out the file has more than 20,000",
    ),
    "doubling merges": (
        "a0: &a0 {x: 1, y: {z: 1}}\n"
        + "".join(f"a{i + 1}: &a{i + 1} {{<<: *a{i}, b: *a{i}, c: *a{i}}}\n" for i in range(40)),
        "x:1",
        "written out the file has more than",
    ),
    "a long chain of aliases": (
        "a0: &a0 [x]\n" + "".join(f"a{i + 1}: &a{i + 1} [*a{i}]\n" for i in range(200)),
        "x:",
        "more than 64 levels",
    ),
    "lists in lists": ("a: " + "[" * 100_000, "x:1:", "more than 64 mappings and lists inside one another"),
    "mappings in mappings": ("{a: " * 1000, "x:1:", "more than 64 mappings"),
    "dashes": ("- " * 1000 + "1", "x:1:", "more than 64 mappings"),
    "keys that are mappings": ("? " * 1000, "x:1:", "more than 64 mappings"),
    "many values": ("a: [" + "1," * 11_000 + "1]", "x:1:", "more than 10,000 values"),
    "a large file": ("a: 1\n" * 100_000, "x: ", "500,000 characters; a recipe has at most 131,072"),
    "5,000 digits": ("a: " + "9" * 5000, "x:1:4 a: ", "a whole number of 5,000 digits; settings have at most 64 bits"),
    "65 bits": ("a: 18446744073709551616", "x:1:4 a: ", "a whole number of 20 digits"),
    "hexadecimal digits": ("a: 0x" + "f" * 5000, "x:1:4 a: ", "a whole number of 5,002 digits"),
    "a negative one": ("a: -9223372036854775809", "x:1:4 a: ", "a whole number of 19 digits"),
    "an exponent": ("a: 1e400", "x:1:4 a: ", "a number beyond 1.8e308; write .inf"),
    "digits with a point": ("a: " + "9" * 400 + ".5", "x:1:4 a: ", "a number beyond"),
    "a list that holds itself": ("a: &a [*a]", "x:1:", "an alias that contains itself"),
    "a mapping that holds itself": ("a: &a {b: {c: *a}}", "x:1:", "an alias that contains itself"),
    "a mapping that merges itself": ("a: &a {<<: *a}", "x:1:", "an alias that contains itself"),
    "an alias of nothing": ("a: *b", "x:1:4", "found undefined alias"),
    "a key twice": ("a: 1\nb: 2\na: 3", "x:3:1 a: ", "the key is given twice, first at 1:1"),
    "a merge of a word": ("a:\n  <<: word", "x:2:3 a: ", "'<<' merges mappings only"),
    "a tab": ("a:\n\tb: 1", "x:2:", "not YAML: found character '\\t'"),
    "a NUL": ("a: 1\nb: \0", "x:2:1: ", "not YAML: the character U+0000"),
    "a NUL, escaped": ('a: "\\0"', "x:1:4 a: ", "a text with a NUL character"),
    "half a pair": ('a: "\\ud800"', "x:1:4 a: ", "U+D800, half of a surrogate pair"),
    "half a pair in a key": ('"\\udc00": 1', "x:1:1: ", "as a key a text with U+DC00"),
    "control characters": ("a: \x1b[31m", "x:1:1: ", "not YAML: the character U+001B"),
    "two documents": ("a: 1\n---\nb: 2", "x:2:1: ", "but found another document"),
    "another version": ("%YAML 9.9\n---\na: 1", "x:1:1: ", "not YAML"),
    "a tag": ("a: !!python/object:os.system {}", "x:1:", "has no meaning here"),
    "nothing": ("# only words", "x:1:1: ", "the file is empty"),
}


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_is_told_with_its_place(name: str) -> None:
    text, where, message = BOMBS[name]
    with pytest.raises(RecipeError) as caught:
        read(text, "x")
    told = [str(issue) for issue in caught.value.issues]
    assert any(line.startswith(where) and message in line for line in told), told[:3]
    assert all(len(line) < 600 for line in told)


@pytest.mark.parametrize(
    "name", ["lists in lists", "5,000 digits", "a list that holds itself", "a NUL, escaped", "a large file"]
)
def test_an_override_is_bounded_likewise(name: str) -> None:
    tree = read("a: 1", "x")
    with pytest.raises(RecipeError) as caught:
        override(tree, "a.b", BOMBS[name][0])
    assert all(str(issue).startswith("command line a") for issue in caught.value.issues)


def _endless() -> Any:
    value: list[Any] = []
    value.append(value)
    return value


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (".".join("a" * 1000), "1", "more than 64 levels"),
        ("a.²", "1", "'²' cannot be set inside"),
        ("b.²", "1", "'²' is not an index of a list of 2"),
        ("b." + "9" * 5000, "1", "is not an index of a list of 2"),
        ("b.٣", "1", "is not an index"),
        ("a\0b", "1", "an override is written path=value"),
        ("\ud800", "1", "an override is written path=value"),
        ("c", "\0", "U+0000"),
        ("c", "\udcff", "U+DCFF"),
        ("c", _endless(), "more than 64 mappings and lists inside one another"),
    ],
)
def test_a_path_of_an_override_is_bounded(path: str, value: Any, message: str) -> None:
    with pytest.raises(RecipeError) as caught:
        override(read("a: 1\nb: [1, 2]", "x"), path, value)
    assert message in str(caught.value)
    assert len(str(caught.value)) < 6000


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("name: a".encode("utf-16"), "r.yaml: is UTF-16 text; save it as UTF-8"),
        (b"name: a\nmodel: \xff", "r.yaml:2: byte 0xff is no UTF-8 text"),
        (b"x" * 300_000, "r.yaml: has 300,000 bytes; at most 131,072 are read"),
        (b"", "r.yaml:1:1: the file is empty"),
    ],
)
def test_a_file_that_is_no_recipe_is_told(tmp_path: Path, content: bytes, told: str) -> None:
    (tmp_path / "r.yaml").write_bytes(content)
    with pytest.raises(RecipeError) as caught:
        load(tmp_path / "r.yaml")
    assert str(caught.value).startswith(str(tmp_path / told))


def test_a_byte_order_mark_is_no_part_of_a_recipe() -> None:
    assert read("a: 18446744073709551615", "x").plain() == {"a": 2**64 - 1}
    assert read("a: -9223372036854775808\nb: 0xffffffffffffffff", "x").plain() == {"a": -(2**63), "b": 2**64 - 1}


def test_values_that_a_message_repeats_are_cut(tmp_path: Path) -> None:
    long = "x" * 100_000
    (tmp_path / "r.yaml").write_text(
        f"name: {long}!\nmodel: {long}\n{long}: 1\nstages: {{{long}: {long}}}\nseed: {long}\n"
    )
    with pytest.raises(RecipeError) as caught:
        load(tmp_path / "r.yaml")
    assert all(len(str(issue)) < 1500 for issue in caught.value.issues)
