"""Which questions of another evaluator's file are ours, by the text of their prompts.

The proof is the text: a question is a pair only where the prompt in the file is the prompt that our run sent, character
by character (of a file that has conversations: the same turns, with one and the same text of a template around each).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from aftertrain.api.certificates import first_difference
from aftertrain.api.layouts import Conversation, Record
from aftertrain.api.sides import UNKNOWN, Side

TRIED = 100
"""Questions of a file that are looked for in other words."""


def matched(
    file: Path, records: Sequence[Record], anchor: Side, why: list[str]
) -> tuple[tuple[str, float | None], dict[str, Record], str] | None:
    """The task of ours that a file asks, its questions by our ids, and a note; or the reason why there is none."""
    if not any(record.asked for record in records):
        why.append(f"{file.name} does not say what was asked")
        return None
    best: tuple[tuple[str, float | None], dict[str, Record], str] | None = None
    nearest = ""
    for cell in dict.fromkeys((task, temperature) for task, temperature, _ in anchor.prompts):
        prompts = {id_: text for (task, temp, id_), text in anchor.prompts.items() if (task, temp) == cell}
        pairs, note = _paired(prompts, records)
        pairs = {id_: record for id_, record in pairs.items() if _alike(record, anchor.choices.get((*cell, id_), ()))}
        if any(anchor.choices.get((*cell, id_)) == UNKNOWN for id_ in pairs):
            note += "; whether their choices are ours could not be seen, as the data are not here"
        if pairs and (best is None or len(pairs) > len(best[1])):
            best = cell, pairs, note
        nearest = nearest or _nearest(cell[0], prompts, records)
    if best is None:
        what = nearest or ", or scores other continuations, or replies where ours did not, or the reverse"
        why.append(f"{file.name} asks none of its questions in the same words{what}")
        return None
    cell, pairs, _ = best
    taken = {id(record) for record in pairs.values()}
    asks_other = _nearest(
        cell[0],
        {id_: text for (task, temp, id_), text in anchor.prompts.items() if (task, temp) == cell and id_ not in pairs},
        [record for record in records if id(record) not in taken],
    )
    if asks_other:
        why.append(f"{file.name} asks only {len(pairs):,} of {len(records):,} questions in the same words{asks_other}")
        return None
    return best


def _alike(record: Record, choices: Sequence[str]) -> bool:
    """Whether both replied, or scored the same continuations."""
    context = record.asked[0].context
    theirs = [asked.continuation for asked in record.asked if asked.context == context]
    if tuple(choices) == UNKNOWN:
        return None not in theirs
    return sorted(map(str, theirs)) == sorted(choices) if choices else set(theirs) == {None}


def _paired(prompts: Mapping[str, str], records: Sequence[Record]) -> tuple[dict[str, Record], str]:
    by_text: dict[str, list[str]] = {}
    for id_, text in prompts.items():
        by_text.setdefault(text, []).append(id_)
    pairs: dict[str, Record] = {}
    around: Counter[str] = Counter()
    for record in records:
        context = record.asked[0].context if record.asked else ""
        if isinstance(context, str):
            if ids := by_text.get(context):
                pairs[ids.pop(0)] = record
        else:
            for id_, text in prompts.items():
                if id_ not in pairs and (rest := _around(text, context)) is not None:
                    pairs[id_] = record
                    around[rest] += 1
                    break
    if len(around) > 1:
        return {}, ""
    rest = next(iter(around), "")
    note = f"; ours have around each {rest!r}" if rest else ""
    return pairs, note


def _around(prompt: str, talk: Conversation) -> str | None:
    """What a prompt has beside the turns of a conversation, in their order; None where it lacks one."""
    rest, place = [], 0
    for _, text in talk:
        found = prompt.find(text, place)
        if found < 0:
            return None
        rest.append(prompt[place:found])
        place = found + len(text)
    return "…".join([*rest, prompt[place:]])


def _nearest(task: str, prompts: Mapping[str, str], records: Sequence[Record]) -> str:
    """The first question of the file that is one of ours in other words, and where they differ."""
    for record in records[:TRIED]:
        texts = [text for text in record.texts if text.strip()]
        context = record.asked[0].context if record.asked else None
        if not texts or not isinstance(context, str):
            continue
        for id_, prompt in prompts.items():
            if any(text in prompt[-len(text) - 2000 :] for text in texts):
                return f": {task} {id_} and {record.where} differ at {first_difference(prompt, context)}"
    return ""
