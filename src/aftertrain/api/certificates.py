"""Certificates: what a task asks, held against someone else's file of requests, question by question."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aftertrain.api.foreign import read_foreign
from aftertrain.api.layouts import Asked, Conversation, Record
from aftertrain.api.pairing import Pair, Question, pairs, questions
from aftertrain.core.errors import RunError

if TYPE_CHECKING:
    from aftertrain.core.eval_task import EvalTask

AROUND = 24
"""Characters shown on each side of the first that differs."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One question that is not equal.

    Attributes:
        id: ours, or what the file calls it where we have none.
        where: file and line.
        why: what differs, where, and how.
    """

    id: str
    where: str
    why: str


@dataclass(frozen=True, slots=True)
class Certificate:
    """What was held against what, and what came of it.

    Attributes:
        kind: `prompts` or `verdicts`.
        task: ours, with its settings that differ from their defaults.
        fingerprint: of the task: of every question, prompt and rule; empty for a verifier.
        file: its name; `sha256` is of its bytes, `layout` how it is written, `where` which of its lines were read.
        equal: questions of the file that are the same here.
        differing: those that are not, with their reasons.
        missing: those that the task does not have.
        unjudged: those that could not be judged here, which are neither equal nor differing.
        rest: questions of the task that the file does not have.
        paired: by what questions were paired, and how many.
        notes: what else differs, or was not compared.
    """

    kind: str
    task: str
    fingerprint: str
    file: str
    sha256: str
    layout: str
    where: tuple[str, ...]
    equal: int
    differing: tuple[Finding, ...]
    missing: tuple[Finding, ...]
    unjudged: tuple[Finding, ...] = ()
    rest: int = 0
    paired: Mapping[str, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def holds(self) -> bool:
        """Whether each question of the file is the same here, and drawn alike."""
        return not (self.differing or self.missing or self.unjudged or self.notes)

    def facts(self) -> dict[str, Any]:
        """As plain data, with the counts first."""
        counts = {
            "equal": self.equal,
            "differing": len(self.differing),
            "missing": len(self.missing),
            "unjudged": len(self.unjudged),
            "rest": self.rest,
        }
        return {"holds": self.holds, "counts": counts, **asdict(self), "aftertrain": version("aftertrain")}


def compare_prompts(
    file: Path,
    name: str,
    settings: Iterable[str] = (),
    *,
    data: str | None = None,
    model: str | None = None,
    where: Sequence[str] = (),
) -> Certificate:
    """Hold every request of a task against those of a file.

    Args:
        name: of the task.
        settings: `setting=value` texts.
        data: folder of benchmarks.
        model: whose template renders conversations; a file that has them as messages needs none.
        where: see `read_foreign`.

    Raises:
        RecipeError: unknown task or settings. DataError: the file does not fit. RunError: it holds no requests.
    """
    from aftertrain.api.prompts import load_chat, load_task

    listed = list(settings)
    named, task = load_task(name, listed, data=data, whole=True)
    foreign = read_foreign(file, where)
    if not any(record.asked for record in foreign.records):
        raise RunError(
            f"{file}: {foreign.layout} say what was replied, and not what was asked; use --verdicts for them"
        )
    texts = any(isinstance(asked.context, str) for record in foreign.records for asked in record.asked)
    ours = list(questions(task.instances(), load_chat(task, model) if texts or model else None))
    records = [_as_replies(record, ours) for record in foreign.records]
    found = list(pairs(ours, records))
    matched = [pair for pair in found if pair.ours is not None]
    differing = [Finding(*_place(pair), why_not(pair)) for pair in matched if pair.how != "requests" and why_not(pair)]
    return Certificate(
        "prompts",
        " ".join([named, *listed]),
        task.fingerprint(),
        file.name,
        foreign.sha256,
        foreign.layout,
        tuple(where),
        len(matched) - len(differing),
        tuple(differing),
        tuple(Finding(*_place(pair), "the task has no such question") for pair in found if pair.ours is None),
        rest=len(ours) - len(matched),
        paired=dict(Counter(str(pair.how) for pair in matched)),
        notes=tuple(_drawn(task, foreign.records)),
    )


def why_not(pair: Pair) -> str:
    """What differs between a question of ours and theirs; empty where nothing does."""
    ours = pair.ours
    if ours is None:
        return "the task has no such question"
    mine = ours.talk if ours.talk and not isinstance(pair.theirs.asked[0].context, str) else ours.asked
    if len(pair.theirs.asked) == len(mine) + len(ours.bare):
        mine = (*mine, *ours.bare)
    for number, (my, their) in enumerate(zip_longest(mine, pair.theirs.asked), 1):
        if my is None or their is None:
            return f"asks {len(mine)} requests here, {len(pair.theirs.asked)} there"
        if my != their:
            return f"request {number} of {len(mine)}: {_difference(my, their)}"
    return ""


def _difference(mine: Asked, theirs: Asked) -> str:
    if mine.context != theirs.context:
        return f"context: {first_difference(_written(mine.context), _written(theirs.context))}"
    if mine.continuation is None or theirs.continuation is None:
        return f"continuation: {mine.continuation!r} here, {theirs.continuation!r} there"
    return f"continuation: {first_difference(mine.continuation, theirs.continuation)}"


def first_difference(mine: str, theirs: str) -> str:
    """Where two texts begin to differ, with what stands around it.

    >>> first_difference("Answer: A", "Answer:A")
    "character 8: 'Answer: A' here, 'Answer:A' there"
    """
    place = next((i for i, (a, b) in enumerate(zip(mine, theirs, strict=False)) if a != b), min(len(mine), len(theirs)))
    shown = [_around(text, place) for text in (mine, theirs)]
    return f"character {place + 1:,}: {shown[0]} here, {shown[1]} there"


def _around(text: str, place: int) -> str:
    start, stop = max(0, place - AROUND), place + AROUND
    return f"{'…' * (start > 0)}{text[start:stop]!r}{'…' * (stop < len(text))}"


def _written(context: str | Conversation) -> str:
    return context if isinstance(context, str) else "".join(f"<{role}>\n{text}\n" for role, text in context)


def _as_replies(record: Record, ours: Sequence[Question]) -> Record:
    """Without the continuations that a file scores beside a reply, where the task makes replies alone."""
    from dataclasses import replace

    if ours[0].instance.choices or len(record.asked) != 1:
        return record
    return replace(record, asked=(Asked(record.asked[0].context, None),))


def _place(pair: Pair) -> tuple[str, str]:
    name = pair.ours.instance.id if pair.ours is not None else ", ".join(pair.theirs.names) or "?"
    return name, pair.theirs.where


def _drawn(task: EvalTask[Any], records: Sequence[Record]) -> Iterable[str]:
    """How replies are drawn otherwise than in the file."""
    from aftertrain.core.eval_task import ReplyTask

    if not isinstance(task, ReplyTask):
        return
    sampling = task.sampling()
    for name, mine in (
        ("stop", sorted(sampling.stop)),
        ("max_new_tokens", sampling.max_new_tokens),
        ("temperature", sampling.temperature),
    ):
        theirs = [record.drawn[name] for record in records if record.drawn.get(name) is not None]
        values = [sorted(map(str, value)) if isinstance(value, list) else value for value in theirs]
        if others := [value for value in values if value != mine]:
            yield f"{name} of replies is {mine} here, {others[0]} in {len(others):,} of {len(records):,} there"
