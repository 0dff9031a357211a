"""How likely a model finds a row: nats a token, as the loss of SFT counts them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from aftertrain.core.errors import DataError
from aftertrain.core.operator import Row, Scorer
from aftertrain.core.records import Conversation, Document, Feedback, PreferencePair
from aftertrain.core.settings import Builder
from aftertrain.plugins.quality.model_settings import PerplexitySettings
from aftertrain.plugins.quality.scoring import Scoring, unusable


class Perplexity(Scorer[PerplexitySettings]):
    """Facts: `nats`, the mean of −log p over the tokens that are scored; `perplexity`, its exponential; `tokens`, how
    many; `cut`, whether the row was longer than what is read; `problem`, where there is nothing to score, and then the
    others are null."""

    Config = PerplexitySettings
    finds = ("nats", "perplexity", "tokens", "cut", "problem")
    takes = frozenset({"Conversation", "PreferencePair", "Feedback", "Document"})

    def __init__(self, settings: PerplexitySettings, builder: Builder) -> None:
        super().__init__(settings, builder)
        self._scoring = Scoring(settings, builder, "lm", chat=settings.of == "reply")

    def fingerprint(self) -> str:
        """Of the model's files."""
        return self._scoring.digest()

    def check(self) -> None:
        """Find the model."""
        self._scoring.check()

    def facts(self, row: Row) -> Mapping[str, Any]:
        """What the model says of one row."""
        try:
            segment, cut = self._segment(row)
        except DataError as error:
            return _nothing(unusable(row.id, error))
        tokens = sum(segment.loss_mask[1:])
        if not tokens:
            return _nothing("no target is left once it is cut")
        nats = -self._scoring.logprob(segment) / tokens
        return {
            "nats": round(nats, 4),
            "perplexity": round(math.exp(nats), 4) if nats < 700 else None,
            "tokens": tokens,
            "cut": cut,
            "problem": None,
        }

    def _segment(self, row: Row) -> tuple[Any, bool]:
        """What is scored, and whether it was cut.

        Raises:
            DataError: nothing of it can be.
        """
        from aftertrain.core.packed.packing import Segment
        from aftertrain.core.text.tokens import tokenise, tokenise_text

        tokenizer, most = self._scoring.tokenizer, self._scoring.most
        record = row.record
        if self.settings.of == "all" or isinstance(record, Document):
            text = tokenise_text(tokenizer, row.text, sample_id=row.id)
            ids, mask = text.token_ids, text.loss_mask
        else:
            turns = record.messages if isinstance(record, Conversation) else record.prompt
            if isinstance(record, PreferencePair):
                turns = (*turns, *record.chosen)
            if isinstance(record, Feedback):
                turns = (*turns, *record.reply)
            learn_from = 0 if isinstance(record, Conversation) else len(record.prompt)
            talk = tokenise(tokenizer, turns, learn_from=learn_from, tools=record.tools, sample_id=row.id)
            ids, mask = talk.token_ids, talk.loss_mask
        return Segment(row.id, ids[:most], mask[:most]), len(ids) > most


def _nothing(problem: str) -> dict[str, Any]:
    return {"nats": None, "perplexity": None, "tokens": 0, "cut": False, "problem": problem}
