"""Decoding: rows enter, take a token each, and leave when their reply ends.

Which rows stand side by side follows from the order of the requests and from the replies' lengths alone, never from
the clock, so that the same requests are summed the same way.
"""

from __future__ import annotations

from collections.abc import Sequence, Set
from dataclasses import dataclass, field
from math import isfinite
from typing import Any, Protocol

import torch
from torch import Tensor

from aftertrain.core.errors import NumericsError
from aftertrain.core.generator import GenerationRequest
from aftertrain.core.text.stopping import StopStrings
from aftertrain.plugins.generation.replies import Reply
from aftertrain.plugins.generation.sampling import Sampler

Tokens = tuple[int, ...]


class Network(Protocol):
    """A model whose rows enter, take a token each and leave: `FlatNetwork`, or `PaddedNetwork` for any family.

    Attributes:
        joins: whether rows may enter beside others.
    """

    joins: bool

    def begin(self, prompts: Sequence[Tokens]) -> None:
        """Told of all prompts that wait, before the first of them enters."""

    def cost(self, prompts: Sequence[Tokens], limits: Sequence[int]) -> int:
        """Tokens of keys and values that rows which enter together need at most."""

    def admit(self, prompts: Sequence[Tokens], limits: Sequence[int]) -> Tensor:
        """Add a row for each prompt, behind all others; logits `[rows, vocabulary]` of their first tokens."""

    def step(self, tokens: Tensor) -> Tensor:
        """Take the next token of each row, int64 `[rows]`; logits `[rows, vocabulary]` of the one after."""

    def keep(self, rows: Sequence[int]) -> None:
        """Drop all rows but these, ascending."""


@dataclass
class Decoder:
    """A model that makes replies.

    Attributes:
        stop_ids: token ids that end a reply.
        context: most tokens, prompt included, that the model takes; None when it states no limit.
        replies: those that are being made, one per row of the network.
    """

    network: Network
    tokenizer: Any
    stop_ids: frozenset[int]
    context: int | None
    device: torch.device
    replies: list[Reply] = field(default_factory=list)
    _stops: dict[tuple[str, ...], StopStrings] = field(default_factory=dict)
    _sampler: Sampler | None = None

    def limit(self, request: GenerationRequest) -> int:
        """Most new tokens of a request: what was asked for, or what is left of the model's context."""
        asked = request.sampling.max_new_tokens
        return asked if self.context is None else min(asked, self.context - len(request.prompt_ids))

    def fits(self, waiting: Sequence[GenerationRequest], most_rows: int, most_tokens: int) -> int:
        """How many of the first waiting requests are to enter now.

        A few that could enter wait for more: each time some do, the prompts are one more forward.
        """
        going = len(self.replies)
        count = min(most_rows - going, len(waiting))
        if going and (not self.network.joins or 3 * count < going):
            return 0
        if not going:
            self.network.begin([request.prompt_ids for request in waiting])
        held = {reply.request.prompt_ids for reply in self.replies}
        room = most_tokens - sum(map(len, held)) - sum(reply.limit for reply in self.replies)
        while count and self._cost(waiting[:count]) > room:
            count -= 1
        if not going:
            return max(1, count)
        return count if 3 * count >= going else 0

    def _cost(self, requests: Sequence[GenerationRequest]) -> int:
        return self.network.cost([request.prompt_ids for request in requests], list(map(self.limit, requests)))

    @torch.inference_mode()
    def admit(self, requests: Sequence[GenerationRequest], version: int) -> list[Reply]:
        """Let requests enter and draw their first tokens; returns the replies that end with them.

        Raises:
            NumericsError: the model's logits are not finite.
        """
        limits = [self.limit(request) for request in requests]
        logits = self.network.admit([request.prompt_ids for request in requests], limits)
        entered = [
            Reply(request, limit, self._stop_strings(request.sampling.stop), self.stop_ids, version)
            for request, limit in zip(requests, limits, strict=True)
        ]
        self.replies += entered
        self._draw(logits, entered, Sampler([request.sampling for request in requests], self.device))
        self._sampler = None
        return self._leave()

    @torch.inference_mode()
    def step(self) -> list[Reply]:
        """Draw the next token of every reply; returns those that end with it.

        Raises:
            NumericsError: the model's logits are not finite.
        """
        if self._sampler is None:
            self._sampler = Sampler([reply.request.sampling for reply in self.replies], self.device)
        tokens = torch.tensor([reply.token_ids[-1] for reply in self.replies], device=self.device)
        self._draw(self.network.step(tokens), self.replies, self._sampler)
        return self._leave()

    def drop(self, ids: Set[str] | None = None) -> list[GenerationRequest]:
        """Leave the replies to these requests (all by default) unmade; returns the requests."""
        dropped = [reply for reply in self.replies if ids is None or reply.request.id in ids]
        self._keep([row for row, reply in enumerate(self.replies) if reply not in dropped])
        return [reply.request for reply in dropped]

    def _draw(self, logits: Tensor, replies: Sequence[Reply], sampler: Sampler) -> None:
        """Give each reply its next token."""
        uniforms = torch.tensor([reply.draw for reply in replies], dtype=torch.float64, device=self.device)
        seen = [(*reply.request.prompt_ids, *reply.token_ids) for reply in replies] if sampler.looks_back else ()
        tokens, logprobs = (drawn.tolist() for drawn in sampler.choose(logits, uniforms, seen))
        broken = [reply.request.id for reply, logprob in zip(replies, logprobs, strict=True) if not isfinite(logprob)]
        if broken:
            raise NumericsError(
                f"the model's logits are not finite in {len(broken)} of {len(replies)} replies (such as that to "
                f"request {broken[0]!r}): its weights are broken"
            )
        for reply, token, logprob in zip(replies, tokens, logprobs, strict=True):
            reply.add(token, logprob)

    def _leave(self) -> list[Reply]:
        """Let finished replies go."""
        finished = [reply for reply in self.replies if reply.finish is not None]
        if finished:
            self._keep([row for row, reply in enumerate(self.replies) if reply.finish is None])
        return finished

    def _keep(self, rows: Sequence[int]) -> None:
        if len(rows) < len(self.replies):
            self.network.keep(rows)
            self.replies = [self.replies[row] for row in rows]
            self._sampler = None

    def _stop_strings(self, stops: tuple[str, ...]) -> StopStrings:
        if stops not in self._stops:
            self._stops[stops] = StopStrings(self.tokenizer, [stops], self.stop_ids)
        return self._stops[stops]
