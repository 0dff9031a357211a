"""What the checks of one trial share: its rows with all columns, micro-batches, a loaded model, one plain step."""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from torch import Tensor, split

from aftertrain.core.batch import PackedBatch
from aftertrain.core.engine import Engine
from aftertrain.core.learning.step import score_batch
from aftertrain.core.learning.trial import Trial
from aftertrain.core.loss import Needs, Score
from aftertrain.core.packed.packing import Atom, Segment, collate, group_by_budget, pack
from aftertrain.invariants.outcome import PROBE, Outcome, outcome, precision_of

REFERENCE = "reference_logprobs"
SHIFT = 0.3
"""Nats, standard deviation by which the reference is moved: where policy and reference are equal all pairs are, and
faults that depend on their differences would not show."""
SHORTEST = 2
"""Rows of which what every row would show is measured: one beside another."""
Scores = list[dict[str, Tensor]]
"""Scores of each segment, by name."""


@dataclass
class Bench:
    """One trial, in a scratch folder.

    Attributes:
        folder: for the reference cache, the rehearsals and what ranks leave.
    """

    trial: Trial
    folder: Path

    @cached_property
    def needs(self) -> Needs:
        """The loss's."""
        return self.trial.make_loss().needs

    @cached_property
    def engines(self) -> dict[str, Engine[Any]]:
        """Loaded for training, and never stepped."""
        return self.trial.engines(PROBE)

    @cached_property
    def precision(self) -> str:
        """Which tolerances hold."""
        return precision_of(self.engines)

    @cached_property
    def referenced(self) -> Sequence[Atom]:
        """The rows with the reference's log-probs as the stage caches them, or as they are."""
        if self.trial.reference is None:
            return self.trial.atoms
        return self.trial.reference(self.folder, self.trial.ranks)

    @cached_property
    def atoms(self) -> list[Atom]:
        """The rows with every column that the loss needs."""
        rng = random.Random(0)
        rows = [[_shifted(segment, rng) for segment in atom] for atom in self.referenced]
        if not self.trial.made_up:
            return list(rows)
        flat = [segment for atom in rows for segment in atom]
        wants: Score = "logprobs" if "policy" in self.engines else "values"
        scored = self.scores([[i] for i in range(len(flat))], flat, wants=(wants,))
        segments = iter([_made_up(s, scores, self.trial.made_up, rng) for s, scores in zip(flat, scored, strict=True)])
        return [[next(segments) for _ in atom] for atom in rows]

    @cached_property
    def flat(self) -> list[Segment]:
        """Every segment, in order."""
        return [segment for atom in self.atoms for segment in atom]

    @cached_property
    def batches(self) -> list[PackedBatch]:
        """The rows packed as training packs them."""
        return pack(self.atoms, self.trial.budget)

    @cached_property
    def groups(self) -> list[list[int]]:
        """Which atoms lie in each of `batches`."""
        return group_by_budget([sum(len(s.token_ids) for s in atom) for atom in self.atoms], self.trial.budget)

    @cached_property
    def packed(self) -> list[list[int]]:
        """Places in `flat` of the segments of each of `batches`."""
        return [[place for i in group for place in self.places[i]] for group in self.groups]

    @cached_property
    def places(self) -> list[list[int]]:
        """Places in `flat` of the segments of each atom."""
        numbers = iter(range(len(self.flat)))
        return [[next(numbers) for _ in atom] for atom in self.atoms]

    @cached_property
    def small(self) -> list[Segment]:
        """The shortest rows, in order, for what every row would show."""
        return [segment for i in sorted(self.shortest(SHORTEST)) for segment in self.atoms[i]]

    def shortest(self, count: int) -> list[int]:
        """Places of the shortest rows, the shortest first."""
        sizes = [sum(len(segment.token_ids) for segment in atom) for atom in self.atoms]
        return sorted(range(len(sizes)), key=lambda i: (sizes[i], i))[:count]

    @cached_property
    def base(self) -> Outcome:
        """A step on `batches`, which others are compared with."""
        return outcome(self.trial, self.batches)

    @cached_property
    def single(self) -> Outcome:
        """A step with one row in each micro-batch."""
        return outcome(self.trial, [collate(atom) for atom in self.atoms])

    @cached_property
    def together(self) -> Scores:
        """Scores of the segments packed as training packs them."""
        return self.scores(self.packed)

    def scores(
        self,
        groups: Iterable[Sequence[int]],
        flat: Sequence[Segment] | None = None,
        wants: Iterable[Score] | None = None,
        engines: Mapping[str, Engine[Any]] | None = None,
        *,
        grad: bool = False,
    ) -> Scores:
        """Scores of each segment where every group of places makes a micro-batch; float32 on the CPU."""
        flat = self.flat if flat is None else flat
        by_segment: Scores = [{} for _ in flat]
        wants = self.needs.scores if wants is None else wants
        for group in groups:
            batch = collate([flat[i] for i in group]).with_masks(self.needs.masks)
            temperature = self.trial.temperature
            scores = score_batch(engines or self.engines, batch, wants, temperature=temperature, grad=grad)
            for name, values in scores.filled().items():
                for i, part in zip(group, split(values.detach().cpu(), list(batch.lengths)), strict=True):
                    by_segment[i][name] = part
        return by_segment


def _shifted(segment: Segment, rng: random.Random) -> Segment:
    column = segment.columns.get(REFERENCE)
    if column is None:
        return segment
    moved = [
        min(-1e-3, value + rng.gauss(0, SHIFT)) if target else value
        for value, target in zip(column, segment.loss_mask, strict=True)
    ]
    return replace(segment, columns={**segment.columns, REFERENCE: moved})


def _made_up(segment: Segment, scores: Mapping[str, Tensor], names: Iterable[str], rng: random.Random) -> Segment:
    """Columns of a rollout that there was not: log-probs near the policy's own, standard normals else."""
    columns = dict(segment.columns)
    for name in sorted(names):
        if name.endswith("logprobs") and "logprobs" in scores:
            columns[name] = [min(-1e-3, value + rng.gauss(0, 0.1)) for value in scores["logprobs"].tolist()]
        else:
            columns[name] = [rng.gauss(0, 1) for _ in segment.token_ids]
    return replace(segment, columns=columns)
