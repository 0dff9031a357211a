"""Replies of evaluated models, read from `samples/instances.jsonl`, and the choice of which to show.

The choice is blind: problems are grouped by whether the first and the last model were right, and within a group they
come in the order of a hash of their id, so nobody picked them for their looks.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aftertrain.core.errors import RunError
from aftertrain.core.figures import mean, with_verdict
from aftertrain.core.ground.reading import decode, parse_json, read_lines, typed
from aftertrain.core.records import UNJUDGED

GROUPS = {
    (False, True): "became right",
    (True, False): "became wrong",
    (False, False): "wrong before and after",
    (True, True): "right before and after",
}
"""By whether the first and the last model were right, in the order they are shown."""
ALONE = {(False, False): "wrong", (True, True): "right"}
"""The same of one model."""
_RIGHT = 0.5


@dataclass(frozen=True, slots=True)
class Reply:
    """One model's reply to one instance.

    Attributes:
        target: what the reply is compared with.
        cut: it was ended by the token limit.
        likelihood: nothing was sampled: the log-likelihoods of choices were compared.
        repeat: counts replies to one id at one temperature.
        group: subject or category of the question.
        axis: which of several sides of its task it is on, as the safe prompts and the unsafe ones; "" for no side.
        marks: by reading, what was found of each of its parts, as of the instructions that it had to follow.
        cluster: what it shares with other questions.
    """

    id: str
    task: str
    temperature: float | None
    prompt: str
    output: str
    extracted: str | None
    outcome: str
    metrics: Mapping[str, float]
    target: str = ""
    cut: bool = False
    likelihood: bool = False
    repeat: int = 0
    group: str = ""
    axis: str = ""
    marks: Mapping[str, tuple[tuple[str, bool], ...]] = field(default_factory=dict)
    cluster: str = ""

    @property
    def unjudged(self) -> bool:
        """Whether it has no verdict: its metrics say nothing of it."""
        return self.outcome in UNJUDGED


@dataclass(frozen=True, slots=True)
class SideBySide:
    """One problem and every model's reply; `replies` are (evaluation stage, reply, right or not)."""

    group: str
    prompt: str
    id: str
    target: str
    replies: tuple[tuple[str, Reply, bool], ...]


@dataclass(frozen=True, slots=True)
class Chosen:
    """Problems to show, and how many there are of each group; `alone` where one model answered."""

    problems: tuple[SideBySide, ...]
    counts: Mapping[str, int]
    total: int
    alone: bool = False


@dataclass(frozen=True, slots=True)
class Browsed:
    """One question, and (evaluation stage, reply) of each model that was asked."""

    task: str
    replies: tuple[tuple[str, Reply], ...]

    @property
    def first(self) -> Reply:
        """Whose prompt and target stand for all."""
        return self.replies[0][1]


class Instances:
    """Replies by evaluation stage; files are read once."""

    def __init__(self, folders: Mapping[str, Path | None]) -> None:
        self._replies = {stage: _read(folder) if folder else [] for stage, folder in folders.items()}

    def of(self, stage: str, task: str, temperature: float | None) -> list[Reply]:
        """Replies of one evaluation to one task at one temperature."""
        return [r for r in self._replies.get(stage, []) if r.task == task and r.temperature == temperature]

    def values(self, stage: str, task: str, metric: str, temperature: float | None) -> dict[str, float | None]:
        """A metric by instance id; of several replies the mean of those with a verdict, None where none has one."""
        replies: dict[str, list[Reply]] = {}
        for reply in self.of(stage, task, temperature):
            if metric in reply.metrics:
                replies.setdefault(reply.id, []).append(reply)
        figure = mean(metric)
        found: dict[str, float | None] = {}
        for id_, group in replies.items():
            judged = with_verdict(figure, group)
            found[id_] = sum(reply.metrics[metric] for reply in judged) / len(judged) if judged else None
        return found

    def clusters(self, stage: str, task: str, temperature: float | None) -> dict[str, str]:
        """By instance id what it shares with others."""
        return {reply.id: reply.cluster for reply in self.of(stage, task, temperature)}

    def likelihood(self, stage: str, task: str) -> bool:
        """Whether a task compared log-likelihoods instead of sampling replies."""
        return any(reply.likelihood for reply in self._replies.get(stage, []) if reply.task == task)

    def outcomes(self, stage: str) -> dict[tuple[str, float | None], Counter[str]]:
        """Outcome counts by task and temperature."""
        counts: dict[tuple[str, float | None], Counter[str]] = {}
        for reply in self._replies.get(stage, []):
            counts.setdefault((reply.task, reply.temperature), Counter())[reply.outcome] += 1
        return counts

    def choose(
        self, stages: Sequence[str], task: str, metric: str, temperature: float | None, number: int
    ) -> Chosen | None:
        """Problems that all `stages` answered: changed ones and failures first, `number` in all.

        Half of them became right (of one model: are wrong), the others are dealt in turn to the remaining groups; a
        group that has too few leaves its places to the rest. A problem of which a reply has no verdict is in no group.
        None when no problem was answered by every stage.
        """
        tables = [{(r.id, r.repeat): r for r in self.of(stage, task, temperature)} for stage in stages]
        if not tables or metric == "":
            return None
        keys = [
            key
            for key in tables[0]
            if all(key in t and metric in t[key].metrics and not t[key].unjudged for t in tables)
        ]
        names = GROUPS if len(tables) > 1 else ALONE
        groups: dict[str, list[tuple[str, int]]] = {group: [] for group in names.values()}
        for key in sorted(keys, key=blind):
            before, after = (table[key].metrics[metric] > _RIGHT for table in (tables[0], tables[-1]))
            groups[names[before, after]].append(key)
        picked = _deal(groups, number)
        problems = tuple(
            SideBySide(
                group,
                tables[0][key].prompt,
                key[0],
                tables[0][key].target,
                tuple((s, t[key], t[key].metrics[metric] > _RIGHT) for s, t in zip(stages, tables, strict=True)),
            )
            for group, picks in picked.items()
            for key in picks
        )
        counts = {group: len(members) for group, members in groups.items()}
        return Chosen(problems, counts, len(keys), alone=len(tables) == 1) if keys else None

    def browse(self, stages: Sequence[str], task: str, temperature: float | None, number: int) -> list[Browsed]:
        """Questions of a task in the order of a hash of their ids, each with what every model made of it."""
        tables = [{(r.id, r.repeat): r for r in self.of(stage, task, temperature)} for stage in stages]
        keys = sorted({key for table in tables for key in table}, key=blind)[:number]
        return [
            Browsed(
                task, tuple((stage, table[key]) for stage, table in zip(stages, tables, strict=True) if key in table)
            )
            for key in keys
        ]


def _deal(groups: Mapping[str, Sequence[tuple[str, int]]], number: int) -> dict[str, list[tuple[str, int]]]:
    best, *others = groups
    left = {group: list(members) for group, members in groups.items()}
    picked: dict[str, list[tuple[str, int]]] = {group: [] for group in groups}
    turns = [turn for other in others for turn in (best, other)] if any(groups[other] for other in others) else [best]
    while sum(map(len, picked.values())) < number and any(left.values()):
        for group in turns:
            if left[group] and sum(map(len, picked.values())) < number:
                picked[group].append(left[group].pop(0))
    return picked


def blind(key: tuple[str, int]) -> str:
    """By what ids are put in an order that nobody chose."""
    return hashlib.sha256(f"{key[0]}\0{key[1]}".encode(errors="surrogatepass")).hexdigest()


def _read(folder: Path) -> list[Reply]:
    path = folder / "samples" / "instances.jsonl"
    if not path.is_file():
        return []
    replies, seen = [], Counter[tuple[str, str, float | None]]()
    for number, line in read_lines(path):
        if not line.strip():
            continue
        try:
            row = parse_json(decode(line, f"{path}:{number}"), str(path), line=number)
            replies.append(_reply(typed(row, dict[str, Any], f"{path}:{number}"), seen))
        except (ValueError, TypeError) as error:
            raise RunError(f"{path}:{number}: not a scored instance: {error}") from error
        except RunError:
            if line.endswith(b"\n"):
                raise  # else torn by a kill while it was written
    return replies


def _reply(row: Mapping[str, Any], seen: Counter[tuple[str, str, float | None]]) -> Reply:
    temperature, extracted = row.get("temperature"), row.get("extracted")
    temperature = None if temperature is None else float(temperature)
    task, id_ = str(row.get("task", "")), str(row.get("id", ""))
    repeat = seen[task, id_, temperature]
    seen[task, id_, temperature] += 1
    parts = row["parts"] if isinstance(row.get("parts"), dict) else {}
    metrics = row.get("metrics") if isinstance(row.get("metrics"), dict) else {}
    return Reply(
        id=id_,
        task=task,
        temperature=temperature,
        prompt=_text(row.get("prompt")),
        output=_text(row.get("output")),
        extracted=None if extracted is None else str(extracted),
        outcome=str(row.get("outcome", "")),
        metrics={str(k): float(v) for k, v in (metrics or {}).items() if isinstance(v, int | float)},
        target=_text(row.get("expected")) or _target(row.get("target")),
        cut=row.get("finish_reason") == "length",
        likelihood=bool(row.get("logprobs")),
        repeat=repeat,
        group=str(row.get("group", "")),
        axis=next((name for name, there in parts.items() if there is True), ""),
        marks={name: marks for name, found in parts.items() if (marks := _marks(found))},
        cluster=str(row.get("cluster", "")),
    )


def _marks(found: Any) -> tuple[tuple[str, bool], ...]:
    """What a part of a score says of several things by name; () where it says something else."""
    pairs = found if isinstance(found, list) else []
    whole = all(isinstance(pair, list) and [type(part) for part in pair] == [str, bool] for pair in pairs)
    return tuple((name, follows) for name, follows in pairs) if whole else ()


def _target(value: Any) -> str:
    """What a reply is compared with; a list of strings holds answers that are all accepted."""
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return " or ".join(value)
    return _text(value)


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    return "" if value is None else json.dumps(value, ensure_ascii=False, indent=1)
