"""Problems and the verifiers that judge replies to them: which check is whose, and what a verifier is asked."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any

from aftertrain.core.errors import DataError, unknown
from aftertrain.core.ground.wording import distinct
from aftertrain.core.records import Check, Completion, Problem, Thoughts, VerificationCase
from aftertrain.core.settings import Use
from aftertrain.core.verification.pool import isolate
from aftertrain.core.verification.settings import PoolSettings
from aftertrain.core.verification.shared import shared_pool
from aftertrain.core.verifier import Verifier


def reward_name(use: Use[Verifier[Any]]) -> str:
    """What a verifier is called among a stage's: its component's name, or where it runs a function that one's."""
    return str(getattr(use.settings, "called", use.name))


def truth_of(problem: Problem) -> Any:
    """What a verifier of every reply is given: the ground truth of the one check, or by name those of several."""
    truths = [check.ground_truth for check in problem.checks]
    names = distinct([check.verifier for check in problem.checks])
    return truths[0] if len(truths) == 1 else dict(zip(names, truths, strict=True))


def checks_of(problem: Problem, name: str, *, everywhere: bool) -> list[Check]:
    """What a verifier is asked about replies to a problem: the checks of its name, or one of every reply."""
    if everywhere:
        return [Check(name, truth_of(problem))]
    return [check for check in problem.checks if check.verifier == name]


def with_rewards(
    problem: Problem, rewards: Collection[str], checks: Mapping[str, str], everywhere: Collection[str]
) -> Problem:
    """The problem with each check under the name of the verifier (the reward) that judges it.

    Args:
        rewards: names of the verifiers.
        checks: reward by the name of a check, where the two differ.
        everywhere: those of the rewards that judge replies to all problems: each gets a check, with what `truth_of`
            finds, where the problem has none of its name. Where there are no others, checks need name no reward.

    Raises:
        DataError: a check names no reward.
    """
    named = tuple(replace(check, verifier=checks.get(check.verifier, check.verifier)) for check in problem.checks)
    truth = truth_of(problem)
    if set(rewards) <= set(everywhere):
        named = tuple(check for check in named if check.verifier in rewards)
    own = {check.verifier for check in named}
    named += tuple(Check(name, truth) for name in everywhere if name not in own)
    for check in named:
        if check.verifier not in rewards:
            raise DataError(
                f"problem {problem.id!r}: {unknown('reward', check.verifier, rewards)} A check is judged by the reward "
                f"of its name; to give it to another one, set checks: {{{check.verifier}: {min(rewards)}}}"
            )
    return replace(problem, checks=named)


def case_of(
    problem: Problem, check: Check, id: str, reply: Completion | None = None, thoughts: Thoughts | None = None
) -> VerificationCase:
    """What a check's verifier is asked about a reply to the problem; an empty reply where there is none.

    Args:
        thoughts: how the chat template marks thoughts in replies to the prompt.
    """
    return VerificationCase(
        id=id,
        prompt="\n".join(message.content for message in problem.prompt if message.role == "user"),
        response="" if reply is None else reply.text,
        ground_truth=check.ground_truth,
        source=problem.source,
        response_with_special=None if reply is None else reply.text_with_special,
        thoughts=thoughts,
        turns=problem.prompt,
        token_ids=() if reply is None else reply.token_ids,
    )


def ready(built: Mapping[str, Verifier[Any]], pool: PoolSettings) -> dict[str, Verifier[Any]]:
    """The same verifiers, isolated; each has what it needs.

    Raises:
        AftertrainError: what one of them lacks.
    """
    for verifier in built.values():
        verifier.preflight()
    shared = shared_pool(pool)
    return {name: isolate(verifier, shared) for name, verifier in built.items()}


def contents(built: Mapping[str, Verifier[Any]]) -> dict[str, str]:
    """What verifiers have beside their settings, as a judge has a model, for a stage's fingerprint."""
    found = [(name, verifier.content()) for name, verifier in built.items()]
    return {f"verifier {number} {name}": content for number, (name, content) in enumerate(found, 1) if content}
