"""Runs one block of a task with one model: replies from a generator, or log-likelihoods from an engine."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from aftertrain.core.completions.keeping import Keeping, shared_store
from aftertrain.core.component import aside
from aftertrain.core.engine import Continuation, Engine, Likelihood, ScoresContinuations
from aftertrain.core.errors import DataError, RunError
from aftertrain.core.eval_task import ChoiceTask, Instance, InstanceScore, Output, ReplyTask
from aftertrain.core.generator import GenerationRequest
from aftertrain.core.learning.seeding import sub_seed
from aftertrain.core.packed.likelihoods import likelihoods
from aftertrain.core.ranks import Ranks
from aftertrain.core.records import Completion
from aftertrain.core.settings import Builder
from aftertrain.core.text.answer import thoughts_of
from aftertrain.plugins.evaluation.asking import Asking
from aftertrain.plugins.evaluation.choices import Encoded, choice_scores, encode_instance, encode_text, text_scores
from aftertrain.plugins.evaluation.outputs import row_of, score_outputs
from aftertrain.plugins.evaluation.rows import ScoredInstance
from aftertrain.plugins.evaluation.settings import EvaluateSettings
from aftertrain.plugins.evaluation.suite import Block

if TYPE_CHECKING:
    from aftertrain.plugins.evaluation import speeds
else:
    speeds = aside("aftertrain.plugins.evaluation.speeds")


class Runner:
    """Opens the generator or the engine when a block first needs it, and frees the generator before the engine.

    Args:
        asking: the model, and how it is asked.
        seed: the run's seed. A reply's own seed is drawn from it, the task, the instance, the temperature and which of
            the replies it is, and not from the stage, so that two models answer the same question with the same chance.
        local: number of the GPU that is used, where there are several.
    """

    def __init__(
        self, settings: EvaluateSettings, builder: Builder, asking: Asking, *, seed: int, local: int = 0
    ) -> None:
        self._alone = Ranks(local=local)
        self.settings = settings
        self.builder = builder
        self.asking = asking
        self.seed = seed
        self._keeping: Keeping | None = None
        self._tokens: Counter[str] = Counter()
        self.speeds = speeds.Speeds()
        self._closed_opening, self._closed_recalled = 0.0, 0

    @property
    def _opening(self) -> float:
        """Seconds of loading models so far."""
        return self._closed_opening + (0.0 if self._keeping is None else self._keeping.opening)

    @property
    def _recalled(self) -> int:
        """Replies of the store so far."""
        return self._closed_recalled + (0 if self._keeping is None else self._keeping.from_store)

    def run(self, block: Block) -> list[ScoredInstance]:
        """Score a block; rows in its order, those of one question together."""
        n_outputs = len(block.instances) * block.task.samples
        with self.speeds.of(block.task.name, block.temperature, n_outputs) as work:
            opened, recalled, cost = self._opening, self._recalled, self._cost(block)
            rows = self._run(block, work)
            work.opening, work.recalled = self._opening - opened, self._recalled - recalled
            work.cost = self._cost(block) - cost
        return rows

    def _cost(self, block: Block) -> float:
        """Of the endpoint and of the task's judges so far."""
        replies = 0.0 if self._keeping is None else self._keeping.generator.cost
        return replies + block.task.task.cost

    def _run(self, block: Block, work: speeds.Work) -> list[ScoredInstance]:
        task = block.task.task
        if isinstance(task, ReplyTask):
            outputs: list[Output] = [*self._generate(block, work)]
        elif isinstance(task, ChoiceTask):
            outputs = [
                choice_scores(instance, *scored)
                for instance, scored in zip(block.instances, self._score(block, encode_instance, work), strict=True)
            ]
        else:
            outputs = [text_scores(*scored) for scored in self._score(block, encode_text, work)]
        asked = [instance for instance in block.instances for _ in range(block.task.samples)]
        if isinstance(task, ReplyTask):
            asked = self.marked(asked)
        scores = score_outputs(task, asked, outputs)
        check_metrics(block.task.name, task.metrics, asked, scores)
        numbers = list(range(block.task.samples)) * len(block.instances)
        return [
            row_of(
                block.task.name,
                block.temperature,
                instance,
                output,
                score,
                sample=sample,
                prompt=self.prompt(instance),
                sampling=block.task.sampling if block.task.generates else None,
            )
            for instance, output, score, sample in zip(asked, outputs, scores, numbers, strict=True)
        ]

    def marked(self, instances: Sequence[Instance]) -> list[Instance]:
        """Instances that know how the model's template marks thoughts in a reply."""
        return [
            replace(instance, thoughts=thoughts_of(self.asking.template, self.prompt(instance)))
            for instance in instances
        ]

    def tokens(self) -> dict[str, int]:
        """Tokens of prompts that were read (`context`), and cut off (`cut`), since this was last asked."""
        counts, self._tokens = dict(self._tokens), Counter()
        return counts

    def close(self) -> None:
        """Free the generator."""
        if self._keeping is not None:
            self._keeping.close()
            self._closed_opening += self._keeping.opening
            self._closed_recalled += self._keeping.from_store
            self._keeping = None

    def prompt(self, instance: Instance) -> str:
        """The prompt as sent."""
        return self.asking.prompt(instance)

    def _generate(self, block: Block, work: speeds.Work) -> list[Completion]:
        requests = [
            self._request(block, instance, sample)
            for instance in block.instances
            for sample in range(block.task.samples)
        ]
        try:
            replies = self._kept.generate(requests, self.settings.timeout)
        except TimeoutError as error:
            raise RunError(
                f"task {block.task.name!r}: generator {self.settings.generator.name!r} finished no reply in "
                f"{self.settings.timeout:g} s; raise the stage's timeout, or lower max_new_tokens"
            ) from error
        work.read += sum(len(reply.prompt_ids) for reply in replies)
        work.written += sum(len(reply.token_ids) for reply in replies)
        return replies

    def _request(self, block: Block, instance: Instance, sample: int) -> GenerationRequest:
        sampling = block.task.sampling.model_copy(update={"temperature": block.temperature})
        which = (block.task.name, instance.id, block.temperature, *((sample,) if sample else ()))
        name = f"{instance.id}\0{sample}" if sample else instance.id
        fitted = self.asking.request(name, instance, sampling, sub_seed(self.seed, "evaluate", *which))
        self._tokens.update(context=fitted.context, cut=fitted.cut)
        return fitted.request

    @property
    def _kept(self) -> Keeping:
        """The generator, opened when a reply is first missing."""
        if self._keeping is None:
            use, model = self.settings.generator, self.asking.model
            _use_gpu(self._alone.local)
            self._keeping = Keeping(use, self.builder.build(use), lambda: model, shared_store())
        return self._keeping

    @cached_property
    def _engine(self) -> Engine[Any]:
        self.close()
        started = time.monotonic()
        engine = self.builder.build(self.settings.engine)
        engine.load(self.asking.model, seed=sub_seed(self.seed, "evaluate", "engine"), ranks=self._alone)
        self._closed_opening += time.monotonic() - started
        return engine

    def _score(
        self, block: Block, encoder: Callable[..., list[Encoded]], work: speeds.Work
    ) -> list[tuple[list[Encoded], list[Likelihood]]]:
        """What an encoder makes of each instance, and how likely each of it is."""
        window = self.asking.window
        if self.asking.remote and window is not None:
            window -= 1  # an endpoint makes one token behind what it echoes
        whole = self.asking.remote or not isinstance(self._engine, ScoresContinuations)
        if encoder is encode_text and window is not None and whole:
            window -= 1  # what scores whole sequences reads the last token of a window, too
        encoded = [encoder(self.asking.tokenizer, instance, window) for instance in block.instances]
        flat = [item for items in encoded for item in items]
        work.read += sum(speeds.tokens_read([item.continuation for item in items]) for items in encoded)
        for item in flat:
            self._tokens.update(context=item.continuation.n_context, cut=item.cut)
        scored = iter(self._likelihoods([item.continuation for item in flat]))
        return [(items, [next(scored) for _ in items]) for items in encoded]

    def _likelihoods(self, items: list[Continuation]) -> list[Likelihood]:
        if not self.asking.remote:
            return likelihoods(self._engine, items, self.settings.micro_tokens)
        self._kept.open()
        return self._kept.generator.scorer().likelihoods(items, self.settings.micro_tokens)


def _use_gpu(local: int) -> None:
    """Let what asks for a GPU without a number find this rank's."""
    import torch

    if local and torch.cuda.is_available():
        torch.cuda.set_device(local)


def check_metrics(
    task: str, metrics: Sequence[str], instances: Sequence[Instance], scores: Sequence[InstanceScore]
) -> None:
    """See that a task gave each output every metric, as a finite number: a mean over anything else is none.

    Raises:
        DataError: it did not; names the instance and the metric.
    """
    if len(scores) != len(instances):
        raise DataError(f"task {task!r}: `score_all` gave {len(scores)} scores for {len(instances)} outputs")
    names = set(metrics)
    for instance, score in zip(instances, scores, strict=True):
        for name in sorted(names ^ set(score.metrics)):
            missing = "has no" if name in names else "has an unannounced"
            raise DataError(
                f"task {task!r}: instance {instance.id!r} {missing} metric {name!r}; "
                f"the task's metrics are {', '.join(metrics)}"
            )
        for name, value in score.metrics.items():
            if not math.isfinite(value):
                raise DataError(
                    f"task {task!r}: metric {name!r} of instance {instance.id!r} is {value}; it must be finite"
                )
