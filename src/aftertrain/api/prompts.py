"""What a task asks of a model, request by request, so that it can be read, or held against what others ask."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aftertrain.core.errors import RunError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from aftertrain.core.eval_task import EvalTask, Instance

BROKEN = "\ufffd"
"""What a decoder writes for a part of a character."""
WINDOW = 16
"""Tokens that are decoded together, so that the cost of a long prompt grows with its length alone."""


@dataclass(frozen=True, slots=True)
class Request:
    """One request.

    Attributes:
        task: its name in reports.
        formulation: in which of its wordings the task is asked; empty where it has one.
        id: of the question.
        context: what the model reads.
        continuation: what is scored behind it; None where the model replies, or the whole text is scored.
    """

    task: str
    formulation: str
    id: str
    context: str
    continuation: str | None


def load_task(
    name: str, overrides: Iterable[str] = (), *, data: str | None = None, whole: bool = False
) -> tuple[str, EvalTask[Any]]:
    """A task, and its name in reports.

    Args:
        overrides: `setting=value` texts.
        data: folder of benchmarks, for a task that reads one.
        whole: all of its split, where its protocol takes a part unless its setting `subset` is false.

    Raises:
        RecipeError: unknown task or settings. RunError: it is a suite, or reads no folder of benchmarks.
    """
    from aftertrain.api.evaluation import STAGE, load_one_stage
    from aftertrain.core.benchmark.source import reads_folder, with_folder
    from aftertrain.core.benchmark.suite import named_tasks
    from aftertrain.core.settings import Use

    recipe = {"name": STAGE, "model": ".", "stages": {STAGE: {"use": "evaluate", "tasks": [name]}}}
    loaded = load_one_stage(recipe, [f"stages.{STAGE}.tasks.0.{text}" for text in overrides])
    settings: Any = loaded.recipe.stages[STAGE].settings
    named = named_tasks(settings.tasks)
    if len(named) != 1:
        raise RunError(f"{name!r} stands for several tasks; name one: {', '.join(task.name for task in named)}")
    (task,) = named
    use = task.use
    if data is not None and not reads_folder(use.settings):
        raise RunError(f"task {name!r} reads no folder of benchmarks; `aftertrain show {name}` has what it reads")
    use = with_folder(use, data)
    if whole and "subset" in type(use.settings).model_fields.keys() - use.settings.model_fields_set:
        use = Use(use.kind, use.name, use.settings.model_copy(update={"subset": False}))
    return task.name, loaded.builder.build(use)


@dataclass(frozen=True, slots=True)
class Seen:
    """A request as the model reads it.

    Attributes:
        token_ids: of the whole of it.
        n_context: how many of these are given; None where all are, and the model replies.
    """

    name: str
    token_ids: tuple[int, ...]
    n_context: int | None


def seen(
    name: str, task: EvalTask[Any], tokenizer: PreTrainedTokenizerBase, number: int | None = None
) -> Iterator[Seen]:
    """What the evaluation would hand to a model of this tokenizer, nothing cut, for a task's first questions."""
    from aftertrain.core.eval_task import ReplyTask, TextTask
    from aftertrain.core.text.chat import prompt_text
    from aftertrain.plugins.evaluation.choices import encode_instance, encode_text
    from aftertrain.plugins.evaluation.prompts import encode

    for instance in task.instances()[:number]:
        heading = " · ".join(filter(None, (instance.id, name, task.formulation)))
        if isinstance(task, ReplyTask):
            prompt = prompt_text(tokenizer, instance.messages, chat=instance.chat)
            yield Seen(heading, tuple(encode(tokenizer, prompt, chat=instance.chat)), None)
            continue
        encoder = encode_text if isinstance(task, TextTask) else encode_instance
        for item in encoder(tokenizer, instance, None):
            yield Seen(heading, item.continuation.token_ids, item.continuation.n_context)


def token_texts(tokenizer: PreTrainedTokenizerBase, ids: Sequence[int]) -> Iterator[str]:
    """What each token adds to the text of those before it: "" for one that ends within a character, which the next
    completes. Together they are the whole text."""
    begun = group = 0  # where decoding starts, and the tokens of a character or more that are not told yet
    for place in range(len(ids)):
        before = _decoded(tokenizer, ids[begun:place]).rstrip(BROKEN)
        text = _decoded(tokenizer, ids[begun : place + 1])
        whole = not text.endswith(BROKEN) or place == len(ids) - 1
        yield text[len(before) :] if whole else ""
        if whole:
            # The last characters stay within what is decoded: some decoders drop a space at the beginning.
            begun, group = (group if place - begun >= WINDOW else begun), place + 1


def _decoded(tokenizer: PreTrainedTokenizerBase, ids: Sequence[int]) -> str:
    return str(tokenizer.decode(list(ids), skip_special_tokens=False, clean_up_tokenization_spaces=False))


def load_chat(task: EvalTask[Any], model: str | None) -> PreTrainedTokenizerBase | None:
    """The tokenizer by whose template a task is asked; None for one that is asked in plain text.

    Raises:
        RunError: the task is asked by a template, and there is no model.
    """
    if not any(instance.chat for instance in task.instances()):
        return None
    if model is None:
        raise RunError("the task is asked by a chat template: name the model that has it with --model")
    from aftertrain.api.evaluation import named_model
    from aftertrain.core.run.base_model import find_model
    from aftertrain.core.text.chat import load_tokenizer

    folder = find_model(named_model(model), Path.cwd(), weights=False)
    return load_tokenizer(str(folder), None, needs_template=True)


def requests(
    name: str, task: EvalTask[Any], tokenizer: PreTrainedTokenizerBase | None, number: int | None = None
) -> Iterator[Request]:
    """All requests of a task's first questions, in their order; then those that come without the question (PMI).

    Args:
        number: of questions; None takes all.
    """
    from aftertrain.core.text.chat import prompt_text

    def request(instance: Instance, context: str, continuation: str | None) -> Request:
        return Request(name, task.formulation, instance.id, context, continuation)

    instances = task.instances()[:number]
    for instance in instances:
        prompt = prompt_text(tokenizer, instance.messages, chat=instance.chat)  # type: ignore[arg-type]  # None: plain
        if not instance.choices:
            yield request(instance, prompt, None)
        for choice in instance.choices:
            yield request(instance, prompt if choice.context is None else choice.context, choice.text)
    for instance in instances:
        if instance.baseline is not None:
            yield from (request(instance, instance.baseline, choice.text) for choice in instance.choices)
