"""Conversations to token ids and loss masks, by token position; the checks a template must pass.

A target is found by rendering the conversation up to each assistant turn: the rendered prompt's ids must be a prefix of
the rendered conversation's ids (else the model would train on a prompt it never sees at inference). Nothing is found
by id, so that pad = eos is harmless.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING, Any, Literal

from aftertrain.core.errors import DataError, ModelError
from aftertrain.core.records import Message

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

TULU_TEMPLATE = (
    "{% for message in messages %}"
    "{% if message['role'] == 'assistant' %}{{ '<|assistant|>\n' + message['content'] + eos_token }}"
    "{% if not loop.last %}{{ '\n' }}{% endif %}"
    "{% else %}{{ '<|' + message['role'] + '|>\n' + message['content'] + '\n' }}{% endif %}"
    "{% if loop.last and add_generation_prompt %}{{ '<|assistant|>\n' }}{% endif %}"
    "{% endfor %}"
)
"""Tulu 3's chat template."""

TODAY = date(2024, 7, 26)
"""What a template that asks for today's date is told (Llama 3's own default): else prompts would change overnight."""

FIXED_DATE = (
    "{%- macro strftime_now(format) -%}{{ format"
    + "".join(f" | replace('%{code}', '{TODAY:%{code}}')" for code in "aAbBdHIjmMpSyY")
    + " }}{%- endmacro -%}"
)
"""Put before a template, it takes the place of transformers' clock; a template is given no callables from outside."""

TEMPLATES = {"tulu": TULU_TEMPLATE}

Learn = Literal["all", "last"]
WORD = re.compile(r"[A-Za-z0-9]+")
THOUGHTS = "</think>"
"""Templates of reasoning models leave out what stands before it in all turns but the last."""


class UnusableRow(DataError):
    """A row that cannot be trained on, though it is well formed.

    Attributes:
        reason: one word for counts: `no_target`, `turn_left_out`, `prompt_not_a_prefix`, `template` …
    """

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.reason, str(self))


@dataclass(frozen=True, slots=True)
class Tokenised:
    """Token ids with, for each, whether it is a target."""

    token_ids: tuple[int, ...]
    loss_mask: tuple[bool, ...]


def load_tokenizer(
    folder: str, chat_template: str | None = None, *, needs_template: bool = True
) -> PreTrainedTokenizerBase:
    """The tokenizer of a model folder, with its own chat template or a named one of `TEMPLATES`.

    Args:
        needs_template: False for plain-text work, which a base model without a template can do.

    Raises:
        ModelError: the folder has no tokenizer, no template, or no end-of-sequence token.
    """
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(folder)
    except (OSError, ValueError, KeyError) as error:
        raise ModelError(f"{folder}: cannot load a tokenizer: {error}") from error
    if chat_template is not None:
        if chat_template not in TEMPLATES:
            raise ModelError(f"no chat template named {chat_template!r}; there are: {', '.join(sorted(TEMPLATES))}")
        tokenizer.chat_template = TEMPLATES[chat_template]
    if needs_template and tokenizer.chat_template is None:
        raise ModelError(f"{folder}: the tokenizer has no chat template; set chat_template: tulu in the recipe")
    if tokenizer.eos_token_id is None:
        raise ModelError(f"{folder}: the tokenizer has no end-of-sequence token")
    return tokenizer


def fingerprint(tokenizer: PreTrainedTokenizerBase) -> str:
    """SHA-256 of all that decides how it renders and tokenises: vocabulary, merges, special tokens, chat template."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    rules = json.dumps(sorted(tokenizer.get_vocab().items())) if backend is None else backend.to_str()
    special = {name: str(value) for name, value in tokenizer.special_tokens_map.items()}
    facts = [type(tokenizer).__name__, rules, special, tokenizer.chat_template, str(TODAY)]
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def render(tokenizer: PreTrainedTokenizerBase, messages: Sequence[Message], *, generation_prompt: bool) -> list[int]:
    """Token ids of a conversation under the chat template, no special token added twice."""
    return _ids(tokenizer, render_text(tokenizer, messages, generation_prompt=generation_prompt))


def render_text(tokenizer: PreTrainedTokenizerBase, messages: Sequence[Message], *, generation_prompt: bool) -> str:
    """Text of a conversation under the chat template.

    Raises:
        UnusableRow: the template refuses the conversation (a role that it does not know, turns that do not alternate).
    """
    from jinja2 import TemplateError

    turns: list[dict[str, Any]] = [{"role": m.role, "content": m.content} for m in messages]
    template = tokenizer.get_chat_template()
    if "strftime_now" in template:
        template = FIXED_DATE + template
    try:
        return str(
            tokenizer.apply_chat_template(
                turns, chat_template=template, tokenize=False, add_generation_prompt=generation_prompt
            )
        )
    except TemplateError as error:
        roles = ", ".join(message.role for message in messages)
        raise UnusableRow("template", f"the chat template refuses the turns {roles}: {error}") from error


def tokenise(
    tokenizer: PreTrainedTokenizerBase,
    messages: Sequence[Message],
    *,
    learn_from: int = 0,
    learn: Learn = "all",
    sample_id: str = "",
) -> Tokenised:
    """Token ids of a conversation; the assistant's turns, each with its end token, are targets.

    What a template puts after the last reply's end token (ChatML's line break) is left out: no sampled reply has it.

    Args:
        learn_from: turns before this one are context whatever their role (the shared prompt of a pair).
        learn: `last` makes only the last of the assistant's turns a target.

    Raises:
        UnusableRow: there is nothing to learn, a rendered prompt is not a token prefix of the conversation, or the
            template refuses a turn or leaves one out.
    """
    try:
        text = render_text(tokenizer, messages, generation_prompt=False)
        _check_whole(messages, text)
        return _targets(tokenizer, messages, _ids(tokenizer, text), learn_from, learn)
    except UnusableRow as error:
        raise UnusableRow(error.reason, f"sample {sample_id!r}: {error}" if sample_id else str(error)) from error


def _targets(
    tokenizer: PreTrainedTokenizerBase, messages: Sequence[Message], ids: list[int], learn_from: int, learn: Learn
) -> Tokenised:
    replies = [i for i, message in enumerate(messages) if message.role == "assistant" and i >= learn_from]
    mask = [False] * len(ids)
    for index in replies[-1:] if learn == "last" else replies:
        start = _prompt_length(tokenizer, messages[:index], ids)
        if index == len(messages) - 1:
            stop = _through_end_token(tokenizer, ids, start, len(ids))
            del ids[stop:], mask[stop:]
        else:
            stop = _end_of_turn(tokenizer, messages[: index + 1], ids, start)
        mask[start:stop] = [True] * (stop - start)
    if not any(mask[1:]):
        raise UnusableRow("no_target", "it has no assistant turn to learn from")
    return Tokenised(tuple(ids), tuple(mask))


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


def _ids(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    # verbose: a hint that a text is longer than the model takes; that is checked where it matters.
    return list(tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"])


def _check_whole(messages: Sequence[Message], text: str) -> None:
    """Every turn's longest word must be in the rendered text: some templates pass over roles that they do not know."""
    for number, message in enumerate(messages):
        words = WORD.findall(message.content.rpartition(THOUGHTS)[2])
        if words and max(words, key=len) not in text:
            raise UnusableRow("turn_left_out", f"the chat template leaves out turn {number} (role {message.role})")


def _prompt_length(tokenizer: PreTrainedTokenizerBase, messages: Sequence[Message], ids: list[int]) -> int:
    prefix = render(tokenizer, messages, generation_prompt=True)
    if ids[: len(prefix)] != prefix:
        at = next((i for i, (a, b) in enumerate(zip(prefix, ids, strict=False)) if a != b), len(ids))
        raise UnusableRow(
            "prompt_not_a_prefix",
            "the tokenised prompt is not a prefix of the tokenised conversation "
            f"(they part at token {at}); the chat template renders a prompt differently once it is answered",
        )
    return len(prefix)


def _end_of_turn(tokenizer: PreTrainedTokenizerBase, messages: Sequence[Message], ids: list[int], start: int) -> int:
    """End of an inner assistant turn: through its eos, or the common prefix where the template has none."""
    whole = render(tokenizer, messages, generation_prompt=False)
    common = next((i for i, (a, b) in enumerate(zip(whole, ids, strict=False)) if a != b), min(len(whole), len(ids)))
    if common <= start:
        raise UnusableRow(
            "reply_rewritten",
            f"the chat template renders the reply in turn {len(messages) - 1} differently once the conversation goes "
            "on; learn only from each conversation's last reply (batch.learn: last)",
        )
    return _through_end_token(tokenizer, ids, start, common)


def _through_end_token(tokenizer: PreTrainedTokenizerBase, ids: list[int], start: int, stop: int) -> int:
    """End of a reply that lies in `ids[start:stop]`, white space that the template puts after its end token left out.

    The *last* end token counts: one written inside the reply is part of it.
    """
    end = stop
    while end > start and ids[end - 1] != tokenizer.eos_token_id:
        end -= 1
    return stop if end == start or str(tokenizer.decode(ids[end:stop])).strip() else end
