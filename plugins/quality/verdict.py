"""A verifier's verdict on the replies that rows hold, as a fact: a rule that they keep, or a judge's rating."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any

from aftertrain.core.errors import DataError
from aftertrain.core.operator import Dropped, Operator, Row
from aftertrain.core.records import Conversation, Feedback, Message, PreferencePair, Record, VerificationCase
from aftertrain.core.records import Verdict as Judgement
from aftertrain.core.settings import components
from aftertrain.core.verification import isolate, shared_pool
from aftertrain.core.verifier import Verifier, verdicts_of
from aftertrain.plugins.quality.facts import fact
from aftertrain.plugins.quality.model_settings import VerdictSettings
from aftertrain.plugins.quality.scoring import chunks


class Verdict(Operator[VerdictSettings]):
    """Facts: `value` in [0, 1], null where the verifier does not say; `outcome`, scored, unparsable, timeout, error or
    abstained; `detail`. Judged is the last turn of the assistant; of a pair both replies are, as `chosen` and
    `rejected`, with `agrees`: whether the chosen one has the higher value (½ for equal ones)."""

    Config = VerdictSettings
    takes = frozenset({"Conversation", "PreferencePair", "Feedback"})

    def reads(self) -> Sequence[str]:
        """The ground truth, where a fact is one."""
        return () if self.settings.truth_from is None else (self.settings.truth_from,)

    def writes(self, taken: type[Record]) -> Collection[str]:
        """Of a pair both replies' values."""
        values = ("chosen", "rejected", "agrees") if taken is PreferencePair else ("value",)
        return (*values, "outcome", "detail")

    def fingerprint(self) -> str:
        """Of what the verifier has beside its settings, as a judge has a model."""
        return self.builder.build(self.settings.verifier).content()

    def check(self) -> None:
        """The verifier has what it needs.

        Raises:
            AftertrainError: what it lacks. DataError: it compares two replies, of which a row has one.
        """
        for use in components(self.settings.verifier):
            budget = getattr(use.settings, "budget", None)
            if budget is not None and (budget.calls is not None or budget.tokens is not None):
                raise DataError(
                    f"{use.name!r} has a budget, which each process that works on rows would count by itself: take it "
                    "out, and bound the rows by limit; or rate replies in the stage preferences, where one process asks"
                )
        verifier = self.builder.build(self.settings.verifier)
        if verifier.compares:
            raise DataError(
                f"the verifier {self.settings.verifier.name!r} compares two replies, and rows are judged one by one"
            )
        verifier.preflight()

    def apply(self, rows: Iterable[Row], seed: int) -> Iterator[Row | Dropped]:
        """Each row, with the verdict on it."""
        for some in chunks(iter(rows)):
            cases = [case for row in some for case in self._cases(row)]
            verdicts = iter(verdicts_of(self._verifier, cases))
            for row in some:
                yield row.with_facts(_facts(row, [next(verdicts) for _ in _replies(row)]))

    @cached_property
    def _verifier(self) -> Verifier[Any]:
        return isolate(self.builder.build(self.settings.verifier), shared_pool(self.settings.verification))

    def _cases(self, row: Row) -> Iterator[VerificationCase]:
        truth = self.settings.truth if self.settings.truth_from is None else fact(row, self.settings.truth_from)
        for number, (prompt, reply) in enumerate(_replies(row)):
            yield VerificationCase(
                id=f"{row.id}/{number}",
                prompt="\n".join(turn.content for turn in prompt if turn.role == "user"),
                response=reply,
                ground_truth=truth,
                source=row.source,
                turns=tuple(prompt),
            )


def _replies(row: Row) -> list[tuple[Sequence[Message], str]]:
    """Of each reply what is replied to, and its text."""
    match record := row.record:
        case Conversation():
            places = [place for place, turn in enumerate(record.messages) if turn.role == "assistant"]
            if not places:
                return [(record.messages, "")]
            return [(record.messages[: places[-1]], record.messages[places[-1]].content)]
        case Feedback():
            return [(record.prompt, _said(record.reply))]
        case PreferencePair():
            return [(record.prompt, _said(record.chosen)), (record.prompt, _said(record.rejected))]
    return []


def _said(turns: Sequence[Message]) -> str:
    return "\n\n".join(turn.content for turn in turns if turn.role == "assistant")


def _facts(row: Row, verdicts: Sequence[Judgement]) -> Mapping[str, Any]:
    first = verdicts[0]
    if not isinstance(row.record, PreferencePair):
        return {"value": first.value, "outcome": first.outcome, "detail": first.detail[:200]}
    chosen, rejected = (verdict.value for verdict in verdicts)
    agrees = None
    if chosen is not None and rejected is not None:
        agrees = 0.5 if chosen == rejected else float(chosen > rejected)
    return {
        "chosen": chosen,
        "rejected": rejected,
        "agrees": agrees,
        "outcome": next((verdict.outcome for verdict in verdicts if verdict.value is None), "scored"),
        "detail": " / ".join(verdict.detail[:100] for verdict in verdicts),
    }
