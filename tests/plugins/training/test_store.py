"""Tokenised rows as Arrow: what comes out is what went in, in memory, on disk and from other processes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aftertrain.core.errors import RunError
from aftertrain.core.packed.packing import Segment
from aftertrain.core.records import Conversation, Feedback, Message, PreferencePair, ToolCall
from aftertrain.core.text.chat import UnusableRow, load_tokenizer
from aftertrain.plugins.training import tokenising
from aftertrain.plugins.training.atoms import Atoms
from aftertrain.plugins.training.columns import encode, write
from aftertrain.plugins.training.rows import Rules, atoms_of
from aftertrain.plugins.training.samples import prepare
from aftertrain.plugins.training.settings import Batch
from aftertrain.plugins.training.spans import runs_of
from aftertrain.plugins.training.store import Store, read
from aftertrain.plugins.training.tokenising import tokenised


@pytest.fixture(scope="module")
def tokenizer(tiny_model: Path) -> Any:
    return load_tokenizer(str(tiny_model))


def turn(role: Any, content: str) -> Message:
    return Message(role, content)


def talk(name: str, *replies: str, source: str = "talks") -> Conversation:
    turns = [one for i, reply in enumerate(replies) for one in (turn("user", f"{i}?"), turn("assistant", reply))]
    return Conversation(name, tuple(turns), source)


def pair(name: str, chosen: str = "Yes", rejected: str = "No", margin: float | None = 2.5) -> PreferencePair:
    replies = (turn("assistant", chosen),), (turn("assistant", rejected),)
    return PreferencePair(name, (turn("user", "Well?"),), *replies, "pairs", margin)


def plain(atom: Any) -> list[Segment]:
    """Segments whose sequences are lists, the meaningless first entry of the mask false."""
    return [
        Segment(
            s.sample_id,
            list(s.token_ids),
            [False, *list(s.loss_mask)[1:]],
            s.source,
            role=s.role,
            group=s.group,
            label=s.label,
            margin=s.margin,
        )
        for s in atom
    ]


RECORDS = [
    talk("one", "A", "B b", "C"),
    talk("two", "Ho", source="other"),
    pair("p"),
    Feedback("f", (turn("user", "Hi"),), (turn("assistant", "Ho"),), True, "marks"),
]


@pytest.mark.parametrize("rules", [Rules(), Rules(pairs=False, learn="last")])
def test_segments_come_back_as_they_were_tokenised(tokenizer: Any, rules: Rules, tmp_path: Path) -> None:
    """From memory, and from a memory-mapped file of several batches."""
    expected = [plain(atom) for i, record in enumerate(RECORDS) for atom in atoms_of(tokenizer, record, i, rules)]
    batches = [encode(tokenizer, [record], i, rules) for i, record in enumerate(RECORDS)]
    write(tmp_path / "rows.arrow", batches)
    for one in (Store(batches), read(tmp_path / "rows.arrow")):
        atoms = Atoms(one, np.arange(len(one.atom_starts)), 10**6)
        assert [plain(atom) for atom in atoms] == expected
        assert one.n_rows == len(RECORDS)
        assert one.largest_id == max(t for atom in expected for s in atom for t in s.token_ids)
        assert one.target_counts.tolist() == [sum(s.loss_mask) for atom in expected for s in atom]
        assert one.first_targets.tolist() == [s.loss_mask.index(True) for atom in expected for s in atom]
        assert [plain(atom) for atom in atoms[1:3]] == expected[1:3]
        assert plain(atoms[-1]) == expected[-1]


@given(st.lists(st.booleans(), max_size=40))
def test_runs_hold_any_mask(mask: list[bool]) -> None:
    runs = runs_of(mask)
    assert runs == sorted(set(runs))
    rebuilt = [
        any(start <= i < stop for start, stop in zip(runs[::2], runs[1::2], strict=True)) for i in range(len(mask))
    ]
    assert rebuilt == [m and i > 0 for i, m in enumerate(mask)]


def test_faults_stand_beside_good_rows(tokenizer: Any, tmp_path: Path) -> None:
    """A batch of one good and one unusable row, and one of an unusable row alone."""
    batches = [
        encode(tokenizer, [pair("same", "x", "x"), talk("good", "G")], 0, Rules()),
        encode(tokenizer, [talk("mute", " ")], 2, Rules()),
    ]
    write(tmp_path / "rows.arrow", batches)
    found = read(tmp_path / "rows.arrow")
    assert [(f.row, f.id, f.reason) for f in found.faults] == [
        (0, "same", "chosen_equals_rejected"),
        (2, "mute", "empty_reply"),
    ]
    assert found.faults[0].message == "pair 'same': chosen and rejected are the same tokens"
    assert (found.n_rows, len(found), found.sample_id(0)) == (3, 1, "good")


def test_no_empty_reply_is_learnt_as_a_good_one(tokenizer: Any) -> None:
    """An empty inner reply and an empty chosen one taught to stop at once; an empty rejected one teaches not to."""
    feedback = [
        Feedback(name, (turn("user", "Hi"),), (turn("assistant", ""),), name == "good", "marks")
        for name in ("good", "bad")
    ]
    context = Message("assistant", "", learn=False)
    skipped = Conversation("skipped", (turn("user", "Hi"), context, *talk("", "Yes").messages), "talks")
    records = [talk("inner", "", "Yes"), pair("chosen", ""), pair("rejected", "Yes", ""), *feedback, skipped]
    found = Store([encode(tokenizer, records, 0, Rules())])
    assert [(f.id, f.reason) for f in found.faults] == [(n, "empty_reply") for n in ("inner", "chosen", "good")]
    assert found.faults[0].message == "sample 'inner': turn 1 is to be learnt and is empty"
    last = Store([encode(tokenizer, records[:1], 0, Rules(learn="last"))])
    assert not last.faults


def test_where_a_pair_differs(tokenizer: Any) -> None:
    """`differs` is the first place at which the two replies' tokens part."""
    found = Store([encode(tokenizer, [pair("p", "aaa b", "aaa c"), talk("t", "x")], 0, Rules())])
    chosen, rejected = (found.span(i).token_ids.tolist() for i in (0, 1))
    at = next(i for i, (a, b) in enumerate(zip(chosen, rejected, strict=False)) if a != b)
    assert found.differs.tolist() == [at, at, 0]


def test_all_rows_come_out_in_order_when_nobody_helps(tokenizer: Any) -> None:
    records = [talk(str(i), f"reply {i}") for i in range(1234)]
    batches = list(tokenised(tokenizer, records, Rules()))
    found = Store(batches)
    assert [found.sample_id(i) for i in range(len(found))] == [record.id for record in records]
    assert [len(batch) for batch in batches] == [500, 500, 234]


@pytest.mark.slow
def test_other_processes_give_the_same_batches(tokenizer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two children after the first 20 rows: the same rows in the same order, unusable ones included."""
    monkeypatch.setattr(tokenising, "CHUNK", 10)
    records = [talk(str(i), f"reply {i}" if i % 7 else " ") for i in range(95)]
    alone = list(tokenised(tokenizer, records, Rules()))
    helped = list(tokenised(tokenizer, records, Rules(), workers=2, alone=20))
    assert helped == alone
    assert len(Store(helped).faults) == 14


@pytest.mark.slow
def test_what_goes_wrong_in_another_process_is_told_here(tokenizer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A defect keeps its type; a process that dies ends the work instead of leaving it waiting."""
    records: list[Any] = [talk("a", "A")] * 2
    with pytest.raises(AttributeError, match="'str' object has no attribute"):
        list(tokenised(tokenizer, [*records, "no record"], Rules(), workers=1))
    monkeypatch.setattr(tokenising, "CHUNK", 1)
    with pytest.raises(AttributeError, match="'str' object has no attribute"):
        list(tokenised(tokenizer, [*records, "no record"], Rules(), workers=2, alone=1))
    monkeypatch.setattr(tokenising, "_PROGRAM", "import os; os._exit(7)")
    with pytest.raises(RunError, match=r"tokenises rows \d+ to \d+ died \(status 7\); set data_workers: 1"):
        list(tokenised(tokenizer, records, Rules(), workers=2, alone=1))


def test_a_cut_sample_has_the_limit_and_no_more(tokenizer: Any) -> None:
    """Tokens, targets and lengths count what is left."""
    records = [talk("short", "a"), talk("long", "a b c d e f")]
    samples = prepare(tokenizer, records, Batch(max_tokens=15, overlong="truncate"))
    short, long = (atom[0] for atom in samples.atoms)
    whole = encode(tokenizer, records, 0, Rules())
    (uncut,) = Atoms(Store([whole]), np.array([1]), 10**6)[0]
    assert long.token_ids == uncut.token_ids[:15]
    assert long.loss_mask == uncut.loss_mask[:15]
    assert samples.atoms.sizes.tolist() == samples.atoms.lengths.tolist() == [len(short.token_ids), 15]
    assert samples.n_tokens == len(short.token_ids) + 15
    assert samples.n_targets == sum(short.loss_mask) + sum(long.loss_mask) < sum(short.loss_mask) + sum(uncut.loss_mask)
    assert samples.truncated == ["long"]


def test_each_reply_is_a_sample_that_ends_with_it(tokenizer: Any) -> None:
    """Three replies, the second of which is context: two samples, which share the row's number and id."""
    turns = [turn for reply in ("A", "B b", "C") for turn in (Message("user", "Hi"), Message("assistant", reply))]
    turns[3] = Message("assistant", "B b", learn=False)
    atoms = atoms_of(tokenizer, Conversation("row", tuple(turns), "talks"), 7, Rules(learn="each"))
    texts = [tokenizer.decode(segment.token_ids) for (segment,) in atoms]
    targets = [
        tokenizer.decode([t for t, m in zip(segment.token_ids, segment.loss_mask, strict=True) if m])
        for (segment,) in atoms
    ]
    assert targets == ["A<eos>", "C<eos>"]
    assert texts[1].startswith(texts[0])
    assert "B b<eos>" in texts[1]
    assert {(segment.sample_id, segment.group) for (segment,) in atoms} == {("row", 7)}


@pytest.mark.parametrize("learn", ["all", "each"])
def test_a_conversation_without_a_target_is_unusable(learn: Any, tokenizer: Any) -> None:
    silent = Conversation("row", (Message("user", "Hi"), Message("assistant", "Ho", learn=False)), "talks")
    with pytest.raises(UnusableRow) as caught:
        atoms_of(tokenizer, silent, 0, Rules(learn=learn))
    assert caught.value.reason == "no_target"


def test_a_call_is_no_empty_reply(tokenizer: Any) -> None:
    """A turn of calls alone has no content. (The tiny model's template would leave the call out, and is refused.)"""
    call = Message("assistant", "", tool_calls=(ToolCall("f", {}),))
    with pytest.raises(UnusableRow) as caught:
        atoms_of(tokenizer, Conversation("row", (Message("user", "Hi"), call), "talks"), 0, Rules())
    assert caught.value.reason == "call_left_out"
