"""Operators that look at texts, by values worked out by hand."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aftertrain.core.operator import Operator, Row, Scorer
from aftertrain.core.records import Conversation, Document, Message, PreferencePair, Problem
from aftertrain.core.settings import Settings
from aftertrain.plugins.quality.length import Length
from aftertrain.plugins.quality.markup import Markup
from aftertrain.plugins.quality.overlap import Overlap
from aftertrain.plugins.quality.refusals import Refusals
from aftertrain.plugins.quality.repetition import Repetition, duplicates, most_frequent, repeated
from aftertrain.plugins.quality.settings import (
    LengthSettings,
    MarkupSettings,
    OverlapSettings,
    RefusalsSettings,
    RepetitionSettings,
    SpecialTokensSettings,
    TurnsSettings,
)
from aftertrain.plugins.quality.special_tokens import SpecialTokens
from aftertrain.plugins.quality.turns import Turns, truncated

QUICKSTART = "package:aftertrain.plugins.quickstart/model"


def talk(*turns: tuple[str, str]) -> Row:
    return Row(Conversation("r", tuple(Message(role, text) for role, text in turns), "s"))  # type: ignore[arg-type]


def asked(prompt: str, reply: str) -> Row:
    return talk(("user", prompt), ("assistant", reply))


def found(operator: type[Operator[Any]], settings: Settings, row: Row) -> Mapping[str, Any]:
    scorer = operator(settings, None)  # type: ignore[arg-type]
    assert isinstance(scorer, Scorer)
    return scorer.facts(row)


def test_length_counts_the_part_that_is_asked_for() -> None:
    """ "How are you?" has 12 characters and 3 words, "Fine, thanks." 13 and 2."""
    row = asked("How are you?", "Fine, thanks.")
    assert found(Length, LengthSettings(), row) == {"characters": 25, "words": 5, "turns": 2}
    assert found(Length, LengthSettings(of="reply"), row) == {"characters": 13, "words": 2, "turns": 1}
    assert found(Length, LengthSettings(of="prompt"), row) == {"characters": 12, "words": 3, "turns": 1}
    document = Row(Document("d", "one two", "s"))
    assert found(Length, LengthSettings(of="reply"), document)["words"] == 2
    assert found(Length, LengthSettings(of="prompt"), document)["words"] == 0


def test_length_counts_tokens_as_the_tokenizer_does() -> None:
    from transformers import AutoTokenizer

    from aftertrain.plugins.quality.tokenizers import tokenizer_of

    tokenizer = AutoTokenizer.from_pretrained(tokenizer_of(QUICKSTART).name_or_path)
    row = asked("Ann has 3 apples.", "She has 3 + 4 = 7.")
    wanted = sum(len(tokenizer(text, add_special_tokens=False)["input_ids"]) for text in row.texts)
    assert found(Length, LengthSettings(tokenizer=QUICKSTART), row)["tokens"] == wanted > 8


def test_repetition_by_hand() -> None:
    """Of the lines a b, c, a b the third stood before: 1 of 3 lines, 3 of 9 characters. The bigram "a b" comes twice,
    6 characters of 9; as a 2-gram that comes again it holds the 2 letters of the second."""
    settings = RepetitionSettings(top=(2, 3), repeated=(2, 3))
    facts = found(Repetition, settings, asked("x", "a b\nc\na b"))
    assert facts == {
        "duplicate_lines": 0.333333,
        "duplicate_lines_characters": 0.333333,
        "duplicate_paragraphs": 0.0,
        "duplicate_paragraphs_characters": 0.0,
        "top_2_gram": 0.666667,
        "top_3_gram": 0.0,
        "repeated_2_grams": 0.222222,
        "repeated_3_grams": 0.0,
    }
    paragraphs = found(Repetition, settings, asked("x", "one\n\ntwo\n\none\n\none"))
    assert paragraphs["duplicate_paragraphs"] == 0.5
    assert set(found(Repetition, RepetitionSettings(), asked("x", "")).values()) == {0.0}


def datatrove(text: str) -> dict[str, float]:
    """The shares of datatrove's GopherRepetitionFilter (0.9: pipeline/filters/gopher_repetition_filter.py) by its
    formulas, over words between white space."""
    words = text.split()

    def duplicates_of(n: int) -> int:
        seen: set[str] = set()
        characters = place = 0
        while place < len(words) - n + 1:
            gram = "".join(words[place : place + n])
            if gram in seen:
                characters += len(gram)
                place += n
            else:
                seen.add(gram)
                place += 1
        return characters

    return {f"repeated_{n}_grams": round(duplicates_of(n) / len(text), 6) for n in range(5, 11)}


def test_repeated_n_grams_are_those_of_datatrove() -> None:
    """With the early end of our own: no repeated 5-gram, no repeated 6-gram."""
    import random

    rng = random.Random(0)
    for words in (3, 8, 60, 400):
        for kinds in (2, 4, 30):
            text = " ".join(rng.choice("abcdefghijklmnopqrstuvwxyzäöüßøåæéè"[:kinds]) for _ in range(words))
            facts = found(Repetition, RepetitionSettings(), asked("x", text))
            assert {name: facts[name] for name in facts if name.startswith("repeated")} == datatrove(text)


def test_repetition_counts() -> None:
    assert duplicates([]) == (0, 0)
    assert most_frequent(["a"], 2) == 0
    assert most_frequent(["bb", "c", "bb", "c", "d", "e", "d", "e"], 2) == 2 * 4
    assert repeated(["a", "b", "c", "a", "b", "c", "a", "b", "c"], 3) == 6


def covered_by_hand(words: list[str], n: int) -> int:
    """The characters of "w₁ w₂ …" that lie in a most frequent n-gram (Gopher: "contained within"), one by one."""
    starts = [sum(map(len, words[:i])) + i for i in range(len(words))]
    grams = [tuple(words[i : i + n]) for i in range(len(words) - n + 1)]
    most = max((grams.count(gram) for gram in grams), default=0)
    if most < 2:
        return 0
    marked: dict[tuple[str, ...], set[int]] = {}
    for place, gram in enumerate(grams):
        if grams.count(gram) == most:
            end = starts[place + n - 1] + len(words[place + n - 1])
            marked.setdefault(gram, set()).update(range(starts[place], end))
    return max(map(len, marked.values()))


@given(st.lists(st.sampled_from(["a", "bb", "ccc"]), max_size=30), st.integers(1, 5))
def test_the_most_frequent_n_gram_covers_each_character_once(words: list[str], n: int) -> None:
    """A row of equal words is full of overlapping n-grams: their count times their length was 1.8 of such a text."""
    assert most_frequent(words, n) == covered_by_hand(words, n) <= len(" ".join(words))


RATIOS = {"symbols", "mean_word_length", "names", "count"}
"""By word, not by character."""


@given(st.text(st.sampled_from("aÃ\x80Â©�\x00 \n<b>#.…-ï¿½â€"), max_size=40))
def test_a_share_is_at_most_one(text: str) -> None:
    """Ã and U+0080 were both counted as UTF-8 that was misread, and the second again as a control character."""
    row = asked(text, text)
    repetition = RepetitionSettings(top=(1, 2))
    for scorer, settings in ((Markup, MarkupSettings()), (Repetition, repetition), (Overlap, OverlapSettings(n=1))):
        for name, value in found(scorer, settings, row).items():
            assert name in RATIOS or 0 <= value <= 1, (name, value)


def test_markup_by_hand() -> None:
    """ "<b>a1</b> # é" as UTF-8 read as Latin-1: 14 characters, of which 5 letters (b a b Ã and none in ©)."""
    facts = found(Markup, MarkupSettings(), Row(Document("d", "<b>a1</b> # Ã©", "s")))
    assert facts["letters"] == round(4 / 14, 6)
    assert facts["digits"] == round(1 / 14, 6)
    assert facts["spaces"] == round(2 / 14, 6)
    assert facts["punctuation"] == round(7 / 14, 6)
    assert facts["tags"] == round(7 / 14, 6)
    assert facts["broken"] == round(2 / 14, 6)
    assert facts["symbols"] == round(1 / 3, 6)
    assert facts["alphabetic_words"] == round(2 / 3, 6)
    assert facts["mean_word_length"] == 4.0


def test_markup_of_lines() -> None:
    facts = found(Markup, MarkupSettings(), Row(Document("d", "- one\n* two\n\nand so on...\nend", "s")))
    assert (facts["bullet_lines"], facts["ellipsis_lines"]) == (0.5, 0.25)
    assert set(found(Markup, MarkupSettings(), Row(Document("d", "", "s"))).values()) == {0.0}


@pytest.mark.parametrize(
    "text", ["naïve café – “quoted”…", "ÀÉÎÕÜ straße", "日本語のテキスト", "A\tB\r\nC", "x² ≤ 5 €"]
)
def test_sound_text_is_not_called_broken(text: str) -> None:
    assert found(Markup, MarkupSettings(), Row(Document("d", text, "s")))["broken"] == 0
    if any(ord(char) > 127 for char in text):
        spoilt = text.encode().decode("cp1252", "replace")
        assert found(Markup, MarkupSettings(), Row(Document("d", spoilt, "s")))["broken"] > 0


def test_special_tokens_of_the_template_are_found_in_texts() -> None:
    """The quickstart's template writes its marks as special tokens or as text; both are found, and nothing else."""
    from aftertrain.plugins.quality.special_tokens import special_tokens
    from aftertrain.plugins.quality.tokenizers import tokenizer_of

    tokenizer = tokenizer_of(QUICKSTART)
    marks = special_tokens(tokenizer)
    assert tokenizer.eos_token in marks
    settings = SpecialTokensSettings(model=QUICKSTART, also=("[IMAGE]",))
    mark = str(tokenizer.eos_token)
    row = asked(f"Say {mark} and [IMAGE]{mark}", "No.")
    assert found(SpecialTokens, settings, row) == {"count": 3, "found": [mark, "[IMAGE]"]}
    assert found(SpecialTokens, settings, asked("1 < 2 | 3 > 2", "[1] <b>")) == {"count": 0, "found": []}


def test_marks_of_named_templates() -> None:
    """Tülu's template builds its marks of the role, ChatML's are written out."""
    from aftertrain.core.text.chat import TULU_TEMPLATE
    from aftertrain.plugins.quality.special_tokens import special_tokens
    from aftertrain.plugins.quality.tokenizers import tokenizer_of

    tokenizer = tokenizer_of(QUICKSTART)
    tokenizer.chat_template = TULU_TEMPLATE
    assert {"<|user|>", "<|assistant|>", "<|system|>"} <= special_tokens(tokenizer)
    tokenizer.chat_template = "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>{% endfor %}"
    assert {"<|im_start|>", "<|im_end|>"} <= special_tokens(tokenizer)
    tokenizer.chat_template = "{{ bos_token }}[INST] {{ messages[0].content }} [/INST]"
    assert {"[INST]", "[/INST]"} <= special_tokens(tokenizer)


def test_turns() -> None:
    sound = found(Turns, TurnsSettings(), talk(("system", "Be kind."), ("user", "Hi"), ("assistant", "Hello")))
    assert sound == {"empty": 0, "truncated": 0, "order": True, "faults": 0, "what": []}
    bad = found(Turns, TurnsSettings(), talk(("assistant", " "), ("user", "Hi"), ("user", "There"), ("system", "x")))
    assert bad["empty"] == 1
    assert bad["what"] == [
        "empty turn",
        "system turn not at the start",
        "does not begin with the user",
        "does not end with the assistant",
        "two turns of the user in a row",
    ]
    assert (bad["order"], bad["faults"]) == (False, 5)
    anywhere = TurnsSettings(system="anywhere")
    assert found(Turns, anywhere, talk(("user", "a"), ("system", "b"), ("assistant", "c")))["faults"] == 0


def test_turns_of_problems_and_pairs() -> None:
    """A problem ends with the user; each reply of a pair goes on from the prompt."""
    user, reply, empty = Message("user", "2 + 2?"), Message("assistant", "4"), Message("assistant", "")
    assert found(Turns, TurnsSettings(), Row(Problem("p", (user,), (), "s")))["faults"] == 0
    assert found(Turns, TurnsSettings(), Row(Problem("p", (user, reply), (), "s")))["order"] is False
    pair = PreferencePair("p", (user,), (reply,), (empty,), "s")
    assert found(Turns, TurnsSettings(), Row(pair))["what"] == ["empty turn"]


@pytest.mark.parametrize(
    ("reply", "cut"),
    [
        ("", False),
        ("Yes", False),
        ("The answer is $\\boxed{7}$", False),
        ("A long reply without a full stop but with its last word said", False),
        ("Here is a long reply that was cut off in the middle of the", True),
        ("Here is a long reply that was cut off after a comma,", True),
        ("Code:\n```python\nprint(1)\n```", False),
        ("Code:\n```python\nprint(1)", True),
        ("<think>so", True),
        ("<think>so</think>4", False),
        ("Three reasons:\n1. One.\n2.", True),
        ("pi is\n3.14", False),
    ],
)
def test_cut_off_replies(reply: str, cut: bool) -> None:
    assert truncated(reply) is cut


def test_refusals() -> None:
    facts = found(Refusals, RefusalsSettings(), asked("Who made you?", "I’m sorry, but I cannot say. I am ChatGPT."))
    assert facts == {"refusal": 1.0, "names": 1, "found": ["i'm sorry", "ChatGPT"]}
    sound = asked("Does OpenAI sell opencv?", "They do not; openaire is another thing.")
    assert found(Refusals, RefusalsSettings(), sound) == {"refusal": 0.0, "names": 0, "found": []}
    two = talk(("user", "a"), ("assistant", "Sure."), ("user", "b"), ("assistant", "As an AI, no."))
    assert found(Refusals, RefusalsSettings(), two)["refusal"] == 0.5
    late = RefusalsSettings(looked_at=5)
    assert found(Refusals, late, asked("x", "Well, I cannot say."))["refusal"] == 0.0
    assert found(Refusals, RefusalsSettings(names=()), asked("x", "ChatGPT"))["names"] == 0


def test_overlap_by_hand() -> None:
    """Of the reply's 6 words 3 (the cat sat) are a 3-gram of the prompt; the sets {say the cat sat} and
    {yes the cat sat down} share 3 of 6 words."""
    row = asked("Say: the cat sat", "Yes, THE CAT — sat down. Yes.")
    assert found(Overlap, OverlapSettings(n=3), row) == {"copied": 0.5, "common": 0.5}
    assert found(Overlap, OverlapSettings(n=4), row)["copied"] == 0.0
    assert found(Overlap, OverlapSettings(), asked("", ""))["copied"] == 0.0
