"""Conversations that grow: what the policy sampled stays as it is, and only the tokens of new turns are appended.

A template renders whole conversations. The text between a reply and the next one is what it writes behind the reply
once others have answered it: the difference between the renderings with and without them. That holds only as long as
the template repeats what it wrote before. One that rewrites earlier replies (that takes thoughts out of them) would
show the policy another past at inference than in training, and is refused.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from aftertrain.core.records import JSON, Message, Role
from aftertrain.core.text.answer import thoughts_of
from aftertrain.core.text.chat import UnusableRow, check_whole, render_text, template_of, text_ids
from aftertrain.core.text.endings import NEXT, SAID, end_tokens
from aftertrain.core.text.tool_calls import Calls, calls_in

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

REWRITTEN = "history_rewritten"
"""Reason of the `UnusableRow` that says that a template writes an earlier turn otherwise than it was said."""
CURE = "use a template that leaves earlier turns as they are (chat_template: tulu), or an environment of a single turn"


class Growing:
    """A conversation under a chat template.

    Args:
        messages: that it opens with; a reply of the policy comes next.
        tools: JSON schemas of the functions that the policy may call.

    Attributes:
        opening: token ids of what the first reply is given.

    Raises:
        UnusableRow: the template refuses the opening, or leaves a part of it out.
    """

    def __init__(
        self, tokenizer: PreTrainedTokenizerBase, messages: Sequence[Message], tools: Sequence[JSON] = ()
    ) -> None:
        check_whole(tokenizer, messages, tools)
        self._tokenizer, self._messages, self._tools = tokenizer, tuple(messages), tuple(tools)
        self._text = render_text(tokenizer, messages, generation_prompt=True, tools=tools)
        self.opening = tuple(text_ids(tokenizer, self._text))

    def answered(self, reply: Sequence[int], answers: Sequence[Message]) -> tuple[int, ...]:
        """Token ids that stand between a reply and the next one; the conversation goes on from there.

        White space is no difference: a template may take it off a reply's ends, and the sampled tokens keep it.

        Args:
            reply: sampled ids, its end token included where one was sampled; that one is not repeated.
            answers: turns that answer it, none of them the assistant's.

        Raises:
            UnusableRow: the template refuses them, leaves one out, or rewrites what was said before.
        """
        ended = bool(reply) and reply[-1] in end_tokens(self._tokenizer)
        said = str(
            self._tokenizer.decode(
                list(reply[:-1] if ended else reply), skip_special_tokens=False, clean_up_tokenization_spaces=False
            )
        )
        refused: UnusableRow | None = None
        for turn in _turns(said):
            messages = (*self._messages, turn, *answers)
            try:
                check_whole(self._tokenizer, messages, self._tools)
                text = render_text(self._tokenizer, messages, generation_prompt=True, tools=self._tools)
            except UnusableRow as error:
                refused = refused or error
                continue
            behind = behind_reply(text, self._text, said)
            if behind is None:
                continue
            self._messages, self._text = messages, text
            ids = text_ids(self._tokenizer, behind)
            return tuple(ids[1:] if ended and ids[:1] == [reply[-1]] else ids)
        raise refused or UnusableRow(
            REWRITTEN,
            "the chat template rewrites an earlier reply once the conversation goes on (most often it takes thoughts "
            f"out), so that the policy would learn from a past that it never sees again: it said {said[-200:]!r}; "
            f"{CURE}",
        )


def behind_reply(text: str, before: str, said: str) -> str | None:
    r"""What a rendered conversation holds behind a reply; None where it does not repeat what was said until then.

    Args:
        text: of the conversation with what answers the reply.
        before: of the conversation up to the reply.

    >>> behind_reply("user: 2 + 2?\nbot: 4<end>\nuser: Sure?\nbot: ", "user: 2 + 2?\nbot: ", " 4\n")
    '<end>\nuser: Sure?\nbot: '
    >>> behind_reply("user: 2 + 2?\nbot: 4<end>", "user: 2 + 2?\nbot: ", "<think>2, 2</think>4") is None
    True
    """
    if not text.startswith(before):
        return None
    place = len(before)
    for letter in said:
        if letter.isspace():
            continue
        while place < len(text) and text[place].isspace():
            place += 1
        if text[place : place + 1] != letter:
            return None
        place += 1
    return text[place:].removeprefix(said[len(said.rstrip()) :])


def check_growth(tokenizer: PreTrainedTokenizerBase, answers: Role, tools: Sequence[JSON] = ()) -> None:
    """Try on conversations of three replies whether a template lets them grow, thoughts and calls included.

    Args:
        answers: who answers the policy's replies.

    Raises:
        UnusableRow: it refuses them, leaves turns out, or rewrites what was said before.
    """
    end = end_tokens(tokenizer)
    for said in _replies(tokenizer, bool(tools)):
        talk = Growing(tokenizer, [Message("user", NEXT)], tools)
        for _ in range(2):
            reply = [*text_ids(tokenizer, said), *([tokenizer.eos_token_id] if tokenizer.eos_token_id in end else [])]
            talk.answered(reply, [Message(answers, NEXT, name=None if answers == "user" else "count")])


def _replies(tokenizer: PreTrainedTokenizerBase, tools: bool) -> Iterator[str]:
    """What a policy says, and with a call; after thoughts where the template knows how they are marked.

    A template that knows thoughts may add empty ones to a reply without any, which its model does not make.
    """
    prompt = render_text(tokenizer, [Message("user", NEXT)], generation_prompt=True)
    template = template_of(tokenizer)
    thoughts = thoughts_of(template, prompt)
    known = thoughts.begun or thoughts.closing in template
    before = f"{NEXT}\n{thoughts.closing}\n\n" if known else ""
    if known and not thoughts.begun:
        before = f"{thoughts.opening}\n{before}"
    yield before + SAID
    if tools:
        yield before + '<tool_call>\n{"name": "count", "arguments": {"of": 3}}\n</tool_call>'


def _turns(said: str) -> Iterator[Message]:
    """The reply as a turn: its words, and where calls are found in them, these apart, as some templates want them."""
    yield Message("assistant", said)
    found: Calls = calls_in(said)
    if found.calls:
        yield Message("assistant", found.before, tool_calls=found.calls)
