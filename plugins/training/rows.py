"""Records to tokenised segments, one row at a time; what makes a row unusable."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from aftertrain.core.batch import CHOSEN, REJECTED, SINGLE
from aftertrain.core.loss import Needs
from aftertrain.core.packed.packing import Atom, Segment
from aftertrain.core.records import Conversation, Document, Feedback, Message, PreferencePair
from aftertrain.core.text.chat import UnusableRow
from aftertrain.core.text.tokens import Learn, learnt_turns, tokenise, tokenise_text

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from aftertrain.plugins.training.settings import Batch

TrainingRecord = Conversation | Document | Feedback | PreferencePair


@dataclass(frozen=True, slots=True)
class Rules:
    """All that decides a row's tokens beside the row and the tokenizer.

    Attributes:
        pairs: a preference pair is one atom of two segments; otherwise its replies are two atoms.
        margins: a pair without a finite margin is unusable.
        learn: which of a conversation's replies are targets.
        split: longest piece of a text, in tokens; None leaves texts whole.
    """

    pairs: bool = True
    margins: bool = False
    learn: Learn = "all"
    split: int | None = None

    @classmethod
    def of(cls, needs: Needs | None, batch: Batch) -> Rules:
        """Those of a loss under the user's settings."""
        split = batch.max_tokens if batch.overlong == "split" else None
        if needs is None:
            return cls(learn=batch.learn, split=split)
        return cls(needs.atom == "pair", needs.margins, batch.learn, split)


def atoms_of(tokenizer: PreTrainedTokenizerBase, record: TrainingRecord, number: int, rules: Rules) -> list[Atom]:
    """The atoms of one record: one, two where a pair's replies are learnt singly, or one for each reply to learn.

    Args:
        number: the record's place in the data set, which its segments carry as their group.

    Raises:
        UnusableRow: nothing can be learnt from it, or it cannot be rendered as a prompt and its reply.
    """
    if isinstance(record, Document):
        return _pieces(tokenizer, record, number, rules.split)
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
            f"the pair has margin {record.margin}; the loss wants the difference of two ratings: "
            "give the rows a margin, or score_chosen and score_rejected, or set margin: false",
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


def _pieces(tokenizer: PreTrainedTokenizerBase, record: Document, number: int, longest: int | None) -> list[Atom]:
    """A text whole, or in pieces, each from the last token of the one before on: every token is a target once."""
    ids = tokenise_text(tokenizer, record.text, sample_id=record.id).token_ids
    size = longest or len(ids)
    pieces = (ids[start : start + size] for start in range(0, len(ids) - 1, max(1, size - 1)))
    return [
        [Segment(record.id, piece, (False, *[True] * (len(piece) - 1)), record.source, group=number)]
        for piece in pieces
    ]


def _check_replies(record: TrainingRecord, messages: Sequence[Message], learn_from: int, learn: Learn) -> None:
    """An empty reply teaches nothing but to stop at once. As a rejected or undesirable one, it teaches not to."""
    for number in learnt_turns(messages, learn_from, learn):
        if messages[number].empty:
            raise UnusableRow("empty_reply", f"sample {record.id!r}: turn {number} is to be learnt and is empty")


def _segment(
    tokenizer: PreTrainedTokenizerBase,
    record: Conversation | Feedback | PreferencePair,
    messages: Sequence[Message],
    learn_from: int,
    learn: Learn,
    **facts: Any,
) -> Segment:
    tokens = tokenise(tokenizer, messages, learn_from=learn_from, learn=learn, tools=record.tools, sample_id=record.id)
    return Segment(record.id, tokens.token_ids, tokens.loss_mask, record.source, **facts)
