"""What learns: the models of a stage, and one step's judged replies turned into updates of them.

A step depends on the replies, their rewards, the settings and what the models were before, and on nothing else: a stage
hands it what has just been made and judged, `aftertrain replay` what was recorded.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any

from aftertrain.core.advantage import Advantage
from aftertrain.core.batch import PackedBatch
from aftertrain.core.learning.schedule import Pace
from aftertrain.core.learning.step import StepResult, train_step
from aftertrain.core.loss import Loss
from aftertrain.core.settings import Builder
from aftertrain.plugins.online.experience import Experience, make_experience, needs_old_logprobs
from aftertrain.plugins.online.first_pass import FirstPass
from aftertrain.plugins.online.measure import update_metrics
from aftertrain.plugins.online.models import Models, build_loss
from aftertrain.plugins.online.parity import check_parity, policy_metrics
from aftertrain.plugins.online.reward import Judged
from aftertrain.plugins.online.settings import OnlineSettings
from aftertrain.plugins.online.tasks import TaskWeights


def _untimed(_: str) -> AbstractContextManager[None]:
    return nullcontext()


@dataclass(frozen=True)
class Learnt:
    """What one step came to.

    Attributes:
        experience: what was learnt from.
        batches: its micro-batches, with the log-probabilities of before the update too.
        results: of each optimizer step.
        newest: version of the weights that the replies were to be made with.
        tasks: figures of the tasks' weights, before the step.
    """

    experience: Experience
    batches: Sequence[PackedBatch]
    results: Sequence[StepResult]
    newest: int
    tasks: Mapping[str, float] = field(default_factory=dict)

    @property
    def metrics(self) -> dict[str, float]:
        """Figures of the tasks, the method, the policy and the updates."""
        policy = policy_metrics(self.batches, self.newest)
        return {**self.tasks, **self.experience.metrics, **policy, **update_metrics(self.results)}


class Learner:
    """Updates a stage's models, step by step.

    Attributes:
        tasks: weights of the tasks (F36), from how each went before; None where all weigh alike.
    """

    def __init__(self, settings: OnlineSettings, builder: Builder, models: Models) -> None:
        self.settings, self.models = settings, models
        self.loss: Loss[Any] = build_loss(settings, builder)
        self.estimator: Advantage[Any] = builder.build(settings.advantages)
        weighing = settings.reward.task_weights
        self.tasks = None if weighing is None else TaskWeights(weighing)

    def learn(
        self,
        step: int,
        judged: Sequence[Judged],
        every: Sequence[Judged] | None = None,
        part: Callable[[str], AbstractContextManager[None]] = _untimed,
    ) -> Learnt:
        """Learn from the replies of one step, counted from 1.

        Args:
            judged: what is learnt from.
            every: all replies of the step, which say how the tasks go; None: there are no others.
            part: times `score`, where replies are scored and credited before the update, and `update`.

        Raises:
            NumericsError: a score, loss or gradient is not finite, or the generator's log-probabilities are too far
                from the trainer's.
        """
        settings = self.settings
        with part("score"):
            experience = make_experience(
                judged,
                self.models,
                settings,
                self.estimator,
                atom=self.loss.needs.atom,
                step=step,
                weights=None if self.tasks is None else self.tasks.factors(judged),
            )
        with part("update"):
            results, batches = self._update(step, experience)
        check_parity(batches, settings.parity, settings.generator.name, step)
        figures = {} if self.tasks is None else self.tasks.metrics(judged)
        if self.tasks is not None:
            self.tasks.learn(judged if every is None else every, experience.batches)
        return Learnt(experience, batches, results, step - 1, figures)

    def state(self) -> dict[str, Any]:
        """What a checkpoint must hold beside the models, as plain data."""
        return {} if self.tasks is None else self.tasks.state()

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state` gave.

        Raises:
            CheckpointError: it is not in it.
        """
        if self.tasks is not None:
            self.tasks.restore(state)

    def _update(self, step: int, experience: Experience) -> tuple[list[StepResult], list[PackedBatch]]:
        settings = self.settings
        loss = self.loss if needs_old_logprobs(settings) else FirstPass(self.loss)
        optimizers = {"policy": settings.optimizer, "value": settings.critic_optimizer or settings.optimizer}
        results: list[StepResult] = []
        for _ in range(settings.batch.updates):
            for batches in experience.minibatches:
                pace = Pace(
                    (step - 1) * settings.optimizer_steps + len(results),
                    settings.steps * settings.optimizer_steps,
                    sum(batch.count("segment") for batch in batches) / settings.batch.replies_per_update,
                    settings.optimizer_steps,
                )
                result = train_step(
                    self.models.trained,
                    loss,
                    batches,
                    pace.rates(optimizers),
                    step=step,
                    progress=pace.progress,
                    temperature=settings.sampling.temperature,
                )
                results.append(result)
        whole = loss.completed(experience.batches) if isinstance(loss, FirstPass) else experience.batches
        return results, whole
