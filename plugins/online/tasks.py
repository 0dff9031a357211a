"""Weights of the tasks of a mixture, by how well each goes (F36)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from aftertrain.core.batch import PackedBatch
from aftertrain.core.errors import CheckpointError
from aftertrain.core.learning.task_rates import TaskRates, reply_weights
from aftertrain.core.records import UNJUDGED
from aftertrain.plugins.online.reward import Judged
from aftertrain.plugins.online.reward_settings import TaskWeightSettings


class TaskWeights:
    """The factor of each reply's advantages, and the rates that it comes from.

    The weight multiplies advantages, not rewards: a group's advantages divide by the rewards' spread, which would undo
    it. In every loss that scales with its advantages, the clipped ones too, that is the weight of the reply's own
    policy loss; the critic's and a KL penalty's, which must hold on all tasks, are not weighed.

    Attributes:
        rates: how well each task went so far, which a checkpoint must hold.
    """

    def __init__(self, settings: TaskWeightSettings) -> None:
        self.settings, self.rates = settings, TaskRates()

    def task(self, reply: Judged) -> str:
        """The task that a reply belongs to."""
        if self.settings.by == "source":
            return reply.rollout.prompt.problem.source
        return "+".join(sorted({name for name, _ in reply.verdicts}))

    def factors(self, judged: Sequence[Judged]) -> dict[str, float]:
        """By reply the factor of its advantages; 1 on average over the step.

        They come of the steps before this one: a factor that depends on a step's own outcomes would favour what the
        policy happened to draw.
        """
        weights = reply_weights([self.task(reply) for reply in judged], self.rates.losses(), self.settings.alpha)
        return {reply.rollout.id: weight for reply, weight in zip(judged, weights, strict=True)}

    def metrics(self, judged: Sequence[Judged]) -> dict[str, float]:
        """Before the step is learnt from: `task_loss/TASK`, L_i, and `task_weight/TASK` of those that occur in it."""
        factors = self.factors(judged)
        weights = {self.task(reply): factors[reply.rollout.id] for reply in judged}
        return {f"task_loss/{task}": loss for task, loss in self.rates.losses().items()} | {
            f"task_weight/{task}": weight for task, weight in weights.items()
        }

    def learn(self, judged: Sequence[Judged], batches: Iterable[PackedBatch]) -> None:
        """Take a step's outcomes into the rates. What could not be judged says nothing of its task.

        Args:
            judged: all replies of the step; of those that were not learnt from the critic says nothing.
            batches: the step's micro-batches, with the critic's columns where the settings go by its loss.
        """
        losses: dict[str, list[float]] = {}
        value_losses = critic_losses(batches) if self.settings.loss == "value" else {}
        for reply in judged:
            if self.settings.loss == "value":
                losses.setdefault(self.task(reply), []).extend(value_losses.get(reply.rollout.id, []))
            elif not any(verdict.outcome in UNJUDGED for _, verdict in reply.verdicts):
                losses.setdefault(self.task(reply), []).append(1.0 - reply.verified)
        self.rates = self.rates.add(losses, self.settings.decay)

    def state(self) -> dict[str, Any]:
        """What a checkpoint must hold, as plain data."""
        return {"task_rates": asdict(self.rates)}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state` gave.

        Raises:
            CheckpointError: the rates are not in it.
        """
        try:
            self.rates = TaskRates(**state["task_rates"])
        except (KeyError, TypeError) as error:
            raise CheckpointError(f"the checkpoint has no rates of the tasks: {error}") from error


def critic_losses(batches: Iterable[PackedBatch]) -> dict[str, list[float]]:
    """By reply the mean of ½(V − R)² over its tokens, with the critic as it was before the update."""
    losses: dict[str, list[float]] = {}
    for batch in batches:
        squares = 0.5 * (batch.columns["old_values"] - batch.columns["returns"]).double() ** 2
        means = batch.segment_mean(squares, batch.targets).tolist()
        losses |= {name: [mean] for name, mean in zip(batch.sample_ids, means, strict=True)}
    return losses
