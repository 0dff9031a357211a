"""What an evaluation enters into its book: each reply that was owed, once, in the state in which it ended.

What is owed comes from the tasks; what ended from the rows that the scores are means of, those of earlier attempts too.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from aftertrain.core.book import Book, states_of
from aftertrain.core.errors import RunError
from aftertrain.core.records import UNJUDGED
from aftertrain.plugins.evaluation.rows import ScoredInstance
from aftertrain.plugins.evaluation.suite import ReadyTask

CASE, NO_OUTCOME = "case", "no outcome"


def enter_cases(book: Book, tasks: Iterable[ReadyTask], rows: Sequence[ScoredInstance]) -> None:
    """Owe the questions of the tasks, and enter what became of them."""
    for task in tasks:
        for temperature in task.temperatures:
            cases = ((instance.id, sample) for instance in task.instances for sample in range(task.samples))
            book.expect(CASE, (_key(task.name, temperature, *case) for case in cases))
    for row in rows:
        key, state = _key(row.task, row.temperature, row.id, row.sample), state_of(row)
        if state in states_of(CASE):
            book.end(CASE, state, key, made=row.n_tokens)
        else:
            book.drop(CASE, state or NO_OUTCOME, key, made=row.n_tokens)


def check_outcomes(book: Book, rows: Iterable[ScoredInstance]) -> None:
    """Refuse the outcome that a plugin's task has for itself where it is none to count by, before more is scored.

    Raises:
        RunError: names task and question.
    """
    for row in rows:
        if (state := state_of(row)) not in states_of(CASE):
            try:
                book.drop(CASE, state or NO_OUTCOME, ())
            except RunError as error:
                raise RunError(f"task {row.task!r}: outcome of instance {row.id!r}: {error}") from error


def state_of(row: ScoredInstance) -> str:
    """In which a question ended; an outcome that a plugin's task has for itself is that.

    Judging that failed says nothing of the reply, so that it comes first. A reply that was cut may be wrong, or without
    an answer, only for that.
    """
    if row.finish_reason == "cancelled":
        return "cancelled"
    if row.outcome in UNJUDGED or row.finish_reason != "length":
        return row.outcome
    return "cut"


def _key(task: str, temperature: float | None, instance: str, sample: int) -> str:
    return f"{task}\0{temperature!r}\0{instance}" + (f"\0{sample}" if sample else "")
