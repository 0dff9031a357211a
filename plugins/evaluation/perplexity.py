"""How likely a model finds texts: bits per byte, perplexity per word, and nats per token.

Bits per byte compare models of any tokenizer; nats per token only those of one. Words are the parts between white
space, as lm-eval counts them. All are ratios of sums over the texts, so that long texts weigh more.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from functools import cached_property

from aftertrain.core.benchmark.rows import Ids, digest
from aftertrain.core.errors import DataError
from aftertrain.core.eval_task import Instance, InstanceScore, TextScores, TextTask
from aftertrain.core.figures import Figure, ratio
from aftertrain.core.records import Message
from aftertrain.plugins.evaluation.places import rows_of
from aftertrain.plugins.evaluation.settings import PerplexitySettings

_SPACE = re.compile(r"\s+")


class Perplexity(TextTask[PerplexitySettings]):
    """Each text is scored from its first token on, after one start token; a long one in windows of the context."""

    Config = PerplexitySettings

    @property
    def metrics(self) -> tuple[str, ...]:
        """What the ratios are made of."""
        return ("nats", "bits", "bytes", "words", "tokens")

    def figures(self) -> Sequence[Figure]:
        """Bits per byte first."""
        return [
            ratio("bits_per_byte", "bits", "bytes"),
            ratio("word_perplexity", "nats", "words", shown=_exp),
            ratio("nats_per_token", "nats", "tokens"),
        ]

    def instances(self) -> Sequence[Instance]:
        """The texts in the order of the file.

        Raises:
            DataError: a row has no text; names file and line.
        """
        return [Instance(id_, (Message("user", text),), None, chat=False) for id_, text in self._texts]

    def score(self, instance: Instance, scores: TextScores) -> InstanceScore:
        """Sums over one text."""
        text, nats = instance.messages[0].content, -scores.logprob
        sizes = {"bytes": len(text.encode()), "words": len(_SPACE.split(text)), "tokens": scores.n_tokens}
        return InstanceScore({"nats": nats, "bits": nats / math.log(2), **{k: float(v) for k, v in sizes.items()}})

    def notes(self) -> Sequence[str]:
        """Ids that stood several times."""
        self.instances()
        return self._ids.notes()

    def reads(self) -> Sequence[str]:
        """The data set, where one is named."""
        return () if self.settings.hub is None else (self.settings.hub,)

    def fingerprint(self) -> str:
        """The texts."""
        return digest(["perplexity", self._texts])

    @cached_property
    def _ids(self) -> Ids:
        return Ids()

    @cached_property
    def _texts(self) -> list[tuple[str, str]]:
        ids, texts, field = self._ids, [], self.settings.field
        for row in rows_of(self.settings, "perplexity"):
            text = row.text(field)
            if not text:
                raise DataError(f"{row.where}: field {field!r} is empty")
            texts.append((ids.of(row.fields, text), text))
        return texts


def _exp(value: float) -> float:
    """Infinite beyond what a float holds: text without white space is one word, of any number of nats."""
    try:
        return math.exp(value)
    except OverflowError:
        return math.inf
