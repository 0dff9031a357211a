"""Rewards over the steps: base scores of a reward model, the weight's schedule, shaping, running normalisation, missing
EOS.

With Tülu 3's settings, which use none of these but missing EOS, a step's rewards depend on its verdicts alone.
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
from aftertrain.core.learning.shaping import overlong_penalty
from aftertrain.core.packed.reward_scores import scores_at_end
from aftertrain.core.records import Verdict
from aftertrain.core.verifier import Verifier
from aftertrain.plugins.online.reward import (
    Judged,
    Key,
    Named,
    check_parts,
    counted,
    earned_reward,
    leaves_out,
    shaping_verdicts,
    verdicts_on,
)
from aftertrain.plugins.online.reward_settings import BASE, OVERLONG, VERIFICATION, RewardSettings
from aftertrain.plugins.online.rollout import Rollout


class Rewarding:
    """Turns verdicts into rewards, step by step.

    Args:
        model: reward model that gives R_base (F26); None where there is none.
        micro_tokens: packing budget of its forward passes.
        max_new_tokens: the most that a reply may have, L_max where the settings do not say it.

    Attributes:
        running: mean and spread of the rewards so far (F35), which a checkpoint must hold.
    """

    def __init__(
        self, settings: RewardSettings, model: Engine[Any] | None, micro_tokens: int, *, max_new_tokens: int = 0
    ) -> None:
        self.settings, self.running = settings, Running()
        self._model, self._micro_tokens, self._max_new_tokens = model, micro_tokens, max_new_tokens

    def judge(
        self,
        rollouts: Sequence[Rollout],
        verifiers: Mapping[str, Verifier[Any]],
        step: int,
        known: Mapping[Key, Verdict] | None = None,
    ) -> list[Judged]:
        """Verdicts and rewards of one step's rollouts.

        Args:
            verifiers: of the checks, and of shaping, by name.
            step: counted from 1.
            known: verdicts that were asked for already.

        Raises:
            NumericsError: the reward model's score, or a reward, is not finite; names step and samples.
        """
        settings, weight = self.settings, self.weight(step)
        verdicts, bases = verdicts_on(rollouts, verifiers, known), self._bases(rollouts, step)
        shaping = shaping_verdicts(rollouts, verifiers, tuple(settings.shaping))
        shaped = [self._shaped(rollout, on_reply) for rollout, on_reply in zip(rollouts, shaping, strict=True)]
        verified = [earned_reward(on_reply, settings, weight=weight) for on_reply in verdicts]
        beside = [
            # Of a rollout that its environment failed, its text says nothing either.
            {} if rollout.failure else {**({} if base is None else {BASE: settings.base_weight * base}), **more}
            for rollout, base, more in zip(rollouts, bases, shaped, strict=True)
        ]
        added = [{VERIFICATION: own, **others} for own, others in zip(verified, beside, strict=True)]
        earned = [sum(parts.values()) for parts in added]
        _check_finite("rewards", {rollout.id: one for rollout, one in zip(rollouts, earned, strict=True)}, step)
        parts = [
            {**check_parts(on_reply, settings), **others} for on_reply, others in zip(verdicts, beside, strict=True)
        ]
        scaled, void = earned, [leaves_out(on_reply, settings) for on_reply in verdicts]
        if (rule := settings.normalize) is not None:
            ended = [settings.missing_eos is None or rollout.ended for rollout in rollouts]
            taken = [one and not out for one, out in zip(ended, void, strict=True)]
            self.running = self.running.add(compress(earned, taken))
            scaled = [normalised_reward(raw, self.running, scale=rule.scale, target=rule.target) for raw in earned]
        whole = [rollout.ended or rollout.failure is not None for rollout in rollouts]
        paid = [ended_reward(reward, end, settings.missing_eos) for reward, end in zip(scaled, whole, strict=True)]
        return [
            Judged(
                rollout,
                on_reply,
                0.0 if out else reward,
                0.0 if out else raw,
                base,
                settings.threshold,
                given,
                {} if out else counted_in,
                shapes,
                out,
            )
            for rollout, on_reply, reward, raw, base, given, counted_in, shapes, out in zip(
                rollouts, verdicts, paid, earned, bases, parts, added, shaping, void, strict=True
            )
        ]

    def weight(self, step: int) -> float:
        """λ of that step, counted from 1 (F31)."""
        schedule = self.settings.weight_schedule
        if schedule is None:
            return self.settings.weight
        return verification_weight(step, self.settings.weight, warmup=schedule.warmup, decay=schedule.decay)

    def metrics(self, judged: Sequence[Judged], step: int) -> dict[str, float]:
        """Means of parts as `reward/PART`: what makes up the reward over all replies, a check's own over those that it
        has judged. Further figures of what is in use.
        """
        judged = counted(judged)
        names = dict.fromkeys(name for reply in judged for name in reply.added)
        given = {name: [reply.added.get(name, 0.0) for reply in judged] for name in names}
        for reply in judged:
            for name in reply.parts.keys() - names:
                given.setdefault(name, []).append(reply.parts[name])
        metrics = {f"reward/{name}": sum(amounts) / len(amounts) for name, amounts in given.items()}
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
        atoms = [[rollout.segment()] for rollout in rollouts]
        scores = scores_at_end(self._model, atoms, self._micro_tokens)
        _check_finite("the reward model's scores", scores, step)
        return [scores[rollout.id] for rollout in rollouts]

    def _shaped(self, rollout: Rollout, verdicts: Named) -> dict[str, float]:
        """What each part of the shaping adds to a reply's reward, by name."""
        added: dict[str, float] = {}
        for name, verdict in verdicts:
            worth = verdict.value if verdict.reward is None else verdict.reward
            if worth is not None:
                added[name] = self.settings.shaping[name].weight * worth
        if (rule := self.settings.overlong) is not None:
            length, limit = rollout.sampled, rule.limit or self._max_new_tokens
            added[OVERLONG] = rule.weight * overlong_penalty(length, limit, rule.cache)
        return added


def _check_finite(what: str, numbers: Mapping[str, float], step: int) -> None:
    bad = [name for name, number in numbers.items() if not math.isfinite(number)]
    if bad:
        raise NumericsError(f"step {step}: {what} are not finite; samples: {', '.join(bad[:8])}")
