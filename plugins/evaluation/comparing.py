"""Which questions changed between two models, for people."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from aftertrain.core.stage import Flip
from aftertrain.plugins.evaluation.rows import ScoredInstance
from aftertrain.plugins.evaluation.suite import ReadyTask
from aftertrain.plugins.evaluation.summary import by_cell, questions_of


def flips(
    tasks: Sequence[ReadyTask], rows: Sequence[ScoredInstance], others: Mapping[str, Sequence[ScoredInstance]]
) -> Iterator[Flip]:
    """Each question whose headline value changed, what got worse first."""
    figures = {task.name: task.figures[0] for task in tasks}
    for theirs in others.values():
        cells = by_cell(theirs)
        changed = []
        for (task, temperature), mine in by_cell(rows).items():
            before, figure = questions_of(cells.get((task, temperature), [])), figures[task]
            for id_, now in questions_of(mine).items():
                if id_ in before and before[id_].has(figure) and now.has(figure):
                    values = before[id_].value(figure), now.value(figure)
                    if values[0] != values[1]:
                        old, new = before[id_].rows[0], now.rows[0]
                        answers, replies = (old.extracted, new.extracted), (old.output, new.output)
                        changed.append(Flip(task, id_, temperature, values, answers, new.prompt, replies))
        yield from sorted(changed, key=lambda flip: flip.values[1] - flip.values[0])
