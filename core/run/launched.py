"""A rank's line to the process that launched it: it dies with its launcher, and rank 0 hears which rank died and how.

The launcher holds the other end of a pipe. The end of the pipe is the launcher's death: the rank ends at once, its last
checkpoint intact. A line tells of a rank that failed; rank 0 has `GRACE` seconds to notice by itself (its connections
close) and to write the failure down, then it is ended where it stands.
"""

from __future__ import annotations

import json
import logging
import os
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from aftertrain.core.errors import AftertrainError, Interrupted, RankLost
from aftertrain.core.ground.cleaning import described
from aftertrain.core.learning.processes import Processes

log = logging.getLogger(__name__)
PIPE = "AFTERTRAIN_LAUNCHER"
"""Environment variable with the descriptor of the pipe's reading end."""
WHERE = "AFTERTRAIN_LAUNCHED_ON"
"""Environment variable that says where the launcher starts ranks, when that is not on its own machine: `ray`."""
GRACE = 10.0


@dataclass(frozen=True)
class Failure:
    """What became of a rank.

    Attributes:
        how: `was killed by SIGKILL`, `ended with status 1`.
        said: the last lines of its output.
        log: file with all of it; empty for rank 0, which writes to the terminal.
    """

    rank: int
    how: str
    said: str
    log: str

    def __str__(self) -> str:
        if not self.log:
            return f"rank {self.rank} {self.how}"
        words = f"; its last words:\n{self.said}" if self.said else " without a word"
        return f"rank {self.rank} {self.how}{words}\n(all it wrote: {self.log})"


class Line:
    """The reading end of the launcher's pipe; silent where there is no launcher (torchrun is its own).

    Attributes:
        listener: is told the failure if the main thread does not notice it (writes `run_failed`).
    """

    def __init__(self, environment: Mapping[str, str] = os.environ) -> None:
        self.failure: Failure | None = None
        self._told = threading.Event()
        self.listener: Callable[[str], None] = lambda failure: None
        self.launched = PIPE in environment
        if self.launched:
            descriptor = int(environment[PIPE])
            os.set_inheritable(descriptor, False)
            threading.Thread(target=self._listen, args=(descriptor,), daemon=True, name="launcher").start()

    def wait(self) -> Failure | None:
        """The failure that the launcher tells of, as soon as it does; None if it does not within `GRACE`."""
        if self.launched:
            self._told.wait(GRACE)
        return self.failure

    def _listen(self, descriptor: int) -> None:
        with os.fdopen(descriptor, encoding="utf-8") as lines:
            for line in lines:
                self.failure = Failure(**json.loads(line))
                self._told.set()
                # Daemon thread: when the main thread ends the process in time, this never returns.
                threading.Event().wait(GRACE)
                try:
                    log.critical("%s", self.failure)
                    self.listener(str(self.failure))
                finally:
                    os._exit(1)
        os._exit(1)


@contextmanager
def own_words(folder: Path, ranks: Processes, line: Line) -> Iterator[None]:
    """Around the work of a rank other than 0: what ends it is left for rank 0 to tell, and kept in a file of its own.

    Our launcher keeps a rank's whole output there; under torchrun and others only this is.
    """
    try:
        yield
    except Interrupted:
        raise
    except BaseException as error:
        if not isinstance(error, RankLost):
            words = str(error) if isinstance(error, AftertrainError) else described(error)
            ranks.presence.fail(f"{words} (see {words_file(folder, ranks.rank)})")
        if not line.launched:
            _write_down(words_file(folder, ranks.rank), error)
        raise


def words_file(folder: Path, rank: int) -> Path:
    """Where a rank's output is, or its last words."""
    return folder.absolute() / "ranks" / f"rank-{rank}.log"


def _write_down(file: Path, error: BaseException) -> None:
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with file.open("a", encoding="utf-8", errors="backslashreplace") as log_file:
            log_file.write(f"--- {time.strftime('%Y-%m-%d %H:%M:%S')} ---\n")
            log_file.writelines(traceback.format_exception(error))
    except OSError as refused:
        log.error("%s: cannot write why this rank ends: %s", file, refused.strerror)


def linger(line: Line) -> None:
    """Let the rank that failed first be found first: this one only lost it."""
    if line.launched:
        threading.Event().wait(GRACE)
