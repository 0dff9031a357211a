"""Rows in the layout of a source to rows that a format reads: one function a layout (F9).

They take all rows, as some become one together, and give them in an order that does not depend on anything else.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from random import Random
from typing import Any

from aftertrain.core.learning.seeding import sub_seed
from aftertrain.plugins.data.row import Row, RowFault
from aftertrain.plugins.data.sources.prompts import human_turns, marked_turns
from aftertrain.plugins.data.sources.settings import SourceSettings
from aftertrain.plugins.data.sources.trees import paths

SPEAKERS = {"bard": "assistant", "bing": "assistant", "chatgpt": "assistant"}
"""Of ShareGPT's conversations, besides those that every format knows."""
ASPECTS = ("helpfulness", "honesty", "instruction_following", "truthfulness")
SCORES = ("helpfulness", "correctness", "coherence", "complexity", "verbosity")
NUMBER = re.compile(r"\d+(\.\d+)?")
"""A rating; N/A is none."""
Shape = Callable[[Iterator[Row], SourceSettings], Iterator[Row]]


def each(shape: Callable[[Row, SourceSettings], Mapping[str, Any] | None]) -> Shape:
    """Rows one by one; None leaves a row out. What makes none becomes a broken row."""

    def shaped(rows: Iterator[Row], settings: SourceSettings) -> Iterator[Row]:
        for row in rows:
            if row.broken is not None:
                yield row
                continue
            try:
                values = shape(row, settings)
            except RowFault as fault:
                yield replace(row, broken=(fault.reason, fault.message))
                continue
            if values is not None:
                yield replace(row, values=_with_id(row, values), textual=False, plain=False)

    return shaped


def _with_id(row: Row, values: Mapping[str, Any]) -> Mapping[str, Any]:
    return {"id": row.values["id"], **values} if row.values.get("id") is not None else values


def sharegpt(row: Row, settings: SourceSettings) -> Mapping[str, Any]:
    """Conversations with Bard, Bing and ChatGPT under their own names."""
    turns = row.values.get("conversations")
    if not isinstance(turns, list):
        row.fail("conversations", "a list of turns {from, value}", turns)
    named = [{**turn, "from": _speaker(turn.get("from"))} if isinstance(turn, Mapping) else turn for turn in turns]
    return {"messages": named}


def _speaker(name: Any) -> Any:
    return SPEAKERS.get(name, name) if isinstance(name, str) else name


def daring_anteater(row: Row, settings: SourceSettings) -> Mapping[str, Any]:
    """Turns of User and Assistant after a system prompt that may be empty."""
    turns = row.values.get("conversations")
    if not isinstance(turns, list):
        row.fail("conversations", "a list of turns {from, value}", turns)
    named = [turn for turn in turns if isinstance(turn, Mapping) and isinstance(turn.get("from"), str)]
    if len(named) < len(turns):
        row.fail("conversations", "a list of turns {from, value}", turns)
    small = [{**turn, "from": turn["from"].lower()} for turn in named]
    system = row.values.get("system")
    if system is not None and not isinstance(system, str):
        row.fail("system", "a text", system)
    return {"messages": [{"from": "system", "value": system}, *small] if system and system.strip() else small}


def alternating(row: Row, settings: SourceSettings) -> Mapping[str, Any]:
    """Texts of user and assistant in turns; a last one of the user is left out."""
    texts = row.values.get("conversations")
    if not isinstance(texts, list):
        row.fail("conversations", "a list of texts", texts)
    turns = [{"role": ("user", "assistant")[place % 2], "content": text} for place, text in enumerate(texts)]
    return {"messages": turns[: len(turns) // 2 * 2]}


def jailbreaks(row: Row, settings: SourceSettings) -> Mapping[str, Any]:
    """The adversarial prompt, or in a row without one the vanilla prompt."""
    asked = "adversarial" if row.values.get("adversarial") else "vanilla"
    return {"prompt": row.text(asked), "response": row.text("completion")}


def ranked(row: Row, settings: SourceSettings) -> Mapping[str, Any] | None:
    """The best-ranked answer against one drawn from those of a worse rank; None where all have one rank.

    An answer with another speaker's name in it holds more than one turn, and is left out.
    """
    prompt = human_turns(row, "prompt", row.text("prompt"))
    answers = [(-_number(row, "rank", a), _text(row, "answer", a)) for a in _list(row, "answers")]
    return _pair(row, prompt, [a for a in answers if "Human:" not in a[1] and "Assistant:" not in a[1]], settings)


def rated(row: Row, settings: SourceSettings) -> Mapping[str, Any] | None:
    """The completion of the highest mean rating against one drawn from those below; None where there is none below.

    N/A is missing; a completion without a rating takes no part.
    """
    prompt = [{"role": "user", "content": row.text("instruction")}]
    replies = []
    for completion in _list(row, "completions"):
        reply, ratings = _text(row, "response", completion), []
        for aspect in ASPECTS:
            judged = (completion.get("annotations") or {}).get(aspect) or {}
            rating = judged.get("Rating")
            if isinstance(rating, str | int | float) and NUMBER.fullmatch(str(rating)):
                ratings.append(float(rating))
        if ratings:
            replies.append((sum(ratings) / len(ratings), reply))
    return _pair(row, prompt, replies, settings)


def _pair(
    row: Row, prompt: Sequence[Mapping[str, Any]], replies: Sequence[tuple[float, str]], settings: SourceSettings
) -> Mapping[str, Any] | None:
    """The first of the best against a worse one, drawn by seed and prompt alone, with the difference as margin."""
    if not replies:
        return None
    best, chosen = max(replies, key=lambda reply: reply[0])
    worse = [reply for reply in replies if reply[0] < best]
    if not worse:
        return None
    score, rejected = Random(sub_seed(settings.seed, "rejected", prompt[-1]["content"])).choice(worse)
    return {"prompt": list(prompt), "chosen": chosen, "rejected": rejected, "margin": best - score}


def argilla(row: Row, settings: SourceSettings) -> Mapping[str, Any]:
    """Ratings under names with a hyphen."""
    return {
        **{name: row.values.get(name) for name in ("prompt", "chosen", "rejected")},
        "chosen_rating": row.values.get("chosen-rating"),
        "rejected_rating": row.values.get("rejected-rating"),
    }


def scored(rows: Iterator[Row], settings: SourceSettings) -> Iterator[Row]:
    """Responses to one prompt, each a row: the best against the worst by the mean of their scores; no pair for a tie.

    Pairs come in the order in which prompts are first seen. All rows are in memory.
    """
    prompts: dict[str, list[tuple[float, Row]]] = {}
    for row in rows:
        try:
            if row.broken is not None:
                raise RowFault(row.where, *row.broken)
            row.text("response")
            numbers = [row.number(name) for name in SCORES]
            if None in numbers:
                row.fail(SCORES[numbers.index(None)], "a number", None)
            prompts.setdefault(row.text("prompt"), []).append((sum(n or 0.0 for n in numbers) / len(SCORES), row))
        except RowFault as fault:
            yield replace(row, broken=(fault.reason, fault.message))
    for prompt, replies in prompts.items():
        best, worst = max(replies, key=lambda reply: reply[0]), min(replies, key=lambda reply: reply[0])
        if best[0] > worst[0]:
            values = {
                "prompt": marked_turns(prompt),
                "chosen": best[1].values["response"],
                "rejected": worst[1].values["response"],
                "margin": best[0] - worst[0],
            }
            yield replace(best[1], values=values, textual=False, plain=False)


def message_trees(rows: Iterator[Row], settings: SourceSettings) -> Iterator[Row]:
    """Paths of trees; see `trees`."""
    return paths(rows, settings.branches)


def _list(row: Row, field: str) -> Iterable[Mapping[str, Any]]:
    value = row.values.get(field)
    if not isinstance(value, list) or not all(isinstance(item, Mapping) for item in value):
        row.fail(field, "a list of objects", value)
    return value


def _text(row: Row, name: str, holder: Mapping[str, Any]) -> str:
    value = holder.get(name)
    return value if isinstance(value, str) else row.fail(name, "a text", value)


def _number(row: Row, name: str, holder: Mapping[str, Any]) -> float:
    value = holder.get(name)
    return float(value) if isinstance(value, int | float) else row.fail(name, "a number", value)


SHAPES: dict[str, Shape] = {
    "sharegpt": each(sharegpt),
    "daring_anteater": each(daring_anteater),
    "alternating": each(alternating),
    "jailbreaks": each(jailbreaks),
    "ranked": each(ranked),
    "rated": each(rated),
    "argilla": each(argilla),
    "scored": scored,
    "message_trees": message_trees,
}
