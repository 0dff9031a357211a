"""Conversations to token ids and loss masks, by token position; the checks a template must pass.

A target is found by rendering the conversation up to each assistant turn: the rendered prompt's ids must be a prefix of
the rendered conversation's ids (else the model would train on a prompt it never sees at inference). Nothing is found
by id, so that pad = eos is harmless.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Literal

from aftertrain.core.records import JSON, Message
from aftertrain.core.text.chat import UnusableRow, check_whole, encode, render_text, text_ids
from aftertrain.core.text.endings import alike, end_tokens, reply_ending

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Learn = Literal["all", "last", "each"]
THOUGHT = "<think>"
"""Where some templates begin a reply; they write it into the prompt."""
HISTORY = "learn each reply as a sample of its own (batch.learn: each), or the last alone (batch.learn: last)"
"""What to do about a template that rewrites replies once the conversation goes on."""


@dataclass(frozen=True, slots=True)
class Tokenised:
    """Token ids with, for each, whether it is a target."""

    token_ids: tuple[int, ...]
    loss_mask: tuple[bool, ...]


def tokenise(
    tokenizer: PreTrainedTokenizerBase,
    messages: Sequence[Message],
    *,
    learn_from: int = 0,
    learn: Learn = "all",
    tools: Sequence[JSON] = (),
    sample_id: str = "",
) -> Tokenised:
    """Token ids of a conversation; the assistant's turns, each with its end token, are targets.

    What a template puts after the last reply's end token (ChatML's line break) is left out: no sampled reply has it.

    Args:
        learn_from: turns before this one are context whatever their role (the shared prompt of a pair).
        learn: `last` makes only the last of the assistant's turns a target. (`each` is for who makes samples of rows.)
        tools: JSON schemas of the functions that the assistant may call.

    Raises:
        UnusableRow: there is nothing to learn, a rendered prompt is not a token prefix of the conversation, or the
            template refuses a turn, leaves one out, or writes a target otherwise than it stands.
    """
    try:
        check_whole(tokenizer, messages, tools)
        return _targets(tokenizer, messages, tools, learnt_turns(messages, learn_from, learn))
    except UnusableRow as error:
        raise UnusableRow(error.reason, f"sample {sample_id!r}: {error}" if sample_id else str(error)) from error


def tokenise_text(tokenizer: PreTrainedTokenizerBase, text: str, *, sample_id: str = "") -> Tokenised:
    """Token ids of a plain text, of which all but the first are targets, its end token too.

    The tokenizer's own start token comes first and one end token last, whether or not they are written in the text.

    Raises:
        UnusableRow: the text is blank or an end token alone, or no Unicode text.
    """
    if not text.strip():
        raise UnusableRow("empty_text", f"sample {sample_id!r}: the text is empty")
    bos, eos = tokenizer.bos_token_id, tokenizer.eos_token_id
    ids = encode(tokenizer, text, special=True)
    if bos is not None and ids[:2] == [bos, bos]:
        del ids[0]
    while ids[-2:] == [eos, eos]:
        del ids[-1]
    if ids[-1] != eos:
        ids.append(eos)
    if len(ids) == 1:
        raise UnusableRow("empty_text", f"sample {sample_id!r}: the text is an end token and nothing else")
    return Tokenised(tuple(ids), (False, *[True] * (len(ids) - 1)))


def learnt_turns(messages: Sequence[Message], learn_from: int, learn: Learn) -> list[int]:
    """Numbers of the turns that are targets; `tokenise` says what the arguments mean."""
    replies = [i for i, message in enumerate(messages) if message.role == "assistant" and i >= learn_from]
    return [i for i in (replies[-1:] if learn == "last" else replies) if messages[i].learn]


def _targets(
    tokenizer: PreTrainedTokenizerBase, messages: Sequence[Message], tools: Sequence[JSON], replies: Sequence[int]
) -> Tokenised:
    render = partial(render_text, tokenizer, tools=tools)
    end = len(messages) - 1
    conversation = render(messages, generation_prompt=False)
    ids = text_ids(tokenizer, conversation)
    mask = [False] * len(ids)
    for index in replies:
        prompt = render(messages[:index], generation_prompt=True)
        answered = conversation if index == end else render(messages[: index + 1], generation_prompt=False)
        start = _prompt_length(text_ids(tokenizer, prompt), ids, _cure(prompt, last=index == end))
        _check_written(prompt, answered, messages[index], index)
        if index == end:
            stop = _through_end_token(tokenizer, ids, start, len(ids))
            del ids[stop:], mask[stop:]
        else:
            content = messages[index].content
            stop = _end_of_turn(tokenizer, text_ids(tokenizer, answered), ids, start, content, index)
        mask[start:stop] = [True] * (stop - start)
    if not any(mask[1:]):
        raise UnusableRow("no_target", "it has no assistant turn to learn from")
    return Tokenised(tuple(ids), tuple(mask))


def _check_written(prompt: str, answered: str, reply: Message, number: int) -> None:
    """A target's thoughts and content must stand in the rendered text as they are, white space apart.

    Templates of reasoning models leave out a reply's thoughts. In a turn that is context they do so at inference too; a
    target would teach to answer without any. Calls have been looked for by `check_whole`: each template writes them in
    its own way.
    """
    before, rendered, thought, content = (
        "".join(text.split()) for text in (prompt, answered, reply.reasoning, reply.content)
    )
    if before.endswith(THOUGHT):
        content = content.removeprefix(THOUGHT)
    tail = rendered.removeprefix(before)
    if thought not in tail or content not in tail:
        raise UnusableRow(
            "turn_left_out",
            f"the chat template leaves out or rewrites part of turn {number} (role assistant), which is to be learnt; "
            "where it takes the thoughts out of replies, it cannot teach them: use another template, or data without",
        )


def _prompt_length(prompt: list[int], ids: list[int], cure: str) -> int:
    if ids[: len(prompt)] != prompt:
        raise UnusableRow(
            "prompt_not_a_prefix",
            "the tokenised prompt is not a prefix of the tokenised conversation "
            f"(they part at token {alike(prompt, ids)}); the chat template renders a prompt differently once it is "
            f"answered{cure}",
        )
    return len(prompt)


def _cure(prompt: str, *, last: bool) -> str:
    """What may help where a prompt that reads so is no prefix of its conversation."""
    if prompt.rstrip().endswith(THOUGHT):
        return f"; a reply begins in its thoughts here ({THOUGHT}): give it reasoning_content, or use another template"
    return "" if last else f"; {HISTORY}"


def _end_of_turn(  # noqa: PLR0917
    tokenizer: PreTrainedTokenizerBase, answered: list[int], ids: list[int], start: int, content: str, turn: int
) -> int:
    """End of an inner assistant turn: through its eos, or the common prefix where the template has none.

    Args:
        answered: the conversation up to this turn, as the template renders it while nothing follows.
    """
    common = alike(answered, ids)
    rest = answered[common:]
    closed = not str(tokenizer.decode(ids[start:common])).rstrip().endswith(content.rstrip())
    if closed and rest and rest[-1] in end_tokens(tokenizer):
        del rest[-1]  # Phi 3's end of the whole text, after the reply's own end mark
    if common <= start or str(tokenizer.decode(rest)).strip():
        raise UnusableRow(
            "reply_rewritten",
            f"the chat template renders the reply in turn {turn} differently once the conversation goes on; {HISTORY}",
        )
    return _through_end_token(tokenizer, ids, start, common)


def _through_end_token(tokenizer: PreTrainedTokenizerBase, ids: list[int], start: int, stop: int) -> int:
    """End of a reply that lies in `ids[start:stop]`: what the template puts after its end token is left out.

    Where the template closes it as it closes any last reply, the place is known. Elsewhere (calls, inner replies) the
    *last* end token counts, as one written inside the reply is part of it, if only white space follows.
    """
    ending = reply_ending(tokenizer)
    if ending is not None and ending.rest and tuple(ids[start:stop][-len(ending.rest) :]) == ending.rest:
        return stop - len(ending.rest) + 1
    ends = end_tokens(tokenizer)
    end = stop
    while end > start and ids[end - 1] not in ends:
        end -= 1
    return stop if end == start or str(tokenizer.decode(ids[end:stop])).strip() else end
