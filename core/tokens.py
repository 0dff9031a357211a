"""Conversations to token ids and loss masks, by token position; the checks a template must pass.

A target is found by rendering the conversation up to each assistant turn: the rendered prompt's ids must be a prefix of
the rendered conversation's ids (else the model would train on a prompt it never sees at inference). Nothing is found
by id, so that pad = eos is harmless.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal

from aftertrain.core.errors import DataError, ModelError
from aftertrain.core.records import Message, Role

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
THOUGHT = "<think>"
"""Where some templates begin a reply; they write it into the prompt."""
HISTORY = "learn only from each conversation's last reply (batch.learn: last)"
"""What to do about a template that rewrites replies once the conversation goes on."""


class UnusableRow(DataError):
    """A row that cannot be trained on, though it is well formed.

    Attributes:
        reason: one word for counts: `no_prompt`, `no_target`, `turn_left_out`, `prompt_not_a_prefix`, `template` …
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


def render(tokenizer: PreTrainedTokenizerBase, messages: Sequence[Message], *, generation_prompt: bool) -> list[int]:
    """Token ids of a conversation under the chat template, no special token added twice."""
    return _ids(tokenizer, render_text(tokenizer, messages, generation_prompt=generation_prompt))


def render_text(tokenizer: PreTrainedTokenizerBase, messages: Sequence[Message], *, generation_prompt: bool) -> str:
    """Text of a conversation under the chat template.

    Raises:
        UnusableRow: there is no turn, or the template refuses the conversation (a role that it does not know, turns
            that do not alternate).
    """
    from jinja2 import TemplateError

    if not messages:
        raise UnusableRow(
            "no_prompt",
            "the conversation begins with the assistant, whose turn answers nothing; give that turn weight: 0, which "
            "makes it context, or put a turn before it",
        )
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
    except (TemplateError, ValueError) as error:
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
            template refuses a turn, leaves one out, or writes a target otherwise than it stands.
    """
    try:
        text = render_text(tokenizer, messages, generation_prompt=False)
        _check_whole(tokenizer, messages)
        return _targets(tokenizer, messages, text, learnt_turns(messages, learn_from, learn))
    except UnusableRow as error:
        raise UnusableRow(error.reason, f"sample {sample_id!r}: {error}" if sample_id else str(error)) from error


def learnt_turns(messages: Sequence[Message], learn_from: int, learn: Learn) -> list[int]:
    """Numbers of the turns that are targets; `tokenise` says what the arguments mean."""
    replies = [i for i, message in enumerate(messages) if message.role == "assistant" and i >= learn_from]
    return [i for i in (replies[-1:] if learn == "last" else replies) if messages[i].learn]


def _targets(
    tokenizer: PreTrainedTokenizerBase, messages: Sequence[Message], text: str, replies: Sequence[int]
) -> Tokenised:
    ids = _ids(tokenizer, text)
    mask = [False] * len(ids)
    for index in replies:
        last = index == len(messages) - 1
        prompt = render_text(tokenizer, messages[:index], generation_prompt=True)
        answered = text if last else render_text(tokenizer, messages[: index + 1], generation_prompt=False)
        start = _prompt_length(_ids(tokenizer, prompt), ids, last)
        _check_said(prompt, answered, messages[index], index)
        if last:
            stop = _through_end_token(tokenizer, ids, start, len(ids))
            del ids[stop:], mask[stop:]
        else:
            stop = _end_of_turn(tokenizer, _ids(tokenizer, answered), ids, start, messages[: index + 1])
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


def _check_whole(tokenizer: PreTrainedTokenizerBase, messages: Sequence[Message]) -> None:
    """Some templates pass over turns: of roles that they do not know, say. The model would never see those."""
    template = str(tokenizer.get_chat_template())
    for number in _left_out(tokenizer, template, tuple(message.role for message in messages)):
        if messages[number].content.strip():
            role = messages[number].role
            raise UnusableRow("turn_left_out", f"the chat template leaves out turn {number} (role {role})")


@lru_cache(maxsize=1024)
def _left_out(tokenizer: PreTrainedTokenizerBase, template: str, roles: tuple[Role, ...]) -> tuple[int, ...]:
    """Turns that do not come through. By marks in place of contents: a short one stands in any text by chance.

    Args:
        template: the tokenizer's at this moment; part of the key.
    """
    marks = [f"qx{number}xq" for number in range(len(roles))]
    turns = [Message(role, mark) for role, mark in zip(roles, marks, strict=True)]
    text = render_text(tokenizer, turns, generation_prompt=False)
    return tuple(number for number, mark in enumerate(marks) if mark not in text)


def _check_said(prompt: str, answered: str, reply: Message, number: int) -> None:
    """A target must stand in the rendered text as it is, white space apart.

    Templates of reasoning models leave out a reply's thoughts. In a turn that is context they do so at inference too; a
    target would teach to answer without any.
    """
    given, rendered, said = ("".join(text.split()) for text in (prompt, answered, reply.content))
    if given.endswith(THOUGHT):
        said = said.removeprefix(THOUGHT)
    if said not in rendered.removeprefix(given):
        raise UnusableRow(
            "turn_left_out",
            f"the chat template leaves out or rewrites part of turn {number} (role assistant), which is to be learnt; "
            "where it takes the thoughts out of replies, it cannot teach them: use another template, or data without",
        )


def _prompt_length(prompt: list[int], ids: list[int], last: bool) -> int:
    if ids[: len(prompt)] != prompt:
        at = next((i for i, (a, b) in enumerate(zip(prompt, ids, strict=False)) if a != b), len(ids))
        raise UnusableRow(
            "prompt_not_a_prefix",
            "the tokenised prompt is not a prefix of the tokenised conversation "
            f"(they part at token {at}); the chat template renders a prompt differently once it is answered"
            + ("" if last else f"; {HISTORY}"),
        )
    return len(prompt)


def _end_of_turn(
    tokenizer: PreTrainedTokenizerBase, answered: list[int], ids: list[int], start: int, messages: Sequence[Message]
) -> int:
    """End of an inner assistant turn: through its eos, or the common prefix where the template has none.

    Args:
        answered: the conversation up to this turn, as the template renders it while nothing follows.
    """
    shortest = min(len(answered), len(ids))
    common = next((i for i, (a, b) in enumerate(zip(answered, ids, strict=False)) if a != b), shortest)
    rest = answered[common:]
    closed = not str(tokenizer.decode(ids[start:common])).rstrip().endswith(messages[-1].content.rstrip())
    if closed and rest[-1:] == [tokenizer.eos_token_id]:
        del rest[-1]  # Phi 3's end of the whole text, after the reply's own end mark
    if common <= start or str(tokenizer.decode(rest)).strip():
        raise UnusableRow(
            "reply_rewritten",
            f"the chat template renders the reply in turn {len(messages) - 1} differently once the conversation goes "
            f"on; {HISTORY}",
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
