"""A generator without a model that repeats its prompt's last line: for trying templates and parse rules, and for tests.

In a recipe it is named by its file, `generator: {use: ./echo.py:Echo}`. It loads the model folder's tokenizer only.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from aftertrain.core.generator import GenerationRequest, Generator
from aftertrain.core.records import Completion
from aftertrain.core.settings import Builder, Settings

if TYPE_CHECKING:
    from torch import Tensor


class Echo(Generator[Settings]):
    """Says again what its prompt says last."""

    def __init__(self, settings: Settings, builder: Builder) -> None:
        super().__init__(settings, builder)
        self._tokenizer: Any = None
        self._version = 0
        self._queue: list[GenerationRequest] = []

    def open(self, model: str, version: int = 0) -> None:
        """Load the tokenizer."""
        from transformers import AutoTokenizer

        self._tokenizer, self._version = AutoTokenizer.from_pretrained(model, trust_remote_code=False), version

    def submit(self, requests: Sequence[GenerationRequest]) -> None:
        """Queue requests."""
        self._queue += requests

    def collect(self, timeout: float | None = None) -> list[Completion]:
        """All of them."""
        completions, self._queue = [self._completion(request) for request in self._queue], []
        return completions

    def cancel(self, ids: Iterable[str] | None = None) -> None:
        """Drop requests from the queue."""
        dropped = {request.id for request in self._queue} if ids is None else set(ids)
        self._queue = [request for request in self._queue if request.id not in dropped]

    def update_weights(self, weights: Iterable[tuple[str, Tensor]], version: int) -> None:
        """It has none."""
        self._version = version

    def _completion(self, request: GenerationRequest) -> Completion:
        text = self._tokenizer.decode(list(request.prompt_ids), clean_up_tokenization_spaces=False).rpartition("\n")[2]
        ids = self._tokenizer(text, add_special_tokens=False)["input_ids"][: request.sampling.max_new_tokens]
        n = len(ids)
        return Completion(request.id, request.prompt_ids, tuple(ids), (0.0,) * n, (self._version,) * n, "stop", text)
