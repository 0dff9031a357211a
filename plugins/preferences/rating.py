"""What replies are worth: by verifiers, a judge, a judge of pairs, or a reward model; joined by the replies' ids.

A reply that could not be rated has no rating; it is never worth 0, or what its neighbour is worth. Of a judge's aspects
those that do not apply are missing from the mean.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from aftertrain.core.engine import Engine
from aftertrain.core.errors import NumericsError
from aftertrain.core.ground.model_folder import context_window
from aftertrain.core.packed.packing import Segment
from aftertrain.core.packed.reward_scores import scores_at_end
from aftertrain.core.preference import Preference, RatesAspects, compared, mean_of_aspects, means_of
from aftertrain.core.records import JSON, Check, Message, Problem, Verdict
from aftertrain.core.settings import Builder
from aftertrain.core.text.chat import UnusableRow, load_tokenizer
from aftertrain.core.text.tokens import tokenise
from aftertrain.core.verification.checks import case_of, checks_of, ready, truth_of, with_rewards
from aftertrain.core.verifier import Verifier, verdicts_of
from aftertrain.plugins.preferences.reply import Reply
from aftertrain.plugins.preferences.settings import RaterSettings

JUDGE = "judge"
"""Where a judge stands among verifiers by name."""


@dataclass(frozen=True, slots=True)
class Rating:
    """What one reply is worth.

    Attributes:
        value: None where it could not be rated.
        unrated: why not, in a word or two.
        facts: what the rater said of it, for people: ratings of aspects, verdicts of checks.
        detail: why it has none, in the rater's words.
    """

    value: float | None = None
    unrated: str = ""
    facts: Mapping[str, JSON] = field(default_factory=dict)
    detail: str = ""


@dataclass
class Rated:
    """A block of replies that were rated.

    Attributes:
        ratings: by the reply's id.
        outcomes: verdicts by verifier or aspect, and outcome.
        order: of a judge of pairs, how often its preference followed the place: `first`, `second` or `neither`.
    """

    ratings: dict[str, Rating] = field(default_factory=dict)
    outcomes: dict[str, Counter[str]] = field(default_factory=dict)
    order: Counter[str] = field(default_factory=Counter)

    def count(self, name: str, verdict: Verdict) -> None:
        """Count a verdict."""
        self.outcomes.setdefault(name, Counter())[verdict.outcome] += 1


class Rater(ABC):
    """Rates replies."""

    def prompts(self, prompts: Sequence[Problem]) -> Sequence[Problem]:
        """The prompts as this rater needs them.

        Raises:
            DataError: one has no check, or one that no verifier judges.
        """
        return prompts

    def objections(self, prompts: Sequence[Problem]) -> dict[str, str]:
        """By id, why no reply to a prompt could be rated."""
        return {}

    @abstractmethod
    def rate(self, prompts: Mapping[str, Problem], replies: Sequence[Reply]) -> Rated:
        """Rate replies, none of which was dropped.

        Args:
            prompts: those replied to, by id.
        """

    @abstractmethod
    def close(self) -> None:
        """Free what it holds."""


def scale_of(settings: RaterSettings, verifier: Verifier[Any] | None) -> tuple[float, float]:
    """Ratings of the values 0 and 1."""
    if settings.scale is not None:
        return settings.scale
    return verifier.scale if isinstance(verifier, RatesAspects) else (0.0, 1.0)


def worth(verdict: Verdict, scale: tuple[float, float]) -> float | None:
    """A verdict as a rating: on the verifier's own scale where it has one.

    >>> worth(Verdict.scored(0.75), (1.0, 5.0)), worth(Verdict.unparsable(), (1.0, 5.0))
    (4.0, None)
    """
    if verdict.reward is not None:
        return verdict.reward
    low, high = scale
    return None if verdict.value is None else low + verdict.value * (high - low)


class ByChecks(Rater):
    """By the verifiers of the problems' checks: of several checks the lowest rating counts."""

    def __init__(self, settings: RaterSettings, verifiers: Mapping[str, Verifier[Any]]) -> None:
        self._settings = settings
        self._everywhere = [name for name, verifier in verifiers.items() if verifier.every_problem]
        self._verifiers = ready(verifiers, settings.verification)
        self._scale = scale_of(settings, None)

    def prompts(self, prompts: Sequence[Problem]) -> Sequence[Problem]:
        """With each check under the name of its verifier."""
        names = list(self._verifiers)
        return [with_rewards(prompt, names, self._settings.checks, self._everywhere) for prompt in prompts]

    def objections(self, prompts: Sequence[Problem]) -> dict[str, str]:
        """What verifiers object to, and prompts that have no check."""
        found = {prompt.id: "it has no check" for prompt in prompts if not prompt.checks}
        for name, verifier in self._verifiers.items():
            cases = [
                case_of(prompt, check, prompt.id)
                for prompt in prompts
                for check in checks_of(prompt, name, everywhere=False)
            ]
            for case, reason in zip(cases, verifier.objections(cases) if cases else [], strict=True):
                if reason is not None:
                    found.setdefault(case.id, f"{name}: {reason}")
        return found

    def rate(self, prompts: Mapping[str, Problem], replies: Sequence[Reply]) -> Rated:
        """One call for each verifier."""
        rated = Rated()
        verdicts: dict[str, list[tuple[str, Verdict]]] = {reply.id: [] for reply in replies}
        for name, verifier in self._verifiers.items():
            asked = [
                (reply, check)
                for reply in replies
                for check in checks_of(prompts[reply.prompt], name, everywhere=False)
            ]
            cases = [case_of(prompts[r.prompt], check, r.id, r.completion, r.thoughts) for r, check in asked]
            for (reply, _), verdict in zip(asked, verdicts_of(verifier, cases), strict=True):
                verdicts[reply.id].append((name, verdict))
                rated.count(name, verdict)
        rated.ratings = {id: self._rating(found) for id, found in verdicts.items()}
        return rated

    def _rating(self, verdicts: Sequence[tuple[str, Verdict]]) -> Rating:
        facts = {name: worth(verdict, self._scale) for name, verdict in verdicts}
        applied = [(name, verdict) for name, verdict in verdicts if verdict.outcome != "abstained"]
        lowest = self._scale[0] if self._settings.on_unparsable == "lowest" else None
        values = list[float]()
        for _, verdict in applied:
            value = lowest if verdict.outcome == "unparsable" else worth(verdict, self._scale)
            if value is None:
                return Rating(unrated=verdict.outcome, facts=facts, detail=verdict.detail)
            values.append(value)
        if not values:
            return Rating(unrated="abstained", facts=facts)
        return Rating(min(values), facts=facts)

    def close(self) -> None:
        """Free what the verifiers hold."""
        for verifier in self._verifiers.values():
            verifier.close()


class ByJudge(Rater):
    """By a verifier that is asked about every reply; aspect by aspect where it has aspects."""

    def __init__(self, settings: RaterSettings, judge: Verifier[Any]) -> None:
        self._judge = ready({JUDGE: judge}, settings.verification)[JUDGE]
        self._scale = scale_of(settings, judge)

    def objections(self, prompts: Sequence[Problem]) -> dict[str, str]:
        """What the judge objects to; one of pairs is not asked, for its ground truth is another reply."""
        if self._judge.compares:
            return {}
        cases = [case_of(prompt, Check(JUDGE, _truth(prompt)), prompt.id) for prompt in prompts]
        reasons = zip(cases, self._judge.objections(cases), strict=True)
        return {case.id: f"{JUDGE}: {reason}" for case, reason in reasons if reason is not None}

    def rate(self, prompts: Mapping[str, Problem], replies: Sequence[Reply]) -> Rated:
        """All replies in one call."""
        rated = Rated()
        cases = [
            case_of(p := prompts[reply.prompt], Check(JUDGE, _truth(p)), reply.id, reply.completion, reply.thoughts)
            for reply in replies
        ]
        if self._judge.compares:
            verdicts = self._compared(rated, replies, cases)
        elif isinstance(self._judge, RatesAspects):
            by_aspect = self._judge.aspects_of(cases) if cases else []
            for reply, aspects in zip(replies, by_aspect, strict=True):
                for name, verdict in aspects.items():
                    rated.count(name, verdict)
                facts = {name: worth(verdict, self._scale) for name, verdict in aspects.items()}
                rated.ratings[reply.id] = _rating(mean_of_aspects(aspects), self._scale, facts)
            return rated
        else:
            verdicts = verdicts_of(self._judge, cases)
        for reply, verdict in zip(replies, verdicts, strict=True):
            rated.count(JUDGE, verdict)
            rated.ratings[reply.id] = _rating(verdict, self._scale, {})
        return rated

    def close(self) -> None:
        """Free the model."""
        self._judge.close()

    def _compared(self, rated: Rated, replies: Sequence[Reply], cases: Sequence[Any]) -> list[Verdict]:
        groups: dict[str, int] = {}
        places = [groups.setdefault(reply.prompt, len(groups)) for reply in replies]
        comparisons = compared(self._judge, places, cases)
        for (one, other), preference in comparisons.items():
            if isinstance(preference, Preference) and replies[one].text != replies[other].text:
                rated.order[{1: "first", -1: "second", 0: "neither"}[preference.follows]] += 1
        return means_of(len(cases), comparisons)


class ByRewardModel(Rater):
    """By a reward model's value at the last token of prompt and reply, under its own template."""

    def __init__(
        self, settings: RaterSettings, builder: Builder, folder: str, chat_template: str | None, thoughts: str
    ) -> None:
        self._settings, self._builder, self._folder, self._thoughts = settings, builder, folder, thoughts
        self._tokenizer = load_tokenizer(folder, chat_template)
        limits = [limit for limit in (settings.max_tokens, context_window(folder), settings.micro_tokens) if limit]
        self._limit = min(limits)
        self._engine: Engine[Any] | None = None

    def rate(self, prompts: Mapping[str, Problem], replies: Sequence[Reply]) -> Rated:
        """Packed together."""
        rated, atoms = Rated(), []
        for reply in replies:
            try:
                ids = self._ids(prompts[reply.prompt], reply)
            except UnusableRow as error:
                rated.ratings[reply.id] = Rating(unrated=error.reason, detail=str(error))
                continue
            if len(ids) > self._limit:
                rated.ratings[reply.id] = Rating(
                    unrated="overlong", detail=f"{len(ids)} tokens; it may have {self._limit}"
                )
                continue
            atoms.append([Segment(reply.id, ids, [True] * len(ids))])
        scores = scores_at_end(self._opened(), atoms, self._settings.micro_tokens) if atoms else {}
        for id, score in scores.items():
            if not math.isfinite(score):
                raise NumericsError(f"the reward model's score of reply {id!r} is {score}: its weights are broken")
            rated.ratings[id] = Rating(score)
        return rated

    def close(self) -> None:
        """Free the model."""
        self._engine = None

    def _ids(self, prompt: Problem, reply: Reply) -> tuple[int, ...]:
        turn = reply.message(self._thoughts) or Message("assistant", reply.text)
        sample = tokenise(
            self._tokenizer,
            [*prompt.prompt, turn],
            learn_from=len(prompt.prompt),
            learn="last",
            tools=prompt.tools,
            sample_id=reply.id,
        )
        return sample.token_ids

    def _opened(self) -> Engine[Any]:
        if self._engine is None:
            engine: Engine[Any] = self._builder.build(self._settings.engine)
            engine.load(self._folder, head="scalar")
            self._engine = engine
        return self._engine


def _rating(verdict: Verdict, scale: tuple[float, float], facts: Mapping[str, JSON]) -> Rating:
    value = worth(verdict, scale)
    return Rating(value, "", facts) if value is not None else Rating(None, verdict.outcome, facts, verdict.detail)


def _truth(prompt: Problem) -> Any:
    """What a judge of every reply is given: null where the prompt has no checks."""
    return truth_of(prompt) if prompt.checks else None
