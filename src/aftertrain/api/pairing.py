"""Which question of ours a question in someone else's file is.

By what it asks where that is equal, whatever it is called; else by its id, else by its place in the split. An id and a
place are believed only where the question's own words, if the file has them, stand in ours.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from aftertrain.api.layouts import Asked, Record

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from aftertrain.core.eval_task import Instance

How = Literal["requests", "id", "place"]


@dataclass(frozen=True, slots=True)
class Question:
    """One of ours.

    Attributes:
        asked: its requests, as `show prompt` writes them.
        talk: the same conversation before any template, where the question is one.
        bare: requests that come without the question (PMI).
    """

    instance: Instance
    asked: tuple[Asked, ...]
    talk: tuple[Asked, ...]
    bare: tuple[Asked, ...]

    @property
    def words(self) -> str:
        """Its own words."""
        return next((turn.content for turn in reversed(self.instance.messages) if turn.role == "user"), "")


@dataclass(frozen=True, slots=True)
class Pair:
    """A question of the file, and ours; None where there is none of that kind."""

    theirs: Record
    ours: Question | None
    how: How | None


def questions(instances: Sequence[Instance], tokenizer: PreTrainedTokenizerBase | None) -> Iterator[Question]:
    """Ours, with what they ask.

    Args:
        tokenizer: by whose template conversations are rendered; without it they are compared as conversations alone.
    """
    from aftertrain.core.text.chat import prompt_text

    for instance in instances:
        rendered = not instance.chat or tokenizer is not None
        prompt = prompt_text(tokenizer, instance.messages, chat=instance.chat) if rendered else ""  # type: ignore[arg-type]
        talk = tuple((turn.role, turn.content) for turn in instance.messages)
        continued: list[tuple[str | None, str | None]] = [(choice.context, choice.text) for choice in instance.choices]
        continued = continued or [(None, None)]
        yield Question(
            instance,
            tuple(Asked(prompt if own is None else own, text) for own, text in continued) if rendered else (),
            tuple(Asked(talk, text) for _, text in continued) if instance.chat else (),
            tuple(Asked(instance.baseline, choice.text) for choice in instance.choices)
            if instance.baseline is not None
            else (),
        )


def pairs(ours: Sequence[Question], theirs: Iterable[Record]) -> Iterator[Pair]:
    """Every question of the file, in its order."""
    by_requests: dict[Key, list[Question]] = {}
    for question in ours:
        for key in _keys(question):
            by_requests.setdefault(key, []).append(question)
    by_id = {question.instance.id: question for question in ours}
    taken: set[str] = set()
    for record in theirs:
        alike = [q for q in by_requests.get(_key(record.asked), ()) if q.instance.id not in taken]
        pair = Pair(record, alike[0], "requests") if record.asked and alike else _named(record, by_id, ours)
        if pair.ours is not None:
            taken.add(pair.ours.instance.id)
        yield pair


Key = tuple[tuple[str, str], ...]


def _key(asked: Sequence[Asked]) -> Key:
    """Requests in an order that is no one's own."""
    return tuple(sorted((repr(request.context), repr(request.continuation)) for request in asked))


def _keys(question: Question) -> Iterator[Key]:
    for asked in (question.asked, question.talk):
        if asked:
            yield _key(asked)
            if question.bare:
                yield _key((*asked, *question.bare))


def _named(record: Record, by_id: dict[str, Question], ours: Sequence[Question]) -> Pair:
    for name in record.names:
        if name in by_id and _fits(record, by_id[name]):
            return Pair(record, by_id[name], "id")
    if record.place is not None and record.place < len(ours) and record.texts and _fits(record, ours[record.place]):
        return Pair(record, ours[record.place], "place")
    return Pair(record, None, None)


def _fits(record: Record, question: Question) -> bool:
    return not record.texts or any(text in question.words for text in record.texts)
