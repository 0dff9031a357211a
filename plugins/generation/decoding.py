"""Decoding one batch: what prompts begin with once, the rest left-padded, one forward a token; finished rows leave."""

from __future__ import annotations

import inspect
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from transformers.cache_utils import CacheLayerMixin

from aftertrain.core.errors import NumericsError
from aftertrain.core.generator import GenerationRequest
from aftertrain.core.records import Completion
from aftertrain.core.text.stopping import StopStrings
from aftertrain.plugins.generation.cache import RoomyLayer, roomy_cache
from aftertrain.plugins.generation.sampling import Sampler, draws

WORTH_SHARING = 32
"""Shortest beginning that is computed once for all prompts of a batch."""
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
        prompts, steps = [request.prompt_ids for request in requests], max(limits)
        replies = _Replies(self, requests, limits)
        sampler = _sampler(requests, limits, self.device)
        begun = self._begun(prompts)
        ids, mask = _left_padded([prompt[begun:] for prompt in prompts], begun, steps, self.device)
        width = begun + ids.shape[1]
        positions = (mask[:, :width].cumsum(-1) - 1).clamp(min=0)[:, begun:]
        cache = roomy_cache(self.model.config, width + steps)
        if begun:
            self._forward(torch.tensor([prompts[0][:begun]], device=self.device), mask[:1, :begun], None, cache)
            cache.batch_select_indices(torch.zeros(len(requests), dtype=torch.int64, device=self.device))
        rows = torch.arange(len(requests), device=self.device)  # which request each row of the batch belongs to
        for step in range(steps):
            if deadline is not None and time.monotonic() > deadline:
                raise TimeoutError(f"{len(rows)} replies unfinished after {step} tokens")
            logits = self._forward(ids, mask[:, : width + step], positions, cache)
            token, logprob = sampler.choose(logits, step)
            going = torch.nonzero(replies.add(rows, step, token, logprob)).squeeze(1)
            if len(going) == 0:
                break
            ids, positions = token.unsqueeze(1), positions[:, -1:] + 1
            if len(going) <= COMPACT_AT * len(rows):
                cache.batch_select_indices(going)
                sampler.keep(going)
                ids, positions, mask, rows = ids[going], positions[going], mask[going], rows[going]
        return replies.completions(version)

    def _begun(self, prompts: Sequence[Sequence[int]]) -> int:
        """Tokens with which all prompts begin and that are computed once for all; 0 where that is not worth it.

        What differs is padded behind them. Layers that see only so many slots back would then see less of them, so a
        model that has such layers computes every prompt whole, as does one that takes no positions, or whose rotary
        frequencies are those of the longest position of a forward.
        """
        shortest = min(map(len, prompts))
        if len(prompts) == 1 or not self.splits:
            return 0
        first = prompts[0]
        common = next((i for i in range(shortest) if any(prompt[i] != first[i] for prompt in prompts)), shortest)
        begun = min(common, shortest - 1)
        return begun if begun >= WORTH_SHARING else 0

    @cached_property
    def splits(self) -> bool:
        """Whether tokens may stand anywhere in the cache: told positions alone decide, and layers see all slots."""
        config = self.model.config.get_text_config()
        if "local" in (getattr(config, "attention_layers", None) or ()):
            return False  # GPT-Neo's windows are in its layers alone: the cache does not know of them
        if (getattr(config, "rope_parameters", None) or {}).get("rope_type") in ("longrope", "dynamic"):
            return False
        layers = roomy_cache(config, 1).layers
        return "position_ids" in self._accepted and all(isinstance(layer, RoomyLayer) for layer in layers)

    @cached_property
    def _accepted(self) -> frozenset[str]:
        """What the model's forward takes."""
        return frozenset(inspect.signature(self.model.forward).parameters)

    @cached_property
    def _attends(self) -> bool:
        """Whether any layer keeps tokens, not only a state of all before (Mamba)."""
        layers = roomy_cache(self.model.config, 1).layers
        return not layers or any(isinstance(layer, CacheLayerMixin) for layer in layers)

    def _forward(self, ids: Tensor, mask: Tensor | None, positions: Tensor | None, cache: Any) -> Tensor:
        """Logits `[rows, vocabulary]` of the token after the last."""
        if mask is not None and not self._attends and mask.shape[1] > ids.shape[1]:
            mask = None  # such a family takes a mask to be of the new tokens, none of which is padding
        # transformers 5.24 calls `cache` what it called `past_key_values` before.
        holder = "cache" if "cache" in self._accepted else "past_key_values"
        optional = {"position_ids": positions, "logits_to_keep": 1}
        taken = {name: value for name, value in optional.items() if name in self._accepted and value is not None}
        output = self.model(input_ids=ids, attention_mask=mask, use_cache=True, **taken, **{holder: cache})
        logits: Tensor = output.logits[:, -1]
        return logits


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


def _left_padded(
    endings: Sequence[Sequence[int]], begun: int, steps: int, device: torch.device
) -> tuple[Tensor, Tensor]:
    """Ids `[rows, longest]` of what prompts do not share, and the mask `[rows, begun + longest + steps]` of it all."""
    longest = max(map(len, endings))
    ids = torch.zeros(len(endings), longest, dtype=torch.int64)
    mask = torch.ones(len(endings), begun + longest + steps, dtype=torch.int64)
    for row, ending in enumerate(endings):
        padding = longest - len(ending)
        ids[row, padding:] = torch.tensor(ending)
        mask[row, begun : begun + padding] = 0
    return ids.to(device), mask.to(device)
