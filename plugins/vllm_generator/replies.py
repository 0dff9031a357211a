"""Replies under way: what the server says of them, held to what was asked, until each is a completion."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from aftertrain.core.errors import NumericsError
from aftertrain.core.generator import GenerationRequest
from aftertrain.core.records import Completion, FinishReason
from aftertrain.core.text.stopping import StopStrings


@dataclass
class Reply:
    """One, as far as it is there.

    Attributes:
        limit: most tokens, by what was asked for and by the context.
        stops: of this request alone, its row 0.
    """

    request: GenerationRequest
    limit: int
    stops: StopStrings
    token_ids: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    versions: list[int] = field(default_factory=list)

    def take(self, ids: list[int], logprobs: list[float], versions: list[int]) -> bool:
        """Add tokens, up to the one that completes a stop string; whether one did."""
        for token, logprob, version in zip(ids, logprobs, versions, strict=True):
            self.token_ids.append(token)
            self.logprobs.append(logprob)
            self.versions.append(version)
            if self.stops.ended(0, self.token_ids):
                return True
        return False

    def completion(self, reason: FinishReason) -> Completion:
        """What it is once it is finished."""
        text, text_with_special = self.stops.texts(0, self.token_ids)
        # vLLM tells them of what top-p leaves, and a completion has them of the whole distribution.
        whole = self.request.sampling.top_p == 1 or self.request.sampling.temperature == 0
        return Completion(
            id=self.request.id,
            prompt_ids=self.request.prompt_ids,
            token_ids=tuple(self.token_ids),
            logprobs=tuple(self.logprobs) if whole else (),
            versions=tuple(self.versions),
            finish_reason=reason,
            text=text,
            text_with_special=text_with_special,
        )


class Replies:
    """All that are in flight.

    Args:
        vocabulary: how many token ids the model has.
        broken: makes the error of a server that says what cannot be.
    """

    def __init__(
        self, tokenizer: Any, end_ids: frozenset[int], vocabulary: int, broken: Callable[[str], Exception]
    ) -> None:
        self._tokenizer, self.end_ids, self._vocabulary, self._broken = tokenizer, end_ids, vocabulary, broken
        self._under_way: dict[str, Reply] = {}
        self._count = 0

    @property
    def names(self) -> list[str]:
        """Ids of the requests that are expected."""
        return [reply.request.id for reply in self._under_way.values()]

    @property
    def so_far(self) -> dict[str, tuple[int, ...]]:
        """The token ids of each that are told."""
        return {reply.request.id: tuple(reply.token_ids) for reply in self._under_way.values()}

    def add(self, request: GenerationRequest, limit: int) -> dict[str, Any]:
        """Expect a reply; returns the request as the server is told it."""
        sampling = request.sampling
        reply = Reply(request, limit, StopStrings(self._tokenizer, [sampling.stop], self.end_ids))
        # A number that comes once: what is still on its way for a request that was cancelled is for no other.
        self._count += 1
        self._under_way[number := str(self._count)] = reply
        return {
            "id": number,
            "prompt": request.prompt_ids,
            "seed": request.seed,
            "sampling": {"temperature": sampling.temperature, "top_p": sampling.top_p, "max_tokens": limit},
            "stop_token_ids": sorted(self.end_ids),
            # Where a reply may end by a string, its tokens are told one by one, so that it ends as it does.
            "told": bool(sampling.stop),
        }

    def drop(self, names: set[str]) -> list[str]:
        """Expect these no longer; returns the server's numbers of those that were under way."""
        numbers = [number for number, reply in self._under_way.items() if reply.request.id in names]
        for number in numbers:
            del self._under_way[number]
        return numbers

    def take(self, told: Iterable[Mapping[str, Any]]) -> tuple[list[Completion], list[str]]:
        """Add what the server says of replies; what is no longer expected was cancelled, and is passed over.

        Returns:
            Finished ones, and the server's numbers of those among them that it still goes on with.

        Raises:
            NumericsError: a log-probability is not finite. Otherwise what `broken` makes: it is not what was asked for.
        """
        finished, cancelled = [], []
        for part in told:
            number, ids, logprobs, versions = (part.get(key) for key in ("id", "ids", "logprobs", "versions"))
            if (reply := self._under_way.get(str(number))) is None:
                continue
            name = reply.request.id
            if why := self._misfit(ids, logprobs, versions):
                raise self._broken(f"broke its word on request {name!r}: {why}")
            stopped = reply.take(ids, logprobs, versions)  # type: ignore[arg-type]
            reason = part.get("reason")
            if not stopped and reason is None:
                continue
            if not stopped and (why := self._broken_end(reply, reason)):
                raise self._broken(f"broke its word on request {name!r}: {why}")
            if not all(map(math.isfinite, reply.logprobs)):
                raise NumericsError(
                    f"the model's logits are not finite in the reply to request {name!r}: its weights are broken"
                )
            if stopped and reason is None:
                cancelled.append(str(number))
            ended = stopped or reply.token_ids[-1] in self.end_ids
            finished.append(reply.completion("stop" if ended else "length"))
            del self._under_way[str(number)]
        return finished, cancelled

    def _misfit(self, ids: Any, logprobs: Any, versions: Any) -> str:
        """Why these are no tokens with their log-probabilities and versions."""
        if not all(isinstance(values, list) for values in (ids, logprobs, versions)):
            return "its tokens are no lists"
        if not len(ids) == len(logprobs) == len(versions):
            return f"{len(ids)} tokens, {len(logprobs)} log-probabilities, {len(versions)} versions"
        if not all(isinstance(token, int) and 0 <= token < self._vocabulary for token in ids):
            return f"token ids {ids!r:.100} of a vocabulary of {self._vocabulary}"
        if not all(isinstance(value, float) and not value > 1e-3 for value in logprobs):
            return f"log-probabilities {logprobs!r:.100}"
        return "" if all(isinstance(version, int) for version in versions) else f"versions {versions!r:.100}"

    def _broken_end(self, reply: Reply, reason: Any) -> str:
        """Why a reply cannot have ended so: it ends with a token that ends replies, or has all tokens asked for."""
        n = len(reply.token_ids)
        ends = [place for place, token in enumerate(reply.token_ids) if token in self.end_ids]
        if reason not in ("stop", "length"):
            return f"ended by {reason!r:.60}"
        if ends and ends[0] < n - 1:
            return f"went on after its end token, for {n - 1 - ends[0]} tokens"
        if not ends and n != reply.limit:
            return f"{n} tokens of {reply.limit}, and none ends a reply"
        return ""
