"""Records to packable atoms: tokenised, checked for length, counted."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from aftertrain.core.batch import CHOSEN, PROBE, REJECTED, SINGLE
from aftertrain.core.errors import DataError
from aftertrain.core.loss import Needs
from aftertrain.core.packing import Atom, Segment
from aftertrain.core.records import Conversation, Feedback, Message, PreferencePair
from aftertrain.core.tokens import tokenise
from aftertrain.plugins.training.probes import with_probes
from aftertrain.plugins.training.settings import Batch

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

DEFAULT_MICRO_TOKENS = 8192


@dataclass(frozen=True)
class Samples:
    """What there is to train on.

    Attributes:
        atoms: one per row kept: a conversation's or a reply's segment, or a pair's two; a pair that a loss of single
            replies learns from makes two atoms. Probes come last in theirs.
        dropped: ids of rows left out, by reason.
        truncated: ids of rows that were cut.
    """

    atoms: list[Atom]
    dropped: dict[str, list[str]] = field(default_factory=dict)
    truncated: list[str] = field(default_factory=list)

    @property
    def n_tokens(self) -> int:
        """Tokens of one pass, prompts and probes included."""
        return sum(len(segment.token_ids) for atom in self.atoms for segment in atom)

    @property
    def n_targets(self) -> int:
        """Target tokens of one pass."""
        return sum(sum(segment.loss_mask[1:]) for atom in self.atoms for segment in atom if segment.role != PROBE)

    def micro_tokens(self, batch: Batch) -> int:
        """The packing budget.

        Raises:
            DataError: an atom does not fit the budget that was asked for.
        """
        largest = max(self.atoms, key=_size)
        if batch.micro_tokens is None:
            return max(DEFAULT_MICRO_TOKENS, _size(largest))
        if _size(largest) > batch.micro_tokens:
            raise DataError(
                f"sample {largest[0].sample_id!r} needs {_size(largest)} tokens in one micro-batch; raise "
                f"batch.micro_tokens ({batch.micro_tokens}) or lower batch.max_tokens"
            )
        return batch.micro_tokens


def prepare(
    tokenizer: PreTrainedTokenizerBase, records: Iterable[Any], batch: Batch, needs: Needs | None = None
) -> Samples:
    """Tokenise all records.

    Args:
        needs: of the loss. Pairs make atoms of two only where its atom is a pair, as it is for None.

    Raises:
        DataError: a record cannot be tokenised, is too long where that is an error, lacks a margin, or none is left.
    """
    atoms: list[Atom] = []
    samples = Samples(atoms)
    n_rows = 0
    needs = needs or Needs(records=frozenset(), atom="pair")
    for n_rows, record in enumerate(records, 1):
        fitting = (_fit(atom, batch, samples) for atom in _atoms(tokenizer, record, n_rows - 1, needs))
        atoms.extend(atom for atom in fitting if atom is not None)
    if not atoms:
        why = "; ".join(f"{reason}: {len(ids)}" for reason, ids in samples.dropped.items())
        raise DataError(f"no row is left to train on of {n_rows} ({why}); batch.max_tokens is {batch.max_tokens}")
    if needs.probes is not None:
        atoms[:] = with_probes(atoms, batch.max_tokens)
    return samples


def _fit(atom: Atom, batch: Batch, samples: Samples) -> Atom | None:
    """The atom, cut if need be, or None where it is left out; what happened is noted in `samples`."""
    name, longest = atom[0].sample_id, max(len(segment.token_ids) for segment in atom)
    if longest <= batch.max_tokens:
        return atom
    if batch.overlong == "error":
        raise DataError(
            f"sample {name!r} has {longest} tokens, batch.max_tokens is {batch.max_tokens}; raise it, or "
            "set batch.overlong to drop or truncate"
        )
    if batch.overlong == "drop":
        samples.dropped.setdefault("overlong", []).append(name)
        return None
    cut = [_cut(segment, batch.max_tokens) for segment in atom]
    if not all(any(segment.loss_mask[1:]) for segment in cut):
        samples.dropped.setdefault("no_target_left", []).append(name)
        return None
    samples.truncated.append(name)
    return cut


def _atoms(
    tokenizer: PreTrainedTokenizerBase, record: Conversation | Feedback | PreferencePair, number: int, needs: Needs
) -> list[Atom]:
    if isinstance(record, Conversation):
        return [[_segment(tokenizer, record, record.messages, 0, group=number)]]
    shared = len(record.prompt)
    if isinstance(record, Feedback):
        turns = (*record.prompt, *record.reply)
        return [[_segment(tokenizer, record, turns, shared, group=number, label=float(record.desirable))]]
    margin = record.margin
    if needs.margins and (margin is None or not math.isfinite(margin)):
        raise DataError(
            f"pair {record.id!r} of {record.source} has margin {margin}; the loss wants the difference of two ratings: "
            "give the rows a margin, or score_chosen and score_rejected, or set margin: false"
        )
    chosen, rejected = (
        _segment(
            tokenizer,
            record,
            (*record.prompt, *reply),
            shared,
            group=number,
            role=role if needs.atom == "pair" else SINGLE,
            label=float(role == CHOSEN),
            margin=margin or 0.0,
        )
        for role, reply in ((CHOSEN, record.chosen), (REJECTED, record.rejected))
    )
    return [[chosen, rejected]] if needs.atom == "pair" else [[chosen], [rejected]]


def _segment(
    tokenizer: PreTrainedTokenizerBase,
    record: Conversation | Feedback | PreferencePair,
    messages: Sequence[Message],
    learn_from: int,
    **facts: Any,
) -> Segment:
    tokens = tokenise(tokenizer, messages, learn_from=learn_from, sample_id=record.id)
    return Segment(record.id, tokens.token_ids, tokens.loss_mask, record.source, **facts)


def _cut(segment: Segment, length: int) -> Segment:
    return replace(segment, token_ids=segment.token_ids[:length], loss_mask=segment.loss_mask[:length])


def _size(atom: Atom) -> int:
    return sum(len(segment.token_ids) for segment in atom)
