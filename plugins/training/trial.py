"""A stage of a few rows and steps, for `aftertrain check-invariants`: the stage's own code, its settings cut down."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from aftertrain.core.dataset import Dataset
from aftertrain.core.errors import RunError
from aftertrain.core.learning.seeding import sub_seed
from aftertrain.core.learning.trial import END, Trial
from aftertrain.core.ranks import Ranks
from aftertrain.core.records import Record
from aftertrain.core.settings import Builder
from aftertrain.core.stage import PlanContext, Stage
from aftertrain.plugins.training.atoms import Atoms
from aftertrain.plugins.training.fit import check_fit
from aftertrain.plugins.training.parts import Parts
from aftertrain.plugins.training.reference import COLUMN, referenced
from aftertrain.plugins.training.samples import prepare
from aftertrain.plugins.training.settings import TrainSettings

SPARE = 4
"""Rows read for each that is wanted, as some may be left out."""
RATE = 1e-3
"""Learning rate of a rehearsal: at 1e-7 a lost state of the optimizer would not move a bit of float32."""


def make_trial(parts: Parts, context: PlanContext, rows: int, stage: Callable[[Any, Builder], Any]) -> Trial:
    """The first rows of the data that the stage would keep.

    Args:
        stage: makes the stage from other settings.

    Raises:
        DataError: a row cannot be used, or none is left.
    """
    builder, settings, loss = context.builder, parts.settings, parts.loss
    tokenizer = parts.tokenizer(context.model, context.chat_template)
    samples = prepare(tokenizer, islice(parts.data.entries(), rows * SPARE), settings.batch, loss.needs)
    check_fit(context.model, tokenizer, samples)
    budget = samples.micro_tokens(settings.batch)
    noun = "pairs" if loss.needs.atom == "pair" else "samples"

    def trial(atoms: Atoms) -> Trial:
        numbers = sorted({segment.group for atom in atoms for segment in atom})

        def reference(folder: Path, ranks: Ranks) -> Atoms:
            return referenced(atoms, parts, context.model, folder, budget, ranks=ranks, warn=_refuse)

        def rehearsal() -> Stage[Any]:
            short = stage(_shortened(settings, len(atoms)), builder)
            short.parts.data = SomeRows(parts.data, numbers)
            return short  # type: ignore[no-any-return]

        return Trial(
            about=f"{len(atoms)} {noun} of {settings.data.name}, loss {settings.loss.name}",
            atoms=atoms,
            budget=budget,
            make_loss=lambda: builder.build(settings.loss),
            engine=settings.engine,
            builder=builder,
            models={parts.term: context.model},
            seed=sub_seed(context.seed, "head"),
            reference=reference if COLUMN in loss.needs.columns else None,
            rehearsal=rehearsal,
            chat_template=context.chat_template,
            only=lambda places: trial(atoms.take(places)),
        )

    return trial(samples.atoms[:rows])


class SomeRows(Dataset[Any]):
    """Some rows of another data set, by their numbers, which count from 0."""

    def __init__(self, whole: Dataset[Any], numbers: Sequence[int]) -> None:
        super().__init__(whole.settings, whole.builder)
        self._whole, self._numbers = whole, numbers

    @property
    def record_type(self) -> type[Record]:
        return self._whole.record_type

    def __iter__(self) -> Iterator[Any]:
        return self._of(self._whole)

    def entries(self) -> Iterator[Any]:
        return self._of(self._whole.entries())

    def fingerprint(self) -> str:
        return f"{self._whole.fingerprint()} rows {','.join(map(str, self._numbers))}"

    def where(self, ids: Collection[str]) -> dict[str, str]:
        return self._whole.where(ids)

    def _of(self, rows: Iterable[Any]) -> Iterator[Any]:
        wanted = frozenset(self._numbers)
        return (row for number, row in enumerate(islice(rows, max(self._numbers) + 1)) if number in wanted)


def _shortened(settings: TrainSettings, rows: int) -> TrainSettings:
    """Two steps more than are compared, each of a third of the rows; no checkpoint but where it is stopped.

    Held-out rows are left out: there may be many, and none is trained on.
    """
    stream = settings.stream
    return settings.model_copy(
        update={
            "batch": settings.batch.model_copy(update={"sequences": max(1, rows // 3)}),
            "optimizer": settings.optimizer.model_copy(update={"lr": RATE, "warmup": 0.0}),
            "epochs": END + 2,
            "max_steps": END + 2,
            "stream": None if stream is None else stream.model_copy(update={"window": max(2, rows // 2)}),
            "validation": None,
            "data_workers": 1,
            "checkpoint_every": 10 * END,
        }
    )


def _refuse(message: str) -> None:
    raise RunError(f"the cached reference is not accepted again: {message}")
