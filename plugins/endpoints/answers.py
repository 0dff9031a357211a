"""What a server answers, read: a reply, what it took, or why it is none."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeGuard

from aftertrain.core.errors import ModelError
from aftertrain.core.generator import GenerationRequest
from aftertrain.core.ground.cleaning import worded
from aftertrain.core.records import UNKNOWN_ID, Completion, FinishReason

REASONS: Mapping[str, FinishReason] = {
    "stop": "stop",
    "eos": "stop",
    "end_turn": "stop",
    "stop_sequence": "stop",
    "tool_calls": "stop",
    "function_call": "stop",
    "length": "length",
    "max_tokens": "length",
    "content_filter": "refused",
    "safety": "refused",
}
"""What servers call the end of a reply."""
SHOWN = 300
"""Characters of a server's words in a message."""


class Spoilt(Exception):
    """An answer that is none: the request is worth another attempt, and may have been paid for."""


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens as the server counts them."""

    prompt: int
    reply: int


def read(content: bytes) -> dict[str, Any]:
    """The body of an answer.

    Raises:
        Spoilt: it is no JSON object, or one that says of an error.
    """
    try:
        answer = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise Spoilt(f"the answer is no JSON ({len(content):,} bytes): {error}") from error
    if not isinstance(answer, dict):
        raise Spoilt(f"the answer is no JSON object, but {type(answer).__name__}")
    if answer.get("error"):
        raise Spoilt(f"the answer says: {worded(answer['error'], SHOWN)}")
    return answer


def check_model(answer: Mapping[str, Any], model: str, answers_as: Sequence[str]) -> None:
    """See that the model that answers is the one that was asked.

    Raises:
        ModelError: it goes by another name.
    """
    name = answer.get("model")
    if (name if isinstance(name, str) else "") not in (model, *answers_as):
        raise ModelError(
            f"asked model {model!r}, and {worded(name, SHOWN)!r} answered; if that is the one you mean, set "
            f"generator.answers_as: [{worded(name, SHOWN)}]"
        )


def usage_of(answer: Mapping[str, Any]) -> Usage:
    """What the answer took.

    Raises:
        ModelError: it does not say, so that neither tokens nor cost could be told.
    """
    usage = answer.get("usage")
    counts = usage if isinstance(usage, Mapping) else {}
    prompt, reply = counts.get("prompt_tokens"), counts.get("completion_tokens", 0)
    if not isinstance(prompt, int) or not isinstance(reply, int) or min(prompt, reply) < 0:
        raise ModelError(f"the answer does not say how many tokens it took (usage: {worded(usage, SHOWN)})")
    return Usage(prompt, reply)


def choice_of(answer: Mapping[str, Any]) -> Mapping[str, Any]:
    """The one choice of an answer.

    Raises:
        Spoilt: there is none, or there are several.
    """
    choices = answer.get("choices")
    if not isinstance(choices, list) or len(choices) != 1 or not isinstance(choices[0], Mapping):
        count = len(choices) if isinstance(choices, list) else "no"
        raise Spoilt(f"the answer has {count} choices, one was asked for")
    return choices[0]


def completion_of(
    answer: Mapping[str, Any], request: GenerationRequest, api: str, usage: Usage, version: int = 0
) -> Completion:
    """The reply, cut before the first stop string.

    Ids are not known but how many they are: what the server counted, or the log-probabilities that it gave.

    Raises:
        Spoilt: there is no reply in it. ModelError: it ended for a reason that is not known, or its prompt has another
            number of tokens than was sent.
    """
    choice = choice_of(answer)
    if request.prompt_ids and api == "completions" and usage.prompt != len(request.prompt_ids):
        raise ModelError(
            f"request {request.id!r}: {len(request.prompt_ids)} prompt tokens were sent and the server counted "
            f"{usage.prompt}: it does not read the prompt as it was sent (a BOS of its own, or another tokenizer)"
        )
    reason = _reason(choice)
    text = _text(choice, api, reason)
    end = min((place for stop in request.sampling.stop if (place := text.find(stop)) >= 0), default=None)
    if end is not None:
        text, reason = text[:end], "stop"
    logprobs = _logprobs(choice, api)
    n_tokens = len(logprobs) or usage.reply
    prompt_ids = request.prompt_ids if api == "completions" and request.prompt_ids else (UNKNOWN_ID,) * usage.prompt
    ids, why = (UNKNOWN_ID,) * n_tokens, "its content filter ended the reply" if reason == "refused" else ""
    likeliest = _likeliest(choice, api) if request.likeliest else ()
    versions = (version,) * n_tokens
    return Completion(request.id, prompt_ids, ids, logprobs, versions, reason, text, why=why, likeliest=likeliest)


def _reason(choice: Mapping[str, Any]) -> FinishReason:
    said = choice.get("finish_reason")
    if not isinstance(said, str) or said == "abort":
        raise Spoilt(f"the reply has not ended (finish_reason: {worded(said, SHOWN)})")
    if said not in REASONS:
        raise ModelError(f"the reply ended for a reason that is not known: {worded(said, SHOWN)!r}")
    return REASONS[said]


def _text(choice: Mapping[str, Any], api: str, reason: FinishReason) -> str:
    if api == "completions":
        text = choice.get("text")
    else:
        message = choice.get("message")
        message = message if isinstance(message, Mapping) else {}
        text = message.get("content")
        if text is None:
            # The model's own words that it will not answer, or a reply of thoughts or calls alone, whose text is empty.
            spoken = message.keys() & {"content", "tool_calls", "reasoning_content", "reasoning"}
            text = message.get("refusal") or ("" if spoken else None)
    if text is None and reason == "refused":
        return ""
    if not isinstance(text, str):
        raise Spoilt(f"the reply has no text, but {worded(text, SHOWN)}")
    return text


def _logprobs(choice: Mapping[str, Any], api: str) -> tuple[float, ...]:
    given = choice.get("logprobs")
    if not isinstance(given, Mapping):
        return ()
    if api == "completions":
        values = given.get("token_logprobs")
    else:
        content = given.get("content")
        values = [entry.get("logprob") for entry in content] if isinstance(content, list) else None
    if not isinstance(values, list) or not all(map(is_logprob, values)):
        return ()
    return tuple(min(0.0, float(value)) for value in values)


def _likeliest(choice: Mapping[str, Any], api: str) -> tuple[tuple[str, float], ...]:
    """The likeliest first tokens with their log-probabilities; none where the server does not tell."""
    told = choice.get("logprobs")
    places = told.get("content" if api == "chat" else "top_logprobs") if isinstance(told, Mapping) else None
    first = places[0] if isinstance(places, list) and places else None
    if api == "chat":
        entries = first.get("top_logprobs") if isinstance(first, Mapping) else None
        listed = entries if isinstance(entries, list) else []
        pairs = [(entry.get("token"), entry.get("logprob")) for entry in listed if isinstance(entry, Mapping)]
    else:
        pairs = list(first.items()) if isinstance(first, Mapping) else []
    return tuple((str(token), min(0.0, float(value))) for token, value in pairs if is_logprob(value))


def is_logprob(value: Any) -> TypeGuard[float]:
    """Whether a value is a finite number."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
