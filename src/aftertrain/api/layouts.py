"""How the files of other evaluators are written, line by line.

Known are the lines that `show prompt --all --out` writes; the requests and predictions of OLMES, one request a line or
one question a line; and the samples of lm-eval (`--log_samples`). Any other line is a row of columns, of which whoever
reads it says what they are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from aftertrain.core.errors import DataError
from aftertrain.core.records import JSON

Conversation = tuple[tuple[str, str], ...]
"""Roles and texts; a last assistant's text is a begun reply."""


@dataclass(frozen=True, slots=True)
class Asked:
    """One request.

    Attributes:
        context: what the model reads, or the conversation before any template.
        continuation: what is scored behind it; None where the model replies.
    """

    context: str | Conversation
    continuation: str | None


@dataclass(frozen=True, slots=True)
class Record:
    """One question in a file of someone else's.

    Attributes:
        where: file and line, for messages.
        names: what its id may be.
        place: its number in the split, from 0, where the file says.
        asked: its requests in their order; empty where the file has none.
        drawn: `stop`, `max_new_tokens`, `temperature` of its replies, as far as the file says.
        texts: the question's own texts, by which a doubtful pair is told.
        replies: what the model replied.
        logprobs: of the requests' continuations, in nats; then of those that come without the question.
        n_tokens: of the continuations; empty where the file does not say.
        metrics: what that was worth.
        fields: the first line's columns as they are.
    """

    where: str
    names: tuple[str, ...]
    place: int | None = None
    asked: tuple[Asked, ...] = ()
    drawn: Mapping[str, JSON] = field(default_factory=dict)
    texts: tuple[str, ...] = ()
    replies: tuple[str, ...] = ()
    logprobs: tuple[float, ...] = ()
    n_tokens: tuple[int, ...] = ()
    metrics: Mapping[str, float] = field(default_factory=dict)
    fields: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Layout:
    """How a file is written.

    Attributes:
        columns: by which its lines are known.
        tells: columns of which the lines of one task have one value.
        read: makes a line a record.
        joined: makes the records of one question one.
        filters: a column of which a question has a line for each value: for each filter that read its reply.
    """

    name: str
    columns: tuple[str, ...]
    tells: tuple[str, ...]
    read: Callable[[Mapping[str, Any], str], Record]
    joined: Callable[[Sequence[Record]], Record]
    filters: str | None = None

    def record(self, row: Mapping[str, Any], where: str) -> Record:
        """A line.

        Raises:
            DataError: it does not fit the layout.
        """
        try:
            return self.read(row, where)
        except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
            raise DataError(f"{where}: is no line of {self.name}: {type(error).__name__} {error}") from error


def _requests_joined(records: Sequence[Record]) -> Record:
    """A question whose requests stand on lines of their own."""
    return replace(records[0], asked=tuple(asked for record in records for asked in record.asked))


def _first(records: Sequence[Record]) -> Record:
    """A question that has a line for each filter by which its reply is read."""
    return records[0]


def _own(row: Mapping[str, Any], where: str) -> Record:
    continuation = None if row["continuation"] is None else _text(row, "continuation", where)
    return Record(where, (str(row["id"]),), asked=(Asked(_context(row["context"], where), continuation),), fields=row)


def _olmes_request(row: Mapping[str, Any], where: str) -> Record:
    request = row["request"]
    if not isinstance(request, Mapping):
        raise DataError(f"{where}: column 'request' must hold an object, found {type(request).__name__}")
    return _olmes(row, [request], where)


def _olmes_requests(row: Mapping[str, Any], where: str) -> Record:
    return _olmes(row, row["requests"], where)


def _olmes(row: Mapping[str, Any], requests: Sequence[Mapping[str, Any]], where: str) -> Record:
    asked = []
    for request in requests:
        context = request.get("context", row.get("context"))
        continuation = None if _replies(row, request) else request.get("continuation")
        asked.append(Asked(_context(context, where), None if continuation is None else str(continuation)))
    kwargs = requests[0].get("generation_kwargs") or {}
    drawn = {"stop": requests[0].get("stop_sequences"), "max_new_tokens": kwargs.get("max_gen_toks")}
    drawn["temperature"] = 0.0 if kwargs.get("do_sample") is False else kwargs.get("temperature")
    return Record(
        where,
        _names(row, "native_id", "doc_id", "id"),
        _place(row),
        tuple(asked),
        {name: value for name, value in drawn.items() if value is not None},
        _texts(row.get("doc")),
        fields=row,
    )


def _replies(row: Mapping[str, Any], request: Mapping[str, Any]) -> bool:
    return str(request.get("request_type", row.get("request_type", ""))).startswith("generate_until")


def _olmes_prediction(row: Mapping[str, Any], where: str) -> Record:
    outputs = [output for output in row["model_output"] or () if isinstance(output, Mapping)]
    scored = [output for output in outputs if "sum_logits" in output]
    bare = [output["sum_logits_uncond"] for output in scored if "sum_logits_uncond" in output]
    return Record(
        where,
        _names(row, "native_id", "doc_id"),
        _place(row),
        replies=tuple(str(output["continuation"]) for output in outputs if "continuation" in output),
        logprobs=tuple(map(float, [*(output["sum_logits"] for output in scored), *bare])),
        n_tokens=tuple(int(output["num_tokens"]) for output in scored if "num_tokens" in output),
        metrics=_numbers(row["metrics"]),
        fields=row,
    )


def _lm_eval(row: Mapping[str, Any], where: str) -> Record:
    arguments = row["arguments"]
    if isinstance(arguments, Mapping):
        arguments = [[value[name] for name in sorted(value)] for _, value in sorted(arguments.items(), key=_numbered)]
    asked, drawn = [], {}
    for first, *rest in arguments:
        second = rest[0] if rest else None
        asked.append(Asked(_context(first, where), second if isinstance(second, str) else None))
        if isinstance(second, Mapping):
            drawn = _lm_eval_drawn(second)
    likelihoods = [pair for answer in row["resps"] for pair in _likelihoods(answer)]
    return Record(
        where,
        _names(row, "doc_id"),
        _place(row),
        tuple(asked),
        drawn,
        _texts(row.get("doc")),
        () if likelihoods else tuple(str(reply) for reply in _flat(row["resps"])),
        tuple(likelihoods),
        (),
        _numbers({name: value for name, value in row.items() if name not in LM_EVAL_OWN}),
        row,
    )


def _lm_eval_drawn(kwargs: Mapping[str, Any]) -> dict[str, JSON]:
    stop = kwargs.get("until")
    drawn = {"stop": [stop] if isinstance(stop, str) else stop, "max_new_tokens": kwargs.get("max_gen_toks")}
    drawn["temperature"] = 0.0 if kwargs.get("do_sample") is False else kwargs.get("temperature")
    return {name: value for name, value in drawn.items() if value is not None}


def _likelihoods(answer: Any) -> list[float]:
    """Of the answer to a request for a log-likelihood, `[[logprob, is_greedy]]` with both written as texts."""
    pair = answer[0] if isinstance(answer, list) and answer and isinstance(answer[0], list) else answer
    if isinstance(pair, list) and len(pair) == 2 and str(pair[1]) in ("True", "False"):
        return [float(pair[0])]
    return []


def _flat(values: Any) -> Iterator[Any]:
    if not isinstance(values, list):
        yield values
        return
    for value in values:
        yield from _flat(value)


def _numbered(entry: tuple[str, Any]) -> int:
    return int(entry[0].rpartition("_")[2])


def _plain(row: Mapping[str, Any], where: str) -> Record:
    return Record(where, _names(row, "id"), texts=_texts(row), metrics=_numbers(row), fields=row)


LM_EVAL_OWN = frozenset(
    (
        *("doc_id", "doc", "target", "arguments", "resps", "filtered_resps", "filter"),
        *("metrics", "doc_hash", "prompt_hash", "target_hash"),
    )
)
"""Columns of lm-eval's lines that are no metric."""
LAYOUTS = (
    Layout("samples of lm-eval", ("arguments", "resps"), (), _lm_eval, _first, "filter"),
    Layout("predictions of OLMES", ("model_output", "metrics"), ("task_name",), _olmes_prediction, _first),
    Layout("requests of OLMES", ("request", "doc_id"), ("task_name",), _olmes_request, _requests_joined),
    Layout("requests of OLMES", ("requests", "doc_id"), ("task", "variant"), _olmes_requests, _requests_joined),
    Layout("requests", ("id", "context", "continuation"), ("task", "formulation"), _own, _requests_joined),
    Layout("rows", (), (), _plain, _first),
)


def _context(value: Any, where: str) -> str | Conversation:
    if isinstance(value, str):
        return value
    turns = value.get("messages") if isinstance(value, Mapping) else value
    if not isinstance(turns, list) or not all(isinstance(turn, Mapping) for turn in turns):
        raise DataError(f"{where}: a context must be a text, or the messages of a conversation, found {value!r:.80}")
    talk = [(str(turn.get("role")), str(turn.get("content"))) for turn in turns]
    begun = value.get("assistant_prefix") if isinstance(value, Mapping) else None
    return (*talk, ("assistant", str(begun))) if begun else tuple(talk)


def _names(row: Mapping[str, Any], *columns: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(str(row[name]) for name in columns if row.get(name) is not None))


def _place(row: Mapping[str, Any]) -> int | None:
    place = row.get("doc_id")
    return place if isinstance(place, int) and not isinstance(place, bool) else None


def _texts(value: Any) -> tuple[str, ...]:
    """Texts of a question's row that are long enough to tell it from others."""
    values = value.values() if isinstance(value, Mapping) else ()
    return tuple(text for text in values if isinstance(text, str) and len(text.strip()) >= LONG)


LONG = 12
"""Characters from which a text tells a question."""


def _text(row: Mapping[str, Any], name: str, where: str) -> str:
    if not isinstance(row[name], str):
        raise DataError(f"{where}: column {name!r} must be a text, found {type(row[name]).__name__}")
    return str(row[name])


def _numbers(row: Any) -> dict[str, float]:
    """Columns that hold a number or a truth value."""
    entries = row.items() if isinstance(row, Mapping) else ()
    return {str(name): float(value) for name, value in entries if isinstance(value, bool | int | float)}
