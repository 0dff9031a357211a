"""Mismatched samples: each prompt with the reply of another row, for losses that estimate a KL from them (KTO)."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from hashlib import blake2b
from typing import overload

import numpy as np

from aftertrain.core.batch import PROBE
from aftertrain.core.errors import DataError
from aftertrain.core.packed.packing import Atom, Segment
from aftertrain.plugins.training.spans import Ints, Span, SpannedAtoms, spans_of


class Probed(SpannedAtoms):
    """Each atom followed by its segments' probes, made when they are asked for.

    Attributes:
        lengths: tokens of each segment, probes included.
        sizes: tokens of each atom.
    """

    def __init__(self, atoms: Sequence[Atom], max_tokens: int) -> None:
        self._atoms, self._max_tokens = atoms, max_tokens
        counts, lengths, starts, prompts = [], [], [], []
        for index in range(len(atoms)):
            spans = spans_of(atoms, index)
            counts.append(len(spans))
            for ids, targets in spans:
                lengths.append(len(ids))
                starts.append(int(targets[0]))
                prompts.append(blake2b(ids[: targets[0]].tobytes(), digest_size=16).digest())
        self._starts = np.array(starts, np.int64)
        self._firsts = np.cumsum([0, *counts], dtype=np.int64)
        self._partners = _partners(prompts)
        own = np.array(lengths, np.int64)
        replies = (own - self._starts)[self._partners]
        probes = np.minimum(self._starts + replies, max_tokens)
        # A probe stands as many places behind its segment as the atom has segments, after those of earlier atoms.
        behind = np.repeat(self._firsts[:-1], counts) + np.arange(len(own))
        self.lengths = np.zeros(2 * len(own), np.int64)
        self.lengths[behind] = own
        self.lengths[behind + np.repeat(counts, counts)] = probes
        self.sizes: Ints = np.add.reduceat(self.lengths, 2 * self._firsts[:-1])

    def __len__(self) -> int:
        return len(self._atoms)

    @overload
    def __getitem__(self, index: int) -> Atom: ...
    @overload
    def __getitem__(self, index: slice) -> list[Atom]: ...
    def __getitem__(self, index: int | slice) -> Atom | list[Atom]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        atom, first = self._atoms[index], int(self._firsts[index])
        probes = []
        for number, segment in enumerate(atom, first):
            partner = int(self._partners[number])
            owner, place = self._find(partner)
            other = self._atoms[owner][place]
            start, other_start = int(self._starts[number]), int(self._starts[partner])
            probes.append(_join(segment, start, other, other_start, self._max_tokens))
        return [*atom, *probes]

    def spans_of(self, index: int) -> list[Span]:
        own, first = spans_of(self._atoms, index), int(self._firsts[index])
        probes = []
        for number, span in enumerate(own, first):
            partner = int(self._partners[number])
            owner, place = self._find(partner)
            other = spans_of(self._atoms, owner)[place]
            start, other_start = int(self._starts[number]), int(self._starts[partner])
            ids = np.concatenate([span.token_ids[:start], other.token_ids[other_start:]])
            probes.append(Span(ids, other.targets + np.int32(start - other_start)).cut(self._max_tokens))
        return [*own, *probes]

    def _find(self, segment: int) -> tuple[int, int]:
        """Atom of a segment, and the segment's place in it."""
        atom = int(np.searchsorted(self._firsts, segment, side="right")) - 1
        return atom, segment - int(self._firsts[atom])


def with_probes(atoms: Sequence[Atom], max_tokens: int) -> Probed:
    """Each atom followed by its segments' probes, cut at `max_tokens`.

    Which reply goes to which prompt is fixed by the number of rows alone, so that a resume and another batch size see
    the same. Every reply is used once, but for rows whose neighbour has the same prompt: they take the next one's.

    Raises:
        DataError: all rows have one prompt.
    """
    return Probed(atoms, max_tokens)


def _partners(prompts: Sequence[bytes]) -> Ints:
    """For each row the next one in a shuffled ring that has another prompt.

    Raises:
        DataError: all rows have one prompt.
    """
    n = len(prompts)
    order = list(range(n))
    random.Random(0).shuffle(order)
    partners = np.full(n, -1, np.int64)
    found = -1
    for at in range(2 * n - 1, -1, -1):
        here, after = order[at % n], order[(at + 1) % n]
        if prompts[after] != prompts[here]:
            found = after
        partners[here] = found
    if found < 0:
        raise DataError(f"all {n} rows have one prompt, so that none has a reply to another; set kl: none, or add rows")
    return partners


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
