"""A stage's rows: from the cache, or tokenised now and kept there."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aftertrain.core.dataset import Dataset
from aftertrain.core.errors import Interrupted
from aftertrain.core.ground.cores import usable_cores
from aftertrain.core.run.disk import disk_refusal
from aftertrain.core.run.sources import source_digests
from aftertrain.core.settings import Use, components
from aftertrain.core.text.fingerprint import fingerprint
from aftertrain.plugins.training.cache import cache_folder, cached, key_of
from aftertrain.plugins.training.columns import Fault, faults_of
from aftertrain.plugins.training.parts import Parts
from aftertrain.plugins.training.rows import Rules
from aftertrain.plugins.training.samples import ENOUGH, Samples, refuse_unusable, select
from aftertrain.plugins.training.store import Store
from aftertrain.plugins.training.tokenising import tokenised

if TYPE_CHECKING:
    import pyarrow as pa
    from transformers import PreTrainedTokenizerBase

TOLD_EVERY = 10_000
"""Rows between two reports of progress."""


@dataclass(frozen=True)
class Supply:
    """Loads the samples of one stage.

    Attributes:
        folder: a folder of the stage's own, for when the cache cannot be written.
        warn: told what a user should know.
        told: told how many rows are tokenised.
        stopping: true when the user asked to stop.
    """

    parts: Parts
    tokenizer: PreTrainedTokenizerBase
    folder: Path | None = None
    warn: Callable[[str], None] = lambda message: None
    told: Callable[[int], None] = lambda rows: None
    stopping: Callable[[], bool] = lambda: False

    def samples(self) -> Samples:
        """The rows that the stage trains on.

        Raises:
            DataError: a row cannot be used where that is an error, or none is left.
            Interrupted: the user asked to stop.
        """
        return self._selected(self.parts.settings.data, self.parts.data)

    def held_out(self) -> Samples:
        """The rows that it is measured on; as `samples`."""
        assert self.parts.settings.validation is not None
        assert self.parts.held_out is not None
        return self._selected(self.parts.settings.validation.data, self.parts.held_out)

    def _selected(self, use: Use[Dataset[Any]], data: Dataset[Any]) -> Samples:
        return select(self._store(use, data), self.parts.settings.batch, self.parts.loss.needs, data.where)

    def _store(self, use: Use[Dataset[Any]], data: Dataset[Any]) -> Store:
        rules = Rules.of(self.parts.loss.needs, self.parts.settings.batch)
        key, make = self._key(use, data, rules), partial(self._tokenise, data, rules)

        try:
            return cached(cache_folder(), key, make, warn=self.warn, pause=self._pause)
        except OSError as error:
            refused = disk_refusal(error)
            if refused is None:
                raise
        if self.folder is None:
            self.warn(f"{refused}: tokenised rows are not kept; set AFTERTRAIN_CACHE")
            return Store(make())
        self.warn(f"{refused}: tokenised rows are kept in the stage's folder; set AFTERTRAIN_CACHE")
        return cached(self.folder / "tokens", key, make, warn=self.warn, pause=self._pause)

    def _key(self, use: Use[Dataset[Any]], data: Dataset[Any], rules: Rules) -> str:
        """What decides the tokenised rows, as a digest."""
        classes = [type(self.parts.builder.build(part)) for part in components(use)]
        return key_of(
            data=data.fingerprint(),
            tokenizer=fingerprint(self.tokenizer),
            rules=asdict(rules),
            code=source_digests([Store, Rules, tokenised, fingerprint, *classes]),
        )

    def _tokenise(self, data: Dataset[Any], rules: Rules) -> Iterator[pa.RecordBatch]:
        """The rows' batches; a data set that is mostly unusable is refused before all of it is tokenised."""
        workers = self.parts.settings.data_workers or usable_cores()
        faults: list[Fault] = []
        reported = 0
        for batch in tokenised(self.tokenizer, data.entries(), rules, workers=workers):
            rows = batch["row"][-1].as_py() + 1
            faults += faults_of(batch)
            if len(faults) >= ENOUGH:
                refuse_unusable(faults, rows, self.parts.settings.batch, data.where)
            yield batch
            self._pause()
            if rows - reported >= TOLD_EVERY:
                reported = rows
                self.told(rows)

    def _pause(self) -> None:
        if self.stopping():
            raise Interrupted("stopped while rows were tokenised; run it again to start over with them")
