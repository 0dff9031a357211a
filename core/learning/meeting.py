"""How the ranks of a run find one another: a wait says whom it is for, and ends by naming who is missing."""

from __future__ import annotations

import logging
import math
import os
import socket
import time
from collections.abc import Mapping
from datetime import timedelta
from typing import TYPE_CHECKING

from aftertrain.core.errors import RunError
from aftertrain.core.learning.deadline import within

if TYPE_CHECKING:
    from torch.distributed import Store  # type: ignore[attr-defined]

log = logging.getLogger(__name__)
SETTING = "AFTERTRAIN_RANK_DEADLINE"
"""Environment variable: seconds of every wait for other ranks, whatever it is for."""
LISTENER = "AFTERTRAIN_LISTENER"
"""Environment variable with the descriptor on which rank 0 listens, opened by the launcher, so that no port is lost."""
TOLD_EVERY = 10.0
"""Seconds between two lines that say who is waited for."""
LONGEST = 1e8
"""Seconds that a wait may last at most, three years: threads and torch count longer ones wrongly or not at all."""
_POLL = 0.1
_ATTEMPT = 2.0


def patience(otherwise: float) -> float:
    """Seconds that a wait for other ranks may take.

    Raises:
        RunError: the environment variable is no number of seconds.
    """
    written = os.environ.get(SETTING)
    if written is None:
        return otherwise
    try:
        timeout = float(written)
    except ValueError:
        timeout = math.nan
    if not 0 < timeout <= LONGEST:
        raise RunError(
            f"{SETTING} is {written!r}: expected seconds, a number above 0 and up to {LONGEST:,.0f}; "
            f"unset it for {otherwise:g}"
        )
    return timeout


class Meeting:
    """One rank on its way to the others.

    Args:
        environment: has `MASTER_ADDR` and `MASTER_PORT`, and what torchrun or our launcher adds.
        timeout: seconds that it waits.
    """

    def __init__(self, environment: Mapping[str, str], rank: int, size: int, timeout: float) -> None:
        self._environment, self._rank, self._size, self._timeout = environment, rank, size, timeout
        self._host, self._port = environment["MASTER_ADDR"], _port(environment["MASTER_PORT"])
        self.where = f"{self._host}:{self._port}"
        self._told = time.monotonic()
        self._end = self._told + timeout

    def store(self, number: int) -> Store:
        """The key-value store of all ranks, once all have come to it.

        Args:
            number: how often these processes have met, this time included.

        Raises:
            RunError: nobody listens there, something else does, the port is taken, or a rank did not come in time.
        """
        store = self._open()
        store.set(f"here/{number}/{self._rank}", "")
        while missing := [rank for rank in range(self._size) if not store.check([f"here/{number}/{rank}"])]:
            ranks = f"rank {', '.join(map(str, missing))}"
            self._wait(
                ranks,
                f"{ranks} of {self._size} did not come to {self.where} within {self._timeout:g} s; start it with the "
                f"same MASTER_ADDR and MASTER_PORT and see what it wrote, or give it longer with {SETTING}",
            )
        return store

    def _open(self) -> Store:
        from torch.distributed import DistError, PrefixStore, TCPStore  # type: ignore[attr-defined]

        agents = self._environment.get("TORCHELASTIC_USE_AGENT_STORE") == "True"
        serving = self._rank == 0 and not agents
        listener = self._environment.get(LISTENER) if serving else None
        if not serving:
            self._reach()
        left = max(1.0, self._end - time.monotonic())

        def connect() -> Store:
            return TCPStore(
                self._host,
                self._port,
                self._size,
                serving,
                timeout=timedelta(seconds=left),
                wait_for_workers=False,
                multi_tenant=listener is None,
                master_listen_fd=None if listener is None else int(listener),
                use_libuv=True,
            )

        try:
            # torch waits without end for the answer of a program that is no store.
            store = within(left + _ATTEMPT, connect)
        except (DistError, ValueError, TimeoutError) as error:
            reason = str(error).strip() or f"what listens there did not answer within {left:.0f} s"
            raise RunError(
                f"rank {self._rank} of {self._size} cannot meet the others at {self.where} (MASTER_ADDR:MASTER_PORT): "
                f"{reason.splitlines()[0]}; another program may have that port: choose another one"
            ) from error
        # An agent's store outlives an attempt that it starts anew.
        attempt = self._environment.get("TORCHELASTIC_RESTART_COUNT", "0")
        return PrefixStore(f"attempt/{attempt}", store) if agents else store

    def _reach(self) -> None:
        """Wait until somebody listens: torch itself would try in silence."""
        while True:
            try:
                with socket.create_connection((self._host, self._port), timeout=_ATTEMPT):
                    return
            except socket.gaierror as error:
                who = f"rank {self._rank} of {self._size}"
                raise RunError(f"{who}: MASTER_ADDR is {self._host!r}, no host: {error.strerror}") from error
            except OSError as error:
                self._wait(
                    "rank 0",
                    f"rank {self._rank} of {self._size} found nobody at {self.where} (MASTER_ADDR:MASTER_PORT), where "
                    f"rank 0 is to listen: {error.strerror or error}; give all ranks the same address and port, or "
                    f"rank 0 longer with {SETTING}",
                )

    def _wait(self, whom: str, in_vain: str) -> None:
        """A moment more, if there is time left, telling of it now and then."""
        now = time.monotonic()
        if now > self._end:
            raise RunError(in_vain)
        if now - self._told > TOLD_EVERY:
            self._told = now
            log.warning(
                "rank %d of %d waits at %s for %s, %.0f s more",
                *(self._rank, self._size, self.where, whom, self._end - now),
            )
        time.sleep(_POLL)


def _port(port: str) -> int:
    if not (port.isascii() and port.isdecimal() and 0 < int(port) < 65536):
        raise RunError(f"MASTER_PORT is {port!r}: expected the number of the port at which rank 0 listens, 1 to 65535")
    return int(port)
