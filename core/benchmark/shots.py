"""Worked examples before a question, for all tasks: where they come from, which are shown, and never the question."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import as_file, files
from itertools import islice
from typing import Any, Generic, TypeVar

from aftertrain.core.benchmark.rows import Row
from aftertrain.core.errors import DataError, unknown
from aftertrain.core.ground.reading import read_json

T = TypeVar("T")


class Shots(Generic[T]):
    """The examples shown before each question: the first `count` of the pool, of the question's own group.

    An example that asks the question itself is passed over, and the next one takes its place.

    Args:
        pool: examples in the order in which they are taken: a curated list, the rows of another split, or `drawn`.
        count: shown before each question.
        asks: what an example, or a question, asks; equal texts are the same question.
        group: the subject whose examples a question gets; by default all are of one.
        where: names the pool in an error.
    """

    def __init__(
        self,
        pool: Sequence[T],
        count: int,
        asks: Callable[[T], str],
        *,
        group: Callable[[T], str] = lambda _: "",
        where: str = "examples",
    ) -> None:
        self._count, self._asks, self._group, self._where = count, asks, group, where
        self._pools: dict[str, list[tuple[str, T]]] = {}
        for example in pool:
            self._pools.setdefault(group(example), []).append((asks(example), example))

    def before(self, question: T) -> list[T]:
        """The examples of a question.

        Raises:
            DataError: there are too few.
        """
        group, asked = self._group(question), self._asks(question)
        others = (example for text, example in self._pools.get(group, ()) if text != asked)
        shown = list(islice(others, self._count))
        if len(shown) < self._count:
            subject = f" of {group!r}" if group else ""
            raise DataError(f"{self._where}: {self._count} examples{subject} are asked for, there are {len(shown)}")
        return shown


def drawn(pool: Sequence[T], count: int, seed: int, *, spare: int = 0) -> list[T]:
    """A pool of `count` random examples, the same for all questions: `random.Random(seed).sample`, as OLMES draws.

    Args:
        spare: drawn beyond `count`: one where questions are of the pool themselves, so that none lacks an example.
    """
    return random.Random(seed).sample(pool, min(count + spare, len(pool)))


@cache
def curated(package: str, file: str, name: str) -> tuple[Row, ...]:
    """A fixed list by its name, out of a JSON file `{"lists": {name: {"rows": […], …}}}` that a package carries.

    Rows are in the columns of their data set, so that a task renders them as it does its questions. Beside `rows` a
    list says its `source` and `licence`.

    Raises:
        DataError: the file is missing or of another form, or has no such list.
    """
    with as_file(files(package).joinpath(file)) as path:
        lists = read_json(path, _Carried, error=DataError).lists
    if name not in lists:
        raise DataError(f"{package}/{file}: {unknown('list of examples', name, lists)}")
    return tuple(Row(place, f"{file}: {name}, example {place + 1}", row) for place, row in enumerate(lists[name].rows))


@dataclass(frozen=True)
class _List:
    rows: list[dict[str, Any]]
    source: str = ""
    licence: str = ""


@dataclass(frozen=True)
class _Carried:
    lists: dict[str, _List]
