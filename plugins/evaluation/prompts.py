"""Instances to text and token ids: chat template, begun replies, context length, where a choice starts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from aftertrain.core.errors import DataError
from aftertrain.core.eval_task import Instance
from aftertrain.core.text.chat import encode as encode_text
from aftertrain.core.text.chat import prompt_text

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True, slots=True)
class Encoded:
    """Token ids, of which the first `n_context` are given and the others are scored; `cut` were cut off the start."""

    token_ids: tuple[int, ...]
    n_context: int
    cut: int = 0


def encode(tokenizer: PreTrainedTokenizerBase, text: str, *, chat: bool) -> list[int]:
    """Token ids of a whole prompt, in one piece; plain text gets the tokenizer's BOS, a template has its own.

    An EOS that the tokenizer adds is left out: what is encoded here always goes on.
    """
    ids = encode_text(tokenizer, text, special=not chat)
    if not chat and len(ids) > 1 and ids[-1] == tokenizer.eos_token_id:
        bare = encode_text(tokenizer, text, special=False)
        return ids if bare[-1:] == ids[-1:] else ids[:-1]
    return ids


def encode_choices(
    tokenizer: PreTrainedTokenizerBase, context: str, choices: Sequence[str], *, chat: bool
) -> list[Encoded]:
    """Each choice tokenised together with the context; what the context alone has in common with that is given.

    A token that straddles the boundary is thereby scored, never dropped. An empty context is one BOS (or EOS) token.

    Raises:
        DataError: a choice adds no token.
    """
    start = tokenizer.bos_token_id if tokenizer.bos_token_id is not None else tokenizer.eos_token_id
    alone = encode(tokenizer, context, chat=chat) if context else []
    encoded = []
    for choice in choices:
        whole = encode(tokenizer, context + choice, chat=chat or not context)
        shared = next((i for i, (a, b) in enumerate(zip(whole, alone, strict=False)) if a != b), len(alone))
        if shared >= len(whole):
            raise DataError(f"the choice {choice!r} adds no token to its prompt")
        encoded.append(Encoded(tuple(whole), shared) if shared else Encoded((start, *whole), 1))
    return encoded


def too_long(instances: Sequence[Instance], tokenizer: PreTrainedTokenizerBase, window: int) -> list[tuple[str, int]]:
    """Ids and prompt tokens of the instances that leave no room: for one token of reply, or for the longest choice."""
    found = []
    for instance in instances:
        text = prompt_text(tokenizer, instance.messages, chat=instance.chat)
        room = window if instance.choices else window - 1
        # No tokenizer here makes more tokens than bytes and a few specials: most prompts need no count.
        longest = max((len(choice.encode()) for choice in instance.choices), default=0)
        if len(text.encode()) + longest + 8 <= room:
            continue
        endings = instance.choices or ("",)
        tokens = max(len(encode(tokenizer, text + ending, chat=instance.chat)) for ending in endings)
        if tokens > room:
            found.append((instance.id, tokens))
    return found
