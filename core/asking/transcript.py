"""What was asked and said, kept as JSON lines."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aftertrain.core.errors import RunError

if TYPE_CHECKING:
    from aftertrain.core.asking.exchange import Answer, Question
    from aftertrain.core.records import Verdict


def add_lines(path: str, lines: Sequence[Mapping[str, Any]]) -> None:
    """Add lines to a file, made with its folder where it is missing.

    Raises:
        RunError: it cannot be written: what was to be kept would be lost.
    """
    file = Path(path)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with open(file, "a", encoding="utf-8") as stream:
            stream.write("".join(f"{json.dumps(line)}\n" for line in lines))
    except OSError as error:
        raise RunError(f"{path}: the transcript cannot be written: {error.strerror or error}") from error


def line(question: Question, answer: Answer, verdict: Verdict) -> dict[str, Any]:
    """One question with its reply, what it took, and the verdict."""
    spent = asdict(answer.spent)
    del spent["from_cache"]
    return {"id": question.case_id, "prompt": question.text, "reply": answer.reply, **spent, **asdict(verdict)}
