"""A model that scores rows: loaded once in each process, run on one row after the other."""

from __future__ import annotations

import math
from collections.abc import Iterator
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
"""Rows whose cases are handed to a verifier together."""


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

    def logprob(self, segment: Segment) -> float:
        """The sum of the targets' log-probabilities, in nats. Each row is a batch of its own: sums in floating point
        would else depend on the rows beside it.

        Raises:
            NumericsError: it is not finite.
        """
        from aftertrain.core.packed.packing import collate

        batch = collate([segment])
        logprobs = self._engine.score(batch, ("logprobs",), grad=False).logprobs
        assert logprobs is not None
        masked = logprobs.detach().double().cpu() * batch.loss_mask.cpu()
        return self._finite(float(masked.sum()), segment)

    def value(self, segment: Segment) -> float:
        """The value at the last token.

        Raises:
            NumericsError: it is not finite.
        """
        from aftertrain.core.packed.packing import collate

        batch = collate([segment])
        values = self._engine.score(batch, ("values",), grad=False).values
        assert values is not None
        return self._finite(float(values[-1]), segment)

    def _finite(self, score: float, segment: Segment) -> float:
        if not math.isfinite(score):
            raise NumericsError(f"row {segment.sample_id!r}: the score of {self.settings.model} is not finite")
        return score


def chunks(rows: Iterator[T]) -> Iterator[list[T]]:
    """Rows in parcels of `AT_ONCE`."""
    while some := list(islice(rows, AT_ONCE)):
        yield some


def unusable(row_id: str, error: DataError) -> str:
    """In words, why the model cannot read a row.

    >>> unusable("a", DataError("sample 'a': the text is empty"))
    'the text is empty'
    """
    return str(error).removeprefix(f"sample {row_id!r}: ")[:200]
