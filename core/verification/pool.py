"""A pool of killable processes for verifiers.

Children are spawned (never forked from a process with threads), so a pool works the same in the main thread, in worker
threads, in a coroutine, in a Ray actor and under pytest-xdist. Each case has a deadline of its own, counted from when
its process took it up. Whatever ends a child costs only the case it was judging: the others of its batch go to another
child.
"""

from __future__ import annotations

import logging
import os
import selectors
import threading
import time
import weakref
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Any

from aftertrain.core.errors import RunError
from aftertrain.core.records import Verdict, VerificationCase
from aftertrain.core.verification.parcel import Parcel
from aftertrain.core.verification.process import STARTING, Died, Process
from aftertrain.core.verification.settings import PoolSettings
from aftertrain.core.verifier import Verifier, shown

log = logging.getLogger(__name__)

BATCH = 512
BATCH_CHARACTERS = 1_000_000
SHARES = 4
"""Batches per process that a call is cut into, so that one slow batch does not leave the others idle."""
TELLING = 60.0
"""Seconds of waiting for a process after which the log says so."""
PATIENCE = 0.02
"""Seconds between looks for a process that another thread has given back."""

Task = tuple[int, VerificationCase]


class VerifierPool:
    """Judges cases of any number of verifiers in at most `settings.size` child processes, started as needed.

    Thread-safe. Close it, or use it as a context manager; what is left is killed when it is garbage or Python ends.
    """

    def __init__(self, settings: PoolSettings | None = None) -> None:
        self.settings = settings or PoolSettings()
        self._children = _Children(self.settings)
        weakref.finalize(self, self._children.close)

    def __enter__(self) -> VerifierPool:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def verify(self, verifier: Verifier[Any], cases: Sequence[VerificationCase]) -> list[Verdict]:
        """One verdict per case, in order. See `stream`."""
        found: list[Verdict | None] = [None] * len(cases)
        for index, verdict in self.stream(verifier, cases):
            found[index] = verdict
        verdicts = [verdict for verdict in found if verdict is not None]
        assert len(verdicts) == len(cases), "a case without a verdict would give its neighbours' away"
        return verdicts

    def stream(self, verifier: Verifier[Any], cases: Sequence[VerificationCase]) -> Iterator[tuple[int, Verdict]]:
        """(index, verdict) of each case, as they are known.

        Raises:
            RunError: the verifier cannot be loaded in another process, or no process can be started.
        """
        call = _Call(self._children, verifier, cases, self.settings)
        try:
            yield from call.run()
        finally:
            call.give_back()

    def pids(self) -> list[int]:
        """Process ids of the children there are."""
        return self._children.pids()

    def close(self) -> None:
        """Kill every child. The pool can be used again."""
        self._children.close()


class Isolated(Verifier[Any]):
    """A verifier whose cases are judged by a pool."""

    def __init__(self, inner: Verifier[Any], pool: VerifierPool) -> None:
        super().__init__(inner.settings, inner.builder)
        self.inner, self.pool = inner, pool

    @property
    def deadline(self) -> float:
        """The verifier's, unless the pool's settings have one."""
        return self.pool.settings.deadline or self.inner.deadline

    def preflight(self) -> None:
        """The verifier's, in this process."""
        self.inner.preflight()

    @property
    def note(self) -> str:
        """The verifier's."""
        return self.inner.note

    @property
    def needs_truth(self) -> bool:
        """The verifier's."""
        return self.inner.needs_truth

    def handed_on(self, case: VerificationCase) -> VerificationCase:
        """The verifier's, in this process."""
        return self.inner.handed_on(case)

    def verify(self, cases: Sequence[VerificationCase]) -> list[Verdict]:
        """One verdict per case, in order."""
        return self.pool.verify(self.inner, shown(self.inner, cases))

    def __reduce__(self) -> tuple[Any, ...]:
        raise TypeError("an isolated verifier belongs to its pool; pickle the verifier itself")


def isolate(verifier: Verifier[Any], pool: VerifierPool) -> Verifier[Any]:
    """The verifier with everything of it that can be isolated judged by `pool`.

    One made of parts stays in this process and its parts are isolated; one that holds a model stays as it is.
    """
    if verifier.parts:
        return verifier.with_parts([isolate(part, pool) for part in verifier.parts])
    return Isolated(verifier, pool) if verifier.isolated else verifier


def stream(verifier: Verifier[Any], cases: Sequence[VerificationCase]) -> Iterator[tuple[int, Verdict]]:
    """(index, verdict) of each case: as they are known where a pool judges, else all at the end."""
    if isinstance(verifier, Isolated):
        return verifier.pool.stream(verifier.inner, shown(verifier.inner, cases))
    return enumerate(verifier.verify(shown(verifier, cases)))


class _Children:
    """The child processes: idle ones are lent to one call at a time."""

    def __init__(self, settings: PoolSettings) -> None:
        self._settings = settings
        self._start_afresh()
        _everyones.add(self)

    def borrow(self, wait: bool) -> Process | None:
        """An idle child or a new one; None when all are lent and `wait` is false.

        A thread that holds all of them itself (in a stream that it left half read) gets one more than the settings
        allow: it would wait for itself.
        """
        me = threading.get_ident()
        with self._freed:
            while not self._idle and len(self._lent) >= self._settings.size:
                if not wait:
                    return None
                if all(holder == me for holder in self._lent.values()):
                    break
                if not self._freed.wait(TELLING):
                    log.warning("waiting for one of %d judging processes, all in use", self._settings.size)
            child = self._living() or Process(int(self._settings.memory_gib * 2**30))
            self._lent[child] = me
            return child

    def give_back(self, child: Process, alive: bool) -> None:
        """End a loan; a child that is not alive, busy, one too many or has served enough is ended."""
        with self._freed:
            if self._lent.pop(child, None) is None:
                return  # it belonged to the process this one was forked from
            fits = len(self._idle) + len(self._lent) < self._settings.size
            if alive and fits and not child.ended and child.served < self._settings.recycle:
                self._idle.append(child)
            else:
                child.kill()
            self._freed.notify()

    def pids(self) -> list[int]:
        """Of idle and of lent ones."""
        with self._lock:
            return sorted(child.pid for child in (*self._idle, *self._lent))

    def close(self) -> None:
        """Kill all. A lent one keeps its descriptors, whose numbers must not be used anew, until it is given back."""
        with self._freed:
            for child in self._idle:
                child.kill()
            for child in self._lent:
                child.end()
            self._idle.clear()
            self._freed.notify_all()

    def forget(self) -> None:
        """In a forked copy of their owner the children are not ours to speak with, nor locks that nobody releases."""
        for child in (*self._idle, *self._lent):
            child.abandon()
        self._start_afresh()

    def _start_afresh(self) -> None:
        self._lock = threading.Lock()
        self._freed = threading.Condition(self._lock)
        self._idle: list[Process] = []
        self._lent: dict[Process, int] = {}

    def _living(self) -> Process | None:
        """An idle child that has not died in the meantime."""
        while self._idle:
            child = self._idle.pop()
            if child.alive:
                return child
            child.kill()
        return None


_everyones: weakref.WeakSet[_Children] = weakref.WeakSet()


def _forget_everyones() -> None:
    for children in list(_everyones):
        children.forget()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_everyones)


class _Call:
    """One batch of cases on its way through the pool."""

    def __init__(
        self, children: _Children, verifier: Verifier[Any], cases: Sequence[VerificationCase], settings: PoolSettings
    ) -> None:
        self._children = children
        self._parcel = Parcel.of(verifier)
        self._deadline = settings.deadline or verifier.deadline
        self._waiting = deque(_batches(cases, settings.size))
        self._busy: dict[int, Process] = {}

    def run(self) -> Iterator[tuple[int, Verdict]]:
        """Give out batches and collect verdicts until there are none left."""
        while self._waiting or self._busy:
            self._hand_out()
            for child in self._ready():
                yield from self._collect(child)
            for child in [child for child in self._busy.values() if time.monotonic() > child.overdue]:
                yield from self._collect(child)  # a verdict may have come in while this thread was held up
                if child.inbox in self._busy and time.monotonic() > child.overdue:
                    yield self._timed_out(child)

    def give_back(self) -> None:
        """End the children of a call that was left early."""
        for child in list(self._busy.values()):
            self._release(child, alive=False)

    def _hand_out(self) -> None:
        while self._waiting and (child := self._children.borrow(wait=not self._busy)) is not None:
            self._busy[child.inbox] = child
            batch = self._waiting.popleft()
            with suppress(Died):  # its closed pipe is read next, and the batch is taken from it there
                child.give(self._parcel, batch, self._deadline)

    def _ready(self) -> list[Process]:
        """Children with something to read or gone; sends what is still to be sent."""
        wait = min(child.overdue for child in self._busy.values()) - time.monotonic()
        with selectors.DefaultSelector() as selector:
            for child in self._busy.values():
                selector.register(child.inbox, selectors.EVENT_READ, child)
                if child.sending:
                    selector.register(child.outbox, selectors.EVENT_WRITE, child)
            events = selector.select(max(0.0, min(wait, PATIENCE) if self._waiting else wait))
        ready = []
        for key, mask in events:
            child = key.data
            if mask & selectors.EVENT_READ:
                ready.append(child)
            else:
                with suppress(Died):
                    child.send()
        return ready

    def _collect(self, child: Process) -> Iterator[tuple[int, Verdict]]:
        try:
            yield from child.receive()
        except Died:
            yield from self._died(child)
            return
        if child.spent:
            self._requeue(child)
        elif not child.tasks:
            self._release(child, alive=True)

    def _died(self, child: Process) -> Iterator[tuple[int, Verdict]]:
        if child.ended:
            raise RunError("the pool was closed while it judged")
        if child.loading:
            raise RunError(f"a process for verifiers could not be started: {child.why_lost()}")
        if child.tasks and not child.blameless:
            yield child.culprit(), child.last_verdict()
        self._requeue(child)

    def _timed_out(self, child: Process) -> tuple[int, Verdict]:
        if child.loading:
            raise RunError(f"a verifier was not loaded in {STARTING:.0f} s in a process of its own")
        index = child.culprit()
        self._requeue(child)
        return index, Verdict.timeout(f"no verdict in {self._deadline:g} s")

    def _requeue(self, child: Process) -> None:
        """What the child had not come to yet goes to another one."""
        if child.tasks:
            self._waiting.appendleft(list(child.tasks))
        self._release(child, alive=False)

    def _release(self, child: Process, alive: bool) -> None:
        del self._busy[child.inbox]
        self._children.give_back(child, alive)


def _batches(cases: Sequence[VerificationCase], processes: int) -> Iterator[list[Task]]:
    """Neighbouring cases, few enough that every process gets several batches, and not too long together."""
    size = max(1, min(BATCH, len(cases) // (processes * SHARES)))
    batch: list[Task] = []
    characters = 0
    for index, case in enumerate(cases):
        length = len(case.response) + len(case.prompt)
        if batch and (len(batch) == size or characters + length > BATCH_CHARACTERS):
            yield batch
            batch, characters = [], 0
        batch.append((index, case))
        characters += length
    if batch:
        yield batch
