"""A request as the body of a call, and the most tokens that it can take."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from aftertrain.core.generator import GenerationRequest
from aftertrain.core.records import Message
from aftertrain.plugins.endpoints.settings import OpenAISettings

PATHS = {"chat": "/chat/completions", "completions": "/completions"}
PER_MESSAGE = 16
"""Tokens that a template may put around a turn, at most, for the sum that a request could cost."""


def body_of(request: GenerationRequest, settings: OpenAISettings, model: str) -> dict[str, Any]:
    """What is posted.

    Stop strings go to the server as far as it takes them: it saves tokens, and the others are enforced on the text.
    """
    sampling = request.sampling
    drawn: dict[str, Any] = {"temperature": sampling.temperature, "top_p": sampling.top_p, "seed": request.seed}
    body = {name: value for name, value in drawn.items() if name not in settings.leave_out}
    # Not of OpenAI's own API but of the open servers': sent where they are asked for, for a server to take or refuse.
    body |= {name: getattr(sampling, name) for name in sampling.reshapes if name not in body}
    body |= {**settings.extra, "model": model, settings.length: sampling.max_new_tokens}
    if stops := list(sampling.stop[: settings.max_stops]):
        body["stop"] = stops
    if settings.logprobs or request.likeliest:
        body["logprobs"] = True if settings.api == "chat" else max(1, request.likeliest)
    if settings.api == "chat" and request.likeliest:
        body["top_logprobs"] = request.likeliest
    if settings.api == "completions":
        body["prompt"] = list(request.prompt_ids) if settings.tokenizer else request.text
        return body
    begun = begins_reply(request.messages)
    turns = request.messages[:-1] if begun and settings.prefill == "drop" else request.messages
    body["messages"] = [turn_of(message) for message in turns]
    if begun and settings.prefill == "continue":
        body |= {"continue_final_message": True, "add_generation_prompt": False}
    return body


def begins_reply(messages: Sequence[Message]) -> bool:
    """Whether the last turn is the assistant's, to be gone on with."""
    return bool(messages) and messages[-1].role == "assistant"


def turn_of(message: Message) -> dict[str, Any]:
    """A turn in the API's words; an empty system turn stays one, since no turn and an empty one are two prompts."""
    turn: dict[str, Any] = {"role": message.role, "content": message.content}
    if message.name is not None:
        turn["name"] = message.name
    if message.tool_call_id is not None:
        turn["tool_call_id"] = message.tool_call_id
    return turn


def longest(request: GenerationRequest, settings: OpenAISettings) -> tuple[int, int]:
    """Tokens of prompt and reply, never fewer than the server will count: no tokenizer makes more tokens than bytes."""
    if settings.api == "completions" and settings.tokenizer:
        prompt = len(request.prompt_ids)
    elif settings.api == "completions":
        prompt = len((request.text or "").encode("utf-8", "replace")) + PER_MESSAGE
    else:
        texts = (message.content.encode("utf-8", "replace") for message in request.messages)
        prompt = sum(len(text) + PER_MESSAGE for text in texts) + PER_MESSAGE
    return prompt, request.sampling.max_new_tokens
