"""Atoms of a store as one lazy sequence: cut, followed by probes, with columns of their own; no token is an object."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import overload

import numpy as np
from numpy.typing import NDArray

from aftertrain.core.batch import PROBE
from aftertrain.core.packed.packing import Atom, Segment
from aftertrain.plugins.training.spans import Ints, Span
from aftertrain.plugins.training.store import Store

Column = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Atoms(Sequence[Atom]):
    """Some atoms of a store, made into segments when they are asked for.

    Attributes:
        chosen: numbers of the store's atoms.
        limit: tokens after which a segment is cut.
        partners: for each segment of the store the one whose reply its probe has; None for no probes.
        columns: numbers for each token of these atoms, end to end.
    """

    store: Store
    chosen: Ints
    limit: int
    partners: Ints | None = None
    columns: Mapping[str, Column] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.chosen)

    @overload
    def __getitem__(self, index: int) -> Atom: ...
    @overload
    def __getitem__(self, index: slice) -> Atoms: ...
    def __getitem__(self, index: int | slice) -> Atom | Atoms:
        places = range(len(self))[index]
        if isinstance(places, range):
            return self.take(places)
        segments, spans = self._segments(places), self.spans(places)
        atom = [self.store.segment(number, span) for number, span in zip(segments, spans, strict=False)]
        for segment, span in zip(tuple(atom), spans[len(atom) :], strict=False):
            name = f"{segment.sample_id}/probe"
            ids, mask = span.token_ids.tolist(), span.mask().tolist()
            atom.append(replace(segment, sample_id=name, token_ids=ids, loss_mask=mask, role=PROBE, cut=0))
        ends = np.cumsum([len(span.token_ids) for span in spans])
        for name, column in self.columns.items():
            parts = np.split(column[self._starts[places] : self._starts[places + 1]], ends[:-1])
            atom = [
                replace(segment, columns={**segment.columns, name: part.tolist()})
                for segment, part in zip(atom, parts, strict=True)
            ]
        return atom

    def take(self, places: Sequence[int]) -> Atoms:
        """The atoms at these places, in this order."""
        columns = {
            name: np.concatenate([column[:0], *(column[self._starts[i] : self._starts[i + 1]] for i in places)])
            for name, column in self.columns.items()
        }
        return replace(self, chosen=self.chosen[np.array(places, np.int64)], columns=columns)

    def with_column(self, name: str, column: Column) -> Atoms:
        """The same atoms with numbers for each of their tokens."""
        return replace(self, columns={**self.columns, name: column})

    def segment(self, number: int) -> Segment:
        """One segment, counted over all atoms and probes."""
        atom = int(np.searchsorted(self._firsts, number, side="right")) - 1
        return self[atom][number - int(self._firsts[atom])]

    def spans(self, place: int) -> list[Span]:
        """Tokens and targets of each segment of an atom, its probes last."""
        segments = self._segments(place)
        own = [self.store.span(number).cut(self.limit) for number in segments]
        if self.partners is None:
            return own
        return own + [self._probe(number, span) for number, span in zip(segments, own, strict=True)]

    @cached_property
    def lengths(self) -> Ints:
        """Tokens of each segment, atom by atom, probes last in theirs."""
        own = self._numbers
        lengths: Ints = np.minimum(self.store.lengths[own], self.limit)
        if self.partners is None:
            return lengths
        starts, partners = self.store.first_targets, self.partners[own]
        replies = np.minimum(self.store.lengths[partners], self.limit) - starts[partners]
        # A probe stands as many places behind its segment as the atom has segments, after those of earlier atoms.
        counts = np.diff(self._firsts) // 2
        places = np.repeat(self._firsts[:-1] // 2, counts) + np.arange(len(own))
        both = np.zeros(2 * len(own), np.int64)
        both[places] = lengths
        both[places + np.repeat(counts, counts)] = np.minimum(starts[own] + replies, self.limit)
        return both

    @cached_property
    def sizes(self) -> Ints:
        """Tokens of each atom."""
        sizes: Ints = np.add.reduceat(self.lengths, self._firsts[:-1]) if len(self) else np.zeros(0, np.int64)
        return sizes

    @cached_property
    def _bounds(self) -> Ints:
        return np.append(self.store.atom_starts, len(self.store))

    @cached_property
    def _firsts(self) -> Ints:
        """Number of each atom's first segment, and of the one after the last; probes count."""
        counts = self._bounds[self.chosen + 1] - self._bounds[self.chosen]
        return np.append(0, np.cumsum(counts * (1 if self.partners is None else 2)))

    @cached_property
    def _numbers(self) -> Ints:
        """The store's numbers of all segments."""
        starts = self._bounds[self.chosen]
        counts = self._bounds[self.chosen + 1] - starts
        numbers: Ints = np.arange(counts.sum()) + np.repeat(starts - (np.cumsum(counts) - counts), counts)
        return numbers

    @cached_property
    def _starts(self) -> Ints:
        """Where each atom's tokens begin in a column, and where the last one's end."""
        return np.append(0, np.cumsum(self.sizes))

    def _segments(self, place: int) -> range:
        atom = int(self.chosen[place])
        return range(int(self._bounds[atom]), int(self._bounds[atom + 1]))

    def _probe(self, number: int, span: Span) -> Span:
        """The prompt of a segment with its partner's reply."""
        assert self.partners is not None
        partner = int(self.partners[number])
        start, other_start = (int(self.store.first_targets[i]) for i in (number, partner))
        other = self.store.span(partner).cut(self.limit)
        ids = np.concatenate([span.token_ids[:start], other.token_ids[other_start:]])
        return Span(ids, other.targets + np.int32(start - other_start)).cut(self.limit)
