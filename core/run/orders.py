"""How rank 0 leads: it alone decides which stage runs from which checkpoint, the others follow its orders.

Orders go through the ranks' key-value store, not through collectives, so that rank 0 may work for hours on a stage of
its own (an evaluation) while the others wait: their deadline is for its signs of life.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import Future
from dataclasses import asdict, dataclass
from itertools import count
from pathlib import Path

from aftertrain.core.errors import RankLost
from aftertrain.core.ground.reading import typed
from aftertrain.core.learning.meeting import SETTING, patience
from aftertrain.core.learning.processes import Processes
from aftertrain.core.ranks import Ranks
from aftertrain.core.records import Artifact

SILENCE = 300.0
"""Seconds without a sign of life after which rank 0 counts as lost; `AFTERTRAIN_RANK_DEADLINE` sets others."""
_POLL = 0.05
_LOOK = 0.5
"""Seconds between two looks at rank 0's signs of life."""


@dataclass(frozen=True)
class Order:
    """Run this stage together with rank 0.

    Attributes:
        folder: the stage's.
        inputs: artifacts by role.
        checkpoint: step and folder of the one to go on from.
    """

    stage: str
    folder: Path
    inputs: Mapping[str, Artifact]
    checkpoint: tuple[int, Path] | None


class Lead:
    """Rank 0's side. With one rank it does nothing."""

    def __init__(self, ranks: Ranks) -> None:
        self._store = ranks.store if isinstance(ranks, Processes) else None
        self._number = 0

    def give(self, order: Order | None) -> None:
        """Send an order; None ends the others' work."""
        if self._store is not None:
            facts = None if order is None else asdict(order)
            self._store.set(f"order/{self._number}", json.dumps(facts, default=str))  # paths become texts
            self._number += 1


def follow(ranks: Processes) -> Iterator[Order]:
    """Rank 0's orders as they come, until there are no more.

    Raises:
        RankLost: rank 0 is gone or silent.
    """
    timeout = patience(SILENCE)
    for number in count():
        try:
            facts = json.loads(_awaited(ranks, f"order/{number}", timeout))
        except RuntimeError as error:
            raise RankLost(f"rank {ranks.rank} lost rank 0, waiting for its next stage: {error}") from error
        if facts is None:
            return
        yield typed(facts, Order, "an order of rank 0's")


def _awaited(ranks: Processes, key: str, timeout: float) -> bytes:
    """What rank 0 leaves in the store, asked for in a thread: a store whose process is stopped never answers.

    Raises:
        RankLost: rank 0 is silent.
        RuntimeError: the store is gone.
    """
    shared, order, given_up = ranks.store, Future[bytes](), threading.Event()

    def ask() -> None:
        try:
            store = shared.clone()  # type: ignore[attr-defined]
            while not store.check([key]):
                if given_up.wait(_POLL):
                    return
            order.set_result(store.get(key))
        except RuntimeError as error:
            order.set_exception(error)

    threading.Thread(target=ask, daemon=True, name="orders").start()
    try:
        with ranks.presence.at("for rank 0's next stage"):
            while True:
                try:
                    return order.result(_LOOK)
                except TimeoutError:
                    if ranks.presence.silence(0) > timeout:
                        raise RankLost(
                            f"rank {ranks.rank} waited for rank 0's next stage: {ranks.presence.told()} (the limit is "
                            f"{timeout:g} s; {SETTING} sets another)"
                        ) from None
    finally:
        given_up.set()
