"""The in-process generator: any causal model of transformers, on CPU or one GPU.

Requests wait in a queue sorted by prompt length; `collect` decodes one batch of it. Everything runs in the caller's
thread, so that `update_weights` never meets a batch in flight.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from aftertrain.core.errors import ModelError
from aftertrain.core.generator import GenerationRequest, Generator
from aftertrain.core.ground.model_folder import check_weights, read_config
from aftertrain.core.ground.quiet import quiet
from aftertrain.core.records import Completion
from aftertrain.core.settings import Builder
from aftertrain.core.text.stopping import stop_token_ids
from aftertrain.plugins.generation.decoding import Decoder
from aftertrain.plugins.generation.settings import TransformersSettings

if TYPE_CHECKING:
    from torch import Tensor


class Transformers(Generator[TransformersSettings]):
    """Batched decoding with a KV cache and one random stream per request."""

    Config = TransformersSettings

    def __init__(self, settings: TransformersSettings, builder: Builder) -> None:
        super().__init__(settings, builder)
        self._decoder: Decoder | None = None
        self._version = 0
        self._queue: list[GenerationRequest] = []

    def open(self, model: str, version: int = 0) -> None:
        """Load network and tokenizer, and find the ids that end a reply.

        Raises:
            ModelError: the folder has no readable model, tokenizer or end-of-sequence token.
        """
        from safetensors import SafetensorError
        from transformers import AutoModelForCausalLM, AutoTokenizer

        name = self.settings.device
        device = torch.device(("cuda" if torch.cuda.is_available() else "cpu") if name == "auto" else name)
        read_config(model)
        check_weights(Path(model), needed=True)
        try:
            with quiet():
                network: Any = AutoModelForCausalLM.from_pretrained(
                    model, dtype=getattr(torch, self.settings.dtype), use_safetensors=True, trust_remote_code=False
                )
                tokenizer = AutoTokenizer.from_pretrained(model, trust_remote_code=False)
        except (OSError, ValueError, KeyError, SafetensorError) as error:
            raise ModelError(f"{model}: cannot load a causal language model and its tokenizer: {error}") from error
        for parameter in network.parameters():
            # A loaded tensor may lie at any address of a mapped file, and its alignment changes the bits of sums.
            parameter.data = parameter.data.clone()
        network.to(device).eval().requires_grad_(False)
        stop_ids = stop_token_ids(network, tokenizer)
        if not stop_ids:
            raise ModelError(f"{model}: neither tokenizer nor generation_config.json names an end-of-sequence token")
        context = getattr(network.config, "max_position_embeddings", None)
        self._decoder = Decoder(network, tokenizer, stop_ids, context, device)
        self._version = version

    def submit(self, requests: Sequence[GenerationRequest]) -> None:
        """Queue requests, longest prompts first. A reply is cut ('length') where the model's context ends.

        Raises:
            ValueError: an id is in flight already, or a prompt is empty.
            ModelError: a prompt fills the model's context or, with its reply, `max_batch_tokens`.
        """
        decoder = self._opened()
        in_flight = {request.id for request in self._queue}
        for request in requests:
            size = len(request.prompt_ids)
            needed = size + decoder.limit(request)
            if request.id in in_flight or size == 0:
                raise ValueError(f"request {request.id!r} {'has no prompt' if size == 0 else 'is in flight already'}")
            in_flight.add(request.id)
            if decoder.context is not None and size >= decoder.context:
                raise ModelError(
                    f"request {request.id!r}: a prompt of {size} tokens fills the context of {decoder.context}"
                )
            if needed > (most := self.settings.max_batch_tokens):
                raise ModelError(
                    f"request {request.id!r} needs {needed} tokens, the generator's max_batch_tokens is {most}"
                )
        self._queue.extend(requests)
        self._queue.sort(key=lambda request: -len(request.prompt_ids))

    def collect(self, timeout: float | None = None) -> list[Completion]:
        """Decode one batch, the longest prompts first; on a timeout its requests stay in the queue."""
        if not self._queue:
            return []
        decoder = self._opened()
        batch = self._queue[: self._rows(decoder)]
        deadline = None if timeout is None else time.monotonic() + timeout
        completions = decoder.decode(batch, self._version, deadline)
        del self._queue[: len(batch)]
        return completions

    def cancel(self, ids: Iterable[str] | None = None) -> None:
        """Drop requests from the queue: a batch that is decoded is done when `collect` returns."""
        dropped = {request.id for request in self._queue} if ids is None else set(ids)
        self._queue = [request for request in self._queue if request.id not in dropped]

    def update_weights(self, weights: Iterable[tuple[str, Tensor]], version: int) -> None:
        """Copy weights in by name, in any order; a tied head may be given or left out.

        Raises:
            ModelError: a name is unknown, a shape differs, or a weight is missing.
        """
        own: dict[str, Tensor] = self._opened().model.state_dict()
        updated: set[int] = set()
        with torch.no_grad():
            for name, weight in weights:
                if name not in own:
                    raise ModelError(f"the generator's model has no weight named {name!r}")
                if own[name].shape != weight.shape:
                    raise ModelError(
                        f"weight {name!r} has shape {tuple(weight.shape)}, the generator's {tuple(own[name].shape)}"
                    )
                own[name].copy_(weight)
                updated.add(own[name].data_ptr())
        missing = [name for name, weight in own.items() if weight.data_ptr() not in updated]
        if missing:
            raise ModelError(f"weights are missing from the update: {', '.join(missing[:8])} ({len(missing)} in all)")
        self._version = version

    def close(self) -> None:
        """Let go of the model; requests in the queue are dropped."""
        self._decoder = None
        self._queue = []

    def _opened(self) -> Decoder:
        if self._decoder is None:
            raise RuntimeError("open the generator before using it")
        return self._decoder

    def _rows(self, decoder: Decoder) -> int:
        """How many of the queue's first requests fit one batch."""
        longest, reply = len(self._queue[0].prompt_ids), 0
        for rows, request in enumerate(self._queue[: self.settings.batch]):
            reply = max(reply, decoder.limit(request))
            if (rows + 1) * (longest + reply) > self.settings.max_batch_tokens:
                return max(1, rows)
        return min(self.settings.batch, len(self._queue))
