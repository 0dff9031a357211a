"""What a data set promises: the same records each time, with stable unique ids and a fingerprint of their content."""

from __future__ import annotations

import re
from collections.abc import Callable
from itertools import islice
from typing import Any

from aftertrain.core.dataset import Dataset
from aftertrain.testing.fresh import in_child
from aftertrain.testing.promise import Subject, require

LIMIT = 2_000
"""Records looked at; a larger data set is judged by its first."""
PATIENCE = 120.0


def iterating_twice_gives_equal_records(subject: Subject) -> None:
    """Two passes, and a pass over a new instance, give equal records in the same order."""
    dataset: Dataset[Any] = subject.component()
    first = _head(dataset)
    require(first, "it yields no record")
    require(_head(dataset) == first, "a second pass gives other records")
    require(_head(subject.component()) == first, "a new instance gives other records")


def records_are_of_the_stated_type(subject: Subject) -> None:
    """Every record is a `record_type`, with turns of non-empty role, a source, and no empty prompt."""
    dataset: Dataset[Any] = subject.component()
    for record in _head(dataset):
        require(isinstance(record, dataset.record_type), f"{record!r} is no {dataset.record_type.__name__}")
        require(record.source, f"record {record.id!r} has no source")
        turns = getattr(record, "messages", None) or getattr(record, "prompt", ())
        require(turns, f"record {record.id!r} has no messages")


def ids_are_unique(subject: Subject) -> None:
    """No two records share an id, and none is empty."""
    seen: set[str] = set()
    for record in _head(subject.component()):
        require(isinstance(record.id, str) and record.id, f"a record's id is {record.id!r}")
        require(record.id not in seen, f"two records have the id {record.id!r}")
        seen.add(record.id)


def length_is_the_number_of_records(subject: Subject) -> None:
    """`len` counts what iteration yields."""
    dataset: Dataset[Any] = subject.component()
    count = sum(1 for _ in dataset)
    require(len(dataset) == count, f"len is {len(dataset)}, iteration yields {count}")


def it_is_the_same_in_another_process(subject: Subject) -> None:
    """A new process, with another hash seed, finds equal ids, order and fingerprint."""
    dataset: Dataset[Any] = subject.component()
    print_ = dataset.fingerprint()
    require(re.fullmatch(r"[0-9a-f]{16,}", print_), f"the fingerprint {print_!r} is no hex digest")
    require(print_ == subject.component().fingerprint(), "a new instance has another fingerprint")
    ids, theirs, content = in_child(identify, dataset, patience=PATIENCE, doing="reading it in a new process")
    require(ids == [record.id for record in _head(dataset)], "a new process finds other ids or another order")
    require(theirs == print_, f"a new process finds the fingerprint {theirs}, this one {print_}")
    require(content == dataset.content(), f"a new process finds the content {content}, this one {dataset.content()}")


def identify(dataset: Dataset[Any], tell: Callable[[str], None]) -> tuple[list[str], str, str]:
    """Ids, fingerprint and content; runs in a child process."""
    tell("reading its records in a new process")
    return [record.id for record in _head(dataset)], dataset.fingerprint(), dataset.content()


def _head(dataset: Dataset[Any]) -> list[Any]:
    return list(islice(dataset, LIMIT))
