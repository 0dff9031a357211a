"""Which rows a check takes where the user names no number: as many as a large model's passes leave time for."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from pathlib import Path

from safetensors import safe_open

from aftertrain.core.learning.trial import Trial

ROWS, LEAST = 8, 3
"""Rows that are taken, and that are taken at least: the one, the others beside it, and an order among them."""
POOL = 32
"""Rows among which short ones are looked for."""
WORK = 1.5e11
"""Weights times tokens that are too many to pass through the model a dozen times on a CPU: a step on them takes two
cores some ten seconds. A model of 135 M weights gets 1,100 tokens, a toy all of its rows."""


def lightened(trial: Trial) -> Trial:
    """The trial's first rows; where they are too much work for a CPU, short rows and one that is longer.

    The trial itself if it cannot be made of fewer rows.

    Raises:
        ModelError: the model's folder cannot be read.
    """
    if trial.only is None:
        return trial
    return trial.only(choose([sum(len(s.token_ids) for s in atom) for atom in trial.atoms], affordable(trial)))


def affordable(trial: Trial) -> float:
    """Tokens of all rows together; on a GPU, and where nothing says how large the model is, without end."""
    facts = [trial.builder.build(trial.engine).facts(model) for model in trial.models.values()]
    weights = sum(map(count_weights, trial.models.values()))
    if weights == 0 or any(fact.get("device", "cpu") != "cpu" for fact in facts):
        return float("inf")
    return WORK / weights


def count_weights(folder: str) -> int:
    """Numbers in the safetensors files of a model's folder; only their headers are read."""
    total = 0
    for path in Path(folder).glob("*.safetensors"):
        with safe_open(path, framework="pt") as file:
            total += sum(prod(file.get_slice(name).get_shape()) for name in file.keys())  # noqa: SIM118  no mapping
    return total


def choose(sizes: Sequence[int], tokens: float) -> list[int]:
    """Places of the rows to take, in order.

    The first `ROWS` if they fit into the tokens. Else the shortest that fill half of them, and the longest that the
    rest leaves room for, because rows of one length hide what depends on lengths; never fewer than `LEAST`.

    >>> choose([40, 30, 20, 50], tokens=1000), choose([40, 90, 10, 80, 30, 20], tokens=130)
    ([0, 1, 2, 3], [0, 2, 4, 5])
    """
    if sum(sizes[:ROWS]) <= tokens:
        return list(range(len(sizes[:ROWS])))
    by_size = sorted(range(len(sizes)), key=lambda i: (sizes[i], i))
    chosen = by_size[: LEAST - 1]
    used = sum(sizes[i] for i in chosen)
    for place in by_size[LEAST - 1 : ROWS - 1]:
        if used + sizes[place] > tokens / 2:
            break
        chosen.append(place)
        used += sizes[place]
    rest = by_size[len(chosen) :]
    fitting = [i for i in rest if used + sizes[i] <= tokens]
    return sorted(chosen + (fitting[-1:] or rest[:1]))
