"""A step's judged replies as they come back from disk, for a replay."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import cast

from aftertrain.core.events import Sample, SampleVerdict
from aftertrain.core.ground.wording import distinct
from aftertrain.core.learning.rollouts import ReplyTokens, Rollouts
from aftertrain.core.records import JSON, Completion, FinishReason, Outcome, Problem, Verdict
from aftertrain.plugins.online.problems import Prompt
from aftertrain.plugins.online.reward import ENVIRONMENT, Judged, leaves_out
from aftertrain.plugins.online.reward_settings import VERIFICATION, RewardSettings
from aftertrain.plugins.online.rollout import Rollout, Turn

DROPPED = "dropped"
"""Fact of a step: ids of the replies that its selection left out."""
EXACT = "exact_rewards"
"""Fact of a step with rewards of turns: of each reply that of the whole, and those of its turns, to the last bit."""


def exact_rewards(judged: Sequence[Judged]) -> dict[str, JSON]:
    """The fact `EXACT` where a sample's sum does not say what it is made of; no fact where no turn earned anything."""
    if not any(any(reply.rollout.turn_rewards) for reply in judged):
        return {}
    return {EXACT: [[reply.reward, *reply.rollout.turn_rewards] for reply in judged]}


def as_judged(rollouts: Rollouts, rules: RewardSettings) -> tuple[list[Judged], list[Judged]]:
    """The replies that the step's method was given, and all of the step, with the rewards that they had.

    In the order of their tickets.

    Args:
        rules: of the rewards: from which value on a verdict counts as verified, and what is left out.
    """
    found = []
    dropped = {*cast("list[str]", rollouts.facts.get(DROPPED, []))}
    exact = cast("list[list[float]]", rollouts.facts.get(EXACT, [[sample.reward] for sample in rollouts.samples]))
    for sample, reply, rewards in zip(rollouts.samples, rollouts.replies, exact, strict=True):
        problem = Problem(sample.problem, (), (), sample.source)
        verdicts = tuple((verdict.verifier, _verdict(verdict)) for verdict in sample.verdicts)
        names = distinct([verdict.verifier for verdict in sample.verdicts])
        checks = zip(names, sample.verdicts, strict=True)
        parts = {name: verdict.reward for name, verdict in checks if verdict.reward is not None}
        parts |= {name: amount for name, amount in sample.parts.items() if name != VERIFICATION}
        failures = [verdict for name, verdict in verdicts if name == ENVIRONMENT]
        rollout = _rollout(sample, reply, problem, rewards[1:])
        rollout = replace(rollout, failure=failures[0] if failures else None)
        earned = cast("float", sample.reward) if sample.earned is None else sample.earned
        found.append(
            Judged(
                rollout,
                verdicts,
                rewards[0],
                earned,
                sample.base,
                rules.threshold,
                parts,
                sample.parts,
                left_out=leaves_out(verdicts, rules),
            )
        )
    return [reply for reply in found if reply.rollout.id not in dropped], found


def _rollout(sample: Sample, reply: ReplyTokens, problem: Problem, rewards: Sequence[float]) -> Rollout:
    """A rollout with its turns, which begin where sampled tokens follow others.

    Args:
        rewards: of the turns; none where no turn of the step earned anything.
    """
    mask = reply.sampled
    starts = [i for i in range(len(mask)) if mask[i] and (i == 0 or not mask[i - 1])] or [len(mask)]
    ends = [*starts[1:], len(mask)]
    turns: list[Turn] = []
    for start, end in zip(starts, ends, strict=True):
        made = int(mask[start:end].sum())
        done = sum(len(turn.completion.token_ids) for turn in turns)
        completion = Completion(
            id=sample.id,
            prompt_ids=tuple(reply.token_ids[:start].tolist()),
            token_ids=tuple(reply.token_ids[start : start + made].tolist()),
            logprobs=tuple(reply.logprobs[done : done + made].tolist()),
            versions=tuple(reply.versions[done : done + made].tolist()),
            finish_reason=cast("FinishReason", sample.finish_reason) if end == len(mask) else "stop",
            text=sample.response,
            text_with_special=sample.response_with_special,
        )
        reward = rewards[len(turns)] if rewards else 0.0
        turns.append(Turn(completion, tuple(reply.token_ids[start + made : end].tolist()), (), reward))
    *before, last = turns
    prompt = Prompt(problem, tuple(reply.token_ids[: starts[0]].tolist()))
    return Rollout(sample.id, reply.group, prompt, last.completion, tuple(before), last.reward)


def _verdict(told: SampleVerdict) -> Verdict:
    return Verdict(cast("Outcome", told.outcome), told.value, told.extracted, told.detail)
