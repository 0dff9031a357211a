"""The ledger: books kept in checkpoints, added over ranks, and checked against what was owed."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aftertrain.core.book import OWN, TOKENS, UNITS, Book, Sum
from aftertrain.core.errors import CheckpointError, Interrupted, RunError, UnknownName
from aftertrain.core.events.lines import read_events
from aftertrain.core.ranks import Ranks
from aftertrain.core.run.job import Job
from aftertrain.core.run.ledger import FILE, Ledger
from aftertrain.core.run.runner import run_job
from aftertrain.core.stage import StageContext

STATES = ("learnt", "cut", "skipped", "unreached", "kept")


class Together(Ranks):
    """Ranks of one process: each gathers what all have said."""

    def __init__(self, rank: int, books: list[Book]) -> None:
        super().__init__()
        self.rank, self.size, self.books = rank, len(books), books

    def gather(self, value: Any, what: str) -> list[Any]:
        return [book.accounts for book in self.books]


def entered(ends: list[int], owed: int) -> Book:
    """A book that owes rows 0 … owed-1, in which those of `ends` were learnt."""
    book = Book()
    book.expect("row", range(owed))
    book.end("row", "learnt", ends)
    return book


@given(st.lists(st.integers(0, 2**63 - 1)))
def test_marks_of_arrays_are_those_of_numbers_one_by_one(keys: list[int]) -> None:
    each = Sum.of(keys)
    assert Sum.of(np.array(keys, np.int64)) == each
    assert Sum.of(keys[::-1]) == each
    assert sum((Sum.of(key) for key in keys), Sum()) == each


def test_marks_are_those_of_splitmix64() -> None:
    """The published stream of seed 0: each output mixes the next multiple of the golden gamma."""
    gamma = 0x9E3779B97F4A7C15
    found = [Sum.of((n * gamma) % 2**64).mark for n in range(3)]
    assert found == [0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4, 0x06C45D188009454F]


@given(st.integers(1, 40), st.data())
def test_a_book_balances_exactly_if_each_key_ends_once(owed: int, data: st.DataObject) -> None:
    ends = data.draw(st.lists(st.integers(0, owed - 1), max_size=2 * owed))
    ends = data.draw(st.one_of(st.just(ends), st.permutations(range(owed))))
    if sorted(ends) == list(range(owed)):
        (balance,) = Ledger(entered(ends, owed)).close("s").values()
        assert asdict(balance) == {"owed": owed, "states": {"learnt": owed}, "tokens": {}}
    else:
        with pytest.raises(RunError, match="do not balance"):
            Ledger(entered(ends, owed)).close("s")


@pytest.mark.parametrize(
    ("ends", "told"),
    [
        ([0, 1, 2], "row: 4 owed, 3 ended (3 learnt): 1 lost"),
        ([0, 1, 2, 3, 3], "row: 4 owed, 5 ended (5 learnt): 1 too many, counted twice or never owed"),
        ([0, 1, 2, 2], "row: 4 owed, 4 ended (4 learnt), but not the same ones"),
        ([0, 1, 1, 3], "but not the same ones: some were lost, and others counted in their place"),
        # Their sums, and the sums of their squares, are those of 0 … 7.
        ([0, 0, 0, 0, 7, 7, 7, 7], "row: 4 owed, 8 ended"),
    ],
)
def test_what_is_lost_or_counted_twice_is_told(ends: list[int], told: str) -> None:
    with pytest.raises(RunError) as error:
        Ledger(entered(ends, 4)).close("sft")
    assert str(error.value).startswith("stage 'sft' ended with books that do not balance, and is not done: ")
    assert told in str(error.value)
    assert "--restart" in str(error.value)


def test_tokens_must_add_up_where_they_are_stated() -> None:
    book = Book()
    book.expect("row", ["a", "b"], tokens=10)
    book.end("row", "learnt", "a", learnt=4, context=3)
    book.drop("row", "overlong", "b", cut=2)
    with pytest.raises(RunError, match=r"10 tokens owed, 9 accounted for \(4 learnt, 3 context, 2 cut\)"):
        Ledger(book).close("s")
    book.read("row", context=1)
    (balance,) = Ledger(book).close("s").values()
    assert balance.states == {"learnt": 1, "dropped: overlong": 1}
    assert balance.tokens == {"learnt": 4, "context": 4, "cut": 2}


def test_only_states_of_the_list_can_be_entered() -> None:
    book = Book()
    with pytest.raises(UnknownName, match=r"no state of a row named 'lernt'\. Did you mean 'learnt'"):
        book.end("row", "lernt", 1)
    with pytest.raises(UnknownName, match=r"no unit named 'rows'\. Did you mean 'row'"):
        book.end("rows", "learnt", 1)
    with pytest.raises(UnknownName, match="no state of tokens named 'lost'"):
        book.end("row", "learnt", 1, lost=3)
    with pytest.raises(UnknownName, match="What is left out ends by `drop`"):
        book.end("row", "dropped: overlong", 1)
    for reason in ("", "a\nb", "the row at line 7 " * 9):
        with pytest.raises(RunError, match="a word or two to count by"):
            book.drop("row", reason, 1)
    for number in range(200):
        book.drop("row", f"row {number}", number)
    with pytest.raises(RunError, match="over 200 reasons"):
        book.drop("row", "row 200", 200)
    early = Book()
    for number in range(200):
        early.drop("row", f"row {number}", ())
    with pytest.raises(RunError, match="over 200 reasons"):
        early.drop("row", "row 200", ())
    book.end("acme/page", "done", 1)
    with pytest.raises(UnknownName, match="done"):
        book.end("acme/page", "learnt", 1)
    for unit in (*UNITS.values(), OWN):
        assert unit.states
    assert set(TOKENS) == {"learnt", "context", "masked", "cut", "made"}


def test_books_of_ranks_are_one(tmp_path: Path) -> None:
    """Rank 0 says what is owed, each ends its share, and a checkpoint holds the whole."""
    books = [entered([0, 2], 5), entered([1, 3, 4], 5)]
    for rank, book in enumerate(books):
        assert Ledger(book, Together(rank, books)).close("s")["row"].states == {"learnt": 5}
        Ledger(book, Together(rank, books)).save(tmp_path)
    resumed = [Book(), Book()]
    Ledger(resumed[0], Together(0, resumed)).restore(tmp_path)
    for book in resumed:
        book.expect("row", range(7))
        book.end("row", "learnt", 5 if book is resumed[0] else 6)
    assert Ledger(resumed[1], Together(1, resumed)).close("s")["row"].states == {"learnt": 7}
    books[1].end("row", "learnt", 4)
    with pytest.raises(RunError, match="5 owed, 6 ended"):
        Ledger(books[0], Together(0, books)).close("s")


@settings(max_examples=40)
@given(st.data())
def test_any_course_with_checkpoints_and_kills_balances(tmp_path_factory: pytest.TempPathFactory, data: Any) -> None:
    """Rows of random fate, some found only on the way; the expected counts are those of the fates themselves."""
    folder = tmp_path_factory.mktemp("course")
    fate = st.one_of(st.sampled_from(STATES), st.sampled_from(["overlong", "not json"]))
    fates: list[str] = data.draw(st.lists(fate, max_size=25))
    found_late: int = data.draw(st.integers(0, len(fates)))
    early = len(fates) - found_late
    wanted = Counter(f if f in STATES else f"dropped: {f}" for f in fates)
    done, attempts, balances = 0, 0, None
    while balances is None:
        attempts += 1
        book = Book()
        ledger = Ledger(book)
        if done:
            ledger.restore(folder)
        book.expect("row", range(early), tokens=3 * early)
        at = done
        killed = attempts < 4 and data.draw(st.booleans())
        end = data.draw(st.integers(at, len(fates))) if killed else len(fates)
        while at < end:
            if at >= early:
                book.owe("row", at, tokens=3)
            if fates[at] in STATES:
                book.end("row", fates[at], at, learnt=2, context=1)
            else:
                book.drop("row", fates[at], at, cut=3)
            at += 1
            if data.draw(st.booleans()):
                ledger.save(folder)
                done = at
        balances = None if killed else ledger.close("s").values()
    assert [balance.states for balance in balances if balance.owed] == ([dict(sorted(wanted.items()))] if fates else [])
    assert all(sum(balance.tokens.values()) == 3 * len(fates) for balance in balances)


def test_a_checkpoint_without_books_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"of a version of aftertrain that kept no books.*--restart"):
        Ledger(Book()).restore(tmp_path)
    (tmp_path / FILE).write_text('{"row": {"owed": [1, -2]}}')
    with pytest.raises(CheckpointError, match=r"ledger\.json"):
        Ledger(Book()).restore(tmp_path)


def booked(loses: int | None = None, repeats: int | None = None) -> Callable[[StageContext, int], None]:
    """The toy stage's trouble: it expects one row a step, six in all, and ends each after its checkpoint's turn."""

    def after(context: StageContext, step: int) -> None:
        if "row" not in context.book.accounts or not context.book.accounts["row"].expected.count:
            context.book.expect("row", range(1, 7))
        for number in (step,) * (0 if step == loses else 2 if step == repeats else 1):
            context.book.end("row", "learnt", number, learnt=2)

    return after


def test_the_run_writes_the_balance(make_job: Callable[..., Job], walk: type[Any]) -> None:
    walk.trouble = staticmethod(booked())
    folder = run_job(make_job({"a": {"every": 7}})).folder
    (told,) = [event.data for event in read_events(folder / "events.jsonl") if event.name == "ledger"]
    assert told == {"row": {"owed": 6, "states": {"learnt": 6}, "tokens": {"learnt": 12}}}


@pytest.mark.parametrize("faulty", [booked(loses=3), booked(repeats=3)])
def test_a_stage_that_does_not_balance_is_not_done(
    faulty: Callable[[StageContext, int], None], make_job: Callable[..., Job], walk: type[Any]
) -> None:
    walk.trouble = staticmethod(faulty)
    with pytest.raises(RunError, match="stage 'a' ended with books that do not balance"):
        run_job(make_job({"a": {"every": 7}}))
    folder = make_job({"a": {}}).folder
    assert not list(folder.glob("stages/*/done.json"))
    events = read_events(folder / "events.jsonl")
    assert [event.data["type"] for event in events if event.name == "run_failed"] == ["RunError"]
    assert not [event for event in events if event.name == "stage_done"]


def test_a_killed_run_goes_on_with_its_book(make_job: Callable[..., Job], walk: type[Any]) -> None:
    """Killed after step 3, whose row stands in no checkpoint: the checkpoint of step 2 has rows 1 (and not 2: it was
    ended after the save), so that steps 3 and on are entered once."""

    def killed(context: StageContext, step: int) -> None:
        booked()(context, step)
        if step == 3:
            raise Interrupted("killed")

    walk.trouble = staticmethod(killed)
    with pytest.raises(Interrupted):
        run_job(make_job({"a": {"every": 2}}))
    folder = make_job({"a": {}}).folder
    (kept,) = folder.glob(f"stages/*/checkpoints/step-*/{FILE}")
    page = json.loads(kept.read_text())["row"]
    assert (page["states"], page["owed"]) == ({"learnt": 1}, [0, 0])
    walk.trouble = staticmethod(booked())
    # Row 2 was ended after the checkpoint of its own step: that is the fault which the ledger is for.
    with pytest.raises(RunError, match=r"6 owed, 5 ended \(5 learnt\): 1 lost"):
        run_job(make_job({"a": {"every": 2}}))
