"""Which atoms form which step: from a plan over all rows, or from a stream that is read as training goes."""

from __future__ import annotations

import json
import random
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from aftertrain.core.dataset import Dataset
from aftertrain.core.errors import CheckpointError, DataError
from aftertrain.core.ground.reading import CURE, NotNegative, read_json
from aftertrain.core.learning.batch_plan import BatchPlan
from aftertrain.core.learning.seeding import sub_seed
from aftertrain.core.loss import Needs
from aftertrain.core.packed.packing import Atom
from aftertrain.plugins.training.accounts import EPOCH, Intake
from aftertrain.plugins.training.rows import Rules
from aftertrain.plugins.training.samples import DEFAULT_MICRO_TOKENS, Samples, select
from aftertrain.plugins.training.settings import TrainSettings
from aftertrain.plugins.training.spans import Ints
from aftertrain.plugins.training.store import Store
from aftertrain.plugins.training.tokenising import tokenised

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

FILE = "stream.json"


class Feed(ABC):
    """Gives each step its atoms. Their order is a function of the stage's seed, its rows and its batch settings.

    Attributes:
        total: optimizer steps of the stage.
        budget: tokens of a micro-batch.
        intake: the rows that it takes its atoms from; of a stream those of its window.
        passes: over these rows, of all steps together; 0 of a stream, whose windows are told as they are begun.
    """

    total: int
    budget: int
    intake: Intake
    passes: int

    @abstractmethod
    def atoms(self, step: int) -> list[Atom]:
        """Those of step `step`, counted from 1; steps are asked for in order, from the first after `restore` on."""

    @abstractmethod
    def numbers(self, step: int, atoms: Sequence[Atom]) -> list[int]:
        """The row of each of a step's atoms, its epoch counted in (see `accounts`)."""

    @abstractmethod
    def unreached(self) -> Iterator[tuple[int, Ints]]:
        """Of each epoch, the places of the atoms that the last step leaves; asked for after it."""

    @abstractmethod
    def epoch(self, step: int) -> float:
        """Passes over the data after that step."""

    def figures(self, step: int) -> dict[str, float]:
        """Metrics of how step `step` was put together."""
        return {}

    def save(self, folder: Path) -> None:  # noqa: B027  the step number is a position
        """Write into a checkpoint what the step number does not say of the position; nothing by default."""

    def restore(self, folder: Path) -> None:  # noqa: B027
        """Go to the position that `save` wrote.

        Raises:
            CheckpointError: it is not there.
        """


class Planned(Feed):
    """All rows are known: a step's are a pure function of seed and step number."""

    def __init__(
        self, settings: TrainSettings, atoms: Sequence[Atom], budget: int, seed: int, intake: Intake | None = None
    ) -> None:
        self.rows, self.intake, self.passes = atoms, intake or Intake(), settings.epochs
        self.plan = batch_plan(settings, len(atoms), seed)
        self.total = total_steps(settings, self.plan)
        self.budget = budget

    def atoms(self, step: int) -> list[Atom]:
        return [self.rows[row] for row in self.plan.rows(step - 1)]

    def numbers(self, step: int, atoms: Sequence[Atom]) -> list[int]:
        start = (step - 1) // self.plan.steps_per_epoch * EPOCH
        return [start + atom[0].group for atom in atoms]

    def unreached(self) -> Iterator[tuple[int, Ints]]:
        yield from self.rest(self.total)

    def rest(self, step: int) -> Iterator[tuple[int, Ints]]:
        """Of each epoch, the places of the atoms that come after a step."""
        for epoch in range(self.plan.epochs):
            gone = step - epoch * self.plan.steps_per_epoch
            if gone <= 0:
                yield epoch, np.arange(self.plan.n_rows)
            elif gone < self.plan.steps_per_epoch:
                yield epoch, np.array(self.plan.order(epoch)[gone * self.plan.rows_per_step :], np.int64)

    def epoch(self, step: int) -> float:
        return step / self.plan.steps_per_epoch


@dataclass(frozen=True, slots=True)
class Position:
    """Where a stream stands: `used` atoms of that window of that epoch are gone, all counted from 0."""

    epoch: NotNegative = 0
    window: NotNegative = 0
    used: NotNegative = 0


class Streamed(Feed):
    """Rows in their order, a window at a time, shuffled within the window by seed, epoch and window.

    A window's atoms are a pure function of its rows, so that the position is three numbers, and a resume tokenises one
    window again. After the last row the first comes again, until `max_steps`.

    Args:
        told: called with each window that is begun and the step that begins it; not again after a resume.
    """

    def __init__(
        self,
        settings: TrainSettings,
        tokenizer: PreTrainedTokenizerBase,
        data: Dataset[Any],
        needs: Needs,
        *,
        seed: int,
        told: Callable[[Samples, int], None] = lambda samples, step: None,
    ) -> None:
        assert settings.stream is not None
        assert settings.max_steps is not None
        self.total = settings.max_steps
        per_atom = (2 if needs.atom == "pair" else 1) * (1 if needs.probes is None else 2)
        self.budget = settings.batch.micro_tokens or max(DEFAULT_MICRO_TOKENS, per_atom * settings.batch.max_tokens)
        self._settings, self._tokenizer, self._data, self._needs = settings, tokenizer, data, needs
        self._seed, self._told = sub_seed(seed, "batches"), told
        self._window_rows = settings.stream.window
        self._position = Position()
        self._rows: Iterator[Any] | None = None
        self._window: list[int] | None = None
        self._atoms: Sequence[Atom] = ()
        self._found_any = False
        self.intake, self.passes = Intake(), 0

    def atoms(self, step: int) -> list[Atom]:
        """Those of the next step.

        Raises:
            DataError: a row cannot be used, or none of all can.
        """
        atoms: list[Atom] = []
        while len(atoms) < self._settings.batch.sequences:
            if self._window is None:
                samples = self._read()
                if samples is None:
                    if not self._found_any:
                        raise DataError(f"none of the rows of {self._settings.data.name} is left to train on")
                    self._go_to(Position(self._position.epoch + 1))
                    continue
                self._told(samples, step)
            assert self._window is not None
            wanted = self._settings.batch.sequences - len(atoms)
            taken = self._window[self._position.used : self._position.used + wanted]
            atoms.extend(self._atoms[i] for i in taken)
            self._position = replace(self._position, used=self._position.used + len(taken))
            if self._position.used == len(self._window):
                self._window = None
                self._position = Position(self._position.epoch, self._position.window + 1)
        return atoms

    def numbers(self, step: int, atoms: Sequence[Atom]) -> list[int]:
        return [atom[0].group for atom in atoms]

    def unreached(self) -> Iterator[tuple[int, Ints]]:
        """Those of the window that is begun: its rows carry their epoch."""
        yield 0, np.array([] if self._window is None else self._window[self._position.used :], np.int64)

    def epoch(self, step: int) -> float:
        return float(self._position.epoch)

    def save(self, folder: Path) -> None:
        (folder / FILE).write_text(json.dumps(asdict(self._position)) + "\n", encoding="utf-8")

    def restore(self, folder: Path) -> None:
        position = read_json(folder / FILE, Position, error=CheckpointError, cure=CURE)
        self._go_to(position)
        self._found_any = True
        if position.used:
            self._read()

    def _go_to(self, position: Position) -> None:
        self._position, self._window = position, None
        self._rows = islice(self._data.entries(), position.window * self._window_rows, None)

    def _read(self) -> Samples | None:
        """The window of the position, which becomes the current one; None after the last row."""
        if self._rows is None:
            self._rows = self._data.entries()
        rules, batch, at = Rules.of(self._needs, self._settings.batch), self._settings.batch, self._position
        rows = islice(self._rows, self._window_rows)
        first = at.epoch * EPOCH + at.window * self._window_rows
        store = Store(tokenised(self._tokenizer, rows, rules, first=first), first)
        if store.n_rows == 0:
            return None
        samples = select(store, batch, self._needs, self._data.where, may_be_empty=True)
        self.intake = samples.intake
        self._atoms, self._found_any = samples.atoms, self._found_any or len(samples.atoms) > 0
        self._window = list(range(len(samples.atoms)))
        random.Random(sub_seed(self._seed, "epoch", at.epoch, "window", at.window)).shuffle(self._window)
        return samples


def batch_plan(settings: TrainSettings, n_rows: int, seed: int) -> BatchPlan:
    """Which rows form which step."""
    return BatchPlan(n_rows, settings.batch.sequences, settings.epochs, sub_seed(seed, "batches"))


def total_steps(settings: TrainSettings, plan: BatchPlan) -> int:
    """Optimizer steps of the stage."""
    return plan.n_steps if settings.max_steps is None else min(plan.n_steps, settings.max_steps)
