"""A plan reads all rows once and keeps an even sample of them, however many and however long."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from aftertrain.core.dataset import BadRow
from aftertrain.core.records import Document
from aftertrain.plugins.training import glance as module
from aftertrain.plugins.training.glance import glance

SFT = {"use": "sft"}


class Rows:
    """Texts of given lengths; None is a bad row. Counts how often it is read."""

    def __init__(self, lengths: list[int | None]) -> None:
        self.lengths, self.reads = lengths, 0

    def survey(self, wanted: Callable[[int], bool]) -> Iterator[Document | BadRow | None]:
        self.reads += 1
        for number, length in enumerate(self.lengths):
            if length is None:
                yield BadRow(str(number), "no_turns", "has no turns")
            elif not wanted(number):
                yield None
            else:
                yield Document(str(number), "x" * length, "rows")


def sampled(rows: Rows, enough: int = 100) -> tuple[int, int, list[str]]:
    found = glance(rows, enough)  # type: ignore[arg-type]
    return found.n_rows, found.stride, [entry.id for entry in found.sample]


@pytest.mark.parametrize(
    ("n", "stride", "ids"), [(1, 1, "0"), (4, 1, "0123"), (5, 2, "024"), (8, 2, "0246"), (9, 4, "048")]
)
def test_even_samples(n: int, stride: int, ids: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SAMPLE", 4)
    rows = Rows([1] * n)
    assert sampled(rows) == (n, stride, list(ids))
    assert rows.reads == 1


def test_of_long_rows_fewer_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten rows of 30 characters within 100: three at most, every fourth. One row alone is kept however long."""
    monkeypatch.setattr(module, "CHARACTERS", 100)
    assert sampled(Rows([30] * 10)) == (10, 4, ["0", "4", "8"])
    assert sampled(Rows([1000])) == (1, 1, ["0"])


def test_bad_rows_are_found_outside_the_sample_and_end_the_look_when_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SAMPLE", 2)
    found = glance(Rows([1, None, 1, 1, 1, None]), 100)  # type: ignore[arg-type]
    assert [(fault.row, fault.id) for fault in found.faults] == [(1, "1"), (5, "5")]
    assert sampled(Rows([None] * 50), enough=3)[0] == 3


def test_progress_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "TOLD_EVERY", 2)
    told: list[int] = []
    glance(Rows([1] * 5), 100, told.append)  # type: ignore[arg-type]
    assert told == [2, 4]


def test_two_stages_of_a_plan_read_the_same_rows_once(
    bench: Callable[..., Any], conversations: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dataclasses import replace

    from aftertrain.plugins.training import outlook

    looks: list[str] = []

    def counted(data: Any, *rest: Any) -> Any:
        looks.append(data.fingerprint())
        return glance(data, *rest)

    monkeypatch.setattr(outlook, "glance", counted)
    data = {"use": "jsonl", "path": str(conversations)}
    one, other = bench("one", loss=SFT, data=data), bench("other", loss=SFT, data=data, epochs=2)
    context = one.plan_context()
    rows = [item.value for item in one.stage.plan(context) if item.label == "rows"]
    assert [item.value for item in other.stage.plan(replace(context)) if item.label == "rows"] == rows
    assert len(looks) == 1
