"""Tokens: the stated rule by hand, character by character, and the fast path against it on hostile texts."""

from __future__ import annotations

import dataclasses
import time
import unicodedata
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aftertrain.core.overlap.blocks import LONG, Block
from aftertrain.core.overlap.evidence import evidence
from aftertrain.core.overlap.items import Item, TrainingRow
from aftertrain.core.overlap.rules import RULES
from aftertrain.core.overlap.tokens import UNSPACED, placed, tokens

HOSTILE = [
    "",
    " ",
    "\x00\x1e\x1f\x1e\x85",
    "a\x1eb \x1e\x1e c",
    "_snake_case__x_",
    "x" * 1000,
    "a" * (LONG - 1) + " " + "a" * LONG + " " + "a" * (LONG + 1),
    "٣٤٥ ½ Ⅻ x² ₂ ①",
    "Straße STRASSE ﬁn ẞ İstanbul ŉ",
    "ＡＢＣ１２３，ＤＥＦ",
    "e\u0301 \u0301x a\u0308\u0323b \u0000\u0301",
    "日本語のテスト123 中文ABC 한국어 ภาษาไทยก็ดี ខ្មែរ བོད་ မြန်မာ",
    "\ud800 half \udfff pair",
    "\u200bzero\u200bwidth so\u00adft \ufeffmark",
    "𝐁𝐨𝐥𝐝 𝟙𝟚 🎉 𠀀𠀁x",
    "हिन्दी में",
    "ﷺ ﷽",
    "’“”–—…\xa0°×",
    "Don't—stop; it's 1,000.50%!",
]


def by_character(text: str) -> list[str]:
    """The stated rule, with nothing clever: a letter or digit goes on with the run, or stands alone."""
    found, run = [], ""
    for char in unicodedata.normalize("NFKC", text).casefold():
        alone = any(first <= ord(char) <= last for first, last in UNSPACED)
        if char.isalnum() and not alone:
            run += char
            continue
        if run:
            found.append(run)
            run = ""
        if char.isalnum():
            found.append(char)
    return [*found, run] if run else found


def in_block(block: Block, number: int) -> list[str]:
    order, firsts, counts = block.firsts()
    (slot,) = (place for place, text in enumerate(order.tolist()) if text == number)
    first, count = int(firsts[slot]), int(counts[slot])
    return block.run(first, count).decode().split(" ") if count else []


@pytest.mark.parametrize("text", HOSTILE)
def test_the_rule_is_the_stated_one(text: str) -> None:
    assert tokens(text) == by_character(text)
    assert [token.word for token in placed(text)] == by_character(text)


def test_blocks_have_the_tokens_of_each_text() -> None:
    block = Block.of(HOSTILE, RULES["tulu3"])
    assert [in_block(block, number) for number in range(len(HOSTILE))] == [by_character(text) for text in HOSTILE]


TEXTS = st.text(st.one_of(st.characters(), st.sampled_from("aA1 .\n\t-_\\'é’ßﬁ日ไ\u0301\u1e9e\x1e\xad١")), max_size=30)


@settings(max_examples=200, deadline=None)
@given(st.lists(TEXTS, max_size=6))
def test_blocks_have_the_tokens_of_any_texts(texts: list[str]) -> None:
    block = Block.of(texts, RULES["tulu3"])
    assert [in_block(block, number) for number in range(len(texts))] == [by_character(text) for text in texts]
    assert len(block.borders) == len(texts)


@settings(max_examples=200, deadline=None)
@given(st.lists(TEXTS, min_size=1, max_size=4))
def test_layout_is_taken_away_alike_from_a_text_and_from_a_block(texts: list[str]) -> None:
    rule, vocabulary = RULES["robust"], frozenset({"aa", "aa1", "é1"})
    block = Block.of(texts, rule, vocabulary)
    expected = [rule.tokens(text, vocabulary) for text in texts]
    assert [in_block(block, number) for number in range(len(texts))] == expected
    assert [[token.word for token in rule.placed(text, vocabulary)] for text in texts] == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1. First\n2) Second\n (c) Third\n- fourth\n  • fifth\n> iv. sixth", "first second third fourth fifth sixth"),
        ("Let $x\\,=\\;\\left(1\\quad+2\\right)$ be \\dfrac{1}{2}", "let x 1 2 be frac 1 2"),
        ("an exam-\nple of well-\nknown words", "an example of well known words"),
        ("soft\u00adhy\u00adphen zero\u200bwidth", "softhyphen zerowidth"),
        ("He paid 3. Then 4. left", "he paid 3 then 4 left"),
        ("\\quadratic \\leftarrow", "quadratic leftarrow"),
        ("1.5 litres\n2.5 litres", "1 5 litres 2 5 litres"),
    ],
)
def test_layout_by_hand(text: str, expected: str) -> None:
    assert " ".join(RULES["robust"].tokens(text, {"example"})) == expected


def test_places_are_those_of_the_text_as_written() -> None:
    text = "1. Ünï—ﬁne\n2) exam-\nple ＡＢ"
    words = {token.word: text[token.start : token.end] for token in RULES["robust"].placed(text, {"example"})}
    assert words == {"ünï": "Ünï", "fine": "ﬁne", "example": "exam-\nple", "ab": "ＡＢ"}


@settings(max_examples=300, deadline=None)
@given(TEXTS, st.data())
def test_the_characters_of_a_run_have_the_tokens_of_the_run(text: str, data: st.DataObject) -> None:
    """Those and no others, where no character is of several tokens as ½ is, which belongs to each of them."""
    found = placed(text)
    assert [token.word for token in found] == tokens(text)
    if found:
        first = data.draw(st.integers(0, len(found) - 1))
        last = data.draw(st.integers(first, len(found) - 1))
        start, end = found[first].start, found[last].end
        words, again = [token.word for token in found[first : last + 1]], tokens(text[start:end])
        before, behind = found[:first][-1:], found[last + 1 :][:1]
        if all(token.end <= start for token in before) and all(token.start >= end for token in behind):
            assert again == words
        else:
            assert " ".join(words) in " ".join(again)


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("die Straße, STRASSE", ["die", "Straße", "STRASSE"]),
        ("ﬁne oﬃce ﬂaw", ["ﬁne", "oﬃce", "ﬂaw"]),
        ("cafe\u0301,nai\u0308ve", ["cafe\u0301", "nai\u0308ve"]),
        ("x\u0332y", ["x", "y"]),
        ("\u1112\u1161\u11ab\u1100\u1173\u11af,각", ["\u1112\u1161\u11ab\u1100\u1173\u11af", "각"]),
        ("東京2020年", ["東", "京", "2020", "年"]),
        ("1½kg", ["1½", "½kg"]),
        ("㍿です", ["㍿", "㍿", "㍿", "㍿", "で", "す"]),
        ("か\u3099な", ["か\u3099", "な"]),
        ("a\u0323\u0307b;c\u0301", ["a\u0323\u0307", "b", "c\u0301"]),
    ],
)
def test_places_beyond_ascii_by_hand(text: str, parts: list[str]) -> None:
    assert [text[token.start : token.end] for token in placed(text)] == parts


def test_a_long_run_of_marks_takes_no_square_of_time() -> None:
    started = time.process_time()
    text = "a" + "\u0301\u0323" * 100_000 + ",b"
    assert [token.word for token in placed(text)] == tokens(text) == in_block(Block.of([text], RULES["tulu3"]), 0)
    assert len(tokens(text)) == 2
    assert time.process_time() - started < 5


FORMS: list[Callable[[str], str]] = [
    str.upper,
    lambda word: word.replace("fi", "ﬁ").replace("ss", "ß"),
    lambda word: unicodedata.normalize("NFD", word),
    lambda word: "".join(chr(ord(char) + 0xFEE0) if "!" <= char <= "~" else char for char in word),
    str.title,
]
WORDS = ["find", "strasse", "été", "naïve", "日本", "office", "über", "12", "kg", "한국", "ไทย", "class"]


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.sampled_from(WORDS), min_size=3, max_size=12),
    st.lists(st.sampled_from(FORMS), min_size=12, max_size=12),
    st.sampled_from(["", "é: ", "ﬁrst\n", "\u0301 日"]),
    st.sampled_from([" ", "—", ", ", "\n> "]),
)
def test_spans_have_the_tokens_of_the_item(
    words: list[str], forms: list[Callable[[str], str]], before: str, between: str
) -> None:
    """The item's words in other forms, within a row: both spans are the item whole, and nothing more."""
    asked = " ".join(words)
    copy = between.join(form(word) for form, word in zip(forms, words, strict=False))
    row = TrainingRow("r", "s", (f"{before}{copy} …",), (0,))
    rule = dataclasses.replace(RULES["tulu3"], n=3)
    found = evidence(row, Item("1", (asked,)), rule)
    assert found.share == 1.0
    [span], [own] = found.row, found.item
    assert tokens(row.texts[0][span.start : span.end]) == tokens(asked)
    assert (own.start, own.end) == (0, len(asked))
