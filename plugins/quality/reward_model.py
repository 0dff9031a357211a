"""What a reward model says of replies: its score at the reply's last token, as it was trained."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from aftertrain.core.errors import DataError
from aftertrain.core.operator import Row, Scorer
from aftertrain.core.records import Conversation, Feedback, Message, PreferencePair, Record
from aftertrain.core.settings import Builder
from aftertrain.plugins.quality.model_settings import RewardModelSettings
from aftertrain.plugins.quality.scoring import Scoring, unusable


class RewardModel(Scorer[RewardModelSettings]):
    """Facts: `score`; of a pair `chosen`, `rejected`, and `margin`, the first less the second. `problem` says why there
    is none, and then the others are null: a row that is too long is not scored, since its end is what is scored."""

    Config = RewardModelSettings
    takes = frozenset({"Conversation", "PreferencePair", "Feedback"})

    def __init__(self, settings: RewardModelSettings, builder: Builder) -> None:
        super().__init__(settings, builder)
        self._scoring = Scoring(settings, builder, "scalar", chat=True)

    def writes(self, taken: type[Record]) -> Collection[str]:
        """Of a pair both replies' scores."""
        return (*(("chosen", "rejected", "margin") if taken is PreferencePair else ("score",)), "problem")

    def fingerprint(self) -> str:
        """Of the model's files."""
        return self._scoring.digest()

    def check(self) -> None:
        """Find the model."""
        self._scoring.check()

    def facts(self, row: Row) -> Mapping[str, Any]:
        """What the model says of one row."""
        talks = list(_talks(row))
        try:
            found = {name: round(self._scoring.value(self._segment(turns, row)), 4) for name, turns in talks}
        except DataError as error:
            nothing = {name: None for name, _ in talks} | ({"margin": None} if len(talks) > 1 else {})
            return {**nothing, "problem": unusable(row.id, error)}
        margin = {"margin": round(found["chosen"] - found["rejected"], 4)} if len(talks) > 1 else {}
        return {**found, **margin, "problem": None}

    def _segment(self, turns: Sequence[Message], row: Row) -> Any:
        from aftertrain.core.packed.packing import Segment
        from aftertrain.core.text.tokens import tokenise

        ids = tokenise(
            self._scoring.tokenizer, turns, learn="last", tools=getattr(row.record, "tools", ()), sample_id=row.id
        ).token_ids
        if len(ids) > self._scoring.most:
            raise DataError(f"its {len(ids):,} tokens are more than the {self._scoring.most:,} that are read")
        return Segment(row.id, ids, [False] * len(ids))


def _talks(row: Row) -> Iterator[tuple[str, Sequence[Message]]]:
    match record := row.record:
        case Conversation():
            yield "score", record.messages
        case Feedback():
            yield "score", (*record.prompt, *record.reply)
        case PreferencePair():
            yield "chosen", (*record.prompt, *record.chosen)
            yield "rejected", (*record.prompt, *record.rejected)
