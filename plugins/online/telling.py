"""What a step leaves behind: its rollouts on disk, its events, and the alarms that it sets off."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from random import Random
from typing import Any

import numpy as np

from aftertrain.core.batch import PackedBatch
from aftertrain.core.events import Metrics, Progress, Sample, VerdictCounts, Warned
from aftertrain.core.learning.alarm_rules import ALARMS
from aftertrain.core.learning.alarms import Watch
from aftertrain.core.learning.reward_hacks import PAID, paid, reply_figures, respaced, verdict_counts
from aftertrain.core.learning.rollouts import ReplyTokens, RolloutFile, Rollouts, code, columns_by_reply
from aftertrain.core.learning.seeding import sub_seed
from aftertrain.core.stage import StageContext
from aftertrain.core.verifier import Verifier
from aftertrain.plugins.online.recording import DROPPED, exact_rewards
from aftertrain.plugins.online.reward import Judged, failures, outcome_counts, outcome_rates, verdicts_on
from aftertrain.plugins.online.rollout import Rollout
from aftertrain.plugins.online.settings import OnlineSettings

SAMPLED = ("generator_logprobs", "versions")
"""Columns that came with the replies, which have them anyhow."""


class Telling:
    """Tells of one attempt at a stage, step by step.

    Attributes:
        watch: looks for alarms; a checkpoint must hold its state.
    """

    def __init__(self, context: StageContext, settings: OnlineSettings, steps: int) -> None:
        self._context, self._settings, self._steps = context, settings, steps
        self._warned: set[tuple[str, str]] = set()
        self.watch = Watch(ALARMS)

    def probe(self, judged: Sequence[Judged], verifiers: Mapping[str, Verifier[Any]], step: int) -> dict[str, float]:
        """Judge a few paid replies again with other white space: `respaced/asked` of them, `respaced/flipped`.

        Which ones, and what is changed, depends on the seed and the step alone. A verdict that failed says nothing.
        """
        seed = sub_seed(self._context.seed, "respaced", step)
        able = [reply.rollout for reply in judged if paid(reply.sample())]
        chosen = Random(seed).sample(able, min(self._settings.respaced, len(able)))
        again = verdicts_on([_respaced(rollout, seed) for rollout in chosen], verifiers)
        known = [
            [verdict for _, verdict in on_reply if verdict.outcome != "abstained"]
            for on_reply in again
            if not any(verdict.outcome in ("error", "timeout") for _, verdict in on_reply)
        ]
        flipped = sum(any(verdict.value is None or verdict.value < PAID for verdict in on_reply) for on_reply in known)
        return {"respaced/asked": float(len(known)), "respaced/flipped": float(flipped)}

    def step(
        self,
        step: int,
        judged: Sequence[Judged],
        batches: Sequence[PackedBatch],
        *,
        states: Mapping[str, str],
        dropped: Sequence[str],
        metrics: Metrics,
        probed: Mapping[str, float],
    ) -> None:
        """Write all replies of a step, and show some; count its verdicts, and warn of their failures once.

        Args:
            step: counted from 1.
            batches: what was learnt from, with all columns; a reply that is in none was left out.
            states: in which each reply ended, by id.
            dropped: ids of the replies that the step's selection left out.
            probed: what `probe` found.
        """
        emit, counts = self._context.emit, outcome_counts(judged)
        rollouts = self._rollouts(step, judged, columns_by_reply(batches), states)
        rollouts = replace(rollouts, facts={**rollouts.facts, **exact_rewards(judged), DROPPED: [*dropped]})
        RolloutFile(self._context.folder, step).write(rollouts)
        samples = rollouts.samples
        metrics = replace(metrics, values={**metrics.values, **reply_figures(samples), **outcome_rates(counts)})
        emit(metrics, step)
        emit(VerdictCounts(counts), step)
        for key, message in failures(judged, counts).items():
            if key not in self._warned:
                self._warned.add(key)
                emit(Warned(message), step)
        for alarm in self.watch.look(step, {**metrics.values, **verdict_counts(samples), **probed}):
            emit(alarm, step)
        for sample in samples[: self._settings.shown]:
            emit(sample, step)
        emit(Progress(step, self._steps, "steps"), step)

    def _rollouts(
        self,
        step: int,
        judged: Sequence[Judged],
        columns: Mapping[str, Mapping[str, Any]],
        states: Mapping[str, str],
    ) -> Rollouts:
        settings = self._settings
        facts = {
            "advantages": settings.advantages.name,
            "loss": settings.loss.name,
            "seed": self._context.seed,
            "temperature": settings.sampling.temperature,
        }
        replies = [_tokens(reply.rollout, columns.get(reply.rollout.id), states) for reply in judged]
        samples = [
            _sample(reply, tokens, states[reply.rollout.id]) for reply, tokens in zip(judged, replies, strict=True)
        ]
        return Rollouts(step, tuple(samples), tuple(replies), facts)


def _tokens(rollout: Rollout, columns: Mapping[str, Any] | None, states: Mapping[str, str]) -> ReplyTokens:
    """A reply's tokens: of one that was learnt from, those that a correction left out are told apart."""
    reason = "filtered" if columns is None else "learnt"
    if columns is None and states[rollout.id] in ("error", "timeout"):
        reason = "unjudged"
    advantages = (columns or {}).get("advantages")
    if states[rollout.id] == "no_signal" or (advantages is not None and not advantages.any()):
        reason = "no_signal"
    reply = ReplyTokens.of_turns(
        rollout.prompt.token_ids,
        [(turn.token_ids, turn.logprobs, turn.versions, observed) for turn, observed in rollout.pieces],
        group=rollout.group,
        reason=reason,
        columns={name: column for name, column in (columns or {}).items() if name not in SAMPLED},
    )
    if reason != "learnt" or "correction" not in reply.columns:
        return reply
    left_out = np.zeros_like(reply.sampled)
    left_out[reply.sampled] = reply.columns["correction"] == 0
    return replace(reply, reasons=np.where(left_out, np.uint8(code("off_policy")), reply.reasons))


def _sample(reply: Judged, tokens: ReplyTokens, state: str) -> Sample:
    problem, advantages = reply.rollout.prompt.problem, tokens.columns.get("advantages", np.zeros(0, np.float32))
    mean = float(advantages.mean(dtype=np.float64)) if len(advantages) else None
    return replace(reply.sample(), problem=problem.id, source=problem.source, advantage=mean, state=state)


def _respaced(rollout: Rollout, seed: int) -> Rollout:
    completion = rollout.completion
    special = completion.text_with_special
    changed = replace(
        completion,
        text=respaced(completion.text, seed),
        text_with_special=None if special is None else respaced(special, seed),
    )
    return replace(rollout, completion=changed)
