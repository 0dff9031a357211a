"""Which questions changed between two models, for people."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from aftertrain.plugins.evaluation.rows import ScoredInstance
from aftertrain.plugins.evaluation.suite import ReadyTask
from aftertrain.plugins.evaluation.summary import Question, by_cell, questions_of


def flips(
    tasks: Sequence[ReadyTask], rows: Sequence[ScoredInstance], others: Mapping[str, Sequence[ScoredInstance]]
) -> Iterator[str]:
    """A line on each question whose headline value changed, what got worse first."""
    figures = {task.name: task.figures[0] for task in tasks}
    for theirs in others.values():
        cells = by_cell(theirs)
        changed = []
        for (task, temperature), mine in by_cell(rows).items():
            before, figure = questions_of(cells.get((task, temperature), [])), figures[task]
            for id_, now in questions_of(mine).items():
                if id_ in before:
                    values = figure.value(before[id_].scores()), figure.value(now.scores())
                    if values[0] != values[1]:
                        where = f"{task} {id_} at temperature {temperature:g}"
                        changed.append((values[1] - values[0], where, values, before[id_], now))
        for _, where, (old, new), was, now in sorted(changed, key=lambda entry: entry[0]):
            yield f"{where}: {old:.3g} {_read(was)} -> {new:.3g} {_read(now)}"


def _read(question: Question) -> str:
    """The answer that was read, of several replies the first."""
    extracted = question.rows[0].extracted
    return "no answer" if extracted is None else repr(extracted[:60])
