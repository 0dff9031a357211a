"""Decoding one batch: left-padded prompts, one forward a token, finished rows taken out when that pays."""

from __future__ import annotations

import inspect
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad
from torch.nn.utils.rnn import pad_sequence

from aftertrain.core.errors import NumericsError
from aftertrain.core.generator import GenerationRequest
from aftertrain.core.records import Completion
from aftertrain.plugins.generation.cache import roomy_cache
from aftertrain.plugins.generation.sampling import Sampler, draws
from aftertrain.plugins.generation.stopping import StopStrings

COMPACT_AT = 0.75
"""Finished rows leave the batch when at most this share is still going: leaving copies the cache once."""


@dataclass(frozen=True)
class Decoder:
    """A model ready to decode.

    Attributes:
        model: a causal language model in eval mode.
        stop_ids: token ids that end a reply.
        context: most tokens, prompt included, that the model takes; None when it states no limit.
    """

    model: Any
    tokenizer: Any
    stop_ids: frozenset[int]
    context: int | None
    device: torch.device

    def limit(self, request: GenerationRequest) -> int:
        """Most new tokens of a request: what was asked for, or what is left of the model's context."""
        asked = request.sampling.max_new_tokens
        return asked if self.context is None else min(asked, self.context - len(request.prompt_ids))

    @torch.inference_mode()
    def decode(
        self, requests: Sequence[GenerationRequest], version: int, deadline: float | None = None
    ) -> list[Completion]:
        """Complete all requests together.

        Raises:
            TimeoutError: `deadline` (on the clock `time.monotonic`) passed.
            NumericsError: the model's logits are not finite.
        """
        limits = [self.limit(request) for request in requests]
        longest, steps = max(len(request.prompt_ids) for request in requests), max(limits)
        replies = _Replies(self, requests, limits)
        sampler = _sampler(requests, limits, self.device)
        ids, mask = _left_padded([request.prompt_ids for request in requests], steps, self.device)
        positions = (mask[:, :longest].cumsum(-1) - 1).clamp(min=0)
        cache = roomy_cache(self.model.config, longest + steps)
        rows = torch.arange(len(requests), device=self.device)  # which request each row of the batch belongs to
        accepted = inspect.signature(self.model.forward).parameters
        # transformers 5.24 calls `cache` what it called `past_key_values` before.
        holder = "cache" if "cache" in accepted else "past_key_values"
        for step in range(steps):
            if deadline is not None and time.monotonic() > deadline:
                raise TimeoutError(f"{len(rows)} replies unfinished after {step} tokens")
            optional = {"position_ids": positions, "logits_to_keep": 1}
            taken = {name: value for name, value in optional.items() if name in accepted} | {holder: cache}
            output = self.model(input_ids=ids, attention_mask=mask[:, : longest + step], use_cache=True, **taken)
            token, logprob = sampler.choose(output.logits[:, -1], step)
            going = torch.nonzero(replies.add(rows, step, token, logprob)).squeeze(1)
            if len(going) == 0:
                break
            ids, positions = token.unsqueeze(1), positions[:, -1:] + 1
            if len(going) <= COMPACT_AT * len(rows):
                cache.batch_select_indices(going)
                sampler.keep(going)
                ids, positions, mask, rows = ids[going], positions[going], mask[going], rows[going]
        return replies.completions(version)


class _Replies:
    """The replies of one batch as they grow; a finished one takes no more tokens."""

    def __init__(self, decoder: Decoder, requests: Sequence[GenerationRequest], limits: Sequence[int]) -> None:
        n, device = len(requests), decoder.device
        self._requests = requests
        self._stops = StopStrings(decoder.tokenizer, [request.sampling.stop for request in requests], decoder.stop_ids)
        self._stop_ids = torch.tensor(sorted(decoder.stop_ids), device=device)
        self._limits = torch.tensor(limits, device=device)
        self._tokens = torch.zeros(n, max(limits), dtype=torch.int64, device=device)
        self._logprobs = torch.zeros(n, max(limits), device=device)
        self._lengths = torch.zeros(n, dtype=torch.int64, device=device)
        self._stopped = torch.zeros(n, dtype=torch.bool, device=device)

    def add(self, rows: Tensor, step: int, token: Tensor, logprob: Tensor) -> Tensor:
        """Take token `step` of the replies `rows`; returns which of them go on (bool, one per row)."""
        going = self._lengths[rows] == 0
        self._tokens[rows, step], self._logprobs[rows, step] = token, logprob
        stop = torch.isin(token, self._stop_ids)
        if self._stops.any:
            stop |= self._string_stops(rows, going, step)
        ends = going & (stop | (self._limits[rows] <= step + 1))
        self._lengths[rows[ends]] = step + 1
        self._stopped[rows[ends & stop]] = True
        return going & ~ends

    def completions(self, version: int) -> list[Completion]:
        """All replies, finished by now, in the order of the requests.

        Raises:
            NumericsError: a sampled token's log-probability is not finite: it was drawn from no distribution.
        """
        steps = torch.arange(self._logprobs.shape[1], device=self._logprobs.device)
        real = steps < self._lengths.unsqueeze(1)
        broken = (real & ~torch.isfinite(self._logprobs)).any(1).tolist()
        if any(broken):
            first = next(request.id for request, bad in zip(self._requests, broken, strict=True) if bad)
            raise NumericsError(
                f"the model's logits are not finite in {sum(broken)} of {len(broken)} replies (such as that to request "
                f"{first!r}): its weights are broken"
            )
        tokens, logprobs = self._tokens.tolist(), self._logprobs.tolist()
        completions = []
        for row, (length, stopped) in enumerate(zip(self._lengths.tolist(), self._stopped.tolist(), strict=True)):
            request, token_ids = self._requests[row], tuple(tokens[row][:length])
            text, text_with_special = self._stops.texts(row, token_ids)
            completions.append(
                Completion(
                    id=request.id,
                    prompt_ids=request.prompt_ids,
                    token_ids=token_ids,
                    logprobs=tuple(logprobs[row][:length]),
                    versions=(version,) * length,
                    finish_reason="stop" if stopped else "length",
                    text=text,
                    text_with_special=text_with_special,
                )
            )
        return completions

    def _string_stops(self, rows: Tensor, going: Tensor, step: int) -> Tensor:
        replies = self._tokens[:, : step + 1].tolist()
        ended = [
            alive and self._stops.ended(row, replies[row])
            for row, alive in zip(rows.tolist(), going.tolist(), strict=True)
        ]
        return torch.tensor(ended, device=rows.device)


def _sampler(requests: Sequence[GenerationRequest], limits: Sequence[int], device: torch.device) -> Sampler:
    uniforms = [draws(request.seed, n) for request, n in zip(requests, limits, strict=True)]
    samplings = [request.sampling for request in requests]
    return Sampler(
        [sampling.temperature for sampling in samplings],
        [sampling.top_p for sampling in samplings],
        pad_sequence(uniforms, batch_first=True),
        device,
    )


def _left_padded(prompts: Sequence[Sequence[int]], steps: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Ids `[rows, longest]`, and the attention mask `[rows, longest + steps]` of prompt and reply to be."""
    rows = [torch.tensor(prompt) for prompt in prompts]
    ids, mask = (
        pad_sequence(tokens, batch_first=True, padding_side="left") for tokens in (rows, [*map(torch.ones_like, rows)])
    )
    return ids.to(device), pad(mask, (0, steps), value=1).to(device)
