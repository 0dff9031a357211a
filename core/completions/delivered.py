"""Replies of a generator that one learns from, held to what was asked for: what cannot be is named, never learnt."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from aftertrain.core.errors import NumericsError, RunError
from aftertrain.core.generator import GenerationRequest, Generator
from aftertrain.core.learning.deadline import waiting
from aftertrain.core.records import Completion

GRACE = 60.0
"""Seconds that a generator may take beyond the time that it was given, before the process is ended with its stacks."""
ROUNDING = 1e-3
"""How far above 0 a log-probability may come by rounding."""


def deliver(
    generator: Generator[Any],
    name: str,
    requests: Sequence[GenerationRequest],
    timeout: float,
    *,
    context: int | None = None,
    arrived: Callable[[Completion], None] | None = None,
) -> list[Completion]:
    """Submit, wait for all, return in the order of `requests`; each with token ids and log-probabilities.

    Args:
        name: the generator's, for messages.
        timeout: seconds without any finished reply. One that does not even come back then ends the process (`waiting`).
        context: most tokens of prompt and reply that the model takes; None: any.
        arrived: told of each reply as soon as it is there and is what was asked for.

    Raises:
        TimeoutError: nothing finished in time. RunError: the generator lost a request, or a reply is not what was asked
            for. NumericsError: a log-probability is not finite.
    """
    asked = {request.id: request for request in requests}
    replies: dict[str, Completion] = {}
    generator.submit(requests)
    while len(replies) < len(asked):
        with waiting(f"the generator {name!r} to come back from collect()", timeout + GRACE):
            finished = generator.collect(timeout)
        if not finished:
            lost = next(request for request in asked if request not in replies)
            raise RunError(f"the generator {name!r} lost the request {lost!r}: it has nothing more in flight")
        for completion in finished:
            request = asked.get(completion.id)
            if request is None or completion.id in replies:
                why = "nobody asked for" if request is None else "was there already"
                raise RunError(f"the generator {name!r} gave a reply to request {completion.id!r}, which {why}")
            _check(completion, request, name, min(_least(context), _least(generator.context_size)))
            replies[completion.id] = completion
            if arrived is not None:
                arrived(completion)
    return [replies[request.id] for request in requests]


def _least(context: int | None) -> float:
    return math.inf if context is None else context


def _check(reply: Completion, request: GenerationRequest, name: str, context: float) -> None:
    """Raise where a reply is not what was asked for."""
    broke = f"the generator {name!r} broke its word on request {reply.id!r}"
    sampling = request.sampling
    if not reply.logprobs and reply.token_ids:
        below = " below sampling.top_p 1" if sampling.top_p < 1 else ""
        raise RunError(
            f"the generator {name!r} tells no log-probabilities of replies{below}, and the stage learns from them"
        )
    if why := _misfit(reply, request, context):
        raise RunError(f"{broke}: {why}")
    if not all(map(math.isfinite, reply.logprobs)):
        bad = [value for value in reply.logprobs if not math.isfinite(value)]
        raise NumericsError(f"{broke}: a log-probability of {bad[0]}; its weights are broken, or it makes them up")


def _misfit(reply: Completion, request: GenerationRequest, context: float) -> str:
    """Why it is no reply to the request; "" where it is one."""
    n, most = len(reply.token_ids), request.sampling.max_new_tokens
    if reply.prompt_ids != request.prompt_ids:
        return "its prompt is another one"
    if not len(reply.logprobs) == len(reply.versions) == n:
        return f"{n:,} tokens, {len(reply.logprobs):,} log-probabilities, {len(reply.versions):,} versions"
    if reply.finish_reason not in ("stop", "length"):
        return f"it ended as {reply.finish_reason!r}, which nobody asked for"
    if n == 0:
        return "no token, not even one that ends a reply"
    if n > most:
        return f"{n:,} tokens of {most:,} that were asked for"
    if reply.finish_reason == "length" and n < most and len(request.prompt_ids) + n < context:
        return f"it was cut after {n:,} tokens of {most:,}, and neither they nor the context were full"
    if {*map(type, reply.token_ids)} != {int} or min(reply.token_ids) < 0:
        return f"token ids {reply.token_ids!r:.100}"
    if {*map(type, reply.versions)} != {int}:
        return f"versions {reply.versions!r:.100}"
    highest = max(reply.logprobs)
    return f"a log-probability of {highest:g}, above 0" if highest > ROUNDING else ""
