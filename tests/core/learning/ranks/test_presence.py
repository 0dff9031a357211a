"""Who is silent, who waits for what, and who failed: read by one rank of another's signs of life."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from datetime import timedelta

import pytest

from aftertrain.core.learning import presence
from aftertrain.core.learning.presence import Presence


@pytest.fixture
def two(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Presence, Presence]]:
    """Two ranks that beat quickly, in one process."""
    from torch.distributed import TCPStore

    monkeypatch.setattr(presence, "BEAT", 0.02)
    monkeypatch.setattr(presence, "SILENT", 0.5)
    monkeypatch.setattr(presence, "TOLD_AFTER", 0.6)
    limit = timedelta(seconds=20)
    keeper = TCPStore("127.0.0.1", 0, 2, is_master=True, wait_for_workers=False, timeout=limit)
    other = TCPStore("127.0.0.1", keeper.port, 2, is_master=False, timeout=limit)
    ranks = Presence(keeper, 0, 2), Presence(other, 1, 2)
    yield ranks
    for rank in ranks:
        rank.end()
    time.sleep(0.1)


def until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not true() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert true()


def test_a_rank_that_works_or_waits_lives(two: tuple[Presence, Presence]) -> None:
    first, second = two
    until(lambda: first.told() == "rank 1 lives and works")
    with second.at("the sum of gradients"):
        until(lambda: first.told() == "rank 1 lives and waits (the sum of gradients)")


def test_a_rank_that_beats_no_more_is_told_of_in_a_wait_and_named(
    two: tuple[Presence, Presence], caplog: pytest.LogCaptureFixture
) -> None:
    first, second = two
    second.end()  # as a stopped process: no thread of it runs
    with first.at("units"):
        until(lambda: "rank 0 waits (units): rank 1 has given no sign of life" in caplog.text)
    assert first.told().startswith("rank 1 has given no sign of life for ")
    assert first.lost() == first.told()


def test_a_rank_that_fails_is_named_by_its_own_words(two: tuple[Presence, Presence]) -> None:
    first, second = two
    second.fail("step 5: loss is nan\nhalf of a pair: \udc00")
    assert first.lost() == "rank 1 failed: step 5: loss is nan\nhalf of a pair: \udc00"


def test_nobody_is_blamed_for_nothing(two: tuple[Presence, Presence], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(presence, "SILENT", 5.0)
    first, _ = two
    monkeypatch.setattr(time, "monotonic", _hurried(time.monotonic))
    assert first.lost() == ""


def _hurried(clock: Callable[[], float]) -> Callable[[], float]:
    """A clock that runs two times as fast, so that a wait of seconds is over sooner."""
    start = clock()
    return lambda: start + 2 * (clock() - start)


def test_a_store_that_is_gone_is_said_to_be(two: tuple[Presence, Presence]) -> None:
    first, _ = two
    first.end()
    until(lambda: "the ranks' store" in first.told() and "has not answered for" in first.told())
