"""Generated rows that accumulate over rounds (F2): what an earlier round made stays when a later one adds its own."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterator, Sequence
from itertools import chain
from typing import Any

from aftertrain.core.dataset import BadRow, Dataset
from aftertrain.core.errors import DataError
from aftertrain.core.operator import Row
from aftertrain.core.records import Record
from aftertrain.plugins.data.settings import RoundsSettings
from aftertrain.plugins.data.table import together, unique


class Rounds(Dataset[RoundsSettings]):
    """G = G₁ ∪ … ∪ G_t, round after round; with `replace` G_t alone.

    A model that is trained round after round on what it made itself loses the tails of the distribution where each
    round replaces the last, and does not where rounds accumulate beside the real rows (Gerstgrasser et al. 2024, "Is
    model collapse inevitable?", arXiv 2404.01413). S = α·R + (1 − α)·G is a `mixture` of the real rows and this. Ids
    that occur twice are told apart by `#2`, `#3` ….
    """

    Config = RoundsSettings

    def __init__(self, settings: RoundsSettings, builder: Any) -> None:
        super().__init__(settings, builder)
        rounds = settings.of if settings.policy == "accumulate" else settings.of[-1:]
        self._rounds: list[Dataset[Any]] = [builder.build(use) for use in rounds]

    @property
    def record_type(self) -> type[Record]:
        kinds = {part.record_type for part in self._rounds}
        if len(kinds) > 1:
            raise DataError(f"rounds are of one record type; found {', '.join(sorted(k.__name__ for k in kinds))}")
        return kinds.pop()

    def __iter__(self) -> Iterator[Any]:
        _ = self.record_type
        return unique(chain.from_iterable(self._rounds))

    def entries(self) -> Iterator[Any]:
        """Bad rows of each round where they stand."""
        _ = self.record_type
        return unique(chain.from_iterable(part.entries() for part in self._rounds))

    def made_rows(self) -> Iterator[Row | BadRow]:
        """Those of each round, with what they know."""
        _ = self.record_type
        return unique(chain.from_iterable(part.made_rows() for part in self._rounds))

    def fact_names(self) -> Collection[str] | None:
        """Each that one of the rounds has, so that rows of another may lack it; None where one does not know."""
        return together(part.fact_names() for part in self._rounds)

    def notes(self) -> Sequence[str]:
        return [f"of[{number}]: {note}" for number, part in enumerate(self._rounds) for note in part.notes()]

    def where(self, ids: Collection[str]) -> dict[str, str]:
        """Where the rounds' rows stand; the second and third of an id (`#2`) where the first does."""
        plain = {name: name.rpartition("#")[0] if "#" in name else name for name in ids}
        places: dict[str, str] = {}
        for part in reversed(self._rounds):
            places |= part.where({*plain, *plain.values()})
        first = {name: places[other] for name, other in plain.items() if other in places}
        return first | {name: places[name] for name in ids if name in places}

    def fingerprint(self) -> str:
        """SHA-256 over the rounds' fingerprints."""
        data = json.dumps([part.fingerprint() for part in self._rounds])
        return hashlib.sha256(data.encode()).hexdigest()

    def content(self) -> str:
        """SHA-256 over the rounds' content."""
        return hashlib.sha256(json.dumps([part.content() for part in self._rounds]).encode()).hexdigest()
