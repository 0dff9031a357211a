"""What a reward model says of replies: its score at the reply's last token, as it was trained."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from aftertrain.core.errors import DataError
from aftertrain.core.operator import Dropped, Operator, Row
from aftertrain.core.records import Conversation, Feedback, Message, PreferencePair
from aftertrain.core.settings import Builder
from aftertrain.plugins.quality.model_settings import RewardModelSettings
from aftertrain.plugins.quality.scoring import Scoring, chunks, unusable


class RewardModel(Operator[RewardModelSettings]):
    """Facts: `score`; of a pair `chosen`, `rejected`, and `margin`, the first less the second. `problem` says why there
    is none, and then the others are null: a row that is too long is not scored, since its end is what is scored."""

    Config = RewardModelSettings
    takes = frozenset({"Conversation", "PreferencePair", "Feedback"})

    def __init__(self, settings: RewardModelSettings, builder: Builder) -> None:
        super().__init__(settings, builder)
        self._scoring = Scoring(settings, builder, "scalar", chat=True)

    def fingerprint(self) -> str:
        """Of the model's files."""
        return self._scoring.digest()

    def check(self) -> None:
        """Find the model."""
        self._scoring.check()

    def apply(self, rows: Iterable[Row], seed: int) -> Iterator[Row | Dropped]:
        """Each row, with what the model says of it."""
        for some in chunks(iter(rows)):
            segments, problems = [], dict[int, str]()
            for place, row in enumerate(some):
                try:
                    segments += [self._segment(turns, row, f"{place}/{name}") for name, turns in _talks(row)]
                except DataError as error:
                    problems[place] = unusable(row.id, error)
            scores = self._scoring.values(segments)
            for place, row in enumerate(some):
                names = [name for name, _ in _talks(row)]
                found = {name: None if place in problems else round(scores[f"{place}/{name}"], 6) for name in names}
                yield row.with_facts(_facts(found, problems.get(place)))

    def _segment(self, turns: Sequence[Message], row: Row, name: str) -> Any:
        from aftertrain.core.packed.packing import Segment
        from aftertrain.core.text.tokens import tokenise

        ids = tokenise(self._scoring.tokenizer, turns, learn="last", sample_id=row.id).token_ids
        if len(ids) > self._scoring.most:
            raise DataError(f"its {len(ids):,} tokens are more than the {self._scoring.most:,} that are read")
        return Segment(name, ids, [False] * len(ids))


def _talks(row: Row) -> Iterator[tuple[str, Sequence[Message]]]:
    match record := row.record:
        case Conversation():
            yield "score", record.messages
        case Feedback():
            yield "score", (*record.prompt, *record.reply)
        case PreferencePair():
            yield "chosen", (*record.prompt, *record.chosen)
            yield "rejected", (*record.prompt, *record.rejected)


def _facts(found: Mapping[str, float | None], problem: str | None) -> Mapping[str, Any]:
    chosen, rejected = found.get("chosen"), found.get("rejected")
    margin: dict[str, float | None] = {}
    if "chosen" in found:
        margin["margin"] = None if chosen is None or rejected is None else round(chosen - rejected, 6)
    return {**found, **margin, "problem": problem}
