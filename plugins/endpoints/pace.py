"""No faster than a server allows, and no dearer than its user does."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from aftertrain.core.errors import RunError
from aftertrain.plugins.endpoints.settings import TokenPrices


class Pace:
    """Spaces requests evenly, so that no minute has more of them, or of their tokens, than allowed.

    Args:
        clock, wait: of the time in seconds; `wait` may return early when all is called off.
    """

    def __init__(
        self,
        requests_per_minute: float | None,
        tokens_per_minute: float | None,
        *,
        clock: Callable[[], float] = time.monotonic,
        wait: Callable[[float], object] = time.sleep,
    ) -> None:
        self._request = 60 / requests_per_minute if requests_per_minute else 0.0
        self._token = 60 / tokens_per_minute if tokens_per_minute else 0.0
        self._clock, self._wait = clock, wait
        self._lock = threading.Lock()
        self._next_request = self._next_token = clock()

    def take(self, tokens: int) -> None:
        """Wait for a request's turn, counting its tokens at their most."""
        with self._lock:
            now = self._clock()
            turn = max(now, self._next_request, self._next_token)
            self._next_request = turn + self._request
            self._next_token = turn + self._token * tokens
        if turn > now:
            self._wait(turn - now)

    def give_back(self, tokens: int) -> None:
        """Tokens that were counted and not used."""
        with self._lock:
            self._next_token -= self._token * tokens


class Purse:
    """Counts what requests cost, those on their way at their most; a request that could pass the ceiling waits for
    these, and is refused where it still could.

    Attributes:
        spent: so far.
    """

    def __init__(self, prices: TokenPrices, ceiling: float | None) -> None:
        self.spent = 0.0
        self._prices, self._ceiling = prices, ceiling
        self._reserved, self._under_way = 0.0, 0
        self._changed = threading.Condition()

    def price(self, prompt: int, reply: int) -> float:
        """Of tokens."""
        return (prompt * self._prices.prompt + reply * self._prices.reply) / 1e6

    def reserve(self, most: float) -> None:
        """Set aside what a request may cost at most.

        Raises:
            RunError: it could pass the ceiling.
        """
        with self._changed:
            while self._ceiling is not None and self.spent + self._reserved + most > self._ceiling:
                if not self._under_way:
                    raise RunError(
                        f"cost ceiling: {self.spent:.6g} of {self._ceiling:.6g} is spent, and the next request may "
                        f"cost {most:.6g}; replies so far are kept: raise generator.ceiling and go on"
                    )
                self._changed.wait()
            self._reserved += most
            self._under_way += 1

    def settle(self, most: float, cost: float) -> None:
        """What was set aside became a cost: 0 where the server refused, the most where its answer was lost."""
        with self._changed:
            self._under_way -= 1
            self._reserved = self._reserved - most if self._under_way else 0.0  # sums of floats leave remainders
            self.spent += cost
            self._changed.notify_all()
