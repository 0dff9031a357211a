"""The ifeval verifier against lm-eval's copy of Google's checkers: replies and arguments put together at random."""

from __future__ import annotations

import importlib
import importlib.util
import logging
import random
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from aftertrain.plugins.instructions import resources
from aftertrain.plugins.instructions.ifeval.google import KINDS
from aftertrain.plugins.instructions.ifeval.verifier import instructions
from aftertrain.plugins.instructions.verifier import followed

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(importlib.util.find_spec("lm_eval") is None, reason="lm-eval is not installed: aftertrain[dev]"),
]
CASES = 6_000
PIECES_IN_ONE = (
    "the¦Cat¦sat¦HELLO¦ME¦I¦A¦CAN'T¦An't¦wanNA¦ﬁ¦ß¦İ¦ſ¦K¦Σ¦ς¦é¦日本¦हिन्दी¦नमस्ते¦²¦x_y¦-¦--¦—¦*¦**¦***¦******¦"
    "* * *¦*bold*¦**bold**¦* ¦- ¦\n*¦\n¦\n¦\n\n¦\r\n¦\t¦ ¦  ¦\xa0¦\x1c¦\u2028¦\x85¦.¦.¦,¦!¦?¦...¦e.g.¦Mr.¦U.S.¦"
    '3.5¦No. 5¦\'¦"¦"¦“¦”¦[¦]¦[name]¦[]¦<<¦>>¦<<My title>>¦<< >>¦<¦>¦P.S.¦p. s.¦P.P.S¦p.p.s. x¦PS:¦Section 1¦'
    'Section2¦SECTION 3¦section 4¦Day 5¦Part٣¦{¦}¦{"a": 1}¦[1, 2]¦```json¦```¦null¦NaN¦My answer is yes.¦'
    "My answer is maybe.¦cat¦cats¦dog¦Dog¦c¦Repeat me, please.¦Repeat me¦The end¦the END¦Any other questions?¦"
    "\ud800¦😀¦\u0301"
)
PIECES = tuple(PIECES_IN_ONE.split("¦"))
WORDS = (
    "cat",
    "dog",
    "Sat",
    "the end",
    "c.t",
    "x_y",
    "é",
    "İ",
    "ſat",
    "a|b",
    "(ca)t",
    "^the",
    "n't",
    "日本",
    "K",
    "I ",
)
ARGUMENTS: dict[str, Callable[[random.Random], Any]] = {
    "keywords": lambda rng: rng.sample(WORDS, rng.randint(1, 3)),
    "forbidden_words": lambda rng: rng.sample(WORDS, rng.randint(1, 3)),
    "keyword": lambda rng: rng.choice(WORDS),
    "relation": lambda rng: rng.choice(("less than", "at least")),
    "let_relation": lambda rng: rng.choice(("less than", "at least")),
    "capital_relation": lambda rng: rng.choice(("less than", "at least")),
    "letter": lambda rng: rng.choice("aAcksKt"),
    "language": lambda rng: rng.choice(("en", "hi", "ja", "de")),
    "postscript_marker": lambda rng: rng.choice(("P.S.", "P.P.S", "P.P.S.", "PS:", " P.S. ", "x|PS", "(ps)")),
    "section_spliter": lambda rng: rng.choice(("Section", "SECTION", "Day", " Part ", "(Sec)tion", "S.")),
    "first_word": lambda rng: rng.choice(("the", "Cat", "hello", "é", "Σ", "me")),
    "nth_paragraph": lambda rng: rng.randint(1, 2),
    "num_paragraphs": lambda rng: rng.randint(2, 4),
    "end_phrase": lambda rng: rng.choice(("The end", "cat.", "Any other questions?", ' end" ', "İ")),
    "prompt_to_repeat": lambda rng: rng.choice(("Repeat me", "repeat me, please.", " Cat ", "The")),
}


def _count(rng: random.Random) -> int:
    return rng.randint(1, 6)


def replies(rng: random.Random) -> Iterator[str]:
    while True:
        pieces = rng.choices(PIECES, k=rng.choice((0, 1, 2, 4, 8, 16, 60)))
        reply = "".join(piece + rng.choice(("", " ", " ", "\n")) for piece in pieces)
        yield rng.choice((str, str, str, str.upper, str.lower, str.strip))(reply)


@pytest.fixture(scope="module")
def reference() -> Any:
    nltk = pytest.importorskip("nltk")
    logging.getLogger("lm_eval").setLevel(logging.CRITICAL)
    before = list(nltk.data.path)
    nltk.data.path[:] = [str(folder) for folder in resources.folders()]
    utils = importlib.import_module("lm_eval.tasks.ifeval.utils")

    yield utils
    nltk.data.path[:] = before


def judge(reference: Any, mode: str, names: list[str], arguments: list[dict[str, Any]], reply: str) -> list[bool]:
    example = reference.InputExample(key=0, instruction_id_list=names, prompt="", kwargs=arguments)
    check = getattr(reference, f"test_instruction_following_{mode}")
    return list(check(example, reply).follow_instruction_list)


@pytest.mark.parametrize("mode", ["strict", "loose"])
@pytest.mark.parametrize("name", [name for name in KINDS if name != "language:response_language"])
def test_random_replies_get_the_references_verdict(
    reference: Any, monkeypatch: pytest.MonkeyPatch, name: str, mode: Any
) -> None:
    """Which language a reply has is taken from us: langdetect's answer on such texts depends on its seed."""
    monkeypatch.setattr("langdetect.detect", _detect)
    rng = random.Random(f"{name} {mode}")
    disagreements = []
    source, verdicts = replies(rng), set()
    for _ in range(CASES // 8 if name.startswith("change_case:english") else CASES // 3):
        arguments = {argument: ARGUMENTS.get(argument, _count)(rng) for argument in KINDS[name].arguments}
        reply = next(source)
        ours = followed(instructions({"instruction_id_list": [name], "kwargs": [arguments]}), reply, mode)
        verdicts.add(ours[0])
        if ours != judge(reference, mode, [name], [arguments], reply):
            disagreements.append((arguments, reply, ours))
    assert not disagreements
    assert verdicts == {True, False}


def _detect(text: str) -> str:
    found = resources.language(text)
    if found is None:
        nothing_found = importlib.import_module("langdetect").LangDetectException
        raise nothing_found(0, "no letters")
    return found
