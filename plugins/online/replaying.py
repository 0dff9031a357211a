"""A step made again from what is on disk: from a checkpoint, or the stage's start, through the recorded rollouts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor

from aftertrain.core.errors import CheckpointError, RunError
from aftertrain.core.generator import GenerationRequest, Generator, Takes
from aftertrain.core.ground.reading import CURE, read_json
from aftertrain.core.learning.rollouts import RolloutFile, columns_by_reply, kept_steps
from aftertrain.core.records import Completion
from aftertrain.core.settings import Builder, Settings
from aftertrain.core.stage import Replayed, ReplayedReply, StageContext
from aftertrain.plugins.online.held import watched
from aftertrain.plugins.online.learner import Learner, Learnt
from aftertrain.plugins.online.models import STATE, load_models
from aftertrain.plugins.online.recording import as_judged
from aftertrain.plugins.online.reward import Judged
from aftertrain.plugins.online.settings import OnlineSettings

CHANGEABLE = frozenset(
    {"loss", "advantages", "kl", "correction", "batch", "optimizer", "critic_optimizer", "parity", "steps"}
)
"""Settings by which a recorded step can be learnt from otherwise; others decide which replies there were."""


class Silent(Generator[Settings]):
    """Stands where the stage has its generator: nothing is generated in a replay."""

    @property
    def takes(self) -> Takes:
        """Nothing comes."""
        return "tokens"

    def open(self, model: str, version: int = 0) -> None:
        """Load nothing."""

    def submit(self, requests: Sequence[GenerationRequest]) -> None:
        """Refuse: replies are those that were recorded."""
        raise RunError("a replay generates nothing")

    def collect(self, timeout: float | None = None) -> list[Completion]:
        """Nothing is in flight."""
        return []

    def cancel(self, ids: Iterable[str] | None = None) -> None:
        """Nothing is in flight."""

    def update_weights(self, weights: Iterable[tuple[str, Tensor]], version: int) -> None:
        """Take no weights."""


@dataclass(frozen=True)
class Redone:
    """A step made again.

    Attributes:
        learnt: what it came to.
        update: what it added to each weight of the policy.
        held: tokens of each reply that were clipped, by id.
    """

    learnt: Learnt
    update: Mapping[str, Tensor]
    held: Mapping[str, int]


class Replay:
    """A stage's models brought to where a step began.

    Args:
        start: step and folder of the checkpoint to go from; None for the stage's own start.
    """

    def __init__(
        self, settings: OnlineSettings, builder: Builder, context: StageContext, start: tuple[int, Path] | None
    ) -> None:
        self._settings, self._builder, self._context, self._start = settings, builder, context, start

    def step(self, step: int, changed: OnlineSettings | None) -> Replayed:
        """Make a step, counted from 1, again, and by other settings too if there are any.

        Raises:
            RunError: the rollouts on the way to it are not all there; names the steps that can be replayed. The changed
                settings ask for other replies.
        """
        first = 0 if self._start is None else self._start[0]
        _check_steps(self._context.folder, first, step)
        if changed is not None:
            _check_settings(self._settings, changed)
        with TemporaryDirectory(prefix="aftertrain-replay-") as scratch:
            there = Path(scratch)
            learner = self._learner(self._settings, None if self._start is None else self._start[1])
            for before in range(first + 1, step):
                learner.learn(before, *self._judged(before))
            if changed is not None:
                learner.models.save(there)
            tasks = learner.state()
            own = self._redone(learner, step)
            other = None
            if changed is not None:
                del learner
                other = self._redone(self._learner(changed, there, tasks), step)
        return self._compared(step, first, own, other)

    def _judged(self, step: int) -> tuple[list[Judged], list[Judged]]:
        """The replies of a step that were learnt from, and all of them."""
        return as_judged(RolloutFile(self._context.folder, step).read(), self._settings.reward)

    def _learner(self, settings: OnlineSettings, state: Path | None, tasks: Mapping[str, Any] | None = None) -> Learner:
        """With the models' state in a folder, and how the tasks went: as given, else as a checkpoint's says."""
        folders = {role: artifact.path for role, artifact in self._context.inputs.items()}
        silent = Silent(Settings(), self._builder)
        models = load_models(settings, self._builder, folders, self._context.seed, generator=silent)
        if state is not None:
            models.restore(state, 0)
        learner = Learner(settings, self._builder, models)
        if tasks is None and state is not None:
            tasks = read_json(state / STATE, dict[str, Any], error=CheckpointError, cure=CURE)
        if tasks is not None:
            learner.restore(tasks)
        return learner

    def _redone(self, learner: Learner, step: int) -> Redone:
        judged, every = self._judged(step)
        before = {name: weight.detach().clone() for name, weight in learner.models.policy.weights()}
        learner.loss, watch = watched(learner.loss)
        learnt = learner.learn(step, judged, every)
        update = {name: weight.detach() - before[name] for name, weight in learner.models.policy.weights()}
        return Redone(learnt, update, {name: int(tokens.sum()) for name, tokens in watch.held.items()})

    def _compared(self, step: int, start: int, own: Redone, other: Redone | None) -> Replayed:
        recorded = RolloutFile(self._context.folder, step).read()
        ours = columns_by_reply(own.learnt.batches)
        apart: dict[str, float] = {}
        for sample, reply in zip(recorded.samples, recorded.replies, strict=True):
            for name, column in reply.columns.items():
                now = ours.get(sample.id, {}).get(name)
                if now is None or name == "generator_logprobs":
                    continue
                drawn = torch.from_numpy(now[reply.sampled].copy())
                difference = float((drawn - torch.from_numpy(column.copy())).abs().nan_to_num(nan=0.0).max())
                apart[name] = max(apart.get(name, 0.0), difference)
        replies = []
        if other is not None:
            theirs = columns_by_reply(other.learnt.batches)
            for sample, reply in zip(recorded.samples, recorded.replies, strict=True):
                pair = [_mean(columns.get(sample.id, {}), reply.sampled) for columns in (ours, theirs)]
                held = [redone.held.get(sample.id, 0) for redone in (own, other)]
                replies.append(
                    ReplayedReply(sample.id, float(sample.reward or 0.0), pair[0], pair[1], held[0], held[1])
                )
        return Replayed(
            step=step,
            start=start,
            columns=apart,
            now=own.learnt.metrics,
            otherwise=None if other is None else other.learnt.metrics,
            cosine=None if other is None else _cosine(own.update, other.update),
            replies=tuple(replies),
        )


def _mean(columns: Mapping[str, Any], sampled: Any) -> float | None:
    """Of a reply's advantages; None where it has none."""
    column = columns.get("advantages")
    return None if column is None or not sampled.any() else float(column[sampled].mean(dtype="float64"))


def _cosine(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> float:
    """Of the angle between two updates of all weights; 0 where one is none."""
    products = [(one[name].double() * other[name].double()).sum() for name in one]
    sizes = [sum(update[name].double().square().sum() for name in one) for update in (one, other)]
    size = float(torch.as_tensor(sizes[0]).sqrt() * torch.as_tensor(sizes[1]).sqrt())
    return float(sum(products)) / size if size else 0.0


def _check_steps(folder: Path, first: int, step: int) -> None:
    there = set(kept_steps(folder))
    able: list[int] = []
    while first + len(able) + 1 in there:
        able.append(first + len(able) + 1)
    if step not in able:
        from_ = f"the checkpoint of step {first}" if first else "the stage's start"
        said = f"steps {able[0]} to {able[-1]}" if able else "no step"
        raise RunError(f"step {step} cannot be replayed: from {from_}, with the rollouts that are kept, {said} can")


def _check_settings(own: OnlineSettings, changed: OnlineSettings) -> None:
    names = set(OnlineSettings.model_fields) - CHANGEABLE
    others = sorted(name for name in names if getattr(own, name) != getattr(changed, name))
    fixed = ("prompts", "samples_per_prompt", "incomplete", "max_prompt_tokens")
    others += [f"batch.{name}" for name in fixed if getattr(own.batch, name) != getattr(changed.batch, name)]
    if changed.method.critic and not own.method.critic:
        raise RunError(
            f"advantages: {changed.advantages.name} needs a critic, and the stage that was recorded had none"
        )
    if others:
        raise RunError(
            f"a recorded step cannot be made with another {', '.join(others)}: it decides which replies there were, or "
            f"what they earned. What can be changed: {', '.join(sorted(CHANGEABLE - {'steps', 'parity'}))}"
        )
