"""An evaluation task of ours as lm-eval's `Task`: its requests as ours, its numbers by the task's own figures."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, SupportsIndex

from lm_eval.api.instance import Instance as Request
from lm_eval.api.task import Task
from lm_eval.config.task import TaskConfig
from lm_eval.filters import build_filter_ensemble

from aftertrain.core.errors import DataError, RunError
from aftertrain.core.eval_task import (
    ChoiceScores,
    ChoiceTask,
    EvalTask,
    Instance,
    InstanceScore,
    ReplyTask,
    TextScores,
)
from aftertrain.core.figures import Figure, with_verdict
from aftertrain.core.records import UNJUDGED, Completion
from aftertrain.core.statistics import Weights, weighted_mean
from aftertrain.core.text.answer import thoughts_of
from aftertrain.core.text.chat import prompt_text

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

NO_FILTER = "none"
UNJUDGED_COUNT = "unjudged"
"""Beside a task's figures: the outputs that have no verdict."""


class AftertrainTask(Task):  # type: ignore[misc]  # lm-eval has no types
    """A task of ours for `lm_eval.simple_evaluate(tasks=[…])`; see `aftertrain.lm_eval_task`.

    A document is `{"id": …, "target": …}`. Metrics are the task's figures, a comma in a name written as a colon,
    because lm-eval puts filters behind commas.
    """

    VERSION = 0

    def __init__(self, name: str, task: EvalTask[Any], tokenizer: PreTrainedTokenizerBase | None = None) -> None:
        self._task = task
        self._tokenizer = tokenizer
        super().__init__()
        kind = "loglikelihood_rolling"
        options: dict[str, Any] = {}
        if isinstance(task, ReplyTask):
            kind = "generate_until"
            sampling = task.sampling()
            drawn = sampling.temperature > 0
            options["generation_kwargs"] = {
                "until": list(sampling.stop),
                "max_gen_toks": sampling.max_new_tokens,
                "do_sample": drawn,
                "temperature": sampling.temperature,
                **({"top_p": sampling.top_p} if drawn and sampling.top_p < 1 else {}),
            }
            options["repeats"] = task.samples
        elif isinstance(task, ChoiceTask):
            kind = "loglikelihood"
        self.OUTPUT_TYPE = kind
        self._config = TaskConfig(
            task=name,
            output_type=kind,
            num_fewshot=0,
            test_split="test",
            metadata={"version": self.VERSION, "fingerprint": task.fingerprint()},
            **options,
        )
        # All replies to a question come back together.
        self._filters = [build_filter_ensemble(NO_FILTER, [])]

    def download(self, *args: Any, **options: Any) -> None:
        """Rows are the task's."""

    def has_training_docs(self) -> bool:
        """None: worked examples stand in the prompts."""
        return False

    has_validation_docs = has_training_docs

    def has_test_docs(self) -> bool:
        """All questions."""
        return True

    def test_docs(self) -> list[dict[str, Any]]:
        """Ids and targets."""
        return [{"id": instance.id, "target": instance.target} for instance in self._questions.values()]

    def doc_to_text(self, doc: Mapping[str, Any]) -> str:
        """The prompt as plain text."""
        return "".join(message.content for message in self._questions[doc["id"]].messages)

    def doc_to_target(self, doc: Mapping[str, Any]) -> Any:
        """What an output is compared with."""
        return doc["target"]

    def fewshot_context(self, doc: Mapping[str, Any], num_fewshot: int = 0, **options: Any) -> str:
        """The prompt, rendered by the model's template where the task asks by one.

        Raises:
            RunError: it does, and `apply_chat_template` was not said; or a system instruction was.
        """
        instance = self._questions[doc["id"]]
        if options.get("system_instruction"):
            raise RunError(f"task {self.config.task!r} has its own prompts, which take no system_instruction")
        if not instance.chat:
            return self.doc_to_text(doc)
        template: Callable[..., str] | None = options.get("chat_template")
        if template is None:
            raise RunError(f"task {self.config.task!r} asks by a chat template: pass apply_chat_template=True")
        messages = [{"role": message.role, "content": message.content} for message in instance.messages]
        return template(messages, add_generation_prompt=instance.messages[-1].role != "assistant")

    def construct_requests(self, doc: Mapping[str, Any], ctx: str, **options: Any) -> list[Request]:
        """Of a choice one for each, then those after the baseline; of anything else one."""
        instance = self._questions[doc["id"]]
        arguments: list[tuple[Any, ...]] = [(ctx, dict(self.config.generation_kwargs or {}))]
        if self.OUTPUT_TYPE == "loglikelihood_rolling":
            arguments = [(self.doc_to_text(doc),)]
        elif self.OUTPUT_TYPE == "loglikelihood":
            arguments = [
                (ctx if choice.context is None else choice.context, choice.text) for choice in instance.choices
            ]
            if instance.baseline is not None:
                arguments += [(instance.baseline, choice.text) for choice in instance.choices]
        metadata = options["metadata"]
        return [
            Request(request_type=self.OUTPUT_TYPE, doc=doc, arguments=each, idx=place, metadata=metadata)
            for place, each in enumerate(arguments)
        ]

    def process_results(self, doc: Mapping[str, Any], results: Sequence[Any]) -> dict[str, Any]:
        """What the outputs are worth, under each figure's name, as plain data."""
        instance = self._questions[doc["id"]]
        scores = [asdict(score) for score in self._scored(instance, results)]
        item = {"group": instance.group, "scores": scores}
        return dict.fromkeys((*self._figures, UNJUDGED_COUNT), item)

    def aggregation(self) -> dict[str, Callable[[list[Any]], float]]:
        """The task's figures, and how many outputs have no verdict: the figures are of those that have one."""
        figures = {name: partial(number_of, figure) for name, figure in self._figures.items()}
        return {**figures, UNJUDGED_COUNT: without_verdict}

    def higher_is_better(self) -> dict[str, bool]:
        """Of shares it is; of anything else the task does not say."""
        return {name: True for name, figure in self._figures.items() if figure.share} | {UNJUDGED_COUNT: False}

    @cached_property
    def _questions(self) -> dict[str, Instance]:
        instances = self._task.instances()
        if not instances:
            raise DataError(f"task {self.config.task!r} has no instances")
        return {instance.id: instance for instance in instances}

    @cached_property
    def _figures(self) -> dict[str, Figure]:
        return {figure.name.replace(",", ":"): figure for figure in self._task.figures()}

    def _scored(self, instance: Instance, results: Sequence[Any]) -> list[InstanceScore]:
        task: Any = self._task
        if isinstance(task, ReplyTask):
            (texts,) = results
            marked = replace(instance, thoughts=self._thoughts(instance))
            replies = [Completion(instance.id, (), (), (), (), "stop", text) for text in texts]
            return task.score_all([marked] * len(replies), replies)
        counts = self._counts(instance)
        if not isinstance(task, ChoiceTask):
            return [task.score(instance, TextScores(float(results[0][0]), counts[0]))]
        pairs = [result[0] for result in results]
        count = len(instance.choices)
        return [
            task.score(
                instance,
                ChoiceScores(
                    tuple(float(logprob) for logprob, _ in pairs[:count]),
                    counts,
                    tuple(bool(greedy) for _, greedy in pairs[:count]),
                    tuple(float(logprob) for logprob, _ in pairs[count:]),
                ),
            )
        ]

    def _thoughts(self, instance: Instance) -> Any:
        if self._tokenizer is None:
            return None
        template = self._tokenizer.chat_template
        prompt = prompt_text(self._tokenizer, instance.messages, chat=instance.chat)
        return thoughts_of(str(template) if template else None, prompt)

    def _counts(self, instance: Instance) -> tuple[int, ...]:
        """Tokens of each choice, or of the text."""
        if self._tokenizer is None:
            return _Uncounted(str(self.config.task))
        from aftertrain.plugins.evaluation.choices import encode_instance, encode_text

        encode = encode_instance if isinstance(self._task, ChoiceTask) else encode_text
        encoded = [item.continuation for item in encode(self._tokenizer, instance, None)]
        return tuple(len(item.token_ids) - item.n_context for item in encoded[: len(instance.choices) or None])


class _Uncounted(tuple[int, ...]):
    """Numbers of tokens that nobody told: who asks for one is told how to give them."""

    def __new__(cls, task: str) -> _Uncounted:
        made = super().__new__(cls)
        made.task = task  # type: ignore[attr-defined]
        return made

    def __iter__(self) -> Iterator[int]:
        raise RunError(
            f"task {self.task!r} counts the tokens of what is scored, which lm-eval does not tell: "  # type: ignore[attr-defined]
            "aftertrain.lm_eval_task(…, tokenizer=MODEL)"
        )

    def __getitem__(self, place: SupportsIndex | slice) -> Any:
        return next(iter(self))

    def __len__(self) -> int:
        return len(list(self))


def number_of(figure: Figure, items: Sequence[Mapping[str, Any]]) -> float:
    """A figure of the questions that have a verdict, as the stage `evaluate` makes it.

    Where it would be withheld there whatever the share of them, since nothing bounds it or there is none, it is NaN.
    """
    every = [[InstanceScore(**score) for score in item["scores"]] for item in items]
    pairs = [(item, with_verdict(figure, asked)) for item, asked in zip(items, every, strict=True)]
    judged = [(item, scores) for item, scores in pairs if scores]
    bounded = figure.share and figure.shown is None and (figure.corpus is None or figure.rising)
    groups = {item["group"] for item in items} if figure.grouped else set()
    lost = groups - {item["group"] for item, _ in judged}
    if not judged or lost or (not bounded and without_verdict(items)):
        return math.nan
    items, questions = [item for item, _ in judged], [scores for _, scores in judged]
    if figure.corpus is not None:
        return float(figure.corpus(questions))
    weights = None
    if figure.grouped:
        weights = Weights.of_groups([item["group"] for item in items])
    elif figure.weight is not None:
        weights = Weights.of_sizes([figure.weight(scores) for scores in questions])
    value = weighted_mean([figure.value(scores) for scores in questions], weights)
    return value if figure.shown is None else figure.shown(value)


def without_verdict(items: Sequence[Mapping[str, Any]]) -> int:
    return sum(score["outcome"] in UNJUDGED for item in items for score in item["scores"])
