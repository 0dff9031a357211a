"""The in-process generator: any causal model of transformers, on CPU or one GPU.

Requests wait in a queue sorted by prompt length; `collect` lets them enter as others end, and returns what has ended.
Everything runs in the caller's thread.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
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
from aftertrain.plugins.generation.fitting import network_of
from aftertrain.plugins.generation.replies import Reply
from aftertrain.plugins.generation.settings import TransformersSettings
from aftertrain.plugins.generation.weights import Weights

if TYPE_CHECKING:
    from torch import Tensor


class Transformers(Generator[TransformersSettings]):
    """Continuous batching with a KV cache and one random stream per request."""

    Config = TransformersSettings

    def __init__(self, settings: TransformersSettings, builder: Builder) -> None:
        super().__init__(settings, builder)
        self._decoder: Decoder | None = None
        self._weights: Weights | None = None
        self._version = self._vocabulary = 0
        self._queue: list[GenerationRequest] = []
        self._lent: dict[str, Tensor] = {}

    def borrow(self, weights: Mapping[str, Tensor]) -> None:
        """Read these from `open` on, where they are on the generator's device; else it loads a copy as ever."""
        self._lent = dict(weights)

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
        network.requires_grad_(False).to(device).eval()
        stop_ids = stop_token_ids(network, tokenizer)
        if not stop_ids:
            raise ModelError(f"{model}: neither tokenizer nor generation_config.json names an end-of-sequence token")
        context = getattr(network.config, "max_position_embeddings", None)
        self._vocabulary = network.get_input_embeddings().num_embeddings
        self._weights = Weights(network, device, network.dtype, self._lent if self._is_near(device) else None)
        self._lent = {}
        self._weights.prepare()
        self._decoder = Decoder(network_of(network), tokenizer, stop_ids, context, device)
        self._weights.release()
        self._version = version

    def submit(self, requests: Sequence[GenerationRequest]) -> None:
        """Queue requests, longest prompts first. A reply is cut ('length') where the model's context ends.

        Raises:
            ValueError: an id is in flight already, or a prompt is empty.
            ModelError: a prompt fills the model's context or, with its reply, `max_batch_tokens`; or it holds a token
                that the model does not have.
        """
        decoder = self._opened()
        in_flight = {request.id for request in self._queue} | {reply.request.id for reply in decoder.replies}
        for request in requests:
            size = len(request.prompt_ids)
            needed = size + decoder.limit(request)
            if request.id in in_flight or size == 0:
                raise ValueError(f"request {request.id!r} {'has no prompt' if size == 0 else 'is in flight already'}")
            in_flight.add(request.id)
            if (highest := max(request.prompt_ids)) >= self._vocabulary:
                raise ModelError(
                    f"request {request.id!r}: its prompt holds token {highest}, and the model's vocabulary has "
                    f"{self._vocabulary}: the tokenizer is another model's"
                )
            if decoder.context is not None and size >= decoder.context:
                raise ModelError(
                    f"request {request.id!r}: a prompt of {size} tokens fills the context of {decoder.context}"
                )
            if needed > (most := self.settings.max_batch_tokens):
                raise ModelError(
                    f"request {request.id!r} needs {needed} tokens, the generator's max_batch_tokens is {most}"
                )
        self._enqueue(requests)

    def collect(self, timeout: float | None = None) -> list[Completion]:
        """Decode until a reply ends; on a timeout what was begun goes on with the next call."""
        decoder = self._opened()
        deadline = None if timeout is None else time.monotonic() + timeout
        finished: list[Reply] = []
        while not finished and (self._queue or decoder.replies):
            if deadline is not None and time.monotonic() > deadline:
                raise TimeoutError(f"{len(self._queue) + len(decoder.replies)} replies unfinished")
            finished = self._advance(decoder)
        self._rest(decoder)
        return [reply.completion() for reply in finished]

    def _advance(self, decoder: Decoder) -> list[Reply]:
        """Let requests enter, or draw one more token of each reply; returns those that ended."""
        assert self._weights is not None
        self._weights.prepare()
        if self._queue:
            entering = decoder.fits(self._queue, self.settings.batch, self.settings.max_batch_tokens)
            if entering:
                requests, self._queue = self._queue[:entering], self._queue[entering:]
                return decoder.admit(requests, self._version)
        return decoder.step()

    def cancel(self, ids: Iterable[str] | None = None) -> None:
        """Drop requests, begun ones too."""
        dropped = None if ids is None else set(ids)
        decoder = self._opened()
        decoder.drop(dropped)
        self._queue = [request for request in self._queue if dropped is not None and request.id not in dropped]
        self._rest(decoder)

    def update_weights(self, weights: Iterable[tuple[str, Tensor]], version: int) -> None:
        """Copy weights in by name, in any order; a tied head may be given or left out. Borrowed ones are read anew.

        Replies that were begun begin anew: each is made by one version of the weights.

        Raises:
            ModelError: a name is unknown, a shape differs, a weight is missing, or a borrowed one stands elsewhere.
        """
        begun = self._opened().drop()
        assert self._weights is not None
        self._weights.update(weights)
        self._version = version
        self._enqueue(begun)

    def checksums(self) -> Mapping[str, tuple[str, int]] | None:
        """Of its own weights; None where it reads a trainer's."""
        self._opened()
        return None if self._weights is None else self._weights.checksums()

    def close(self) -> None:
        """Let go of the model; requests in the queue are dropped."""
        self._decoder = self._weights = None
        self._queue = []

    def _enqueue(self, requests: Sequence[GenerationRequest]) -> None:
        """Longest prompts first: those of like length, and the samples of one prompt, stand together."""
        self._queue.extend(requests)
        self._queue.sort(key=lambda request: -len(request.prompt_ids))

    def _rest(self, decoder: Decoder) -> None:
        """With nothing to do, hold nothing that can be made anew."""
        if self._weights is not None and not (self._queue or decoder.replies):
            self._weights.release()

    def _is_near(self, device: torch.device) -> bool:
        """Whether what was lent can be read where the generator computes."""
        return all(weight.device == device for weight in self._lent.values())

    def _opened(self) -> Decoder:
        if self._decoder is None:
            raise RuntimeError("open the generator before using it")
        return self._decoder
