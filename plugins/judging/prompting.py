"""A model's side of a prompt: its tokenizer, chat template, longest prompt, and texts made harmless for them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from aftertrain.core.errors import ModelError
from aftertrain.core.ground.model_folder import context_window
from aftertrain.core.records import Message, Verdict
from aftertrain.core.run.base_model import find_model
from aftertrain.core.text.chat import load_tokenizer, render_text
from aftertrain.plugins.judging.settings import AskingSettings

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

CHARACTERS_PER_TOKEN = 32
"""A prompt of more characters per allowed token is refused without being tokenised, which would take seconds."""


class Prompting:
    """Loads tokenizer and configuration of the model, not its weights.

    Attributes:
        folder: the model's; of a hub model without its weights.
        limit: most tokens of a prompt.

    Raises:
        ModelError: there is no such model, it has no chat template where one is needed, or its context has no room.
    """

    def __init__(self, settings: AskingSettings, *, needs_template: bool) -> None:
        self.folder = find_model(settings.model, Path.cwd(), weights=False)
        self._tokenizer: PreTrainedTokenizerBase = load_tokenizer(
            str(self.folder), settings.chat_template, needs_template=needs_template
        )
        self.limit = _longest_prompt(self.folder, settings)
        self._marks = _marks(self._tokenizer)

    def chat(self, message: str, system: str = "") -> str:
        """The message as the user's turn in the model's chat template, up to where the model replies.

        Args:
            system: the turn before it; blank: none.
        """
        turns = [Message("user", message)]
        return render_text(
            self._tokenizer, [Message("system", system), *turns] if system else turns, generation_prompt=True
        )

    def defused(self, text: str) -> str:
        """A text from outside, without what the tokenizer would take for a turn's end or another special token.

        A space behind the first character breaks each of them; lone surrogates, which are no text, become U+FFFD.
        """
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
        """Token ids of a whole prompt, or an error where it is empty or too long; nothing is ever cut."""
        refused = self.too_long(text)
        if refused is not None:
            return refused
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


def _longest_prompt(folder: Path, settings: AskingSettings) -> int:
    context = context_window(folder)
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
