"""Rewards over the steps: base scores of a reward model, the weight's schedule, running normalisation, missing EOS.

With Tülu 3's settings, which use none of the first three, a step's rewards depend on its verdicts alone.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from itertools import compress
from typing import Any

from aftertrain.core.engine import Engine
from aftertrain.core.errors import CheckpointError, NumericsError
from aftertrain.core.learning.rewards import Running, ended_reward, normalised_reward, verification_weight
from aftertrain.core.packed.packing import pack
from aftertrain.core.verifier import Verifier
from aftertrain.plugins.online.reward import Judged, earned_reward, verdicts_on
from aftertrain.plugins.online.reward_settings import RewardSettings
from aftertrain.plugins.online.rollout import Rollout


class Rewarding:
    """Turns verdicts into rewards, step by step.

    Args:
        model: reward model that gives R_base (F26); None where there is none.
        micro_tokens: packing budget of its forward passes.

    Attributes:
        running: mean and spread of the rewards so far (F35), which a checkpoint must hold.
    """

    def __init__(self, settings: RewardSettings, model: Engine[Any] | None, micro_tokens: int) -> None:
        self.settings, self.running = settings, Running()
        self._model, self._micro_tokens = model, micro_tokens

    def judge(self, rollouts: Sequence[Rollout], verifiers: Mapping[str, Verifier[Any]], step: int) -> list[Judged]:
        """Verdicts and rewards of one step's rollouts.

        Args:
            step: counted from 1.

        Raises:
            NumericsError: the reward model's score is not finite; names step and samples.
        """
        settings, weight = self.settings, self.weight(step)
        verdicts, bases = verdicts_on(rollouts, verifiers), self._bases(rollouts, step)
        earned = [
            earned_reward(on_reply, settings, base=settings.base_weight * (base or 0.0), weight=weight)
            for on_reply, base in zip(verdicts, bases, strict=True)
        ]
        scaled = earned
        if (rule := settings.normalize) is not None:
            counted = [settings.missing_eos is None or rollout.ended for rollout in rollouts]
            self.running = self.running.add(compress(earned, counted))
            scaled = [normalised_reward(raw, self.running, scale=rule.scale, target=rule.target) for raw in earned]
        return [
            Judged(
                rollout,
                on_reply,
                ended_reward(reward, rollout.ended, settings.missing_eos),
                raw,
                base,
                settings.threshold,
            )
            for rollout, on_reply, reward, raw, base in zip(rollouts, verdicts, scaled, earned, bases, strict=True)
        ]

    def weight(self, step: int) -> float:
        """λ of that step, counted from 1 (F31)."""
        schedule = self.settings.weight_schedule
        if schedule is None:
            return self.settings.weight
        return verification_weight(step, self.settings.weight, warmup=schedule.warmup, decay=schedule.decay)

    def metrics(self, judged: Sequence[Judged], step: int) -> dict[str, float]:
        """Figures of what is in use, none with Tülu 3's settings."""
        metrics: dict[str, float] = {}
        bases = [reply.base for reply in judged if reply.base is not None]
        if bases:
            metrics["base_reward"] = sum(bases) / len(bases)
        if self.settings.weight_schedule is not None:
            metrics["verification_weight"] = self.weight(step)
        if self.settings.normalize is not None:
            metrics["running_reward_mean"], metrics["running_reward_std"] = self.running.mean, self.running.std
        return metrics

    def state(self) -> dict[str, Any]:
        """What a checkpoint must hold, as plain data; empty where nothing runs on from step to step."""
        return {} if self.settings.normalize is None else {"running": asdict(self.running)}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state` gave.

        Raises:
            CheckpointError: the running statistics are not in it.
        """
        if self.settings.normalize is not None:
            try:
                self.running = Running(**state["running"])
            except (KeyError, TypeError) as error:
                raise CheckpointError(f"the checkpoint has no running mean and spread of rewards: {error}") from error

    def _bases(self, rollouts: Sequence[Rollout], step: int) -> list[float] | list[None]:
        """The reward model's score at each reply's last token."""
        if self._model is None:
            return [None] * len(rollouts)
        scores: dict[str, float] = {}
        for batch in pack([[rollout.segment()] for rollout in rollouts], self._micro_tokens):
            values = self._model.score(batch, ("values",), grad=False).values
            assert values is not None
            at_end = values.detach().cpu()[batch.last_token()]
            scores |= dict(zip(batch.sample_ids, at_end.tolist(), strict=True))
        bad = [name for name, score in scores.items() if not math.isfinite(score)]
        if bad:
            raise NumericsError(f"step {step}: the reward model's scores are not finite; samples: {', '.join(bad[:8])}")
        return [scores[rollout.id] for rollout in rollouts]
