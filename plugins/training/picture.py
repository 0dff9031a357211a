"""What the rows of a stage look like, in figures for the report: lengths, targets, sources, how well they pack."""

from __future__ import annotations

import numpy as np

from aftertrain.core.events import Lengths, Packing, RowsTrained, SourceRows
from aftertrain.core.packed.packing import group_by_budget
from aftertrain.plugins.training.feed import batch_plan, total_steps
from aftertrain.plugins.training.samples import Samples
from aftertrain.plugins.training.settings import TrainSettings
from aftertrain.plugins.training.spans import Ints

BINS = 24
STEPS = 50
"""Steps whose packing is looked at."""


def picture(settings: TrainSettings, samples: Samples, budget: int, seed: int) -> RowsTrained:
    """Counts over one pass, and the two pictures below."""
    return RowsTrained(
        rows=samples.n_rows,
        kept=len(samples.atoms),
        segments=len(samples.atoms.lengths),
        tokens=samples.n_tokens,
        targets=samples.n_targets,
        sources={name: SourceRows(**counts) for name, counts in samples.sources.items()},
        lengths=histogram(samples.atoms.lengths),
        packing=packing(settings, samples, budget, seed),
    )


def histogram(lengths: Ints) -> Lengths:
    """Segments by tokens: bar i counts those in `[i * width, (i + 1) * width)`; and mean and quantiles.

    >>> bars = histogram(np.array([1, 5, 9, 30]))
    >>> bars.width, bars.counts, bars.median
    (2, (1, 0, 1, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1), 5)
    """
    width = 1 + int(lengths.max()) // BINS
    least, median, p95, greatest = np.quantile(lengths, (0.0, 0.5, 0.95, 1.0), method="lower").tolist()
    counts = tuple(np.bincount(lengths // width).tolist())
    return Lengths(width, counts, float(lengths.mean()), least, median, p95, greatest)


def packing(settings: TrainSettings, samples: Samples, budget: int, seed: int) -> Packing:
    """How full the micro-batches of the first steps are.

    `filled` is the share of their budget that holds tokens; `padding` the share of positions that would be padding if
    the same micro-batches were padded to their longest segment.
    """
    plan = batch_plan(settings, len(samples.atoms), seed)
    steps = min(STEPS, total_steps(settings, plan))
    micro_batches = tokens = padded = 0
    for step in range(steps):
        lengths = [[len(segment.token_ids) for segment in samples.atoms[row]] for row in plan.rows(step)]
        for group in group_by_budget([sum(atom) for atom in lengths], budget):
            inside = [length for index in group for length in lengths[index]]
            micro_batches += 1
            tokens += sum(inside)
            padded += max(inside) * len(inside)
    return Packing(steps, budget, micro_batches, tokens / (micro_batches * budget), 1 - tokens / padded)
