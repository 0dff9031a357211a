"""In which form a model reads prompts: a folder's as token ids, an endpoint's as it is able to.

A prompt is made in one place and once: here, by the tokenizer and its template, or by the server. What would put a
template around a prompt that has one, or leave one out that a task asks for, is refused before anything runs.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aftertrain.core.errors import AftertrainError, DataError, ModelError
from aftertrain.core.eval_task import Instance
from aftertrain.core.generator import GenerationRequest, Generator, Sampling
from aftertrain.core.ground.endpoint import is_endpoint
from aftertrain.core.ground.model_folder import context_window
from aftertrain.core.records import Message
from aftertrain.core.run.base_model import find_model
from aftertrain.core.settings import Builder
from aftertrain.core.text.chat import load_tokenizer, prompt_text
from aftertrain.plugins.evaluation.prompts import encode
from aftertrain.plugins.evaluation.settings import EvaluateSettings
from aftertrain.plugins.evaluation.suite import ReadyTask, tokenizer_of

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True)
class Fitted:
    """A request, and how many tokens of its prompt are read and were cut off its start (0 where none are counted)."""

    request: GenerationRequest
    context: int
    cut: int


class Asking:
    """One model, and how it is asked.

    Args:
        model: folder, or an endpoint.
        tokenizer: None where an endpoint's is not known.
        window: most tokens of prompt and reply together, None without limit.
        generator: of an endpoint; None for a folder.
    """

    def __init__(
        self,
        model: str,
        tokenizer: PreTrainedTokenizerBase | None,
        window: int | None,
        generator: Generator[Any] | None = None,
    ) -> None:
        self.model, self.window = model, window
        self.generator = generator
        self.takes = "tokens" if generator is None else generator.takes
        self._tokenizer = tokenizer

    @property
    def remote(self) -> bool:
        """Whether the model is an endpoint."""
        return self.generator is not None

    @property
    def counts(self) -> bool:
        """Whether a prompt's tokens can be counted here."""
        return self._tokenizer is not None

    @property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """The model's.

        Raises:
            ModelError: it is not known.
        """
        if self._tokenizer is None:
            raise ModelError(f"{self.model}: its tokenizer is not known here; name it as generator.tokenizer")
        return self._tokenizer

    @cached_property
    def template(self) -> str | None:
        """The chat template that is applied here, None where there is none or the server applies its own."""
        own = None if self._tokenizer is None else self._tokenizer.chat_template
        return str(own) if own else None

    def prompt(self, instance: Instance) -> str:
        """The prompt as it is sent; a conversation that a server renders, turn by turn."""
        if self.takes != "messages":
            return prompt_text(self._tokenizer, instance.messages, chat=instance.chat)  # type: ignore[arg-type]  # plain
        return turns_text(instance.messages)

    def request(self, id_: str, instance: Instance, sampling: Sampling, seed: int) -> Fitted:
        """What is sent for a reply: the reply is shortened, then the prompt cut at its start, as far as must be."""
        if self.takes == "messages":
            return Fitted(GenerationRequest(id_, (), sampling, seed, messages=instance.messages), 0, 0)
        text = self.prompt(instance)
        if self.takes == "text":
            return Fitted(GenerationRequest(id_, (), sampling, seed, text=text), 0, 0)
        whole = encode(self.tokenizer, text, chat=instance.chat)
        ids, length = fit_prompt(whole, sampling.max_new_tokens, self.window)
        sampling = sampling.model_copy(update={"max_new_tokens": length})
        request = GenerationRequest(id_, tuple(ids), sampling, seed)
        return Fitted(request, len(ids), len(whole) - len(ids))

    def objections(self, tasks: Sequence[ReadyTask]) -> Iterator[tuple[str, str]]:
        """Tasks that the endpoint cannot be asked, and why."""
        if self.generator is None:
            return
        for task in tasks:
            try:
                why = self._objection(task, self.generator)
            except AftertrainError as error:
                why = str(error)
            if why:
                yield task.name, why

    def _objection(self, task: ReadyTask, generator: Generator[Any]) -> str:
        if not task.generates:
            generator.scorer()
            return ""
        for instance in task.instances:
            if self.takes == "messages" and not instance.chat:
                return (
                    "it is asked in plain text, and a chat endpoint puts a template around everything: ask it by chat "
                    "(its setting 'chat', where it has one), or set generator.api: completions"
                )
            if self.takes == "text" and instance.chat:
                return (
                    "it is asked by a chat template, and without the tokenizer there is none to apply: set "
                    "generator.api: chat, or generator.tokenizer"
                )
            if why := generator.refuses(instance.messages) if self.takes == "messages" else "":
                return why
        return ""


def asking(
    settings: EvaluateSettings, builder: Builder, tasks: Sequence[ReadyTask], model: str, chat_template: str | None
) -> Asking:
    """How a model is asked the tasks; loads no weights, and asks no server.

    Raises:
        ModelError: the generator does not fit the model, the tokenizer cannot be read, or a template that is named
            would not be applied. MissingExtra: a package is not installed.
    """
    generator = builder.build(settings.generator)
    if not is_endpoint(model):
        if any(task.generates for task in tasks):
            generator.preflight(model)
        return Asking(model, tokenizer_of(tasks, model, chat_template), context_window(model))
    generator.preflight(model)
    if generator.tokenizer_folder is None:
        if chat_template is not None:
            raise ModelError(f"chat_template: {chat_template}: the server of {model} applies its own; take it out")
        return Asking(model, None, generator.context_size, generator)
    folder = find_model(generator.tokenizer_folder, Path.cwd(), weights=False)
    chat = any(instance.chat for task in tasks for instance in task.instances)
    tokenizer = load_tokenizer(str(folder), chat_template, needs_template=chat)
    return Asking(model, tokenizer, generator.context_size, generator)


def turns_text(messages: Sequence[Message]) -> str:
    """A conversation for people.

    >>> turns_text([Message("user", "2 + 2?"), Message("assistant", "It is")])
    '[user]\\n2 + 2?\\n\\n[assistant begins]\\nIt is'
    """
    last = len(messages) - 1
    begun = ["assistant begins" if i == last and m.role == "assistant" else m.role for i, m in enumerate(messages)]
    return "\n\n".join(f"[{role}]\n{message.content}" for role, message in zip(begun, messages, strict=True))


def fit_prompt(ids: list[int], max_new_tokens: int, window: int | None) -> tuple[list[int], int]:
    """Prompt and reply length that fit the window: the reply is shortened first, then the prompt cut at its start.

    >>> fit_prompt([1, 2, 3, 4], 4, 6)
    ([1, 2, 3, 4], 2)
    >>> fit_prompt([1, 2, 3, 4, 5, 6, 7], 4, 6)
    ([6, 7], 4)
    """
    if not ids:
        raise DataError("a prompt renders to no tokens")
    if window is None or len(ids) + max_new_tokens <= window:
        return ids, max_new_tokens
    if len(ids) < window:
        return ids, window - len(ids)
    kept = max(1, window - max_new_tokens)
    return ids[-kept:], window - kept
