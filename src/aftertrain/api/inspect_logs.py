"""Logs of inspect (`.eval`), read by inspect's own package where it is installed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from aftertrain.api.layouts import Asked, Record
from aftertrain.core.errors import RunError

LOG = ".eval"
WORTH = {"C": 1.0, "P": 0.5, "I": 0.0, "N": 0.0}
"""What inspect's letters are worth: correct, partial, incorrect, no answer."""


def read_log(path: Path) -> Iterator[Record]:
    """The samples of a log; of several epochs the first.

    Raises:
        RunError: the package is not installed, or cannot read the log.
    """
    try:
        from inspect_ai.log import read_eval_log
    except ModuleNotFoundError as error:
        raise RunError(f"{path} is a log of inspect, which its own package reads: pip install inspect-ai") from error
    try:
        log = read_eval_log(str(path))
    except (OSError, ValueError, KeyError) as error:
        raise RunError(f"{path}: inspect cannot read it: {error}") from error
    for sample in log.samples or ():
        if sample.epoch == 1:
            yield _record(path, sample)


def _record(path: Path, sample: Any) -> Record:
    talk = (
        (("user", sample.input),)
        if isinstance(sample.input, str)
        else tuple((str(message.role), str(message.text)) for message in sample.input)
    )
    metrics = {
        name: worth for name, score in (sample.scores or {}).items() if (worth := _worth(score.value)) is not None
    }
    reply = sample.output.completion if sample.output is not None else ""
    texts = tuple(text for _, text in talk)
    where = f"{path}: sample {sample.id}"
    return Record(where, (str(sample.id),), asked=(Asked(talk, None),), texts=texts, replies=(reply,), metrics=metrics)


def _worth(value: Any) -> float | None:
    if isinstance(value, str):
        return WORTH.get(value)
    return float(value) if isinstance(value, bool | int | float) else None
