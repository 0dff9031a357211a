"""Waiting for rank 0's orders ends when rank 0 is stopped or gone, and not while it works."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from aftertrain.core.errors import RankLost
from aftertrain.core.learning.meeting import SETTING
from aftertrain.core.learning.processes import Processes
from aftertrain.core.run import orders
from aftertrain.core.run.orders import Lead, Order, follow


class Shelf:
    """A store in this process, with what its owner's fate does to it."""

    def __init__(self, fate: str = "lives") -> None:
        self.fate, self.values = fate, dict[str, bytes]()

    def clone(self) -> Shelf:
        return self

    def set(self, key: str, value: str) -> None:
        self.values[key] = value.encode()

    def get(self, key: str) -> bytes:
        return self.values[key]

    def check(self, keys: Sequence[str]) -> bool:
        if self.fate == "stopped":
            threading.Event().wait()  # as torch's: without end
        if self.fate == "gone":
            raise RuntimeError("Connection reset by peer")
        return all(key in self.values for key in keys)


def _rank(store: Any, silence: float) -> Processes:
    presence: Any = SimpleNamespace(
        at=lambda what: nullcontext(), silence=lambda rank: silence, told=lambda: "rank 0 has given no sign of life"
    )
    rank = object.__new__(Processes)  # nobody is met
    rank.rank, rank.size, rank.local, rank.store, rank.presence = 1, 2, 1, store, presence
    return rank


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(orders, "_LOOK", 0.01)
    monkeypatch.setenv(SETTING, "7")


def test_orders_come_as_they_were_given() -> None:
    store = Shelf()
    lead, order = Lead(_rank(store, 0.0)), Order("sft", Path("runs/x"), {}, (3, Path("runs/x/checkpoints/3")))
    lead.give(order)
    threading.Timer(0.2, lead.give, [None]).start()  # rank 0 works on a stage of its own, and is not silent
    assert list(follow(_rank(store, 0.0))) == [order]


@pytest.mark.parametrize("fate", ["stopped", "lives"])
def test_a_silent_rank_0_is_not_waited_for_without_end(fate: str) -> None:
    with pytest.raises(RankLost, match=rf"rank 0 has given no sign of life \(the limit is 7 s; {SETTING} sets another"):
        next(follow(_rank(Shelf(fate), 8.0)))


def test_a_store_that_is_gone_is_rank_0_lost() -> None:
    with pytest.raises(RankLost, match="rank 1 lost rank 0, waiting for its next stage: Connection reset"):
        next(follow(_rank(Shelf("gone"), 0.0)))
