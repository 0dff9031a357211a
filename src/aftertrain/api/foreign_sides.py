"""Another evaluator's results as one side of a comparison: lm-eval's samples, OLMES's predictions, a log of inspect."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from aftertrain.api.file_pairing import matched
from aftertrain.api.foreign import read_foreign
from aftertrain.api.inspect_logs import LOG, read_log
from aftertrain.api.layouts import Record
from aftertrain.api.sides import Cell, Key, Place, Side
from aftertrain.core.benchmark.rows import read_rows
from aftertrain.core.errors import RunError
from aftertrain.core.eval_task import InstanceScore
from aftertrain.core.ground.wording import counted

ENDS = (".jsonl", ".jsonl.gz", ".json", LOG)
PREDICTIONS, REQUESTS = "-predictions.jsonl", "-requests.jsonl"
PLAIN = ("none", "")
"""Names of lm-eval's filter that filters nothing."""


def is_file(side: str | os.PathLike[str]) -> bool:
    """Whether a side is another evaluator's: a file, or a folder with lm-eval's samples."""
    path = Path(side)
    return (path.is_file() and path.name.endswith(ENDS)) or (path.is_dir() and any(path.glob("samples_*.jsonl")))


def foreign_side(path: Path, anchor: Side, metrics: Mapping[str, str], where: Sequence[str], notes: list[str]) -> Side:
    """Another evaluator's, by our questions.

    Args:
        notes: gains how it was paired.

    Raises:
        RunError: its questions are not ours, or it has none of our metrics; says why.
    """
    values: dict[Key, dict[str, float]] = {}
    replies: dict[Place, str] = {}
    why: list[str] = []
    scored: dict[Cell, dict[str, list[InstanceScore]]] = {}
    for file in _files(path):
        records = list(_records(file, where))
        found = matched(file, records, anchor, why)
        if found is None:
            continue
        (task, temperature), pairs, note = found
        there = list(dict.fromkeys(name for record in pairs.values() for name in record.metrics))
        scored[task, temperature] = {id_: [_score(record, metrics)] for id_, record in pairs.items()}
        ours = [metric for name, metric, temp in anchor.values if (name, temp) == (task, temperature)]
        shared = {metric: metrics.get(metric, metric) for metric in ours if metrics.get(metric, metric) in there}
        if not shared:
            why.append(
                f"{file}: has no metric of {task}, which has {', '.join(ours)}; it has {', '.join(there) or 'none'}. "
                f"Say which is which, as in --metric {ours[0]}={there[0] if there else 'NAME'}"
            )
            continue
        notes.append(f"{file.name}: {len(pairs):,} of {len(records):,} questions are those of {task}{note}")
        for mine, theirs in shared.items():
            key = (task, mine, temperature)
            judged = {id_: record.metrics[theirs] for id_, record in pairs.items() if theirs in record.metrics}
            values.setdefault(key, {}).update(judged)
            if len(judged) < len(pairs):
                lacking = counted(len(pairs) - len(judged), "question")
                notes.append(f"{file.name}: {lacking} without {theirs} left out")
        replies.update({(task, temperature, id_): "\n".join(r.replies) for id_, r in pairs.items()})
    notes += [f"left out: {reason}" for reason in why if values]
    if not values:
        raise RunError(f"{path} cannot be compared with {anchor.name}: {'; '.join(why)}")
    return Side(str(path), values, replies, {}, scored=scored)


def _score(record: Record, metrics: Mapping[str, str]) -> InstanceScore:
    """What the file tells of a question, under our names."""
    ours = {theirs: mine for mine, theirs in metrics.items()}
    values = {ours.get(name, name): value for name, value in record.metrics.items()}
    return InstanceScore(values, parts={ours.get(name, name): value for name, value in record.fields.items()})


def _files(path: Path) -> list[Path]:
    """The newest samples of each task."""
    if path.is_file() and path.name.startswith("results_"):
        date = path.stem.removeprefix("results_")
        found = sorted(path.parent.glob(f"samples_*_{date}.jsonl"))
        if not found:
            raise RunError(
                f"{path} has means alone, and no samples_*_{date}.jsonl beside it: what is not paired by question is "
                "not compared; run lm-eval with --log_samples"
            )
        return found
    if path.is_file():
        return [path]
    newest = {file.name.rpartition("_")[0]: file for file in sorted(path.glob("samples_*.jsonl"))}
    return list(newest.values())


def _records(file: Path, where: Sequence[str]) -> Iterator[Record]:
    """Its questions; of those that several filters read, the metrics of each filter under its name."""
    if file.name.endswith(LOG):
        yield from read_log(file)
        return
    rows = read_rows(file)
    filters = list(dict.fromkeys(str(row["filter"]) for _, row in rows if "filter" in row and "resps" in row))
    chosen = [text for text in where if rows and text.partition("=")[0] in rows[0][1]]
    if len(filters) < 2 or any(text.startswith("filter=") for text in chosen):
        yield from _with_requests(file, read_foreign(file, chosen, verdicts=True).records)
        return
    by_place: dict[tuple[str, ...], Record] = {}
    for name in filters:
        for record in read_foreign(file, [*chosen, f"filter={name}"], verdicts=True).records:
            named = {m if name in PLAIN else f"{m},{name}": value for m, value in record.metrics.items()}
            before = by_place.setdefault(record.names, replace(record, metrics={}))
            by_place[record.names] = replace(before, metrics={**before.metrics, **named})
    yield from by_place.values()


def _with_requests(file: Path, records: Sequence[Record]) -> Iterator[Record]:
    """Predictions of OLMES, with what was asked from the file beside them."""
    beside = file.with_name(file.name.replace(PREDICTIONS, REQUESTS))
    if beside == file or not beside.is_file():
        yield from records
        return
    asked = {record.place: record.asked for record in read_foreign(beside).records}
    for record in records:
        yield replace(record, asked=asked.get(record.place, ()))
