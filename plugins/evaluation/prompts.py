"""Instances to text and token ids: chat template, begun replies, context length, where a choice starts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from aftertrain.core.engine import Continuation
from aftertrain.core.errors import DataError
from aftertrain.core.eval_task import Choice, Instance
from aftertrain.core.text.chat import encode as encode_text
from aftertrain.core.text.chat import prompt_text

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def encode(tokenizer: PreTrainedTokenizerBase, text: str, *, chat: bool) -> list[int]:
    """Token ids of a whole prompt, in one piece; plain text gets the tokenizer's BOS, a template has its own.

    A text that begins with a BOS of its own gets no second one: models have seen one. An EOS that the tokenizer adds is
    left out: what is encoded here always goes on.
    """
    ids = encode_text(tokenizer, text, special=not chat)
    bos = tokenizer.bos_token_id
    if not chat and bos is not None and ids[:2] == [bos, bos]:
        ids = ids[1:] if encode_text(tokenizer, text, special=False)[:2] != [bos, bos] else ids
    if not chat and len(ids) > 1 and ids[-1] == tokenizer.eos_token_id:
        bare = encode_text(tokenizer, text, special=False)
        return ids if bare[-1:] == ids[-1:] else ids[:-1]
    return ids


def encode_choices(
    tokenizer: PreTrainedTokenizerBase, context: str, choices: Sequence[str], *, chat: bool
) -> list[Continuation]:
    """Each choice tokenised together with the context; what the context alone has in common with that is given.

    A token that straddles the boundary is thereby scored, never dropped. An empty context is one BOS (or EOS) token.

    Raises:
        DataError: a choice adds no token.
    """
    alone = encode(tokenizer, context, chat=chat) if context else []
    encoded = []
    for choice in choices:
        whole = encode(tokenizer, context + choice, chat=chat or not context)
        shared = next((i for i, (a, b) in enumerate(zip(whole, alone, strict=False)) if a != b), len(alone))
        if shared >= len(whole):
            raise DataError(f"the choice {choice!r} adds no token to its prompt")
        if shared:
            encoded.append(Continuation(tuple(whole), shared))
        else:
            encoded.append(Continuation((first_token(tokenizer), *whole), 1))
    return encoded


def first_token(tokenizer: PreTrainedTokenizerBase) -> int:
    """What stands before a text that has nothing before it: BOS, or EOS where there is none.

    Raises:
        DataError: the tokenizer has neither.
    """
    for token in (tokenizer.bos_token_id, tokenizer.eos_token_id):
        if token is not None:
            return int(token)
    raise DataError("the tokenizer has neither a BOS nor an EOS token to begin a text with")


def too_long(instances: Sequence[Instance], tokenizer: PreTrainedTokenizerBase, window: int) -> list[tuple[str, int]]:
    """Ids and tokens of the instances that leave no room: for one token of reply, or for the longest choice."""
    long = []
    for instance in instances:
        prompt = prompt_text(tokenizer, instance.messages, chat=instance.chat)
        room = window if instance.choices else window - 1
        wholes = [_whole(instance, prompt, choice) for choice in instance.choices] or [(prompt, instance.chat)]
        # No tokenizer here makes more tokens than bytes and a few specials: most prompts need no count.
        if max(len(text.encode()) for text, _ in wholes) + 8 <= room:
            continue
        tokens = max(len(encode(tokenizer, text, chat=chat)) for text, chat in wholes)
        if tokens > room:
            long.append((instance.id, tokens))
    return long


def _whole(instance: Instance, prompt: str, choice: Choice) -> tuple[str, bool]:
    """A choice after what it continues, and whether that went through the chat template."""
    if choice.context is None:
        return prompt + choice.text, instance.chat
    return choice.context + choice.text, False
