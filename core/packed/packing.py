"""From tokenised samples to `PackedBatch`es: best-fit packing under a token budget that never splits an atom (F14)."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch

from aftertrain.core.batch import SINGLE, PackedBatch
from aftertrain.core.errors import DataError
from aftertrain.core.packed.layout import WORTH_SHARING
from aftertrain.core.packed.tree import common


@dataclass(frozen=True, slots=True)
class Segment:
    """One tokenised sample.

    Attributes:
        loss_mask: true where the token is a target; the first entry is ignored (nothing precedes it).
        columns: further per-token numbers, each as long as `token_ids`.
        group: samples that belong together (a pair, the replies to one prompt) share it.
        label: 1 for a desirable reply, 0 for an undesirable one, where rows say so.
        margin: rating of a pair's chosen reply minus that of its rejected one; 0 where there is none.
        cut: tokens that were cut off its end.
    """

    sample_id: str
    token_ids: Sequence[int]
    loss_mask: Sequence[bool]
    source: str = ""
    role: int = SINGLE
    group: int = 0
    label: float = 0.0
    margin: float = 0.0
    weight: float = 1.0
    columns: Mapping[str, Sequence[float]] = field(default_factory=dict)
    cut: int = 0


Atom = Sequence[Segment]
"""Segments that must share a micro-batch: one sample, a pair, or a group."""


def collate(segments: Sequence[Segment]) -> PackedBatch:
    """Lay segments end to end."""
    lengths = tuple(len(segment.token_ids) for segment in segments)
    counts = torch.tensor(lengths, dtype=torch.int64)
    starts = counts.cumsum(0) - counts
    positions = torch.arange(sum(lengths)) - starts.repeat_interleave(counts)
    mask = torch.tensor([m for segment in segments for m in segment.loss_mask], dtype=torch.bool)
    names = segments[0].columns.keys() if segments else ()
    return PackedBatch(
        token_ids=torch.tensor([t for segment in segments for t in segment.token_ids], dtype=torch.int64),
        position_ids=positions,
        segment_ids=torch.arange(len(segments)).repeat_interleave(counts),
        lengths=lengths,
        masks={"loss_mask": mask & (positions > 0)},
        columns={
            name: torch.tensor([v for segment in segments for v in segment.columns[name]], dtype=torch.float32)
            for name in names
        },
        segments={
            "role": torch.tensor([segment.role for segment in segments], dtype=torch.int64),
            "group": torch.tensor([segment.group for segment in segments], dtype=torch.int64),
            "label": torch.tensor([segment.label for segment in segments], dtype=torch.float32),
            "margin": torch.tensor([segment.margin for segment in segments], dtype=torch.float32),
            "weight": torch.tensor([segment.weight for segment in segments], dtype=torch.float32),
        },
        sample_ids=tuple(segment.sample_id for segment in segments),
        sources=tuple(segment.source for segment in segments),
    )


def group_by_budget(sizes: Sequence[int], budget: int) -> list[list[int]]:
    """Best-fit decreasing: indices of `sizes` grouped so that each group sums to at most `budget`.

    A group's indices are in increasing order and groups are ordered by their first, so that the result is a pure
    function of the sizes.

    Raises:
        ValueError: one size alone is over the budget.
    """
    bins: list[list[int]] = []
    room: list[tuple[int, int]] = []
    for index in sorted(range(len(sizes)), key=lambda i: (-sizes[i], i)):
        size = sizes[index]
        if size > budget:
            raise ValueError(f"item {index} has {size} tokens, the budget is {budget}")
        place = bisect_left(room, (size, -1))
        if place == len(room):
            bins.append([])
            free, target = budget, len(bins) - 1
        else:
            free, target = room.pop(place)
        bins[target].append(index)
        insort(room, (free - size, target))
    return sorted(sorted(group) for group in bins)


def pack(atoms: Sequence[Atom], budget: int, *, shared: bool = False) -> list[PackedBatch]:
    """Micro-batches of at most `budget` tokens that hold whole atoms.

    Args:
        shared: count what the segments of a group begin with once in each micro-batch, for an engine that computes it
            once (`Engine.shares_prefixes`), and keep the atoms of a group together as far as they fit.

    Raises:
        DataError: an atom alone is over the budget; names its sample.
    """
    if shared:
        return _pack_shared(atoms, budget)
    sizes = _sizes(atoms, budget)
    return [
        collate([segment for index in group for segment in atoms[index]]) for group in group_by_budget(sizes, budget)
    ]


def _pack_shared(atoms: Sequence[Atom], budget: int) -> list[PackedBatch]:
    """`pack` by what is computed: a group's beginning once, then what each of its atoms adds.

    A group that is over the budget is split into parts, each with the beginning.
    """
    groups: dict[int, list[int]] = {}
    for index, atom in enumerate(atoms):
        groups.setdefault(atom[0].group, []).append(index)
    parts: list[list[int]] = []
    sizes: list[int] = []
    for members in groups.values():
        n = _beginning([tuple(segment.token_ids) for index in members for segment in atoms[index]])
        added = [sum(len(segment.token_ids) - n for segment in atoms[index]) for index in members]
        _check([atoms[index] for index in members], [n + size for size in added], budget)
        for part in group_by_budget(added, budget - n):
            parts.append([members[place] for place in part])
            sizes.append(n + sum(added[place] for place in part))
    return [
        collate([segment for place in places for index in parts[place] for segment in atoms[index]])
        for places in group_by_budget(sizes, budget)
    ]


def _beginning(samples: Sequence[tuple[int, ...]]) -> int:
    """How many tokens samples begin alike with, where that is worth sharing; 0 where it is not."""
    first = samples[0]
    n = min(common(first, sample) for sample in samples)
    return n if len(samples) > 1 and n >= WORTH_SHARING else 0


def pack_share(atoms: Sequence[Atom], budget: int, *, rank: int, ranks: int) -> list[PackedBatch]:
    """One rank's micro-batches of a step that all ranks know.

    Atoms are dealt from large to small, each to the rank with the fewest tokens. Every rank gets the same number of
    micro-batches, because an engine that shards the model must make the same calls everywhere: short ranks repeat the
    step's smallest atom with weight 0.

    Raises:
        DataError: an atom alone is over the budget; names its sample.
    """
    if ranks == 1:
        return pack(atoms, budget)
    sizes = _sizes(atoms, budget)
    shares = deal(sizes, ranks)
    most = max(len(group_by_budget([sizes[i] for i in share], budget)) for share in shares)
    mine = pack([atoms[i] for i in shares[rank]], budget)
    smallest = min(range(len(sizes)), key=sizes.__getitem__)
    filler = [replace(segment, weight=0.0) for segment in atoms[smallest]]
    return mine + [collate(filler)] * (most - len(mine))


def deal(sizes: Sequence[int], hands: int) -> list[list[int]]:
    """Indices of `sizes` in `hands` groups of like sums (longest first to the emptiest), each in increasing order."""
    shares: list[list[int]] = [[] for _ in range(hands)]
    loads = [0] * hands
    for index in sorted(range(len(sizes)), key=lambda i: (-sizes[i], i)):
        hand = min(range(hands), key=lambda i: (loads[i], i))
        shares[hand].append(index)
        loads[hand] += sizes[index]
    return [sorted(share) for share in shares]


def _sizes(atoms: Sequence[Atom], budget: int) -> list[int]:
    sizes = [sum(len(segment.token_ids) for segment in atom) for atom in atoms]
    _check(atoms, sizes, budget)
    return sizes


def _check(atoms: Sequence[Atom], sizes: Sequence[int], budget: int) -> None:
    for atom, size in zip(atoms, sizes, strict=True):
        if size > budget:
            raise DataError(
                f"sample {atom[0].sample_id!r} needs {size} tokens in one micro-batch, batch.micro_tokens is {budget}"
            )
