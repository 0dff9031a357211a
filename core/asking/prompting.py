"""A model's side of a prompt: its tokenizer, chat template, longest prompt, and texts made harmless for them.

Of an endpoint that reads conversations or plain text none of these is known here: its server renders, what looks like
a special token of any known family is broken, and what is too long by its characters is refused, by its tokens the
server's to refuse.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aftertrain.core.asking.exchange import Question
from aftertrain.core.asking.settings import AskingSettings
from aftertrain.core.errors import ModelError
from aftertrain.core.generator import Generator
from aftertrain.core.ground.model_folder import context_window
from aftertrain.core.records import Message, Verdict
from aftertrain.core.run.base_model import find_model
from aftertrain.core.text.chat import load_tokenizer, render_text

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

LOOKS_SPECIAL = re.compile(
    r"<[|｜][^<>|｜\n]{1,40}[|｜]>|</?s>|\[/?(?:INST|SYSTEM_PROMPT|AVAILABLE_TOOLS|TOOL_CALLS|TOOL_RESULTS)\]"
    r"|<</?SYS>>|<(?:start|end)_of_turn>|<(?:bos|eos|pad|unk)>"
)
"""Special tokens of the families of models that are served most."""
CHARACTERS_PER_TOKEN = 32
"""A prompt of more characters per allowed token is refused without being tokenised, which would take seconds."""


class Prompting:
    """Loads tokenizer and configuration of the model, not its weights; asks no server.

    Args:
        begins_reply: whether the model is to go on with a reply that is begun for it.

    Attributes:
        limit: most tokens of a prompt.
        remote: whether the model is an endpoint.

    Raises:
        ModelError: there is no such model, it has no chat template where one is needed, its context has no room, or an
            endpoint cannot be asked such a prompt.
    """

    def __init__(
        self,
        settings: AskingSettings,
        generator: Generator[Any],
        *,
        needs_template: bool,
        begins_reply: bool = False,
    ) -> None:
        generator.preflight(settings.model)
        self._model, self.remote = settings.model, generator.remote
        self.takes = generator.takes if generator.remote else "tokens"
        self._tokenizer: PreTrainedTokenizerBase | None = None
        if self.takes != "tokens":
            if why := _misfit(settings, self.takes, needs_template=needs_template, begins_reply=begins_reply):
                raise ModelError(f"{settings.model}: {why}")
            self.limit = _room(settings, generator.context_size)
            return
        named = generator.tokenizer_folder if generator.remote else settings.model
        self._folder = find_model(named or "", Path.cwd(), weights=False)
        self._tokenizer = load_tokenizer(str(self._folder), settings.chat_template, needs_template=needs_template)
        self.limit = _room(settings, generator.context_size if generator.remote else context_window(self._folder))
        self._marks = _marks(self._tokenizer)

    @property
    def folder(self) -> Path:
        """The model's; of a hub model without its weights.

        Raises:
            ModelError: the model is an endpoint.
        """
        if self.remote:
            raise ModelError(f"{self._model} is an endpoint, and a model folder is needed here")
        return self._folder

    def question(self, case_id: str, message: str, system: str = "") -> Question:
        """The message as the user's turn, rendered by the model's template or left to its server."""
        if self.takes == "messages":
            turns = (Message("system", system),) if system else ()
            shown = f"{system}\n\n{message}" if system else message
            return Question(case_id, shown, messages=(*turns, Message("user", message)))
        return Question(case_id, self.chat(message, system))

    def chat(self, message: str, system: str = "") -> str:
        """The message as the user's turn in the model's chat template, up to where the model replies.

        Args:
            system: the turn before it; blank: none.
        """
        turns = [Message("user", message)]
        assert self._tokenizer is not None, "who takes tokens"
        return render_text(
            self._tokenizer, [Message("system", system), *turns] if system else turns, generation_prompt=True
        )

    def defused(self, text: str) -> str:
        """A text from outside, without what the tokenizer would take for a turn's end or another special token.

        A space behind the first character breaks each of them; lone surrogates, which are no text, become U+FFFD.
        """
        if self._tokenizer is None:
            return clean(LOOKS_SPECIAL.sub(lambda mark: f"{mark[0][0]} {mark[0][1:]}", text))
        for mark in self._marks:
            if mark in text:
                text = text.replace(mark, f"{mark[0]} {mark[1:]}")
        return clean(text)

    def too_long(self, *texts: str) -> Verdict | None:
        """An error for texts that cannot fit, told by their characters alone."""
        size = sum(map(len, texts))
        if size <= self.limit * CHARACTERS_PER_TOKEN:
            return None
        return Verdict.error(f"the model's prompt would have {size:,} characters; it may have {self.limit:,} tokens")

    def encoded(self, text: str, *, add_special: bool) -> tuple[int, ...] | Verdict:
        """Token ids of a whole prompt, or an error where it is empty or too long; nothing is ever cut.

        None of a prompt that goes out as a text.
        """
        refused = self.too_long(text)
        if refused is not None:
            return refused
        if self._tokenizer is None:
            return () if text else Verdict.error("the model's prompt is empty")
        ids = self._tokenizer(text, add_special_tokens=add_special, verbose=False)["input_ids"]
        if not ids:
            return Verdict.error("the model's prompt is empty")
        if len(ids) > self.limit:
            return Verdict.error(f"the model's prompt has {len(ids):,} tokens; it may have {self.limit:,}")
        return tuple(ids)


def clean(text: str) -> str:
    """The text with lone surrogates, which no tokenizer takes, as U+FFFD.

    >>> clean("a" + chr(0xD800) + "b") == "a" + chr(0xFFFD) + "b"
    True
    """
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _marks(tokenizer: Any) -> list[str]:
    """Texts that the tokenizer takes for special tokens, or for marks of its own in angle or square brackets."""
    added = {str(token.content): bool(token.special) for token in tokenizer.added_tokens_decoder.values()}
    bracketed = (("<", ">"), ("[", "]"))
    marks = [name for name, special in added.items() if special or (name[:1], name[-1:]) in bracketed]
    return sorted((name for name in marks if len(name) > 1 and name.strip()), key=lambda name: (-len(name), name))


def _misfit(settings: AskingSettings, takes: str, *, needs_template: bool, begins_reply: bool) -> str:
    """Why an endpoint without a known tokenizer cannot be asked; "" where it can."""
    if settings.chat_template is not None:
        return f"chat_template: {settings.chat_template}: its server applies its own; take it out"
    if takes == "messages" and begins_reply:
        return "a chat endpoint begins its replies itself, and this one is begun for it: set generator.api: completions"
    if takes == "messages" and not needs_template:
        return "the template is the whole prompt, to which a chat endpoint adds its own: set generator.api: completions"
    if takes == "text" and needs_template:
        return (
            "without its tokenizer there is no chat template to apply: set generator.api: chat, or generator.tokenizer"
        )
    return ""


def _room(settings: AskingSettings, context: int | None) -> int:
    reply = settings.sampling.max_new_tokens
    room = (
        settings.max_prompt_tokens if not isinstance(context, int) else min(settings.max_prompt_tokens, context - reply)
    )
    if room <= 0:
        raise ModelError(
            f"{settings.model}: its context of {context} tokens has no room for a prompt beside "
            f"sampling.max_new_tokens: {reply}"
        )
    return room
