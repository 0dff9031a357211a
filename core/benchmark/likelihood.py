"""Choices of unlike length compared by their log-likelihoods, in the four ways of OLMES (F43)."""

from __future__ import annotations

import math
from collections.abc import Sequence


def likeliest(values: Sequence[float]) -> int:
    """The place of the highest value; of equal ones the first."""
    return max(range(len(values)), key=lambda place: values[place])


def normalised(
    texts: Sequence[str], logprobs: Sequence[float], n_tokens: Sequence[int], baseline: Sequence[float] = ()
) -> dict[str, list[float]]:
    """What is compared, by OLMES's name for it: `raw`, `per_token`, `per_char` and, with a baseline, `uncond`.

    Args:
        texts: the choices as they are scored. The space before a choice counts as a character (in lm-eval it does not).
        logprobs: log p(choice | prompt) in nats.
        n_tokens: tokens of each choice.
        baseline: log p(choice | a context without the question), which `uncond` subtracts (pointwise mutual
            information).

    >>> print(*normalised([" no", " not so"], [-2.0, -3.0], [1, 2], [-1.0, -4.0])["uncond"])
    -1.0 1.0
    """
    ways = {
        "raw": list(logprobs),
        "per_token": [logprob / count for logprob, count in zip(logprobs, n_tokens, strict=True)],
        "per_char": [logprob / len(text) for logprob, text in zip(logprobs, texts, strict=True)],
    }
    if baseline:
        ways["uncond"] = [logprob - base for logprob, base in zip(logprobs, baseline, strict=True)]
    return ways


def bits_per_byte(text: str, logprob: float) -> float:
    """What a text costs, per byte of its UTF-8: −log₂ p / bytes.

    >>> bits_per_byte(" é", -3 * math.log(2))
    1.0
    """
    return -logprob / math.log(2) / len(text.encode())
