"""Mixtures of data sets in given shares (F2)."""

from __future__ import annotations

import hashlib
import json
import random
from array import array
from collections.abc import Collection, Iterable, Iterator, Sequence
from fractions import Fraction
from typing import Any

from aftertrain.core.dataset import BadRow, Dataset
from aftertrain.core.errors import DataError
from aftertrain.core.learning.seeding import sub_seed
from aftertrain.core.operator import Row
from aftertrain.core.records import Record
from aftertrain.plugins.data.settings import MixtureSettings
from aftertrain.plugins.data.spool import Spool
from aftertrain.plugins.data.table import together, unique


class Mixture(Dataset[MixtureSettings]):
    """S = α·R + (1 − α)·G and its like for any number of parts (F2), with exact counts.

    Which rows of a part are taken is drawn without replacement; with `repeat`, a part is taken whole as often as it
    fits and the rest drawn. Ids that occur twice are told apart by `#2`, `#3` ….
    """

    Config = MixtureSettings

    def __init__(self, settings: MixtureSettings, builder: Any) -> None:
        super().__init__(settings, builder)
        self._parts: list[Dataset[Any]] = [builder.build(part.data) for part in settings.parts]

    @property
    def record_type(self) -> type[Record]:
        kinds = {part.record_type for part in self._parts}
        if len(kinds) > 1:
            raise DataError(
                f"a mixture's parts are of one record type; found {', '.join(sorted(k.__name__ for k in kinds))}"
            )
        return kinds.pop()

    def __iter__(self) -> Iterator[Any]:
        return self._mixed(self._parts)

    def entries(self) -> Iterator[Any]:
        """Bad rows count towards their part's share."""
        return self._mixed([part.entries() for part in self._parts])

    def made_rows(self) -> Iterator[Row | BadRow]:
        """Those of the parts, with what they know."""
        return self._mixed([part.made_rows() for part in self._parts])

    def fact_names(self) -> Collection[str] | None:
        """Each that one of the parts has, so that rows of another may lack it; None where one does not know."""
        return together(part.fact_names() for part in self._parts)

    def notes(self) -> Sequence[str]:
        return [f"parts[{number}]: {note}" for number, part in enumerate(self._parts) for note in part.notes()]

    def _mixed(self, parts: Sequence[Iterable[Any]]) -> Iterator[Any]:
        _ = self.record_type
        with Spool() as spool:
            ends = [spool.extend(part) for part in parts]
            sizes = [end - start for start, end in zip([0, *ends], ends, strict=False)]
            picked = array("q")
            for number, (size, count) in enumerate(zip(sizes, self._counts(sizes), strict=True)):
                rng = random.Random(sub_seed(self.settings.seed, "mixture", number))
                picked.extend(ends[number] - size + row for row in _draw(size, count, rng))
            if self.settings.order == "shuffled":
                random.Random(sub_seed(self.settings.seed, "order")).shuffle(picked)
            yield from unique(spool[place] for place in picked)

    def where(self, ids: Collection[str]) -> dict[str, str]:
        """Where the parts' rows stand; the second and third of an id (`#2`) where the first does."""
        plain = {name: name.rpartition("#")[0] if "#" in name else name for name in ids}
        places: dict[str, str] = {}
        for part in self._parts:
            places |= part.where({*plain, *plain.values()})
            if places.keys() >= plain.keys():
                break
        first = {name: places[other] for name, other in plain.items() if other in places}
        return first | {name: places[name] for name in ids if name in places}

    def fingerprint(self) -> str:
        """SHA-256 over the parts' fingerprints and the mixture's settings."""
        parts = [part.fingerprint() for part in self._parts]
        data = json.dumps([parts, self.settings.affecting()], sort_keys=True)
        return hashlib.sha256(data.encode()).hexdigest()

    def content(self) -> str:
        """SHA-256 over the parts' content."""
        return hashlib.sha256(json.dumps([part.content() for part in self._parts]).encode()).hexdigest()

    def _counts(self, sizes: Sequence[int]) -> list[int]:
        parts = self.settings.parts
        for number, (part, size) in enumerate(zip(parts, sizes, strict=True)):
            if size == 0:
                raise DataError(
                    f"parts[{number}] of the mixture, {part.data.name!r}, has no rows to take its share from; mend its "
                    "data, or take the part out"
                )
        if not self.settings.weighted:
            counts = [part.rows or min(part.most or size, size) for part, size in zip(parts, sizes, strict=True)]
        else:
            # As written, 0.1 is a tenth; the float is a little more, which would cost a row.
            weights = [Fraction(str(part.weight)) for part in parts]
            total = self.settings.rows
            if total is None:
                share = sum(weights)
                total = min(int(size * share / weight) for size, weight in zip(sizes, weights, strict=True))
            counts = apportion(weights, total)
        for number, (count, size) in enumerate(zip(counts, sizes, strict=True)):
            if count > size and not self.settings.repeat:
                raise DataError(
                    f"parts[{number}] of the mixture has {size} rows, its share is {count}; lower 'rows', change the "
                    "shares, or set repeat: true"
                )
        return counts


def apportion(weights: Sequence[Fraction], total: int) -> list[int]:
    """Whole numbers in the ratio of `weights` that sum to `total`: largest remainders, ties to the first.

    >>> apportion([Fraction(1), Fraction(1), Fraction(1)], 10)
    [4, 3, 3]
    """
    share = sum(weights)
    exact = [weight * total / share for weight in weights]
    counts = [int(x) for x in exact]
    left = total - sum(counts)
    for index in sorted(range(len(weights)), key=lambda i: (counts[i] - exact[i], i))[:left]:
        counts[index] += 1
    return counts


def _draw(size: int, count: int, rng: random.Random) -> Iterator[int]:
    """Numbers of the rows that are taken."""
    whole, rest = divmod(count, size)
    for _ in range(whole):
        yield from range(size)
    yield from sorted(rng.sample(range(size), rest))
