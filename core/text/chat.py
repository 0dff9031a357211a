"""Conversations to text by a chat template: tokenizers, named templates, and what a template leaves out.

A turn's thoughts, tool calls and the tools on offer go to the template by the names that transformers gives them
(`reasoning_content`, `tool_calls`, `tools`). Templates pass over what they do not know; each part is looked for.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from datetime import date
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from aftertrain.core.errors import DataError, ModelError
from aftertrain.core.records import JSON, Message, Role, ToolCall
from aftertrain.core.text.tokenizer_files import read_tokenizer

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

TEMPLATES = {"tulu": TULU_TEMPLATE, "tulu_bos": "{{ bos_token }}" + TULU_TEMPLATE}

TEMPLATE_FILES = ("chat_template.jinja", "tokenizer_config.json")
"""Files of a model's folder that may hold its chat template, the first of them that is there does."""

TOOLS_CURE = "use a template that knows tools (set chat_template, or another model), or write them out in the content"


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


def load_tokenizer(
    folder: str, chat_template: str | None = None, *, needs_template: bool = True
) -> PreTrainedTokenizerBase:
    """The tokenizer of a model folder, with its own chat template or a named one of `TEMPLATES`.

    Args:
        needs_template: False for plain-text work, which a base model without a template can do.

    Raises:
        ModelError: the folder has no tokenizer that can be read, no template, or no end-of-sequence token.
    """
    tokenizer = read_tokenizer(folder)
    if chat_template is not None:
        if chat_template not in TEMPLATES:
            raise ModelError(f"no chat template named {chat_template!r}; there are: {', '.join(sorted(TEMPLATES))}")
        tokenizer.chat_template = TEMPLATES[chat_template]
    if needs_template and tokenizer.chat_template is None:
        raise ModelError(f"{folder}: the tokenizer has no chat template; set chat_template: tulu in the recipe")
    if tokenizer.eos_token_id is None:
        raise ModelError(f"{folder}: the tokenizer has no end-of-sequence token (eos_token in tokenizer_config.json)")
    return tokenizer


def render(
    tokenizer: PreTrainedTokenizerBase,
    messages: Sequence[Message],
    *,
    generation_prompt: bool,
    tools: Sequence[JSON] = (),
) -> list[int]:
    """Token ids of a conversation under the chat template, no special token added twice."""
    return text_ids(tokenizer, render_text(tokenizer, messages, generation_prompt=generation_prompt, tools=tools))


def render_text(
    tokenizer: PreTrainedTokenizerBase,
    messages: Sequence[Message],
    *,
    generation_prompt: bool,
    tools: Sequence[JSON] = (),
) -> str:
    """Text of a conversation under the chat template.

    Args:
        tools: JSON schemas of the functions that the assistant may call.

    Raises:
        UnusableRow: there is no turn, or the template refuses the conversation (a role that it does not know, turns
            that do not alternate).
        ModelError: there is no chat template.
    """
    from aftertrain.core.text.template import RAISED

    if not messages:
        raise UnusableRow(
            "no_prompt",
            "the conversation begins with the assistant, whose turn answers nothing; give that turn weight: 0, which "
            "makes it context, or put a turn before it",
        )
    template = template_of(tokenizer, tools)
    if "strftime_now" in template:
        template = FIXED_DATE + template

    def rendered(form: Callable[[JSON], object]) -> str:
        turns = [_turn(message, form) for message in messages]
        return _rendered(tokenizer, template, turns, list(tools) or None, generation_prompt)

    try:
        try:
            return rendered(dict)
        except TypeError:
            if not any(message.tool_calls for message in messages):
                raise
            # Most templates write a call's arguments as JSON, some (DeepSeek V3's) a text as it stands.
            return rendered(partial(json.dumps, ensure_ascii=False))
    except RecursionError as error:
        raise UnusableRow(
            "template", f"{template_file(tokenizer)}: the chat template calls itself, or is nested, without end"
        ) from error
    except RAISED as error:
        roles = ", ".join(message.role for message in messages)
        raise UnusableRow(
            "template", f"the chat template refuses the turns {roles}: {error or type(error).__name__}"
        ) from error


def _rendered(
    tokenizer: PreTrainedTokenizerBase,
    template: str,
    turns: list[dict[str, Any]],
    tools: list[JSON] | None,
    generation_prompt: bool,
) -> str:
    """A conversation through its template (`core.text.template`); a tokenizer that renders by itself does so.

    Raises:
        ModelError: the template is a program without end, or none.
    """
    from jinja2 import TemplateSyntaxError
    from transformers import PreTrainedTokenizerBase

    from aftertrain.core.text.template import TemplateTooLarge, render_template

    # A tokenizer that needs no template (Mistral's) has no other mark.
    if type(tokenizer).apply_chat_template is not PreTrainedTokenizerBase.apply_chat_template:
        own = tokenizer.apply_chat_template(
            turns, tools=tools, chat_template=template, tokenize=False, add_generation_prompt=generation_prompt
        )
        return str(own)
    special = {
        name: token if isinstance(token, list) else str(token) for name, token in tokenizer.special_tokens_map.items()
    }
    try:
        return render_template(template, turns, tools=tools, add_generation_prompt=generation_prompt, **special)
    except TemplateTooLarge as error:
        raise ModelError(
            f"{template_file(tokenizer)}: the chat template cannot be used: {error}; mend it, or set chat_template"
        ) from error
    except (TemplateSyntaxError, SyntaxError) as error:
        line = f":{error.lineno}" if isinstance(error, TemplateSyntaxError) else ""
        raise ModelError(
            f"{template_file(tokenizer)}{line}: no chat template: {error}; mend it, or set chat_template"
        ) from error


def template_file(tokenizer: PreTrainedTokenizerBase) -> str:
    """Where a tokenizer's chat template stands, for messages."""
    folder = Path(tokenizer.name_or_path)
    return str(next((folder / name for name in TEMPLATE_FILES if (folder / name).is_file()), folder))


def template_of(tokenizer: PreTrainedTokenizerBase, tools: Sequence[JSON] = ()) -> str:
    """The template that a conversation is rendered by; of several, `tool_use` where there are tools.

    Raises:
        ModelError: there is none, or several of which none is the default.
    """
    if tokenizer.chat_template is None:
        raise ModelError("the tokenizer has no chat template; set chat_template: tulu in the recipe")
    try:
        return str(tokenizer.get_chat_template(tools=list(tools) or None))
    except ValueError as error:
        named = ", ".join(sorted(tokenizer.chat_template))
        raise ModelError(
            f"{tokenizer.name_or_path}: the chat templates are {named}; one of them must be named default"
        ) from error


def prompt_text(
    tokenizer: PreTrainedTokenizerBase, messages: Sequence[Message], *, chat: bool = True, tools: Sequence[JSON] = ()
) -> str:
    """A prompt as a model is sent it: rendered with the chat template, or the joined contents as they are.

    Args:
        messages: a last one of the assistant is a begun reply, and is appended as it is.

    Raises:
        UnusableRow: the template refuses the conversation, or leaves out a part of it.

    >>> prompt_text(None, [Message("user", "2 + 2?\\n"), Message("assistant", "Answer:")], chat=False)
    '2 + 2?\\nAnswer:'
    """
    if not chat:
        return "".join(message.content for message in messages)
    begun = messages[-1].role == "assistant"
    turns = messages[:-1] if begun else messages
    check_whole(tokenizer, turns, tools)
    text = render_text(tokenizer, turns, generation_prompt=True, tools=tools)
    return text + messages[-1].content if begun else text


def text_ids(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    """Token ids of a rendered text; whatever is to begin it stands in it.

    Raises:
        UnusableRow: it is no Unicode text.
    """
    return encode(tokenizer, text, special=False)


def encode(tokenizer: PreTrainedTokenizerBase, text: str, *, special: bool) -> list[int]:
    """Token ids of a text.

    Args:
        special: add what the tokenizer puts around texts.

    Raises:
        UnusableRow: it is no Unicode text, or the tokenizer has no token for a part of it.
    """
    check_unicode(text)
    try:
        kind: Any = type(tokenizer)
        backend: Any = getattr(tokenizer, "backend_tokenizer", None) if _calls_backend(kind) else None
        if backend is not None and not (backend.truncation or backend.padding or tokenizer.split_special_tokens):
            return list(backend.encode(text, add_special_tokens=special).ids)
        # verbose: a hint that a text is longer than the model takes; that is checked where it matters.
        return list(tokenizer(text, add_special_tokens=special, verbose=False)["input_ids"])
    except Exception as error:
        # The library of tokenizers raises nothing more particular; any other error is a defect.
        if type(error) is not Exception:
            raise
        raise UnusableRow("not_tokenised", f"the tokenizer does not take the text: {error}") from error


@lru_cache(maxsize=64)
def _calls_backend(kind: type[PreTrainedTokenizerBase]) -> bool:
    """Whether calling such a tokenizer on a text does no more than to encode it, which costs a fifth of the call."""
    from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

    own = (kind.__call__, getattr(kind, "_encode_plus", None))
    return own == (PreTrainedTokenizerBase.__call__, PreTrainedTokenizerFast._encode_plus)


def check_unicode(text: str) -> None:
    """Half of a surrogate pair, as JSON may hold one, is a text of Python's that no tokenizer takes.

    Raises:
        UnusableRow: there is one.
    """
    try:
        text.encode()
    except UnicodeEncodeError as error:
        half = f"\\u{ord(text[error.start]):04x}"
        raise UnusableRow("not_unicode", f"the text holds half of a surrogate pair ({half}); take it out") from error


def check_whole(tokenizer: PreTrainedTokenizerBase, messages: Sequence[Message], tools: Sequence[JSON] = ()) -> None:
    """Some templates pass over turns of roles that they do not know, over tools and over calls.

    Raises:
        UnusableRow: the model would not see a turn, a call or the tools.
    """
    template = template_of(tokenizer, tools)
    for reason, what in _left_out(tokenizer, template, tuple(map(Shape.of, messages)), bool(tools)):
        raise UnusableRow(reason, f"the chat template leaves out {what}")


class Shape(NamedTuple):
    """What a template can tell of a turn without reading it.

    Attributes:
        said: it has content that is not blank.
        calls: for each tool call, whether it has arguments.
        ids: the calls have ids, or the turn answers one.
    """

    role: Role
    said: bool
    calls: tuple[bool, ...] = ()
    ids: bool = False
    named: bool = False

    @classmethod
    def of(cls, message: Message) -> Shape:
        """That of a turn."""
        calls = tuple(bool(call.arguments) for call in message.tool_calls)
        ids = message.tool_call_id is not None or any(call.id is not None for call in message.tool_calls)
        return cls(message.role, bool(message.content.strip()), calls, ids, message.name is not None)

    def marked(self, number: int) -> Message:
        """A turn of this shape that consists of marks: a short text stands in any other by chance."""
        mark = partial(_mark, number)
        calls = tuple(
            ToolCall(
                mark("n", i), {mark("k", i): mark("v", i)} if arguments else {}, mark("i", i) if self.ids else None
            )
            for i, arguments in enumerate(self.calls)
        )
        return Message(
            self.role,
            mark("c") if self.said else "",
            tool_calls=calls,
            tool_call_id=mark("i") if self.ids and self.role == "tool" else None,
            name=mark("n") if self.named else None,
        )


@lru_cache(maxsize=1024)
def _left_out(
    tokenizer: PreTrainedTokenizerBase, template: str, shapes: tuple[Shape, ...], tools: bool
) -> tuple[tuple[str, str], ...]:
    """What does not come through of turns of these shapes: reasons, and what it is in words.

    Args:
        template: the tokenizer's at this moment; part of the key.
    """
    turns = [shape.marked(number) for number, shape in enumerate(shapes)]
    text = render_text(tokenizer, turns, generation_prompt=False, tools=[_marked_tool()] if tools else ())
    missing = []
    if tools and not all(mark in text for mark in (_mark(0, "t"), _mark(0, "d"))):
        missing.append(("tools_left_out", f"the tools; {TOOLS_CURE}"))
    for number, turn in enumerate(turns):
        if turn.content and turn.content not in text:
            missing.append(("turn_left_out", f"turn {number} (role {turn.role})"))
        parts = [part for call in turn.tool_calls for part in (call.name, *call.arguments, *call.arguments.values())]
        if not all(part in text for part in parts):
            missing.append(("call_left_out", f"a tool call of turn {number} (role {turn.role}); {TOOLS_CURE}"))
    return tuple(missing)


def _turn(message: Message, form: Callable[[JSON], object]) -> dict[str, Any]:
    """A turn by the names that templates read, a call's arguments in this form; families call thoughts by two."""
    turn: dict[str, Any] = {"role": message.role, "content": message.content}
    if message.reasoning:
        turn |= {"reasoning_content": message.reasoning, "thinking": message.reasoning}
    if message.tool_calls:
        turn["tool_calls"] = [
            {"type": "function", "function": {"name": call.name, "arguments": form(call.arguments)}}
            | ({} if call.id is None else {"id": call.id})
            for call in message.tool_calls
        ]
    if message.tool_call_id is not None:
        turn["tool_call_id"] = message.tool_call_id
    if message.name is not None:
        turn["name"] = message.name
    return turn


def _mark(number: int, part: str, call: int = 0) -> str:
    """Nine letters and digits, as some templates want the ids of calls."""
    return f"qx{number:03d}{part}{call}xq"


def _marked_tool() -> JSON:
    parameters = {"type": "object", "properties": {}}
    about = {"name": _mark(0, "t"), "description": _mark(0, "d"), "parameters": parameters}
    return {"type": "function", "function": about}
