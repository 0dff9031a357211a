"""How likely a model finds a row: nats a token, as the loss of SFT counts them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import Any

from aftertrain.core.errors import DataError
from aftertrain.core.operator import Dropped, Operator, Row
from aftertrain.core.records import Conversation, Document, Feedback, PreferencePair
from aftertrain.core.settings import Builder
from aftertrain.plugins.quality.model_settings import PerplexitySettings
from aftertrain.plugins.quality.scoring import Scoring, chunks, unusable


class Perplexity(Operator[PerplexitySettings]):
    """Facts: `nats`, the mean of −log p over the tokens that are scored; `perplexity`, its exponential; `tokens`, how
    many; `cut`, whether the row was longer than what is read; `problem`, where there is nothing to score, and then the
    others are null."""

    Config = PerplexitySettings
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

    def apply(self, rows: Iterable[Row], seed: int) -> Iterator[Row | Dropped]:
        """Each row, with what the model says of it."""
        for some in chunks(iter(rows)):
            segments, facts = [], dict[int, dict[str, Any]]()
            for place, row in enumerate(some):
                try:
                    segment, cut = self._segment(row, str(place))
                except DataError as error:
                    facts[place] = _nothing(unusable(row.id, error))
                    continue
                targets = sum(segment.loss_mask[1:])
                if targets:
                    segments.append(segment)
                    facts[place] = {"tokens": targets, "cut": cut}
                else:
                    facts[place] = _nothing("no target is left once it is cut")
            for name, total in self._scoring.logprobs(segments).items():
                nats = -total / facts[int(name)]["tokens"]
                facts[int(name)] |= {
                    "nats": round(nats, 6),
                    "perplexity": round(math.exp(nats), 4) if nats < 700 else None,
                    "problem": None,
                }
            yield from (row.with_facts(facts[place]) for place, row in enumerate(some))

    def _segment(self, row: Row, name: str) -> tuple[Any, bool]:
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
        return Segment(name, ids[:most], mask[:most]), len(ids) > most


def _nothing(problem: str) -> dict[str, Any]:
    return {"nats": None, "perplexity": None, "tokens": 0, "cut": False, "problem": problem}
