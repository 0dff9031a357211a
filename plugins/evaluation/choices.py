"""Instances to continuations that an engine scores, and the scores back to instances."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from aftertrain.core.engine import Continuation, Likelihood
from aftertrain.core.errors import DataError
from aftertrain.core.eval_task import ChoiceScores, Instance, TextScores
from aftertrain.core.text.chat import prompt_text
from aftertrain.plugins.evaluation.prompts import encode, encode_choices, first_token

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True, slots=True)
class Encoded:
    """What is scored, and how many tokens were cut off its start."""

    continuation: Continuation
    cut: int = 0


def encode_instance(tokenizer: PreTrainedTokenizerBase, instance: Instance, window: int | None) -> list[Encoded]:
    """The instance's choices after its prompt or their own contexts; then, where it has a baseline, after that.

    What is too long is cut at its start.

    Raises:
        DataError: a choice adds no token, or alone does not fit.
    """
    prompt = prompt_text(tokenizer, instance.messages, chat=instance.chat)
    encoded = encode_choices(
        tokenizer, prompt, [choice.text for choice in instance.choices if choice.context is None], chat=instance.chat
    )
    if any(choice.context is not None for choice in instance.choices):
        rest = iter(encoded)
        encoded = [
            next(rest)
            if choice.context is None
            else encode_choices(tokenizer, choice.context, [choice.text], chat=False)[0]
            for choice in instance.choices
        ]
    if instance.baseline is not None:
        texts = [choice.text for choice in instance.choices]
        encoded += encode_choices(tokenizer, instance.baseline, texts, chat=False)
    return [_fit(item, window) for item in encoded]


def _fit(item: Continuation, window: int | None) -> Encoded:
    ids, n_context = item.token_ids, item.n_context
    surplus = 0 if window is None else max(0, len(ids) - window)
    if surplus >= n_context:
        raise DataError(f"a choice of {len(ids) - n_context} tokens does not fit a context of {window}")
    return Encoded(Continuation(ids[surplus:], n_context - surplus), surplus)


def choice_scores(instance: Instance, encoded: Sequence[Encoded], likelihoods: Sequence[Likelihood]) -> ChoiceScores:
    """What became of the continuations that `encode_instance` made of an instance."""
    n = len(instance.choices)
    return ChoiceScores(
        logprobs=tuple(likelihood.logprob for likelihood in likelihoods[:n]),
        n_tokens=tuple(len(item.continuation.token_ids) - item.continuation.n_context for item in encoded[:n]),
        greedy=tuple(likelihood.greedy for likelihood in likelihoods[:n]),
        baseline=tuple(likelihood.logprob for likelihood in likelihoods[n:]),
    )


def encode_text(tokenizer: PreTrainedTokenizerBase, instance: Instance, window: int | None) -> list[Encoded]:
    """A whole text after one BOS (or EOS) token, in windows: each token is scored once, with as much before it as fits.

    Of a text that is longer than the window, the windows do not overlap but for one token of context; the last one
    reaches back as far as it can (lm-eval's `get_rolling_token_windows`).

    Raises:
        DataError: the text has no tokens.
    """
    start = first_token(tokenizer)
    ids = encode(tokenizer, "".join(message.content for message in instance.messages), chat=True)
    if not ids:
        raise DataError(f"instance {instance.id!r}: its text has no tokens")
    return [Encoded(item) for item in windows((start, *ids), window)]


def windows(ids: tuple[int, ...], window: int | None) -> Iterator[Continuation]:
    """All but the first of `ids`, scored in pieces of which each, its last token apart, fits the window.

    >>> [(c.token_ids, c.n_context) for c in windows((0, 1, 2, 3, 4, 5), 3)]
    [((0, 1, 2, 3), 1), ((2, 3, 4, 5), 2)]
    """
    most = len(ids) if window is None else window
    done = 1
    while done < len(ids):
        end = min(len(ids), done + most)
        start = max(0, end - most - 1)
        yield Continuation(ids[start:end], done - start)
        done = end


def text_scores(encoded: Sequence[Encoded], likelihoods: Sequence[Likelihood]) -> TextScores:
    """What became of a text's windows."""
    n_tokens = sum(len(item.continuation.token_ids) - item.continuation.n_context for item in encoded)
    return TextScores(sum(likelihood.logprob for likelihood in likelihoods), n_tokens)
