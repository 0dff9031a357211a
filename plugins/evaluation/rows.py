"""JSON lines in and out: the source rows of tasks, and the scored instances of a stage."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from aftertrain.core.errors import DataError
from aftertrain.core.ground.cleaning import clean, json_text
from aftertrain.core.ground.reading import parse_json, read_bytes, typed
from aftertrain.core.records import JSON, Thoughts

LARGEST = 4 << 30
"""Bytes of a task's file, unpacked."""


@dataclass(frozen=True, slots=True)
class ScoredInstance:
    """One line of `samples/instances.jsonl`: a question, one output of the model, and its scores.

    Attributes:
        id: the instance's id within its task.
        sample: which of the replies to it.
        group: its subject or category.
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
    """

    id: str
    task: str
    temperature: float
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
    return scored


def read_rows(path: str | Path) -> list[tuple[int, dict[str, Any]]]:
    """Line numbers and objects of a JSON-lines file, gzip if it ends in `.gz`; blank lines are skipped.

    Raises:
        DataError: the file cannot be read or a line is not a JSON object; names file and line.
    """
    path = Path(path)
    rows = []
    try:
        text = read_bytes(path, limit=LARGEST, error=DataError)
        if path.suffix == ".gz":
            with gzip.GzipFile(fileobj=io.BytesIO(text)) as file:
                text = file.read(LARGEST + 1)
            if len(text) > LARGEST:
                raise DataError(f"{path}: has more than {LARGEST:,} bytes when it is unpacked")
        for number, line in enumerate(text.decode("utf-8").split("\n"), 1):
            if not line.strip():
                continue
            row = parse_json(line, str(path), line=number, error=DataError)
            if not isinstance(row, dict):
                raise DataError(f"{path}:{number}: a JSON object is needed, found {type(row).__name__}")
            if "\\ud" in line.lower() and clean(half := json.dumps(row, ensure_ascii=False)) != half:
                raise DataError(
                    f"{path}:{number}: holds half of a surrogate pair, which no tokenizer takes; write the character "
                    "whole, take it out, or put \\ufffd in its place"
                )
            rows.append((number, row))
    except (OSError, EOFError, UnicodeDecodeError, zlib.error) as error:
        raise DataError(f"{path}: cannot be read: {error}") from error
    return rows


def need(row: Mapping[str, Any], field: str, kind: type, where: str) -> Any:
    """`row[field]`, of type `kind`.

    Raises:
        DataError: it is missing or of another type.
    """
    if field not in row:
        raise DataError(f"{where}: has no field {field!r}; it has {', '.join(sorted(row)) or 'none'}")
    if not isinstance(row[field], kind):
        raise DataError(f"{where}: field {field!r} must be a {kind.__name__}, found {type(row[field]).__name__}")
    return row[field]


def digest(value: JSON) -> str:
    """SHA-256 in hex of plain data."""
    written = json.dumps(value, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(written.encode(errors="surrogatepass")).hexdigest()


class Ids:
    """Stable ids of rows that may bring none: the row's own `id`, else a digest of its text; repeats are numbered."""

    def __init__(self) -> None:
        self._seen: dict[str, int] = {}

    def of(self, row: Mapping[str, Any], text: str) -> str:
        """An id that no earlier row has."""
        name = str(row["id"]) if row.get("id") is not None else digest(text)[:16]
        count = self._seen[name] = self._seen.get(name, 0) + 1
        return name if count == 1 else f"{name}-{count}"
