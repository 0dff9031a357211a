"""One call on its way through a pool: batches out, verdicts in, and what becomes of a batch whose process is lost.

No case is blamed for the loss of a process that judged others too: it is judged again, by a process that has judged
nothing else. Only a case that two processes were lost over is an error; a timeout counts at once, unless threads that
others may have left run beside it. A process that is lost before it began a case costs nothing but its replacement,
unless that happens time after time.
"""

from __future__ import annotations

import logging
import pickle
import selectors
import time
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from aftertrain.core.errors import RunError
from aftertrain.core.ground.cleaning import described
from aftertrain.core.records import Verdict, VerificationCase
from aftertrain.core.verification.children import Children
from aftertrain.core.verification.parcel import Parcel
from aftertrain.core.verification.process import STARTING, Died, Process, Task
from aftertrain.core.verification.settings import PoolSettings
from aftertrain.core.verifier import Verifier

log = logging.getLogger(__name__)

BATCH = 512
BATCH_CHARACTERS = 1_000_000
SHARES = 4
"""Batches per process that a call is cut into, so that one slow batch does not leave the others idle."""
PATIENCE = 0.02
"""Seconds between looks for a process that another thread has given back."""
LOOKING = 0.5
"""Seconds between looks for a process that was stopped."""
FRUITLESS = 6
"""Processes lost without a verdict, one after the other, from which on there is no use in starting more."""
BLAMED = 2
"""Processes lost over one case from which on it is to blame."""


@dataclass
class Batch:
    """Cases for one process.

    Attributes:
        alone: they are for a process that has judged nothing yet.
    """

    tasks: Sequence[Task]
    alone: bool = False


class Call:
    """Cases of one verifier, and the children that judge them."""

    def __init__(
        self, children: Children, verifier: Verifier[Any], cases: Sequence[VerificationCase], settings: PoolSettings
    ) -> None:
        self._children = children
        self._parcel = Parcel.of(verifier)
        self._timeout = settings.timeout or verifier.timeout
        self._coming = _batches(cases, settings.size)
        self._waiting: deque[Batch] = deque()
        self._busy: dict[int, Process] = {}
        self._lost: Counter[int] = Counter()
        self._fruitless = 0

    def run(self) -> Iterator[tuple[int, Verdict]]:
        """Give out batches and collect verdicts until there are none left.

        Raises:
            RunError: the verifier cannot be loaded, or no process lives long enough to judge.
        """
        while True:
            yield from self._hand_out()
            if not self._busy:
                return
            for child in self._ready():
                yield from self._collect(child)
            for child in [child for child in self._busy.values() if time.monotonic() > child.overdue]:
                yield from self._collect(child)  # a verdict may have come in while this thread was held up
                if child.inbox in self._busy and time.monotonic() > child.overdue:
                    yield from self._timed_out(child)

    def give_back(self) -> None:
        """End the children of a call that was left early."""
        for child in list(self._busy.values()):
            self._release(child, alive=False)

    def _hand_out(self) -> Iterator[tuple[int, Verdict]]:
        while True:
            yield from self._refill()
            if not self._waiting:
                return
            child = self._children.borrow(wait=not self._busy, fresh=self._waiting[0].alone)
            if child is None:
                return
            self._busy[child.inbox] = child
            batch = self._waiting.popleft()
            with suppress(Died):  # its closed pipe is read next, and the batch is taken from it there
                child.give(self._parcel, batch.tasks, self._timeout)

    def _refill(self) -> Iterator[tuple[int, Verdict]]:
        """See that a batch is waiting if any is left; errors for the cases that no process can be told of."""
        while not self._waiting and (cases := next(self._coming, None)) is not None:
            tasks = []
            for index, case in cases:
                try:
                    tasks.append(Task(index, pickle.dumps(case, protocol=pickle.HIGHEST_PROTOCOL)))
                except Exception as error:  # noqa: BLE001 - a ground truth's own class may raise anything
                    why = f"the case cannot be sent to a process of its own: {described(error)}"
                    yield index, Verdict.error(why)
            if tasks:
                self._waiting.append(Batch(tasks))

    def _ready(self) -> list[Process]:
        """Children with something to read or gone; sends what is still to be sent."""
        wait = min(LOOKING, min(child.overdue for child in self._busy.values()) - time.monotonic())
        with selectors.DefaultSelector() as selector:
            for child in self._busy.values():
                selector.register(child.inbox, selectors.EVENT_READ, child)
                if child.outgoing:
                    selector.register(child.outbox, selectors.EVENT_WRITE, child)
            events = selector.select(max(0.0, min(wait, PATIENCE) if self._waiting else wait))
        if not events:
            for child in self._busy.values():
                child.rouse()
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
            verdicts = child.receive()
        except Died:
            yield from self._died(child)
            return
        if verdicts:
            self._fruitless = 0
        yield from verdicts
        if child.babbled:
            yield from self._died(child)
        elif child.spent:
            self._requeue(child, child.tasks.popleft())
        elif not child.tasks:
            self._release(child, alive=True)

    def _died(self, child: Process) -> Iterator[tuple[int, Verdict]]:
        if child.ended:
            raise RunError("the pool was closed while it judged")
        why = child.why_lost()
        suspect = None if child.loading else child.suspect()
        if suspect is None:
            self._lost_early(child, why)
        else:
            self._lost[suspect.place] += 1
            if self._lost[suspect.place] >= BLAMED:
                yield suspect.place, Verdict.error(f"the verifier failed: {why}")
                suspect = None
        self._requeue(child, suspect)

    def _timed_out(self, child: Process) -> Iterator[tuple[int, Verdict]]:
        if child.loading:
            raise RunError(f"a verifier was not loaded in {STARTING:.0f} s in a process of its own")
        suspect = child.suspect()
        if suspect is None:
            self._lost_early(child, "its process did not begin to judge")
        elif not child.crowded:
            self._fruitless = 0
            yield suspect.place, Verdict.timeout(f"no verdict in {self._timeout:g} s")
            suspect = None
        self._requeue(child, suspect)

    def _lost_early(self, child: Process, why: str) -> None:
        """A process was lost that judged nothing at the time."""
        if not child.tasks:
            return
        self._fruitless += 1
        if self._fruitless >= FRUITLESS:
            raise RunError(
                f"a process for verifiers could not be started: {why}, {self._fruitless} times one after the other"
            )
        log.warning("a process for verifiers was lost before it judged anything: %s; another one is started", why)

    def _requeue(self, child: Process, suspect: Task | None) -> None:
        """What the child had not come to yet goes to another one; what it may have been lost over to one of its own."""
        if child.tasks:
            self._waiting.appendleft(Batch(list(child.tasks)))
        if suspect is not None:
            self._waiting.appendleft(Batch([suspect], alone=True))
        self._release(child, alive=False)

    def _release(self, child: Process, alive: bool) -> None:
        del self._busy[child.inbox]
        self._children.give_back(child, alive)


def _batches(cases: Sequence[VerificationCase], processes: int) -> Iterator[list[tuple[int, VerificationCase]]]:
    """Neighbouring cases, few enough that every process gets several batches, and not too long together."""
    size = max(1, min(BATCH, len(cases) // (processes * SHARES)))
    batch: list[tuple[int, VerificationCase]] = []
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
