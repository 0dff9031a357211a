"""A model that an evaluation would ask: what counts its tokens, how much it takes, and what is missing to ask it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aftertrain.core.errors import AftertrainError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from aftertrain.core.eval_task import EvalTask, Instance
    from aftertrain.core.generator import Generator
    from aftertrain.core.settings import Builder
    from aftertrain.plugins.evaluation.suite import ReadyTask

Count = Callable[["Instance"], tuple[int, int]]
"""What an instance computes, its choices sharing their prompt, and its longest text."""


@dataclass(frozen=True)
class AskedModel:
    """A folder's model, or one behind an endpoint.

    Attributes:
        name: the folder, or the endpoint.
        generator: as the stage sets it.
        tokenizer: folder of the tokenizer; None where an endpoint's is not known.
        window: most tokens of prompt and reply together; None without limit.
        lacking: what keeps it from being asked at all.
    """

    name: str
    stage: Any
    builder: Builder
    generator: Generator[Any]
    chat_template: str | None
    tokenizer: str | None
    window: int | None
    lacking: tuple[str, ...]

    @property
    def counts(self) -> bool:
        """Whether tokens can be counted; else it is characters."""
        return self.tokenizer is not None

    def counter(self, *, chat: bool) -> Count:
        """Counts tokens, or characters.

        Raises:
            ModelError: there is no chat template, and one is needed.
        """
        from aftertrain.core.text.chat import load_tokenizer

        if self.tokenizer is None:
            return _characters
        return _tokens_by(load_tokenizer(self.tokenizer, self.chat_template, needs_template=chat))

    def objections(self, task: EvalTask[Any], ready: ReadyTask) -> Iterator[str]:
        """Why it cannot be asked this task."""
        from aftertrain.core.eval_task import ReplyTask
        from aftertrain.plugins.evaluation.asking import Asking

        if self.lacking:
            return
        try:
            if self.generator.remote:
                yield from (why for _, why in Asking(self.name, None, self.window, self.generator).objections([ready]))
            elif isinstance(task, ReplyTask):
                self.generator.preflight(self.name)
            else:
                self.builder.build(self.stage.engine).preflight(self.name)
        except AftertrainError as error:
            yield str(error)


def asked_model(model: str, stage: Any, builder: Builder, chat_template: str | None) -> AskedModel:
    """By the settings of a stage `evaluate`; loads no weights, and asks no server.

    Raises:
        ModelError: there is no such model.
    """
    from aftertrain.core.ground.endpoint import is_endpoint
    from aftertrain.core.ground.model_folder import context_window
    from aftertrain.core.run.base_model import find_model

    generator: Generator[Any] = builder.build(stage.generator)
    if not is_endpoint(model):
        folder = str(find_model(model, Path.cwd(), weights=False).resolve())
        return AskedModel(folder, stage, builder, generator, chat_template, folder, context_window(folder), ())
    lacking: tuple[str, ...] = ()
    try:
        generator.preflight(model)
    except AftertrainError as error:
        lacking = (str(error),)
    named = generator.tokenizer_folder
    tokenizer = None if named is None else str(find_model(named, Path.cwd(), weights=False))
    return AskedModel(model, stage, builder, generator, chat_template, tokenizer, generator.context_size, lacking)


def _tokens_by(tokenizer: PreTrainedTokenizerBase) -> Count:
    from aftertrain.core.text.chat import encode, prompt_text

    def count(instance: Instance) -> tuple[int, int]:
        prompt = len(encode(tokenizer, prompt_text(tokenizer, instance.messages, chat=instance.chat), special=False))
        return _together(instance, prompt, lambda text: len(encode(tokenizer, text, special=False)))

    return count


def _characters(instance: Instance) -> tuple[int, int]:
    return _together(instance, sum(len(message.content) for message in instance.messages), len)


def _together(instance: Instance, prompt: int, length: Callable[[str], int]) -> tuple[int, int]:
    """Of a prompt and the instance's choices."""
    own = [0 if choice.context is None else length(choice.context) for choice in instance.choices]
    tails = [length(choice.text) for choice in instance.choices]
    shared = prompt if not all(own) or not own else 0
    longest = max([(context or prompt) + tail for context, tail in zip(own, tails, strict=True)] or [prompt])
    bare = sum(tails) if instance.baseline is not None else 0
    return shared + sum(own) + sum(tails) + bare, longest
