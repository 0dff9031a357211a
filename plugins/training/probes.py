"""Mismatched samples: each prompt with the reply of another row, for losses that estimate a KL from them (KTO)."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace

from aftertrain.core.batch import PROBE
from aftertrain.core.errors import DataError
from aftertrain.core.packing import Atom, Segment


def with_probes(atoms: Sequence[Atom], max_tokens: int) -> list[Atom]:
    """Each atom followed by its segments' probes, cut at `max_tokens`.

    Which reply goes to which prompt is fixed by the number of rows alone, so that a resume and another batch size see
    the same. Every reply is used once, but for rows whose neighbour has the same prompt: they take the next one's.

    Raises:
        DataError: all rows have one prompt.
    """
    segments = [segment for atom in atoms for segment in atom]
    order = list(range(len(segments)))
    random.Random(0).shuffle(order)
    starts = [_reply_start(segment) for segment in segments]
    prompts = [tuple(segment.token_ids[:start]) for segment, start in zip(segments, starts, strict=True)]
    partners = _partners(order, prompts)
    probes = iter(
        _join(segment, starts[i], segments[partners[i]], starts[partners[i]], max_tokens)
        for i, segment in enumerate(segments)
    )
    return [[*atom, *(next(probes) for _ in atom)] for atom in atoms]


def _partners(order: Sequence[int], prompts: Sequence[tuple[int, ...]]) -> dict[int, int]:
    """For each row the next one in the ring `order` that has another prompt."""
    partners: dict[int, int] = {}
    found: int | None = None
    for here, after in reversed(list(zip([*order, *order], [*order[1:], *order, order[0]], strict=True))):
        if prompts[after] != prompts[here]:
            found = after
        if found is not None:
            partners[here] = found
    if found is None:
        raise DataError(
            f"all {len(order)} rows have one prompt, so that none has a reply to another; set kl: none, or add rows"
        )
    return partners


def _reply_start(segment: Segment) -> int:
    """Index of the first target."""
    return next(i for i, target in enumerate(segment.loss_mask) if i > 0 and target)


def _join(segment: Segment, start: int, other: Segment, other_start: int, max_tokens: int) -> Segment:
    tokens = [*segment.token_ids[:start], *other.token_ids[other_start:]]
    mask = [*segment.loss_mask[:start], *other.loss_mask[other_start:]]
    return replace(
        segment,
        sample_id=f"{segment.sample_id}/probe",
        token_ids=tokens[:max_tokens],
        loss_mask=mask[:max_tokens],
        role=PROBE,
    )
