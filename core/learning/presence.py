"""Signs of life of the ranks of one run, so that a wait for the others can say which of them it is for.

Each rank beats: a thread writes a count and what the rank is waiting for into the ranks' key-value store, and reads
what the others wrote. A process that is stopped (SIGSTOP, a debugger, a machine that went away) beats no more; one that
works or waits does. A rank that fails leaves its reason there, for rank 0 to find when it loses the connection.
"""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

from aftertrain.core.learning.deadline import within

if TYPE_CHECKING:
    from torch.distributed import Store  # type: ignore[attr-defined]

T = TypeVar("T")
log = logging.getLogger(__name__)
BEAT = 1.0
"""Seconds between two beats."""
SILENT = 5.0
"""Seconds without a beat after which a rank that was lost counts as the one that is gone."""
TOLD_AFTER = 30.0
"""Seconds without a beat after which the others say so."""
ANSWER = 10.0
"""Seconds that the store has to answer when a rank leaves its reason."""


class Presence:
    """One rank's signs of life and its view of the others'.

    Args:
        store: the ranks' key-value store; the thread speaks through connections of its own.
    """

    def __init__(self, store: Store, rank: int, size: int) -> None:
        self._rank, self._size, self._store = rank, size, store
        self._waits_for = ""
        self._seen: dict[int, bytes] = {}
        now = time.monotonic()
        self._since = {other: now for other in range(size) if other != rank}
        self._answered = now
        self._told: set[int] = set()
        self._stopped = threading.Event()
        self._put(0, store)
        threading.Thread(target=self._beat, args=(store.clone(),), daemon=True, name="presence").start()  # type: ignore[attr-defined]

    @contextmanager
    def at(self, what: str) -> Iterator[None]:
        """Inside the block this rank waits for the others."""
        before, self._waits_for = self._waits_for, what
        self._told.clear()
        try:
            yield
        finally:
            self._waits_for = before

    def silence(self, rank: int) -> float:
        """Seconds since another rank's last sign of life, as far as the store answers."""
        return time.monotonic() - self._since[rank]

    def told(self) -> str:
        """What the others are doing, for the message of a wait that was in vain."""
        unanswered = time.monotonic() - self._answered
        if unanswered > SILENT:
            return f"the ranks' store, which rank 0 or its launcher keeps, has not answered for {unanswered:.0f} s"
        return "; ".join(self._words(other) for other in sorted(self._since))

    def lost(self) -> str:
        """Which rank failed, by its own words or its silence; empty if none is known to have. May take `SILENT` s."""
        deadline = time.monotonic() + SILENT + 2 * BEAT
        unknown: Mapping[int, str] = {}
        while time.monotonic() < deadline:
            if failures := self._answer(self._failures, unknown):
                return "; ".join(f"rank {rank} failed: {reason}" for rank, reason in sorted(failures.items()))
            gone = [rank for rank in sorted(self._since) if self.silence(rank) > SILENT]
            if gone and time.monotonic() - self._answered < SILENT:
                return "; ".join(self._words(rank) for rank in gone)
            time.sleep(BEAT / 4)
        return ""

    def fail(self, reason: str) -> None:
        """Leave the reason why this rank ends."""
        self._answer(lambda store: store.set(f"failed/{self._rank}", json.dumps(reason)), None)

    def end(self) -> None:
        """Beat no more."""
        self._stopped.set()

    def _words(self, rank: int) -> str:
        silent = self.silence(rank)
        if silent > SILENT:
            return f"rank {rank} has given no sign of life for {silent:.0f} s: it is stopped, or gone with its machine"
        _, what = json.loads(self._seen.get(rank, b'[0, ""]'))
        return f"rank {rank} lives and " + (f"waits ({what})" if what else "works")

    def _put(self, count: int, store: Store) -> None:
        store.set(f"alive/{self._rank}", json.dumps([count, self._waits_for]))

    def _beat(self, store: Store) -> None:
        count = 0
        while not self._stopped.wait(BEAT):
            count += 1
            try:
                self._put(count, store)
                self._look(store)
            except (RuntimeError, ValueError):
                return  # the store is gone with its owner, or the process ends; the main thread meets the same
            self._tell()

    def _look(self, store: Store) -> None:
        there = [rank for rank in self._since if rank in self._seen or store.check([f"alive/{rank}"])]
        values = store.multi_get([f"alive/{rank}" for rank in there]) if there else []
        self._answered = now = time.monotonic()
        for rank, value in zip(there, values, strict=True):
            if value != self._seen.get(rank):
                self._seen[rank], self._since[rank] = value, now

    def _tell(self) -> None:
        """Say of a wait that it is for a silent rank, once."""
        for rank in self._since:
            if self._waits_for and rank not in self._told and self.silence(rank) > TOLD_AFTER:
                self._told.add(rank)
                log.warning("rank %d waits (%s): %s", self._rank, self._waits_for, self._words(rank))

    def _failures(self, store: Store) -> Mapping[int, str]:
        failed = [rank for rank in self._since if store.check([f"failed/{rank}"])]
        return {rank: str(json.loads(store.get(f"failed/{rank}"))) for rank in failed}

    def _answer(self, question: Callable[[Store], T], otherwise: T) -> T:
        """What the store answers; a store that hangs or is gone has nothing to say."""
        try:
            return within(ANSWER, lambda: question(self._store.clone()))  # type: ignore[attr-defined]
        except (RuntimeError, ValueError, TimeoutError) as error:
            log.debug("the ranks' store: %r", error)
            return otherwise
