"""`aftertrain run --nproc N`: starts N processes of the same command and watches them, wherever they run.

Rank 0 has this terminal; the others write to `runs/<name>/ranks/rank-<k>.log`. Ctrl-C is passed on to all of them.
When a rank dies, the others end within seconds and the run's error names it and its last words; when this process
dies, so do they.
"""

from __future__ import annotations

import contextlib
import fcntl
import signal
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import FrameType
from typing import Literal

from aftertrain.core.errors import Interrupted, RankLost, RunError
from aftertrain.core.learning.meeting import patience
from aftertrain.core.run.launched import GRACE
from aftertrain.launch.rank import Rank

Where = Literal["here", "ray"]
LEAVING = 60.0
"""Seconds that the other ranks have to end after rank 0."""
_POLL = 0.02


def launch(arguments: Sequence[str], size: int, folder: Path, where: Where = "here") -> int:
    """Run `aftertrain ARGUMENTS` in `size` processes and return the exit status of the run.

    Args:
        folder: the run's.
        where: on this machine, or as actors of a Ray cluster.

    Raises:
        RunError: the folder cannot be written, another launcher works in it, or the cluster has no room.
        MissingExtra: Ray is wanted and not installed.
        RankLost: a rank died and rank 0 could not tell of it.
    """
    logs = (folder / "ranks").absolute()
    with contextlib.ExitStack() as stack:
        stack.enter_context(_owned(logs))
        if where == "ray":
            from aftertrain.launch.on_ray import actors

            ranks: Sequence[Rank] = stack.enter_context(actors(arguments, size, logs))
        else:
            from aftertrain.launch.process import processes

            ranks = stack.enter_context(processes(arguments, size, logs))
        return _Watch(ranks).to_the_end()


class _Watch:
    """Over ranks that have been started."""

    def __init__(self, ranks: Sequence[Rank]) -> None:
        self._ranks = ranks
        self._signals = 0

    def to_the_end(self) -> int:
        """The status of the run. Signals that come meanwhile are passed on."""
        before = {number: signal.signal(number, self._pass_on) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            return self._watch()
        finally:
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            for number, handler in before.items():
                signal.signal(number, handler)

    def _watch(self) -> int:
        """Wait for all; after the first failure the others have only a moment."""
        first = self._ranks[0]
        while (failed := self._failed()) is None:
            if first.poll() == 0:
                return self._left()
            time.sleep(_POLL)
        if failed.number == 0:
            self._kill_all()
        else:
            # Rank 0 learns who failed, and ends; the other ranks have nothing left to say.
            first.tell(failed.failure())
            for rank in self._ranks[1:]:
                rank.kill()
        status = first.wait(2 * GRACE)
        if status is None:
            first.kill()
        elif status > 0:
            return status
        raise RankLost(str(failed.failure()))

    def _left(self) -> int:
        """Rank 0 is done, and so should the others be."""
        leaving = patience(LEAVING)
        deadline = time.monotonic() + leaving
        for rank in self._ranks:
            if rank.wait(max(0.0, deadline - time.monotonic())) is None:
                raise RankLost(
                    f"rank {rank.number} did not end within {leaving:g} s of rank 0; the run is done (see {rank.log})"
                )
        return 0

    def _failed(self) -> Rank | None:
        """A rank that ended and should not have; the lowest if there are several."""
        for rank in self._ranks:
            status = rank.poll()
            if status not in (None, 0) and not (self._signals and status == Interrupted.exit_code and rank.number):
                return rank
        return None

    def _pass_on(self, number: int, frame: FrameType | None) -> None:
        self._signals += 1
        for rank in self._ranks:
            rank.send_signal(number)
        if self._signals > 1:
            # Ranks may wait for one another where no signal reaches them.
            signal.signal(signal.SIGALRM, lambda *_: self._kill_all())
            signal.alarm(5)

    def _kill_all(self) -> None:
        for rank in self._ranks:
            rank.kill()


@contextlib.contextmanager
def _owned(folder: Path) -> Iterator[None]:
    """The folder of logs, for one launcher at a time."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = (folder / ".lock").open("w", encoding="utf-8")
    except OSError as error:
        raise RunError(f"{folder}: cannot write: {error.strerror}; choose another place with --out DIR") from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise RunError(
                f"{folder.parent} is in use by another 'aftertrain run --nproc'; wait for it, stop it, or choose "
                "another place with --out DIR"
            ) from error
        yield
