"""A step's judged replies as they come back from disk, for a replay."""

from __future__ import annotations

from typing import cast

import numpy as np

from aftertrain.core.events import Sample, SampleVerdict
from aftertrain.core.ground.wording import distinct
from aftertrain.core.learning.rollouts import ReplyTokens, Rollouts
from aftertrain.core.records import Completion, FinishReason, Outcome, Problem, Verdict
from aftertrain.plugins.online.problems import Prompt
from aftertrain.plugins.online.reward import Judged
from aftertrain.plugins.online.reward_settings import VERIFICATION
from aftertrain.plugins.online.rollout import Rollout, Turn

DROPPED = "dropped"
"""Fact of a step: ids of the replies that its selection left out."""


def as_judged(rollouts: Rollouts, threshold: float | None = None) -> tuple[list[Judged], list[Judged]]:
    """The replies that the step's method was given, and all of the step, with the rewards that they had.

    In the order of their tickets.

    Args:
        threshold: the value from which a verdict counts as verified; None for 1.
    """
    found = []
    dropped = {*cast("list[str]", rollouts.facts.get(DROPPED, []))}
    for sample, reply in zip(rollouts.samples, rollouts.replies, strict=True):
        problem = Problem(sample.problem, (), (), sample.source)
        verdicts = tuple((verdict.verifier, _verdict(verdict)) for verdict in sample.verdicts)
        names = distinct([verdict.verifier for verdict in sample.verdicts])
        checks = zip(names, sample.verdicts, strict=True)
        parts = {name: verdict.reward for name, verdict in checks if verdict.reward is not None}
        parts |= {name: amount for name, amount in sample.parts.items() if name != VERIFICATION}
        rollout = _rollout(sample, reply, problem)
        reward = cast("float", sample.reward) - sum(rollout.turn_rewards)
        earned = cast("float", sample.reward) if sample.earned is None else sample.earned
        found.append(Judged(rollout, verdicts, reward, earned, sample.base, threshold, parts, sample.parts))
    return [reply for reply in found if reply.rollout.id not in dropped], found


def _rollout(sample: Sample, reply: ReplyTokens, problem: Problem) -> Rollout:
    """A rollout with its turns, which begin where sampled tokens follow others."""
    mask = reply.sampled
    starts = [i for i in range(len(mask)) if mask[i] and (i == 0 or not mask[i - 1])] or [len(mask)]
    ends = [*starts[1:], len(mask)]
    rewards = reply.columns.get("turn_rewards", np.zeros(len(reply.logprobs), np.float32))
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
        reward = float(np.nan_to_num(rewards[done + made - 1])) if made else 0.0
        turns.append(Turn(completion, tuple(reply.token_ids[start + made : end].tolist()), (), reward))
    *before, last = turns
    prompt = Prompt(problem, tuple(reply.token_ids[: starts[0]].tolist()))
    return Rollout(sample.id, reply.group, prompt, last.completion, tuple(before), last.reward)


def _verdict(told: SampleVerdict) -> Verdict:
    return Verdict(cast("Outcome", told.outcome), told.value, told.extracted, told.detail)
