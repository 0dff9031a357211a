"""Runs one block of a task with one model: replies from a generator, or log-likelihoods from an engine."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from aftertrain.core.engine import Engine
from aftertrain.core.errors import DataError, RunError
from aftertrain.core.eval_task import ChoiceScores, Instance, InstanceScore
from aftertrain.core.generator import GenerationRequest, Generator
from aftertrain.core.learning.seeding import sub_seed
from aftertrain.core.records import Completion
from aftertrain.core.settings import Builder
from aftertrain.core.text.answer import thoughts_of
from aftertrain.core.text.chat import prompt_text
from aftertrain.plugins.evaluation.choices import encode_instance, score_choices
from aftertrain.plugins.evaluation.prompts import encode
from aftertrain.plugins.evaluation.rows import ScoredInstance
from aftertrain.plugins.evaluation.settings import EvaluateSettings
from aftertrain.plugins.evaluation.suite import Block

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


class Runner:
    """Opens the generator or the engine when a block first needs it, and frees the generator before the engine.

    Args:
        model: folder of the model.
        window: most tokens of prompt and reply together, None without limit.
        seed: the run's seed. A reply's own seed is drawn from it, the task, the instance and the temperature, and not
            from the stage, so that two models answer the same question with the same chance.
    """

    def __init__(
        self,
        settings: EvaluateSettings,
        builder: Builder,
        model: str,
        tokenizer: PreTrainedTokenizerBase,
        *,
        window: int | None,
        seed: int,
    ) -> None:
        self.settings = settings
        self.builder = builder
        self.model = model
        self.tokenizer = tokenizer
        self.window = window
        self.seed = seed
        self._open: Generator[Any] | None = None
        self._tokens: Counter[str] = Counter()

    def run(self, block: Block) -> list[ScoredInstance]:
        """Score a block; rows in its order."""
        instances = block.instances
        outputs: Sequence[Completion | ChoiceScores] = (
            self._generate(block) if block.task.generates else self._score(instances)
        )
        template = self.tokenizer.chat_template
        marked = [
            replace(instance, thoughts=thoughts_of(str(template) if template else None, self.prompt(instance)))
            for instance in instances
        ]
        scores = block.task.task.score_all(marked, outputs)
        _check(block, scores)
        return [
            self._row(block, instance, output, score)
            for instance, output, score in zip(instances, outputs, scores, strict=True)
        ]

    def tokens(self) -> dict[str, int]:
        """Tokens of prompts that were read (`context`), and cut off (`cut`), since this was last asked."""
        found, self._tokens = dict(self._tokens), Counter()
        return found

    def close(self) -> None:
        """Free the generator."""
        if self._open is not None:
            self._open.close()
            self._open = None

    def prompt(self, instance: Instance) -> str:
        """The prompt as sent."""
        return prompt_text(self.tokenizer, instance.messages, chat=instance.chat)

    def _generate(self, block: Block) -> list[Completion]:
        if self._open is None:
            self._open = self.builder.build(self.settings.generator)
            self._open.open(self.model)
        requests = [self._request(block, instance) for instance in block.instances]
        try:
            return self._open.generate(requests, self.settings.timeout)
        except TimeoutError as error:
            raise RunError(
                f"task {block.task.name!r}: generator {self.settings.generator.name!r} finished no reply in "
                f"{self.settings.timeout:g} s; raise the stage's timeout, or lower max_new_tokens"
            ) from error

    def _request(self, block: Block, instance: Instance) -> GenerationRequest:
        whole = encode(self.tokenizer, self.prompt(instance), chat=instance.chat)
        ids, length = fit_prompt(whole, block.task.sampling.max_new_tokens, self.window)
        self._tokens.update(context=len(ids), cut=len(whole) - len(ids))
        sampling = block.task.sampling.model_copy(update={"temperature": block.temperature, "max_new_tokens": length})
        seed = sub_seed(self.seed, "evaluate", block.task.name, instance.id, block.temperature)
        return GenerationRequest(instance.id, tuple(ids), sampling, seed)

    @cached_property
    def _engine(self) -> Engine[Any]:
        self.close()
        engine = self.builder.build(self.settings.engine)
        engine.load(self.model, seed=sub_seed(self.seed, "evaluate", "engine"))
        return engine

    def _score(self, instances: Sequence[Instance]) -> list[ChoiceScores]:
        encoded = [encode_instance(self.tokenizer, instance, self.window) for instance in instances]
        for item in (item for items in encoded for item in items):
            self._tokens.update(context=item.n_context, cut=item.cut)
        return score_choices(self._engine, instances, encoded, self.settings.micro_tokens)

    def _row(
        self, block: Block, instance: Instance, output: Completion | ChoiceScores, score: InstanceScore
    ) -> ScoredInstance:
        replied = isinstance(output, Completion)
        return ScoredInstance(
            id=instance.id,
            task=block.task.name,
            temperature=block.temperature,
            prompt=self.prompt(instance),
            output=output.text if isinstance(output, Completion) else score.extracted or "",
            target=instance.target,
            extracted=score.extracted,
            outcome=score.outcome,
            metrics={name: float(value) for name, value in score.metrics.items()},
            detail=score.detail,
            finish_reason=output.finish_reason if isinstance(output, Completion) else "",
            n_tokens=len(output.token_ids) if isinstance(output, Completion) else sum(output.n_tokens),
            logprobs=() if replied else output.logprobs,
        )


def _check(block: Block, scores: Sequence[InstanceScore]) -> None:
    """See that a task gave each instance every metric, as a finite number: a mean over anything else is none.

    Raises:
        DataError: it did not; names the instance and the metric.
    """
    task = f"task {block.task.name!r}"
    if len(scores) != len(block.instances):
        raise DataError(f"{task}: `score_all` gave {len(scores)} scores for {len(block.instances)} instances")
    names = {block.task.task.primary_metric, *scores[0].metrics}
    for instance, score in zip(block.instances, scores, strict=True):
        for name in sorted(names ^ set(score.metrics)):
            missing = "has no" if name in names else "alone has a"
            raise DataError(f"{task}: instance {instance.id!r} {missing} metric {name!r}; all must have the same")
        for name, value in score.metrics.items():
            if not math.isfinite(value):
                raise DataError(f"{task}: metric {name!r} of instance {instance.id!r} is {value}; it must be finite")


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
