"""A reply as it grows, token by token, until it ends."""

from __future__ import annotations

from typing import Literal

from aftertrain.core.generator import GenerationRequest
from aftertrain.core.records import Completion
from aftertrain.core.text.stopping import StopStrings
from aftertrain.plugins.generation.sampling import draws


class Reply:
    """One request's reply so far.

    Args:
        limit: tokens after which it is cut.
        stops: the request's stop strings, as row 0.
        stop_ids: token ids that end it.
    """

    def __init__(
        self, request: GenerationRequest, limit: int, stops: StopStrings, stop_ids: frozenset[int], version: int
    ) -> None:
        self.request, self.limit = request, limit
        self._stops, self._stop_ids, self._version = stops, stop_ids, version
        self._draws: list[float] = draws(request.seed, limit).tolist()
        self.token_ids: list[int] = []
        self._logprobs: list[float] = []
        self.finish: Literal["stop", "length"] | None = None

    @property
    def draw(self) -> float:
        """The uniform number that decides the next token."""
        return self._draws[len(self.token_ids)]

    def add(self, token: int, logprob: float) -> None:
        """Take the next token; a stop that comes with the last token that there is room for is a stop."""
        self.token_ids.append(token)
        self._logprobs.append(logprob)
        if token in self._stop_ids or (self._stops.any and self._stops.ended(0, self.token_ids)):
            self.finish = "stop"
        elif len(self.token_ids) == self.limit:
            self.finish = "length"

    def completion(self) -> Completion:
        """The finished reply."""
        assert self.finish is not None
        text, text_with_special = self._stops.texts(0, self.token_ids)
        return Completion(
            id=self.request.id,
            prompt_ids=self.request.prompt_ids,
            token_ids=tuple(self.token_ids),
            logprobs=tuple(self._logprobs),
            versions=(self._version,) * len(self.token_ids),
            finish_reason=self.finish,
            text=text,
            text_with_special=text_with_special,
        )
