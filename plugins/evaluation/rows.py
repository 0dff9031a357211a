"""The scored instances of a stage as JSON lines, in and out."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from aftertrain.core.benchmark.rows import read_rows
from aftertrain.core.errors import DataError
from aftertrain.core.ground.cleaning import json_text
from aftertrain.core.ground.reading import typed
from aftertrain.core.records import JSON, Thoughts


@dataclass(frozen=True, slots=True)
class ScoredInstance:
    """One line of `samples/instances.jsonl`: a question, one output of the model, and its scores.

    Attributes:
        id: the instance's id within its task.
        sample: which of the replies to it.
        group: its subject or category.
        temperature: at which a reply was drawn; None for log-likelihoods, which earlier versions wrote as 0.
        cluster: what it shares with other questions.
        other_rule: the first metric if the other part of the reply had been read; None where that is the same text.
        parts: what figures of the whole corpus are made of, by name.
        prompt: text as sent to the model.
        output: the reply, or the choice the model prefers.
        target: what the output is compared with.
        extracted: answer that was read from the output.
        outcome: a verdict's outcome.
        finish_reason: of a reply; empty for log-likelihoods.
        n_tokens: tokens of the reply, or of all that was scored.
        with_special: the reply with special tokens, where that differs.
        logprobs: of the choices, or of the text, in nats; empty for replies.
        choice_tokens: tokens of each choice.
        greedy: whether each of a choice's tokens is the likeliest where it stands.
        baseline: as `logprobs`, after the context without the question.
        thoughts: how the model's template marks thoughts in a reply, None where it does not say.
        asked: digest of what was asked, before any template.
        expected: the right choice, as `output` names the preferred one; "" of replies, whose target says it.
    """

    id: str
    task: str
    temperature: float | None
    prompt: str
    output: str
    target: JSON
    extracted: str | None
    outcome: str
    metrics: Mapping[str, float]
    detail: str = ""
    finish_reason: str = ""
    n_tokens: int = 0
    with_special: str | None = None
    logprobs: tuple[float, ...] = ()
    choice_tokens: tuple[int, ...] = ()
    greedy: tuple[bool, ...] = ()
    baseline: tuple[float, ...] = ()
    thoughts: Thoughts | None = None
    asked: str = ""
    sample: int = 0
    group: str = ""
    other_rule: float | None = None
    parts: Mapping[str, JSON] = field(default_factory=dict)
    expected: str = ""
    cluster: str = ""


def write_instances(path: Path, rows: Iterable[ScoredInstance]) -> None:
    """Write rows so that the file is whole or absent."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}")
    with draft.open("w", encoding="utf-8") as file:
        for row in rows:
            file.write(json_text(asdict(row), verbatim=True) + "\n")
        file.flush()
        os.fsync(file.fileno())
    draft.rename(path)


def read_instances(path: Path) -> list[ScoredInstance]:
    """What `write_instances` wrote.

    Raises:
        DataError: the file is missing or a line is not a scored instance.
    """
    return [_scored(path, number, row) for number, row in read_rows(path)]


def _scored(path: Path, number: int, row: dict[str, Any]) -> ScoredInstance:
    scored: ScoredInstance = typed(row, ScoredInstance, f"{path}:{number}: not a scored instance", error=DataError)
    return scored if scored.finish_reason else replace(scored, temperature=None)
