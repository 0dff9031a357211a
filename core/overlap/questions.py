"""What the questions of a task ask, without worked examples and without the wording that all of them share."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from aftertrain.core.benchmark.source import with_folder
from aftertrain.core.benchmark.suite import NamedTask, named_tasks
from aftertrain.core.errors import Unavailable
from aftertrain.core.eval_task import EvalTask, Instance
from aftertrain.core.overlap.items import Evaluation, Item
from aftertrain.core.settings import Builder, Use

_CHOICES = re.compile(
    r"\n(?:(?:Options|Choices|Answer choices):?[ \t]*\n)?[ \t]*\(?A[.):](?=[ \t].*\n[ \t]*\(?B[.):][ \t])"
)


def bare(use: Use[EvalTask[Any]]) -> Use[EvalTask[Any]]:
    """A task without worked examples, where it has a setting for them."""
    settings = use.settings
    if not getattr(settings, "shots", 0):
        return use
    return Use(use.kind, use.name, settings.model_copy(update={"shots": 0}))


def sets_of(
    uses: Iterable[Use[EvalTask[Any]]], builder: Builder, data: str | None
) -> tuple[list[tuple[NamedTask, Evaluation]], dict[str, Unavailable]]:
    """The questions of tasks, and of those of suites, as evaluation sets; and of which there are none here, with why.

    Args:
        data: folder of benchmarks, for tasks that read one.

    Raises:
        DataError: the data of a task are not as they must be.
    """
    sets, missing = list[tuple[NamedTask, Evaluation]](), dict[str, Unavailable]()
    for task in named_tasks(uses):
        try:
            instances = builder.build(bare(with_folder(task.use, data))).instances()
        except Unavailable as error:
            missing[task.name] = error
        else:
            sets.append((task, evaluation_of(task.name, instances)))
    return sets, missing


def reasons(missing: Mapping[str, Unavailable]) -> str:
    """Why questions are not here, each reason once."""
    return "; ".join(dict.fromkeys(map(str, missing.values())))


def evaluation_of(name: str, instances: Sequence[Instance]) -> Evaluation:
    """The questions of a task as items."""
    groups: dict[str, list[int]] = {}
    for place, instance in enumerate(instances):
        groups.setdefault(instance.group, []).append(place)
    asked = [_asked(instance) for instance in instances]
    for places in groups.values():
        start, end = _wording([asked[place] for place in places])
        for place in places:
            asked[place] = asked[place][start : len(asked[place]) - end]
    return named(name, [Item(i.id, (text.strip(),)) for i, text in zip(instances, asked, strict=True)])


def named(name: str, items: Sequence[Item]) -> Evaluation:
    """Items with the digest of what they ask."""
    written = json.dumps([[item.id, item.texts] for item in items], ensure_ascii=False)
    return Evaluation(name, items, hashlib.sha256(written.encode(errors="surrogatepass")).hexdigest())


def _asked(instance: Instance) -> str:
    """The user's last turn without its listed choices, or of a plain text all of it; of contexts that differ the first.

    Choices are listed otherwise in other data, and often not at all: with them a question would be half of its item.
    """
    if not instance.chat:
        text = "".join(message.content for message in instance.messages)
    else:
        text = next((message.content for message in reversed(instance.messages) if message.role == "user"), "")
    if text.strip() or not instance.choices:
        listed = [match.start() for match in _CHOICES.finditer(text)]
        return text[: listed[-1]] if listed and text[: listed[-1]].strip() else text
    return f"{instance.choices[0].context or ''}{instance.choices[0].text}"


def _wording(texts: Sequence[str]) -> tuple[int, int]:
    """Characters that all texts begin and end with and that are the task's: whole lines, or a word with its colon."""
    if len(set(texts)) < 2:
        return 0, 0
    before = _shared(texts)
    start = max(before.rfind("\n") + 1, before.rfind(": ") + 2 if ": " in before else 0)
    behind = _shared([text[start:][::-1] for text in texts])[::-1]
    end = len(behind) - behind.find("\n") if "\n" in behind else 0
    return start, end


def _shared(texts: Sequence[str]) -> str:
    first, last = min(texts), max(texts)  # what these two share, all share
    count = next((place for place, pair in enumerate(zip(first, last, strict=False)) if pair[0] != pair[1]), None)
    return first[:count] if count is not None else first[: min(len(first), len(last))]
