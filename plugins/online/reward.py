"""Verdicts on rollouts, and what they earn."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from aftertrain.core.events import Sample, SampleVerdict
from aftertrain.core.ground.wording import distinct
from aftertrain.core.learning.rewards import total_reward, verification_reward, verified
from aftertrain.core.learning.shaping import product_reward, weighted_reward
from aftertrain.core.preference import verdicts_by_comparison
from aftertrain.core.records import UNJUDGED, Check, Completion, Outcome, Verdict, VerificationCase
from aftertrain.core.verification import checks
from aftertrain.core.verifier import Verifier, verdicts_of
from aftertrain.plugins.online.problems import Prompt
from aftertrain.plugins.online.reward_settings import RewardSettings
from aftertrain.plugins.online.rollout import Rollout

Named = tuple[tuple[str, Verdict], ...]
"""Verdicts on one reply with the names of those who gave them."""
Key = tuple[int, str, int]
"""A check of a rollout: the rollout's group and id, and the check's place among its problem's."""
ENVIRONMENT = "environment"
"""Name under which an environment's failures stand among the verdicts."""


@dataclass(frozen=True, slots=True)
class Judged:
    """A rollout with its verdicts, one per check as (verifier, verdict), and its reward.

    Attributes:
        earned: R = R_base + λ·R_verify (F26) and what shaping adds, before it is normalised and before the missing-EOS
            rule.
        base: the reward model's score, where there is one.
        threshold: the value from which a verdict counts as verified; None for 1.
        parts: what each part gave, by name: a check's own reward, the reward model's, what shaping adds; a check that
            abstained gave nothing.
        added: what makes up `earned`: λ·R_verify of all checks together as `verification`, and the others of `parts`.
        shaping: verdicts of the verifiers that shape the reward.
        left_out: nothing is learnt of it, for nobody could judge it (`leaves_out`); its reward is 0 and means nothing.
    """

    rollout: Rollout
    verdicts: Named
    reward: float
    earned: float
    base: float | None = None
    threshold: float | None = None
    parts: Mapping[str, float] = field(default_factory=dict)
    added: Mapping[str, float] = field(default_factory=dict)
    shaping: Named = ()
    left_out: bool = False

    @property
    def total(self) -> float:
        """The reward of the whole, and of each turn."""
        return self.reward + sum(self.rollout.turn_rewards)

    @property
    def value(self) -> float | None:
        """The lowest of the verdicts' values; None where one could not be judged, or all abstained."""
        values = [verdict.value for _, verdict in self.verdicts if verdict.outcome != "abstained"]
        judged = [value for value in values if value is not None]
        return min(judged) if judged and len(judged) == len(values) else None

    @property
    def verified(self) -> bool:
        """Whether every check holds: in full, or as far as the threshold asks."""
        return self.value is not None and verified(self.value, self.threshold)

    @property
    def unjudged(self) -> bool:
        """Whether its verdicts say nothing of it: some failed, or all abstained, and no other is against it."""
        known = [verdict for _, verdict in self.verdicts if verdict.outcome not in UNJUDGED]
        wrong = any(verdict.value is None or not verified(verdict.value, self.threshold) for verdict in known)
        failed = any(verdict.outcome in UNJUDGED and verdict.outcome != "abstained" for _, verdict in self.verdicts)
        return not wrong and (failed or (bool(self.verdicts) and not known))

    def sample(self) -> Sample:
        """The reply as it is shown and kept."""
        reply = self.rollout.completion
        return Sample(
            id=self.rollout.id,
            prompt="\n".join(message.content for message in self.rollout.prompt.problem.prompt),
            response=self.rollout.transcript,
            reward=self.total,
            verdicts=_told(self.verdicts, self.parts),
            finish_reason="length" if self.rollout.cut else reply.finish_reason,
            tokens=self.rollout.sampled,
            base=self.base,
            earned=None if self.earned == self.total else self.earned,
            parts=self.added,
            shaping=_told(self.shaping, self.added),
            response_with_special=None if self.rollout.before else reply.text_with_special,
        )


def verdicts_on(
    rollouts: Sequence[Rollout], verifiers: Mapping[str, Verifier[Any]], known: Mapping[Key, Verdict] | None = None
) -> list[tuple[tuple[str, Verdict], ...]]:
    """Each rollout's verdicts, one per check as (verifier, verdict); one batch per verifier.

    Verifiers judge the last reply. Where the environment failed they are not asked, and its failure is the one verdict.
    Without any, the environment alone rewards.

    Args:
        known: verdicts that were asked for already.
    """
    known = known or {}
    if not verifiers:
        return [() if rollout.failure is None else ((ENVIRONMENT, rollout.failure),) for rollout in rollouts]
    asked: dict[str, list[tuple[Rollout, Check]]] = {name: [] for name in verifiers}
    whole = [rollout for rollout in rollouts if rollout.failure is None]
    for rollout in whole:
        for place, check in enumerate(rollout.prompt.problem.checks):
            if (rollout.group, rollout.id, place) not in known:
                asked[check.verifier].append((rollout, check))
    verdicts = {name: iter(_verdicts(verifiers[name], batch)) for name, batch in asked.items() if batch}
    return [
        ((ENVIRONMENT, rollout.failure),)
        if rollout.failure is not None
        else tuple(
            (check.verifier, known.get((rollout.group, rollout.id, place)) or next(verdicts[check.verifier]))
            for place, check in enumerate(rollout.prompt.problem.checks)
        )
        for rollout in rollouts
    ]


def _verdicts(verifier: Verifier[Any], asked: Sequence[tuple[Rollout, Check]]) -> list[Verdict]:
    """One for each reply and check, in order; of a judge of pairs by comparing the replies to each prompt."""
    cases = [case_of(rollout.prompt, check, rollout.id, rollout.completion) for rollout, check in asked]
    if verifier.compares:
        return verdicts_by_comparison(verifier, [rollout.group for rollout, _ in asked], cases)
    return verdicts_of(verifier, cases)


def shaping_verdicts(
    rollouts: Sequence[Rollout], verifiers: Mapping[str, Verifier[Any]], names: Sequence[str]
) -> list[Named]:
    """Each rollout's verdicts by the verifiers of these names, which are asked about every reply; one batch each."""

    def check(name: str, rollout: Rollout) -> Check:
        (found,) = checks.checks_of(rollout.prompt.problem, name, everywhere=True)
        return found

    by_name = {
        name: _verdicts(verifiers[name], [(rollout, check(name, rollout)) for rollout in rollouts]) for name in names
    }
    return [tuple((name, by_name[name][place]) for name in names) for place in range(len(rollouts))]


def earned_reward(
    verdicts: Sequence[tuple[str, Verdict]],
    settings: RewardSettings,
    *,
    base: float = 0.0,
    weight: float | None = None,
) -> float:
    """R = R_base + λ·R_verify (F26), R_verify the checks' rewards (F27) combined.

    Args:
        base: R_base, and what shaping adds.
        weight: λ; None takes the settings'.

    >>> rules = RewardSettings(negative=-1.0, on_unparsable=-2.0)
    >>> right, wrong, none = (("v", Verdict.scored(1.0)), ("v", Verdict.scored(0.0)), ("v", Verdict.unparsable()))
    >>> half = ("v", Verdict.scored(0.5))
    >>> [earned_reward(verdicts, rules) for verdicts in ([right], [right, half], [half, wrong], [wrong, none])]
    [10.0, 4.5, -1.0, -2.0]
    >>> earned_reward([right, right], rules, base=0.5, weight=0.25)
    3.0
    """
    return total_reward(base, _combined(verdicts, settings), settings.weight if weight is None else weight)


def check_parts(verdicts: Sequence[tuple[str, Verdict]], settings: RewardSettings) -> dict[str, float]:
    """What each check earns by itself, the second of one name as `name#2`; one that abstains has no part.

    >>> verdicts = [("a", Verdict.scored(1.0)), ("a", Verdict.scored(0.0)), ("b", Verdict.abstained())]
    >>> check_parts(verdicts, RewardSettings())
    {'a': 10.0, 'a#2': 0.0}
    """
    names = distinct([name for name, _ in verdicts])
    return {
        name: _earned(verifier, verdict, settings)
        for name, (verifier, verdict) in zip(names, verdicts, strict=True)
        if verdict.outcome != "abstained"
    }


def leaves_out(verdicts: Named, settings: RewardSettings) -> bool:
    """Whether nothing is to be learnt of a reply, as the settings have no reward for how judging it failed.

    >>> failed, slow = ("v", Verdict.error("?")), ("environment", Verdict.timeout())
    >>> rules = RewardSettings(on_error=None)
    >>> [leaves_out((verdict,), rules) for verdict in (failed, slow)], leaves_out((failed,), RewardSettings())
    ([True, True], False)
    """
    return any(_failed_reward(name, verdict, settings) is None for name, verdict in verdicts)


def counted(judged: Sequence[Judged]) -> Sequence[Judged]:
    """Those whose rewards mean something; all where there are none."""
    return [reply for reply in judged if not reply.left_out] or judged


def _failed_reward(name: str, verdict: Verdict, settings: RewardSettings) -> float | None:
    """What a verdict that failed earns; 0 where it did not."""
    if verdict.outcome not in ("error", "timeout"):
        return 0.0
    if name == ENVIRONMENT:
        return settings.on_environment
    return settings.on_error if verdict.outcome == "error" else settings.on_timeout


def _combined(verdicts: Sequence[tuple[str, Verdict]], settings: RewardSettings) -> float:
    """R_verify of several checks, 0 of none. In a product one that could not be judged decides: it has no factor."""
    if not verdicts:
        return 0.0
    applied = [(name, verdict) for name, verdict in verdicts if verdict.outcome != "abstained"]
    if not applied:
        return settings.on_abstained
    rewards = [_earned(name, verdict, settings) for name, verdict in applied]
    if settings.combine == "weighted_sum":
        return weighted_reward(rewards, [settings.weights.get(name, 1.0) for name, _ in applied])
    unjudged = [reward for reward, (_, verdict) in zip(rewards, applied, strict=True) if verdict.value is None]
    if settings.combine == "min" or unjudged:
        return min(unjudged if settings.combine == "product" else rewards)
    values = [verdict.value for _, verdict in applied if verdict.value is not None and verdict.reward is None]
    own = [verdict.reward for _, verdict in applied if verdict.reward is not None]
    return product_reward(values, own, settings.positive, settings.negative, settings.threshold)


def outcome_counts(judged: Sequence[Judged]) -> dict[str, dict[str, int]]:
    """Outcomes by verifier, those that shape rewards too, for the event `verdicts`."""
    counts: dict[str, Counter[str]] = {}
    for reply in judged:
        for name, verdict in (*reply.verdicts, *reply.shaping):
            counts.setdefault(name, Counter())[verdict.outcome] += 1
    return {name: dict(counter) for name, counter in counts.items()}


def outcome_rates(counts: Mapping[str, Mapping[str, int]]) -> dict[str, float]:
    """Shares of the verdicts that have no value, by why; empty where there is no verdict.

    >>> outcome_rates({"a": {"scored": 3, "timeout": 1}, "b": {"scored": 4}})
    {'unparsable_rate': 0.0, 'timeout_rate': 0.125, 'error_rate': 0.0}
    """
    total = sum(sum(outcomes.values()) for outcomes in counts.values())
    without = ("unparsable", "timeout", "error") if total else ()
    return {f"{name}_rate": sum(one.get(name, 0) for one in counts.values()) / total for name in without}


def failures(judged: Sequence[Judged], counts: Mapping[str, Mapping[str, int]]) -> dict[tuple[str, Outcome], str]:
    """What to warn of, by verifier and outcome: the rate of its errors and timeouts, and the first one's detail."""
    messages: dict[tuple[str, Outcome], str] = {}
    for reply in judged:
        for name, verdict in (*reply.verdicts, *reply.shaping):
            if verdict.outcome in ("error", "timeout") and (name, verdict.outcome) not in messages:
                whose = name if name == ENVIRONMENT else f"reward {name!r}"
                count, total = counts[name][verdict.outcome], sum(counts[name].values())
                messages[name, verdict.outcome] = (
                    f"{whose}: {verdict.outcome} on {count:,} of {total:,} replies of this step "
                    f"({count / total:.0%}); the first: {verdict.detail or 'no detail'}"
                )
    return messages


def _earned(name: str, verdict: Verdict, settings: RewardSettings) -> float:
    if verdict.reward is not None:
        return verdict.reward
    if verdict.value is not None:
        return verification_reward(verdict.value, settings.positive, settings.negative, settings.threshold)
    if verdict.outcome in ("error", "timeout"):
        return _failed_reward(name, verdict, settings) or 0.0
    return settings.on_unparsable if verdict.outcome == "unparsable" else settings.on_abstained


def _told(verdicts: Named, worth: Mapping[str, float]) -> tuple[SampleVerdict, ...]:
    names = distinct([name for name, _ in verdicts])
    return tuple(
        SampleVerdict(name, verdict.outcome, verdict.value, verdict.extracted, verdict.detail, worth.get(place))
        for place, (name, verdict) in zip(names, verdicts, strict=True)
    )


def case_of(prompt: Prompt, check: Check, id: str, reply: Completion | None = None) -> VerificationCase:
    """What a check's verifier is asked about a reply to the prompt; an empty reply where there is none."""
    return checks.case_of(prompt.problem, check, id, reply, prompt.thoughts)
