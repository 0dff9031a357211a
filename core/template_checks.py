"""Checks of a tokenizer and its chat template that a plan shows and a training stage must pass."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aftertrain.core.chat import render
from aftertrain.core.errors import ModelError
from aftertrain.core.records import Message

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def template_checks(tokenizer: PreTrainedTokenizerBase) -> list[tuple[str, str, bool]]:
    """Checks of tokenizer and template, as (label, finding, good): double BOS, pad = eos, prompt prefix, end token."""
    messages = (Message("user", "How many?"), Message("assistant", "Four."))
    ids = render(tokenizer, messages, generation_prompt=False)
    prompt = render(tokenizer, messages[:1], generation_prompt=True)
    bos, eos, pad = tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id
    doubled = bos is not None and bos != eos and ids[:2] == [bos, bos]
    tail = ids[len(prompt) :]
    return [
        ("double BOS", "the template and the tokenizer both add one" if doubled else "no", not doubled),
        (
            "pad token",
            "none: rows are packed, none is needed"
            if pad is None
            else "= eos: masks go by position"
            if pad == eos
            else "its own",
            True,
        ),
        ("prompt is a token prefix", "yes" if ids[: len(prompt)] == prompt else "no", ids[: len(prompt)] == prompt),
        ("reply ends with eos", "yes" if eos in tail else "no: replies would never stop", eos in tail),
    ]


def template_faults(tokenizer: PreTrainedTokenizerBase) -> list[str]:
    """What a training stage must say of its template: the checks that failed, since a run need not have been planned.

    Raises:
        ModelError: each conversation would begin with two BOS tokens, which the model has never seen.
    """
    failed = {label: finding for label, finding, good in template_checks(tokenizer) if not good}
    if "double BOS" in failed:
        raise ModelError(f"chat template: double BOS: {failed['double BOS']}")
    return [f"chat template: {label}: {finding}" for label, finding in failed.items()]
