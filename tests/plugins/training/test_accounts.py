"""Rows of a train stage end once each: random data, policies, failures and kills against counts by plain Python."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aftertrain.core.batch import PackedBatch, TokenScores
from aftertrain.core.book import Book
from aftertrain.core.engine import Engine, StepReport
from aftertrain.core.errors import NumericsError, RunError
from aftertrain.core.learning.step import StepResult
from aftertrain.core.settings import Settings
from aftertrain.plugins.training import attempt
from aftertrain.plugins.training.accounts import Accounts, Intake
from aftertrain.plugins.training.feed import Planned

ROWS = ("plain", "plain", "long", "longer", "not_json", "empty_reply")
LOSSES = {"sft": {"use": "sft"}, "simpo": {"use": "simpo", "beta": 2, "gamma": 0.5}, "kto": {"use": "kto"}}


class Killed(BaseException):
    """Stands for kill -9."""


class Idle(Engine[Settings]):
    """Holds nothing and scores 0: what becomes of rows does not depend on numbers."""

    Config = Settings
    n_parameters = 0  # type: ignore[assignment]

    def score(self, batch: PackedBatch, wants: Any = ("logprobs",), **others: Any) -> TokenScores:
        return TokenScores(logprobs=torch.zeros(batch.n_tokens))

    def reduce(self, sums: Mapping[str, float]) -> dict[str, float]:
        return dict(sums)

    def nothing(self, *given: Any, **named: Any) -> Any:
        return ()

    load = backward = step = weights = save_model = save_state = load_state = nothing  # type: ignore[assignment]


class Course:
    """In place of an optimizer step: some fail, some are killed once; keeps which samples each good step saw."""

    def __init__(self, bad: set[int], kills: set[int]) -> None:
        self.bad, self.kills = bad, kills
        self.sizes: dict[int, list[tuple[str, int]]] = {}

    def __call__(
        self, engines: Any, loss: Any, batches: Sequence[PackedBatch], rates: Any, *, step: int, **others: Any
    ) -> StepResult:
        if step in self.kills:
            self.kills.remove(step)
            raise Killed
        self.sizes[step] = [
            (name, length)
            for batch in batches
            for name, length in zip(batch.sample_ids, batch.lengths, strict=True)
            if not name.endswith("/probe")
        ]
        if step in self.bad:
            raise NumericsError("not finite")
        return StepResult({"policy": 0.0}, {"policy": StepReport(0.0, 0.0)}, {}, 1)


def line(number: int, fate: str, loss: str) -> str:
    """A row of the file. Replies are of one length a kind, so that lengths are known."""
    reply = "" if fate == "empty_reply" else "a b " * {"plain": 1, "long": 12, "longer": 40}.get(fate, 1)
    prompt = f"{number:03}"
    if fate == "not_json":
        return '{"id": '
    if loss == "sft":
        turns = [{"role": "user", "content": prompt}, {"role": "assistant", "content": reply}]
        return json.dumps({"id": f"r{number}", "messages": turns})
    return json.dumps({"id": f"r{number}", "prompt": prompt, "chosen": reply, "rejected": "no"})


def rendered(tokenizer: Any, prompt: str, reply: str) -> tuple[int, int]:
    """Tokens of prompt and of reply, by transformers' own rendering."""
    asked = [{"role": "user", "content": prompt}]
    answered = [*asked, {"role": "assistant", "content": reply}]
    start = tokenizer.apply_chat_template(asked, add_generation_prompt=True, tokenize=False)
    whole = tokenizer.apply_chat_template(answered, tokenize=False)
    n_start, n_whole = (len(tokenizer(text, add_special_tokens=False).input_ids) for text in (start, whole))
    return n_start, n_whole - n_start


def expected(
    rows: Sequence[str], loss: str, given: Mapping[str, Any], course: Course, tokenizer: Any
) -> tuple[int, Counter[str], Counter[str]]:
    """Rows owed, and rows and tokens by state, from the raw rows and from what the good steps were handed."""
    limit, epochs = given["batch"]["max_tokens"], given["epochs"]
    states, tokens, owed = Counter[str](), Counter[str](), 0
    seen = Counter(pair for step, pairs in course.sizes.items() for pair in pairs if step not in course.bad)
    skipped = Counter(pair for step, pairs in course.sizes.items() for pair in pairs if step in course.bad)
    for number, fate in enumerate(rows):
        if fate in ("not_json", "empty_reply"):
            states[f"dropped: {fate}"] += epochs
            owed += epochs
            continue
        row = json.loads(line(number, fate, loss))
        replies = [row["messages"][1]["content"]] if loss == "sft" else [row["chosen"], row["rejected"]]
        prompt = f"{number:03}"
        segments = [rendered(tokenizer, prompt, reply) for reply in replies]
        for sample in [[segment] for segment in segments] if loss == "kto" else [segments]:
            owed += epochs
            whole = sum(sum(segment) for segment in sample)
            longest = max(sum(segment) for segment in sample)
            if longest > limit and given["batch"]["overlong"] == "drop":
                states["dropped: overlong"] += epochs
                tokens["cut"] += epochs * whole
                continue
            read = [(start, min(start + reply, limit) - start) for start, reply in sample]
            # A row of kto's has two samples of one id, whose lengths differ.
            times = [counts[f"r{number}", sum(read[0])] for counts in (seen, skipped)]
            states["cut" if longest > limit else "learnt"] += times[0]
            states["skipped"] += times[1]
            states["unreached"] += epochs - sum(times)
            tokens["learnt"] += times[0] * sum(reply for _, reply in read)
            tokens["masked"] += times[1] * sum(reply for _, reply in read)
            tokens["context"] += sum(times) * sum(start for start, _ in read)
            tokens["cut"] += sum(times) * (whole - sum(map(sum, read))) + (epochs - sum(times)) * whole
    return owed, +states, +tokens


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_rows_end_once_whatever_happens(
    data: st.DataObject, bench: Callable[..., Any], tiny_model: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    from transformers import AutoTokenizer

    folder = tmp_path_factory.mktemp("rows")
    loss = data.draw(st.sampled_from(sorted(LOSSES)))
    rows = ["plain", "plain", *data.draw(st.lists(st.sampled_from(ROWS), max_size=12))]
    path = folder / "rows.jsonl"
    path.write_text("".join(line(number, fate, loss) + "\n" for number, fate in enumerate(rows)))
    given = {
        "batch": {
            "sequences": data.draw(st.integers(1, 5)),
            "max_tokens": 40,
            "overlong": data.draw(st.sampled_from(["drop", "truncate"])),
            "unusable": "drop",
        },
        "epochs": data.draw(st.integers(1, 3)),
        "max_steps": data.draw(st.none() | st.integers(1, 8)),
        "checkpoint_every": data.draw(st.integers(1, 4)),
        "compose": {"pool": 2} if loss == "sft" and data.draw(st.booleans()) else None,
    }
    bad = data.draw(st.sets(st.integers(1, 20), max_size=4))
    course = Course(bad, data.draw(st.sets(st.integers(1, 20), max_size=3)))
    kind = {} if loss == "sft" else {"format": "preference"}
    stage = made(bench, folder, path, kind=kind, loss=LOSSES[loss], on_nonfinite="skip", **given)
    finish(stage, course)
    owed, states, tokens = expected(rows, loss, given, course, AutoTokenizer.from_pretrained(tiny_model))
    book = stage.books["row"]
    assert (book["owed"], Counter(book["states"]), +Counter(book["tokens"])) == (owed, states, tokens)


@settings(max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_rows_of_a_stream_end_once(
    data: st.DataObject, bench: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Windows are begun in order, as many as the steps need; of the last one the rest is not reached."""
    folder = tmp_path_factory.mktemp("stream")
    rows = ["plain", *data.draw(st.lists(st.sampled_from(ROWS), max_size=9))]
    (folder / "rows.jsonl").write_text("".join(line(n, fate, "sft") + "\n" for n, fate in enumerate(rows)))
    window, sequences, steps = (data.draw(st.integers(1, most)) for most in (6, 4, 6))
    stage = made(
        bench,
        folder,
        folder / "rows.jsonl",
        loss=LOSSES["sft"],
        stream={"window": window},
        max_steps=steps,
        batch={"sequences": sequences, "max_tokens": 40, "unusable": "drop"},
        checkpoint_every=data.draw(st.integers(1, 3)),
        on_nonfinite="skip",
    )
    finish(stage, Course(set(), data.draw(st.sets(st.integers(1, steps), max_size=3))))
    states, left, begun = Counter[str](), steps * sequences, 0
    windows = [rows[start : start + window] for start in range(0, len(rows), window)]
    while left:
        for fate in (chosen := windows[begun % len(windows)]):
            if fate in ("not_json", "empty_reply"):
                states[f"dropped: {fate}"] += 1
            elif fate != "plain":
                states["dropped: overlong"] += 1
        good = chosen.count("plain")
        states["learnt"] += min(left, good)
        states["unreached"] += good - min(left, good)
        left, begun = left - min(left, good), begun + 1
    assert Counter(stage.books["row"]["states"]) == +states


def made(bench: Callable[..., Any], folder: Path, path: Path, *, kind: Mapping[str, Any] = {}, **given: Any) -> Any:
    """A stage over the idle engine, in a folder of its own."""
    stage = bench("idle", engine={"use": "torch"}, data={"use": "jsonl", "path": str(path), **kind}, **given)
    stage.folder = folder / "stage"
    stage.builder.table["engine", "torch"] = (Idle, stage.builder.table["engine", "torch"][1])
    return stage


def finish(stage: Any, course: Callable[..., Any]) -> None:
    """Run the stage, again after each kill."""
    saved = SimpleNamespace(event="saved", facts=dict)
    with (
        patch.object(attempt, "train_step", course),
        patch.object(attempt, "save_checked", lambda *given, **named: saved),
        patch.object(attempt, "name_ends", lambda *given: None),
    ):
        while True:
            try:
                stage.run()
            except Killed:
                continue
            return


def losing(self: Planned, step: int) -> list[Any]:
    """Step 2 is handed one atom too few."""
    return [self.rows[row] for row in self.plan.rows(step - 1)][step == 2 :]


def repeating(self: Planned, step: int) -> list[Any]:
    """Step 2 has its first atom in place of its last."""
    atoms = [self.rows[row] for row in self.plan.rows(step - 1)]
    return [*atoms[:-1], atoms[0]] if step == 2 else atoms


def shuffled_again(self: Planned, step: int) -> list[Any]:
    """The second epoch sees the first one's last step twice, and not its own."""
    return [self.rows[row] for row in self.plan.rows(min(step, 5) - 1)]


@pytest.mark.parametrize(
    ("atoms", "told"),
    [
        (losing, r"row: 24 owed, 23 ended \(23 learnt\): 1 lost.*tokens owed"),
        (repeating, r"row: 24 owed, 24 ended \(24 learnt\), but not the same ones"),
        (shuffled_again, "but not the same ones"),
    ],
)
def test_a_feed_that_loses_or_repeats_rows_is_found(
    atoms: Callable[[Planned, int], list[Any]],
    told: str,
    bench: Callable[..., Any],
    conversations: Path,
    tmp_path: Path,
) -> None:
    stage = made(bench, tmp_path, conversations, loss=LOSSES["sft"], epochs=2)
    with patch.object(Planned, "atoms", atoms), pytest.raises(RunError, match=told):
        finish(stage, Course(set(), set()))


def test_a_packer_that_loses_a_sample_is_found(bench: Callable[..., Any], conversations: Path, tmp_path: Path) -> None:
    """Rows were handed to the step, and its micro-batches lack one: tokens do not add up."""
    from aftertrain.core.packed.packing import pack_share

    def lossy(atoms: Sequence[Any], budget: int, **share: int) -> list[PackedBatch]:
        return pack_share(atoms[1:], budget, **share)

    stage = made(bench, tmp_path, conversations, loss=LOSSES["sft"])
    with patch.object(attempt, "pack_share", lossy), pytest.raises(RunError, match=r"tokens owed, .* accounted for"):
        finish(stage, Course(set(), set()))


def test_a_tokeniser_that_loses_a_row_is_found(
    bench: Callable[..., Any], conversations: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from aftertrain.plugins.training import columns

    monkeypatch.setenv("AFTERTRAIN_CACHE", str(tmp_path / "cache"))
    whole = columns.atoms_of

    def forgetful(tokenizer: Any, record: Any, number: int, rules: Any) -> list[Any]:
        return [] if record.id == "sum-3" else whole(tokenizer, record, number, rules)

    stage = made(bench, tmp_path, conversations, loss=LOSSES["sft"])
    with patch.object(columns, "atoms_of", forgetful), pytest.raises(RunError, match="12 owed, 11 ended"):
        finish(stage, Course(set(), set()))


def test_two_ranks_enter_each_their_share() -> None:
    """Rows once, by rank 0; tokens by both: as many as one rank alone enters."""
    from aftertrain.core.book import Book
    from aftertrain.core.packed.packing import Segment, pack_share
    from aftertrain.plugins.training.accounts import Accounts

    atoms = [[Segment(f"r{n}", range(4 + n), [False, *[True] * (3 + n)], group=n)] for n in range(5)]
    books = [Book(), Book()]
    for rank, book in enumerate(books):
        batches = pack_share(atoms, 20, rank=rank, ranks=2)
        Accounts(book, first=rank == 0).step(range(5), atoms, batches, learnt=True)
    assert [dict(book.accounts["row"].states) for book in books] == [{"learnt": 5}, {}]
    learnt = sum(book.accounts["row"].tokens["learnt"] for book in books)
    context = sum(book.accounts["row"].tokens["context"] for book in books)
    assert (learnt, context) == (3 + 4 + 5 + 6 + 7, 5)


def test_a_reason_that_is_a_message_is_refused_before_the_first_step() -> None:
    """A data set's own reason: refused after the last step it would cost the whole training, at each resume again."""
    intake = Intake(faults={"expected a text, found null in column 3": np.array([0])}, n_rows=1)
    Accounts(Book(), first=True).expect(intake, 1)
    each_its_own = Intake(faults={f"row {row}": np.array([row]) for row in range(201)}, n_rows=201)
    with pytest.raises(RunError, match="over 200 reasons"):
        Accounts(Book(), first=True).expect(each_its_own, 1)
    message = Intake(faults={"row 17: " + "no " * 40: np.array([0])}, n_rows=1)
    with pytest.raises(RunError, match="a reason of a word or two"):
        Accounts(Book(), first=True).expect(message, 1)
