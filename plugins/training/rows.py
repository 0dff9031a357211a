"""Records to tokenised segments, one row at a time; what makes a row unusable."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from aftertrain.core.batch import CHOSEN, REJECTED, SINGLE
from aftertrain.core.chat import UnusableRow
from aftertrain.core.loss import Needs
from aftertrain.core.packing import Atom, Segment
from aftertrain.core.records import Conversation, Feedback, Message, PreferencePair
from aftertrain.core.tokens import Learn, learnt_turns, tokenise

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

TrainingRecord = Conversation | Feedback | PreferencePair


@dataclass(frozen=True, slots=True)
class Rules:
    """All that decides a row's tokens beside the row and the tokenizer.

    Attributes:
        pairs: a preference pair is one atom of two segments; otherwise its replies are two atoms.
        margins: a pair without a finite margin is unusable.
        learn: which of a conversation's replies are targets.
    """

    pairs: bool = True
    margins: bool = False
    learn: Learn = "all"

    @classmethod
    def of(cls, needs: Needs | None, learn: Learn = "all") -> Rules:
        """Those of a loss."""
        return cls(learn=learn) if needs is None else cls(needs.atom == "pair", needs.margins, learn)


def atoms_of(tokenizer: PreTrainedTokenizerBase, record: TrainingRecord, number: int, rules: Rules) -> list[Atom]:
    """The atoms of one record: one, two where a pair's replies are learnt singly, or one for each reply to learn.

    Args:
        number: the record's place in the data set, which its segments carry as their group.

    Raises:
        UnusableRow: nothing can be learnt from it, or it cannot be rendered as a prompt and its reply.
    """
    if isinstance(record, Conversation):
        _check_replies(record, record.messages, 0, rules.learn)
        if rules.learn == "each":
            ends = learnt_turns(record.messages, 0, "each") or [len(record.messages) - 1]
            talks = [record.messages[: end + 1] for end in ends]
            return [[_segment(tokenizer, record, talk, 0, "last", group=number)] for talk in talks]
        return [[_segment(tokenizer, record, record.messages, 0, rules.learn, group=number)]]
    shared = len(record.prompt)
    if isinstance(record, Feedback):
        turns, label = (*record.prompt, *record.reply), float(record.desirable)
        if record.desirable:
            _check_replies(record, turns, shared, rules.learn)
        return [[_segment(tokenizer, record, turns, shared, rules.learn, group=number, label=label)]]
    if rules.margins and (record.margin is None or not math.isfinite(record.margin)):
        raise UnusableRow(
            "no_margin",
            f"pair {record.id!r} of {record.source} has margin {record.margin}; the loss wants the difference of two "
            "ratings: give the rows a margin, or score_chosen and score_rejected, or set margin: false",
        )
    _check_replies(record, (*record.prompt, *record.chosen), shared, rules.learn)
    chosen, rejected = (
        _segment(
            tokenizer,
            record,
            (*record.prompt, *reply),
            shared,
            rules.learn,
            group=number,
            role=role if rules.pairs else SINGLE,
            label=float(role == CHOSEN),
            margin=record.margin or 0.0,
        )
        for role, reply in ((CHOSEN, record.chosen), (REJECTED, record.rejected))
    )
    if chosen.token_ids == rejected.token_ids:
        raise UnusableRow("chosen_equals_rejected", f"pair {record.id!r}: chosen and rejected are the same tokens")
    return [[chosen, rejected]] if rules.pairs else [[chosen], [rejected]]


def _check_replies(record: TrainingRecord, messages: Sequence[Message], learn_from: int, learn: Learn) -> None:
    """An empty reply teaches nothing but to stop at once. As a rejected or undesirable one, it teaches not to."""
    for number in learnt_turns(messages, learn_from, learn):
        if messages[number].empty:
            raise UnusableRow("empty_reply", f"sample {record.id!r}: turn {number} is to be learnt and is empty")


def _segment(
    tokenizer: PreTrainedTokenizerBase,
    record: TrainingRecord,
    messages: Sequence[Message],
    learn_from: int,
    learn: Learn,
    **facts: Any,
) -> Segment:
    tokens = tokenise(tokenizer, messages, learn_from=learn_from, learn=learn, tools=record.tools, sample_id=record.id)
    return Segment(record.id, tokens.token_ids, tokens.loss_mask, record.source, **facts)
