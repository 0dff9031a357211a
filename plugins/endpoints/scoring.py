"""Log-likelihoods from /completions: the server echoes a prompt together with the log-probability of each token."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from aftertrain.core.engine import Continuation, Likelihood
from aftertrain.core.errors import ModelError, RunError
from aftertrain.plugins.endpoints.answers import Usage, choice_of, is_logprob
from aftertrain.plugins.endpoints.body import PATHS
from aftertrain.plugins.endpoints.crew import Crew
from aftertrain.plugins.endpoints.line import Line, Refused
from aftertrain.plugins.endpoints.settings import OpenAISettings

CURE = "a server that echoes prompts with log-probabilities is needed (vLLM and llama.cpp's do)"


class EchoScorer:
    """Scores continuations, one request each: its token ids with `echo`, and one token more that is thrown away."""

    def __init__(self, settings: OpenAISettings, line: Callable[[], Line]) -> None:
        self._settings, self._line = settings, line

    def likelihoods(self, items: Sequence[Continuation], budget: int) -> list[Likelihood]:
        """One an item, in order; equal ones are asked for once.

        Raises:
            ModelError: the server refuses, does not echo, or reads other tokens than were sent.
            RunError: the cost ceiling.
        """
        line = self._line()
        crew: Crew[tuple[Continuation, Likelihood]] = Crew(self._settings.concurrency)
        distinct = list(dict.fromkeys(items))
        try:
            for number, item in enumerate(distinct):
                crew.add(str(number), partial(self._score, line, item))
            scored: dict[Continuation, Likelihood] = {}
            while len(scored) < len(distinct):
                results = crew.collect(None)
                if not results:
                    raise RunError("the endpoint lost a request")
                scored.update(results)
        finally:
            crew.close()
        return [scored[item] for item in items]

    def _score(self, line: Line, item: Continuation) -> tuple[Continuation, Likelihood]:
        body = {
            **self._settings.extra,
            "model": line.endpoint.model,
            "prompt": list(item.token_ids),
            "echo": True,
            "logprobs": 1,
            "temperature": 0.0,
            # Some servers refuse 0, and the tokens of the prompt are told by their number.
            self._settings.length: 1,
        }
        most = (len(item.token_ids), 1)
        try:
            likelihood: Likelihood = line.call(PATHS["completions"], body, most, partial(likelihood_of, item))
        except Refused as error:
            raise ModelError(f"{line.endpoint.address}: a continuation of {most[0]} tokens: {error}; {CURE}") from error
        return item, likelihood


def likelihood_of(item: Continuation, answer: Mapping[str, Any], usage: Usage) -> Likelihood:
    """What the echoed tokens behind the context come to.

    A token is the likeliest where none of the alternatives that are told beats it.

    Raises:
        Spoilt: there is no choice. ModelError: the server does not echo, or reads other tokens than were sent.
    """
    length, given = len(item.token_ids), choice_of(answer).get("logprobs")
    values, tops = (
        given.get(name) if isinstance(given, Mapping) else None for name in ("token_logprobs", "top_logprobs")
    )
    if usage.prompt != length or not isinstance(values, list) or not length <= len(values) <= length + 1:
        count = len(values) if isinstance(values, list) else "no"
        raise ModelError(
            f"{length} tokens were sent to be echoed; the server counted {usage.prompt} and gave {count} "
            f"log-probabilities: {CURE}, and it must read token ids as they are"
        )
    scored = values[item.n_context : length]
    if not all(map(is_logprob, scored)):
        raise ModelError(f"the server gave no log-probability for a token of the continuation: {CURE}")
    if not isinstance(tops, list) or len(tops) < length:
        raise ModelError(f"the server does not tell the likeliest token beside each: {CURE}")
    greedy = all(
        isinstance(top, Mapping) and bool(top) and value >= max(top.values())
        for value, top in zip(scored, tops[item.n_context : length], strict=True)
    )
    return Likelihood(float(sum(scored)), greedy)
