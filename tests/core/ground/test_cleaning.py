"""What models, programs and plugins wrote, at the border: every value can be kept, and no text commands a terminal."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from aftertrain.core.events import Entry, Event, Metrics
from aftertrain.core.events.diary import EventLog
from aftertrain.core.events.lines import read_events
from aftertrain.core.ground.cleaning import LONGEST, clean, described, json_text, plain, printable, unobeyed, worded
from aftertrain.core.records import Completion, Verdict
from aftertrain.core.run.folder import write_json

HALF = chr(0xD800)
LOOP: list[Any] = [1]
LOOP.append(LOOP)


class Mute:
    """Nothing of it can be had."""

    def __str__(self) -> str:
        raise RuntimeError("no text")

    __repr__ = __str__

    @property
    def tolist(self) -> Any:
        raise RuntimeError("no list")


class MuteError(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text")


class Kind(Enum):
    GOOD = "good"


class Word(str):
    __slots__ = ()

    def __str__(self) -> str:
        return "another text"


@dataclass
class Pair:
    left: Any
    right: Any


ODD = [
    (f"a{HALF}b", "a\\ud800b"),
    (chr(0xD83D) + chr(0xDE00), "\U0001f600"),
    ({HALF: 1}, {"\\ud800": 1}),
    (
        {1: "a", "1": "b", None: "c", 1.5: "e", (1, 2): "f"},
        {"1": "a", "1 (2)": "b", "null": "c", "1.5": "e", "(1, 2)": "f"},
    ),
    ({"n": float("nan"), "i": [float("inf"), float("-inf")]}, {"n": "nan", "i": ["inf", "-inf"]}),
    ([np.float32(0.5), np.int64(3), np.bool_(True), np.array([1, 2])], [0.5, 3, True, [1, 2]]),
    (np.float64("nan"), "nan"),
    (torch.tensor([0.5, 1.0]), [0.5, 1.0]),
    ({"b", "a"}, ["a", "b"]),
    (frozenset({2, 1}), [1, 2]),
    (b"\xffA", "\\xffA"),
    (Path("a/b"), "a/b"),
    (Kind.GOOD, "good"),
    (Word("mine"), "mine"),
    (Pair(1, HALF), {"left": 1, "right": "\\ud800"}),
    (Mute(), "(Mute that cannot be written: RuntimeError)"),
    (LOOP, [1, "…"]),
    (1 << 70000, hex(1 << 70000)),
]


@pytest.mark.parametrize(("value", "written"), ODD, ids=range(len(ODD)))
def test_any_value_can_be_written_and_read(value: Any, written: Any, tmp_path: Path) -> None:
    text = json_text({"x": value})
    text.encode()
    read = json.loads(text)["x"]
    if written is not None:
        assert read == written
    write_json(tmp_path / "x.json", {"x": value})
    assert json.loads((tmp_path / "x.json").read_text(encoding="utf-8")) == {"x": read}


def test_keys_that_become_the_same_stay_apart() -> None:
    assert plain({1: "a", "1": "b", False: "c", "false": "d"}) == {
        "1": "a",
        "1 (2)": "b",
        "false": "c",
        "false (2)": "d",
    }
    assert list(plain({"1": "a", 1: "b", None: "c", "null": "d"}).items()) == [
        ("1", "a"), ("1 (2)", "b"), ("null", "c"), ("null (2)", "d")
    ]  # fmt: skip


def test_deep_and_long_values_are_cut() -> None:
    deep: Any = "end"
    for _ in range(5000):
        deep = [deep]
    assert json_text(deep).count("[") == 100
    text = plain("é" * (LONGEST + 5))
    assert text == "é" * LONGEST + "… (5 characters more)"


@given(st.text(alphabet=st.characters()))
def test_clean_text_is_itself_and_any_text_becomes_clean(text: str) -> None:
    once = clean(text)
    once.encode()
    assert clean(once) == once
    if not any(0xD800 <= ord(letter) <= 0xDFFF for letter in text):
        assert once == text


def test_exceptions_are_described_whatever_their_text_does() -> None:
    assert described(MuteError()) == "MuteError: (its message cannot be had: RuntimeError)"
    assert described(ValueError(HALF)) == "ValueError: \\ud800"
    assert described(KeyError()) == "KeyError"


def test_nothing_that_is_shown_commands_a_terminal() -> None:
    evil = "\x1b[2J\x07\x9b31m\rfake\x08\u202egpj\u2066\x00\ud800"
    shown = printable(evil)
    assert shown == "␛[2J␇⟨U+009B⟩31m␍fake␈⟨U+202E⟩gpj⟨U+2066⟩␀⟨U+D800⟩"
    assert printable("é…", "latin-1") == "é\\u2026"
    assert printable("é", "no-such-encoding") == "\\xe9"
    line = json.dumps({"x": "\x9b\u202e\u2028\x1b"}, ensure_ascii=False)
    assert unobeyed(line) == '{"x": "\\u009b\\u202e\\u2028\\u001b"}'
    assert json.loads(unobeyed(line)) == json.loads(line)


@dataclass(frozen=True)
class Odd(Event):
    """A plugin's event with keys that an entry has too."""

    event: ClassVar[str] = "acme/odd"
    message: str
    step: str
    stage: Any


def test_events_hold_anything_and_go_to_listeners_clean(tmp_path: Path) -> None:
    heard: list[Entry] = []
    log = EventLog(tmp_path / "events.jsonl", heard.append)
    log.emit(Odd(f"ValueError: {HALF}", "a key of the data", {3: {1, 2}}), f"s{HALF}", 1)
    log.emit(Metrics({"loss": np.float32("nan"), f"acc{HALF}": torch.tensor(0.5)}), "s", 2)  # type: ignore[dict-item]
    log.close()
    first, second = read_events(tmp_path / "events.jsonl")
    assert (first.stage, first.step) == ("s\\ud800", 1)
    assert first.data == {"message": "ValueError: \\ud800", "step": "a key of the data", "stage": {"3": [1, 2]}}
    assert math.isnan(second.data["loss"])
    assert second.data["acc\\ud800"] == 0.5
    assert heard[0].data == first.data
    assert heard[0].event == Odd("ValueError: \\ud800", "a key of the data", {"3": [1, 2]})
    assert heard[1].data["loss"] != heard[1].data["loss"], "a listener gets the number itself"


def test_records_are_clean_from_the_start() -> None:
    verdict = Verdict.scored(np.float32(0.5), extracted=HALF, detail="x" * 20_000)  # type: ignore[arg-type]
    assert (verdict.extracted, type(verdict.value), len(verdict.detail)) == ("\\ud800", float, 10_000)
    assert Verdict("scored", True, 7, None) == Verdict("scored", 1.0, "7", "")  # type: ignore[arg-type]
    assert Completion("x", (), (), (), (), "stop", HALF).text == "\\ud800"
    assert worded(Mute(), 100) == "(Mute whose text cannot be had: RuntimeError)"


@pytest.mark.parametrize(
    "fields", [("great",), ("scored",), ("scored", float("nan")), ("scored", 1.5), ("error", 0.0), ("scored", "1")]
)
def test_what_is_no_verdict_cannot_be_made(fields: tuple[Any, ...]) -> None:
    with pytest.raises((ValueError, TypeError)):
        Verdict(*fields)
