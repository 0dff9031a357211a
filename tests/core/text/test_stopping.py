"""Where replies stop and what they say, special tokens among them: by hand, and against bytes counted independently."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from aftertrain.core.generator import Sampling
from aftertrain.core.text.stopping import StopStrings, special_token_ids

END = 2


@pytest.fixture(scope="module")
def tokenizer(tiny_model: Path) -> Any:
    """The tiny tokenizer: `<|user|>` is an added token, `<think>` and `</think>` are special ones."""
    from transformers import AddedToken, AutoTokenizer

    made = AutoTokenizer.from_pretrained(tiny_model)
    made.add_tokens([AddedToken(mark, special=True, normalized=False) for mark in ("<think>", "</think>")])
    return made


@pytest.fixture(scope="module")
def spaced() -> Any:
    """A tokenizer as Llama 2's: ▁ for spaces, bytes for what it does not know, the first space stripped."""
    from tokenizers import AddedToken, Tokenizer, decoders, models
    from transformers import PreTrainedTokenizerFast

    pieces = ["<s>", "</s>", "<tool>", *(f"<0x{i:02X}>" for i in range(256)), "▁", "▁Hi", "▁there", "User", ":", "\n"]
    made = Tokenizer(models.WordLevel({piece: i for i, piece in enumerate(pieces)}, unk_token="<s>"))
    steps = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    made.decoder = decoders.Sequence(steps)
    made.add_special_tokens([AddedToken("<s>"), AddedToken("</s>"), AddedToken("<tool>")])
    return PreTrainedTokenizerFast(tokenizer_object=made, bos_token="<s>", eos_token="</s>")


def ids_of(tokenizer: Any, *parts: str) -> list[int]:
    """The parts, each tokenised by itself."""
    return [i for part in parts for i in tokenizer(part, add_special_tokens=False)["input_ids"]]


def said(tokenizer: Any, ids: Sequence[int], *stop: str, ends: frozenset[int] = frozenset({END})) -> Any:
    """How many tokens are taken until the reply ends, and its two texts, one token after another as in decoding."""
    stops = StopStrings(tokenizer, [stop], ends)
    for n in range(1, len(ids) + 1):
        if ids[n - 1] in ends or stops.ended(0, ids[:n]):
            return n, *stops.texts(0, ids[:n])
    return len(ids), *stops.texts(0, ids)


@pytest.mark.parametrize(
    ("parts", "stop", "taken", "text", "special"),
    [
        (("Hi", "<|user|>", "no"), ("<|user|>",), -1, "Hi", None),
        (("Hi", "</think>", "no"), ("</think>",), -1, "Hi", None),
        (("<think>", "Hi"), ("<think>",), 1, "", None),
        (("<think>", "so", "</think>", "8", "\n\n", "no"), ("\n\n",), -1, "so8", "<think>so</think>8"),
        (("Hi", "</think>", "\n", "no"), ("</think>\n",), -1, "Hi", None),
        (("Hi", " <think>", "no"), ("think>",), -1, "Hi ", "Hi <"),
        (("<think>", "a b", "</think>", " End", " of"), (" End of",), 0, "a b", "<think>a b</think>"),
        (("ab", "cd"), ("bc",), -1, "a", None),
        (("ab", "abc"), ("abc", "ab"), -3, "", None),
        (("xab", "c"), ("abc", "xabc"), 0, "", None),
        (("a", "Q: b", "<eos>"), ("never",), 0, "aQ: b", None),
        (("<think>", "a", "<eos>"), (), 0, "a", "<think>a"),
        (("é", "🙂", "x"), ("🙂",), -1, "é", None),
        (("日", "本", "語"), ("本",), -3, "日", None),
        (("<think>", "日本", "🙂"), ("本",), -4, "日", "<think>日"),
        (("Hi <|us", "er|>", "no"), ("<|user|>",), None, "Hi ", None),
        (("no stop", "<think>"), ("never",), 0, "no stop", "no stop<think>"),
        (("<think>",), (), 0, "", "<think>"),
        (("<bos>", "a", "<pad>", "b", "|", "c"), ("|",), -1, "ab", "<bos>a<pad>b"),
    ],
)
def test_by_hand(
    tokenizer: Any, parts: tuple[str, ...], stop: tuple[str, ...], taken: int | None, text: str, special: str | None
) -> None:
    """`taken`: 1 for the first token, else counted from the end, so that 0 is all; None where it is not looked at."""
    ids = ids_of(tokenizer, *parts)
    count, plain, whole = said(tokenizer, ids, *stop)
    assert (plain, whole) == (text, special)
    if taken is not None:
        assert count == (taken if taken > 0 else len(ids) + taken)


def test_each_row_has_its_own_stops(tokenizer: Any) -> None:
    ids = ids_of(tokenizer, "a", "<|user|>", "b")
    stops = StopStrings(tokenizer, [("<|user|>",), ("b",), ()], frozenset({END}))
    assert [stops.ended(row, ids[:2]) for row in range(3)] == [True, False, False]
    assert [stops.ended(row, ids[:1]) for row in range(3)] == [False, False, False]
    assert [stops.texts(row, ids)[0] for row in range(3)] == ["a", "a<|user|>", "a<|user|>b"]


def test_several_end_tokens_are_no_text(tokenizer: Any) -> None:
    """Each of them ends a reply, is kept in its ids and is left out of both texts."""
    user = tokenizer.convert_tokens_to_ids("<|user|>")
    for last in (END, user):
        ids = [*ids_of(tokenizer, "<think>", "Hi"), last]
        assert said(tokenizer, ids, ends=frozenset({END, user})) == (len(ids), "Hi", "<think>Hi")


def test_special_is_what_the_tokenizer_leaves_out(tokenizer: Any) -> None:
    for i in range(len(tokenizer)):
        assert (i in special_token_ids(tokenizer)) == (
            not tokenizer.decode([i], skip_special_tokens=True) and bool(tokenizer.decode([i]))
        )


@pytest.mark.parametrize(
    ("pieces", "stop", "text", "special"),
    [
        (("▁Hi", "\n", "User", ":", "▁"), ("\nUser:",), "Hi", None),
        (("▁Hi", "<tool>", "▁there"), ("<tool>",), "Hi", None),
        (("▁Hi", "<tool>", "▁there", "User"), ("User",), "Hi there", "Hi<tool> there"),
        (("▁Hi", "▁there", "<0xE2>", "<0x82>", "<0xAC>"), ("€",), "Hi there", None),
        (("<tool>", "▁Hi", "<0xC3>", "<0xA9>", ":"), (":",), "Hié", "<tool> Hié"),
    ],
)
def test_with_spaces_and_bytes_as_pieces(
    spaced: Any, pieces: tuple[str, ...], stop: tuple[str, ...], text: str, special: str | None
) -> None:
    ids = spaced.convert_tokens_to_ids(list(pieces))
    _, plain, whole = said(spaced, ids, *stop, ends=frozenset({1}))
    assert (plain, whole) == (text, special)


def _bytes(tokenizer: Any) -> list[bytes]:
    """The bytes of each token of a byte-level vocabulary, by GPT-2's table of bytes."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [i for i in range(256) if i not in printable]
    table = {chr(i): i for i in printable} | {chr(256 + n): i for n, i in enumerate(others)}
    added = tokenizer.added_tokens_decoder
    return [
        added[i].content.encode() if i in added else bytes(table[c] for c in tokenizer.convert_ids_to_tokens(i))
        for i in range(len(tokenizer))
    ]


@given(data=st.data())
def test_any_stop_of_any_reply(tokenizer: Any, data: st.DataObject) -> None:
    """It ends with the first token by which the bytes hold the stop; the texts are the bytes before it."""
    pieces, special = _bytes(tokenizer), special_token_ids(tokenizer)
    marks = st.sampled_from(sorted(tokenizer.added_tokens_decoder.keys() - {END}))
    ids = data.draw(st.lists(st.one_of(st.integers(3, len(pieces) - 1), marks), min_size=1, max_size=24))
    whole = b"".join(pieces[i] for i in ids).decode("utf-8", "replace")
    start = data.draw(st.integers(0, len(whole) - 1))
    stop = whole[start : start + data.draw(st.integers(1, 12))]
    if "\ufffd" in whole:
        return
    count, plain, with_special = said(tokenizer, ids, stop)
    held = [stop.encode() in b"".join(pieces[i] for i in ids[:n]) for n in range(1, len(ids) + 1)]
    assert count == held.index(True) + 1
    end = b"".join(pieces[i] for i in ids).index(stop.encode())
    kept, at = b"", 0
    for i in ids:
        if i not in special:
            kept += pieces[i][: max(0, end - at)]
        at += len(pieces[i])
    assert plain == kept.decode()
    assert (with_special or plain) == b"".join(pieces[i] for i in ids)[:end].decode()


def test_a_blank_stop_string_is_refused() -> None:
    with pytest.raises(ValidationError, match="at least 1"):
        Sampling(stop=("a", ""))
