"""The line to a server: one call, made again where that may help, no faster and no dearer than allowed."""

from __future__ import annotations

import os
import random
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from aftertrain.core.errors import MissingExtra, ModelError, RunError
from aftertrain.core.ground import redaction
from aftertrain.core.ground.cleaning import worded
from aftertrain.core.ground.endpoint import Endpoint
from aftertrain.plugins.endpoints.answers import SHOWN, Spoilt, Usage, check_model, read, usage_of
from aftertrain.plugins.endpoints.pace import Pace, Purse
from aftertrain.plugins.endpoints.settings import OpenAISettings

if TYPE_CHECKING:
    import httpx
    from tenacity import RetryCallState

AGAIN = frozenset({408, 409, 425, 429, 500, 502, 503, 504, 520, 522, 524, 529})
"""Statuses of a server that may answer later."""
REFUSED = frozenset({400, 413, 422, 451})
"""Statuses of a server that takes other requests, but not this one: too long, or against its rules."""
FEW = 3
"""Refusals before the first answer from which the fault is taken for one of all requests."""
FIRST_WAIT = 1.0
"""Seconds before the second attempt; each later one waits twice as long, and up to a quarter more by chance."""
EXTRA = ("httpx", "tenacity")


class Refused(Exception):
    """A request that the server does not take, while it takes others."""


@dataclass(eq=False)
class Later(Exception):
    """An attempt that failed in a way that another may not.

    Attributes:
        after: seconds that the server asks to be left alone for.
        paid: whether it may have been charged.
    """

    why: str
    after: float = 0.0
    paid: bool = False

    def __str__(self) -> str:
        return self.why


def check_packages() -> None:
    """See that what is needed is installed.

    Raises:
        MissingExtra: it is not.
    """
    for package in EXTRA:
        if find_spec(package) is None:
            raise MissingExtra(package, "openai", "generator: openai")


def key_of(settings: OpenAISettings) -> str | None:
    """The API key out of its environment variable, from now on kept out of all that is shown.

    Raises:
        ModelError: the variable is not set.
    """
    if settings.key is None:
        return None
    value = os.environ.get(settings.key, "").strip()
    if not value:
        raise ModelError(f"generator.key: the environment variable {settings.key} is not set")
    redaction.note("api_key", value)
    return value


class Line:
    """Posts bodies, from several threads.

    Attributes:
        purse: what was spent.
        off: set when everything is called off; attempts end, and waits are cut short.
    """

    def __init__(self, endpoint: Endpoint, settings: OpenAISettings) -> None:
        import httpx

        self.endpoint, self.settings = endpoint, settings
        self.off = threading.Event()
        self.purse = Purse(settings.prices, settings.ceiling)
        self._pace = Pace(settings.requests_per_minute, settings.tokens_per_minute, wait=self.off.wait)
        self._key = key_of(settings)
        headers = {"Authorization": f"Bearer {self._key}"} if self._key else {}
        limits = httpx.Limits(max_connections=settings.concurrency, max_keepalive_connections=settings.concurrency)
        self._chance = random.Random()
        self._answered, self._refusals = False, 0
        self._client = httpx.Client(headers=headers, timeout=settings.request_timeout, limits=limits)

    def call(self, path: str, body: Mapping[str, Any], most: tuple[int, int], use: Callable[..., Any]) -> Any:
        """What `use(answer, usage)` makes of the answer.

        Args:
            most: tokens of prompt and reply, at their most.
            use: may raise `Spoilt`, which has the request sent again.

        Raises:
            Refused: the server does not take this request.
            ModelError: the server takes none, another model answers, or no attempt succeeded.
            RunError: the cost ceiling.
        """
        from tenacity import Retrying, retry_if_exception_type, sleep_using_event

        attempts = Retrying(
            stop=self._enough,
            wait=self._wait,
            retry=retry_if_exception_type(Later),
            sleep=sleep_using_event(self.off),
            reraise=True,
        )
        try:
            return attempts(self._attempt, path, body, most, use)
        except Later as error:
            tried = attempts.statistics.get("attempt_number", 1)
            longest = self.settings.longest_wait
            asks = (
                f" (it asks for {error.after:,.0f} s, longest_wait is {longest:,.0f})" if error.after > longest else ""
            )
            times = "once" if tried == 1 else f"{tried} times"
            raise ModelError(f"{self.endpoint.address}{path}, tried {times}: {error}{asks}") from error

    def close(self) -> None:
        """Hang up."""
        self.off.set()
        self._client.close()

    def _attempt(self, path: str, body: Mapping[str, Any], most: tuple[int, int], use: Callable[..., Any]) -> Any:
        price = self.purse.price(*most)
        self.purse.reserve(price)
        cost = 0.0
        try:
            self._pace.take(sum(most))
            try:
                answer = read(self._post(path, body))
                cost = price  # until the answer says what it took
                self._answered = True
                check_model(answer, self.endpoint.model, self.settings.answers_as)
                usage: Usage = usage_of(answer)
                cost = self.purse.price(usage.prompt, usage.reply)
                self._pace.give_back(sum(most) - usage.prompt - usage.reply)
                return use(answer, usage)
            except Spoilt as error:
                raise Later(str(error), paid=True) from error
        except Later as error:
            cost = max(cost, price if error.paid else 0.0)
            raise
        finally:
            self.purse.settle(price, cost)

    def _post(self, path: str, body: Mapping[str, Any]) -> bytes:
        import httpx

        try:
            response = self._client.post(f"{self.endpoint.address}{path}", json=body)
        except httpx.ConnectError as error:
            raise Later(f"no connection: {error}") from error
        except httpx.TimeoutException as error:
            raise Later(f"no answer in {self.settings.request_timeout:g} s", paid=True) from error
        except httpx.TransportError as error:
            raise Later(f"the connection broke: {error}", paid=True) from error
        except (httpx.HTTPError, ValueError, RuntimeError) as error:
            raise RunError(f"{self.endpoint.address}{path}: {error}") from error
        if response.status_code == 200:
            return response.content
        said = f"status {response.status_code}: {self._words(response)}"
        if response.status_code in AGAIN:
            raise Later(said, after=_seconds(response.headers.get("retry-after")))
        if response.status_code in REFUSED and self._is_one_of_few():
            raise Refused(said)
        raise ModelError(f"{self.endpoint.address}{path} refuses: {said}")

    def _is_one_of_few(self) -> bool:
        """Whether a refusal is one request's own fault: something was answered, or little was asked yet."""
        self._refusals += 1
        return self._answered or self._refusals < FEW

    def _words(self, response: httpx.Response) -> str:
        """What a server says of an error, without the key that some repeat."""
        text = response.content.decode("utf-8", "replace")
        text = text.replace(self._key, redaction.HIDDEN) if self._key else text
        return worded(redaction.redacted(text), SHOWN)

    def _enough(self, state: RetryCallState) -> bool:
        error = state.outcome.exception() if state.outcome is not None else None
        too_long = isinstance(error, Later) and error.after > self.settings.longest_wait
        return too_long or self.off.is_set() or state.attempt_number >= self.settings.attempts

    def _wait(self, state: RetryCallState) -> float:
        error = state.outcome.exception() if state.outcome is not None else None
        asked = error.after if isinstance(error, Later) else 0.0
        backing_off = FIRST_WAIT * 2.0 ** (state.attempt_number - 1) * (1 + self._chance.random() / 4)
        return max(asked, min(self.settings.longest_wait, backing_off))


def _seconds(retry_after: str | None) -> float:
    """A Retry-After header: seconds, or a date; 0 where there is none, or none that can be read."""
    if not retry_after:
        return 0.0
    try:
        return max(0.0, float(retry_after))
    except ValueError:
        pass
    try:
        when = parsedate_to_datetime(retry_after)
    except ValueError:
        return 0.0
    return max(0.0, (when.astimezone(UTC) - datetime.now(UTC)).total_seconds())
