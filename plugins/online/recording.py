"""A step's judged replies as they come back from disk, for a replay."""

from __future__ import annotations

from typing import cast

from aftertrain.core.events import SampleVerdict
from aftertrain.core.ground.wording import distinct
from aftertrain.core.learning.rollouts import Rollouts
from aftertrain.core.records import Completion, FinishReason, Outcome, Problem, Verdict
from aftertrain.plugins.online.problems import Prompt
from aftertrain.plugins.online.reward import Judged
from aftertrain.plugins.online.reward_settings import VERIFICATION
from aftertrain.plugins.online.rollout import Rollout

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
        prompt_ids = tuple(reply.token_ids[~reply.sampled].tolist())
        completion = Completion(
            id=sample.id,
            prompt_ids=prompt_ids,
            token_ids=tuple(reply.token_ids[reply.sampled].tolist()),
            logprobs=tuple(reply.logprobs.tolist()),
            versions=tuple(reply.versions.tolist()),
            finish_reason=cast("FinishReason", sample.finish_reason),
            text=sample.response,
            text_with_special=sample.response_with_special,
        )
        problem = Problem(sample.problem, (), (), sample.source)
        verdicts = tuple((verdict.verifier, _verdict(verdict)) for verdict in sample.verdicts)
        names = distinct([verdict.verifier for verdict in sample.verdicts])
        checks = zip(names, sample.verdicts, strict=True)
        parts = {name: verdict.reward for name, verdict in checks if verdict.reward is not None}
        parts |= {name: amount for name, amount in sample.parts.items() if name != VERIFICATION}
        rollout = Rollout(sample.id, reply.group, Prompt(problem, prompt_ids), completion)
        reward = cast("float", sample.reward)
        earned = reward if sample.earned is None else sample.earned
        found.append(Judged(rollout, verdicts, reward, earned, sample.base, threshold, parts, sample.parts))
    return [reply for reply in found if reply.rollout.id not in dropped], found


def _verdict(told: SampleVerdict) -> Verdict:
    return Verdict(cast("Outcome", told.outcome), told.value, told.extracted, told.detail)
