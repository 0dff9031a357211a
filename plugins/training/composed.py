"""Dynamic batch composition (F13): the model in training says which rows of a pool form the next steps."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from aftertrain.core.batch import CHOSEN, SINGLE
from aftertrain.core.engine import Engine
from aftertrain.core.errors import CheckpointError, NumericsError
from aftertrain.core.ground.reading import CURE, NotNegative, read_json
from aftertrain.core.packed.packing import Atom, Segment, collate, group_by_budget
from aftertrain.core.statistics import entropy
from aftertrain.plugins.training.accounts import Intake
from aftertrain.plugins.training.composition import compose
from aftertrain.plugins.training.feed import Planned
from aftertrain.plugins.training.settings import TrainSettings
from aftertrain.plugins.training.spans import Ints

FILE = "composition.json"


@dataclass(frozen=True)
class Composition:
    """Content of `composition.json`: first step and the one after the last, rows and log-probabilities of each step."""

    steps: tuple[NotNegative, NotNegative]
    batches: list[list[NotNegative]]
    logprobs: list[list[float]]


class Composed(Planned):
    """Steps in pools: a pool's rows are scored by the weights it begins with and divided into its steps' batches.

    A pool's rows are those that its steps would have had anyway, so that an epoch still sees each row once. A
    checkpoint keeps the division, which a resume cannot find again: the weights have moved on.
    """

    def __init__(
        self,
        settings: TrainSettings,
        atoms: Sequence[Atom],
        budget: int,
        seed: int,
        intake: Intake | None,
        *,
        engine: Engine[Any],
    ) -> None:
        assert settings.compose is not None
        super().__init__(settings, atoms, budget, seed, intake)
        self._compose, self._engine = settings.compose, engine
        self._steps: range = range(0)
        self._batches: list[list[int]] = []
        self._logprobs: list[list[float]] = []

    def atoms(self, step: int) -> list[Atom]:
        """Those of step `step`.

        Raises:
            NumericsError: the model gives a row no finite log-probability; names it.
        """
        if step not in self._steps:
            self._begin(step)
        return [self.rows[row] for row in self._batches[self._steps.index(step)]]

    def unreached(self) -> Iterator[tuple[int, Ints]]:
        """The batches of the last pool that no step took, and what lies behind the pool."""
        last = self._steps.stop - 1
        if left := [row for batch in self._batches[self.total - last :] for row in batch] if last > self.total else []:
            yield (last - 1) // self.plan.steps_per_epoch, np.array(left, np.int64)
        yield from self.rest(max(last, self.total))

    def figures(self, step: int) -> dict[str, float]:
        """Mean log-probability of the step's rows when their pool began, and the entropy of their sources, in nats."""
        place = self._steps.index(step)
        sources = Counter(self.rows[row][0].source for row in self._batches[place])
        scores = self._logprobs[place]
        return {"batch_logprob": sum(scores) / len(scores), "batch_source_entropy": entropy(sources)}

    def save(self, folder: Path) -> None:
        steps = [self._steps.start, self._steps.stop]
        content = {"steps": steps, "batches": self._batches, "logprobs": self._logprobs}
        (folder / FILE).write_text(json.dumps(content) + "\n", encoding="utf-8")

    def restore(self, folder: Path) -> None:
        content = read_json(folder / FILE, Composition, error=CheckpointError, cure=CURE)
        self._steps = range(*content.steps)
        self._batches, self._logprobs = content.batches, content.logprobs

    def _begin(self, step: int) -> None:
        pool, per_epoch = self._compose.pool, self.plan.steps_per_epoch
        epoch, within = divmod(step - 1, per_epoch)
        first = epoch * per_epoch + within // pool * pool
        self._steps = range(first + 1, min(first + pool, (epoch + 1) * per_epoch) + 1)
        planned = [self.plan.rows(number - 1) for number in self._steps]
        rows = [row for batch in planned for row in batch]
        scores = self._score([self.rows[row] for row in rows])
        sources = [self.rows[row][0].source for row in rows]
        chosen = compose(scores, sources, [len(batch) for batch in planned], self._compose.weight)
        self._batches = [[rows[i] for i in batch] for batch in chosen]
        self._logprobs = [[scores[i] for i in batch] for batch in chosen]

    def _score(self, atoms: Sequence[Atom]) -> list[float]:
        """log p(y|x, θ) of each row's reply (of a pair the chosen one)."""
        replies = [next(segment for segment in atom if segment.role in (SINGLE, CHOSEN)) for atom in atoms]
        logprobs = reply_logprobs(replies, self.budget, self._engine, mean=self._compose.normalize == "length")
        for reply, value in zip(replies, logprobs, strict=True):
            if not math.isfinite(value):
                raise NumericsError(f"the model gives row {reply.sample_id} the log-probability {value}")
        return logprobs


def reply_logprobs(replies: Sequence[Segment], budget: int, engine: Engine[Any], *, mean: bool) -> list[float]:
    """Log-probability of each segment's targets in nats, summed or per token; every rank scores its share."""
    ranks = engine.ranks
    sizes = [len(reply.token_ids) for reply in replies]
    groups = group_by_budget(sizes, budget)
    logprobs = torch.zeros(len(replies), dtype=torch.float64)
    # An engine that shards the model must make the same calls on every rank: short ranks score one group again.
    for turn in range(0, len(groups), ranks.size):
        own = turn + ranks.rank
        group = groups[min(own, len(groups) - 1)]
        batch = collate([replies[i] for i in group])
        scores = engine.score(batch, ("logprobs",), grad=False)
        assert scores.logprobs is not None
        if own < len(groups):
            targets = batch.masks["loss_mask"].double()
            sums = torch.zeros(len(group), dtype=torch.float64)
            sums.index_add_(0, batch.segment_ids, scores.logprobs.double().cpu() * targets)
            counts = torch.zeros(len(group), dtype=torch.float64).index_add_(0, batch.segment_ids, targets)
            logprobs[group] = sums / counts if mean else sums
    ranks.add([logprobs], "the log-probabilities of a pool")
    return [float(value) for value in logprobs]
