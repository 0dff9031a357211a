"""A model that scores rows: loaded once in each process, run over packed batches."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from aftertrain.core.engine import Engine, Head
from aftertrain.core.errors import DataError, NumericsError
from aftertrain.core.ground.model_folder import context_window
from aftertrain.core.run.base_model import find_model, model_digest
from aftertrain.core.settings import Builder
from aftertrain.core.text.chat import load_tokenizer
from aftertrain.plugins.quality.model_settings import ScoringSettings

if TYPE_CHECKING:
    from aftertrain.core.packed.packing import Segment

T = TypeVar("T")
AT_ONCE = 64
"""Rows whose batches are packed together."""


class Scoring:
    """The model that settings name.

    Args:
        head: `scalar` for a reward model.
    """

    def __init__(self, settings: ScoringSettings, builder: Builder, head: Head, *, chat: bool) -> None:
        self.settings, self._builder, self._head, self._chat = settings, builder, head, chat

    def check(self) -> None:
        """Find the model, and whether it can be run here.

        Raises:
            ModelError: there is none, or its tokenizer cannot be read.
        """
        self._builder.build(self.settings.engine).preflight(str(self._folder), head=self._head)
        _ = self.tokenizer

    def digest(self) -> str:
        """SHA-256 of the model's files."""
        return model_digest(self._folder)

    @cached_property
    def tokenizer(self) -> Any:
        """With its chat template, or the one that settings name."""
        return load_tokenizer(str(self._folder), self.settings.chat_template, needs_template=self._chat)

    @cached_property
    def most(self) -> int:
        """Tokens of a row that are read."""
        return min(self.settings.max_tokens, context_window(self._folder) or self.settings.max_tokens)

    @cached_property
    def _folder(self) -> Path:
        return find_model(self.settings.model, Path.cwd())

    @cached_property
    def _engine(self) -> Engine[Any]:
        engine = self._builder.build(self.settings.engine)
        engine.load(str(self._folder), head=self._head, seed=0)
        return engine

    def logprobs(self, segments: Sequence[Segment]) -> Mapping[str, float]:
        """By sample id, the sum of the targets' log-probabilities, in nats.

        Raises:
            NumericsError: one is not finite.
        """
        import torch

        found: dict[str, float] = {}
        for batch in self._packed(segments):
            logprobs = self._engine.score(batch, ("logprobs",), grad=False).logprobs
            assert logprobs is not None
            masked = logprobs.detach().double().cpu() * batch.loss_mask.cpu()
            sums = [float(part.sum()) for part in torch.split(masked, list(batch.lengths))]
            found |= dict(zip(batch.sample_ids, sums, strict=True))
        return _finite(found)

    def values(self, segments: Sequence[Segment]) -> Mapping[str, float]:
        """By sample id, the value at the last token.

        Raises:
            NumericsError: one is not finite.
        """
        found: dict[str, float] = {}
        for batch in self._packed(segments):
            values = self._engine.score(batch, ("values",), grad=False).values
            assert values is not None
            at_end = values.detach().double().cpu()[batch.last_token()]
            found |= dict(zip(batch.sample_ids, at_end.tolist(), strict=True))
        return _finite(found)

    def _packed(self, segments: Sequence[Segment]) -> Iterator[Any]:
        from aftertrain.core.packed.packing import pack

        if segments:
            budget = max(self.settings.batch_tokens, *(len(segment.token_ids) for segment in segments))
            yield from pack([[segment] for segment in segments], budget)


def chunks(rows: Iterator[T]) -> Iterator[list[T]]:
    """Rows in parcels of `AT_ONCE`."""
    while some := list(islice(rows, AT_ONCE)):
        yield some


def _finite(found: Mapping[str, float]) -> Mapping[str, float]:
    bad = [name for name, value in found.items() if not math.isfinite(value)]
    if bad:
        raise NumericsError(f"the model's scores are not finite; rows: {', '.join(bad[:8])}")
    return found


def unusable(row_id: str, error: DataError) -> str:
    """In words, why the model cannot read a row.

    >>> unusable("a", DataError("sample 'a': the text is empty"))
    'the text is empty'
    """
    return str(error).removeprefix(f"sample {row_id!r}: ")[:200]
