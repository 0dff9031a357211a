"""How likely a judge is to name the first of two replies, of the two names: p(m) / (p(m) + p(M)).

A model folder says both likelihoods. An endpoint says its likeliest first tokens, of which AlpacaEval 2
(`weighted_alpaca_eval_gpt4_turbo`) takes five: a name that is not among them has the probability 0, and where both are
not, nothing is known.
"""

from __future__ import annotations

import math

from aftertrain.core.asking.exchange import Answer
from aftertrain.core.records import Verdict

LIKELIEST = 5
"""Tokens that AlpacaEval asks for."""


def preference(names: tuple[str, str], first: float, second: float, spent: str = "") -> Verdict:
    """Scored by the log-probabilities of both names, of which one may be minus infinity.

    >>> preference(("m", "M"), math.log(0.6), math.log(0.2)).value
    0.75
    """
    gap = second - first
    share = 0.0 if gap > 700 else 1 / (1 + math.exp(gap))
    logprobs = ", ".join(f"of {name!r} {value:.4f}" for name, value in zip(names, (first, second), strict=True))
    return Verdict.scored(share, names[0 if first >= second else 1], f"log p {logprobs}{spent and '; '}{spent}")


def by_likeliest(names: tuple[str, str], answer: Answer) -> Verdict:
    """Scored by the likeliest first tokens of an endpoint's answer; an error where it tells none, or no name."""
    logprobs = dict(answer.likeliest)
    if not logprobs:
        return Verdict.error(
            "the judge's endpoint tells no likeliest tokens (top_logprobs), by which 'read: likelihood' reads it; "
            f"'read: text' reads its answer, so that a preference is 0 or 1; {answer.spent}"
        )
    if not logprobs.keys() & set(names):
        told = ", ".join(map(repr, logprobs))
        return Verdict.error(f"neither {names[0]!r} nor {names[1]!r} is among its likeliest tokens ({told})")
    first, second = (logprobs.get(name, -math.inf) for name in names)
    return preference(names, first, second, str(answer.spent))
