"""The promises of an advantage estimator can be broken."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from aftertrain.core.advantage import Advantage, AdvantageSettings, Credit, Replies
from aftertrain.registry.tables import Origin, Plugin, Registration, Registry
from aftertrain.testing import advantage as promises
from aftertrain.testing.promise import BrokenPromise, Subject, promises_in

HERE = __name__


class Plain(AdvantageSettings):
    """Asks for nothing."""


class Good(Advantage[Plain]):
    """The reward itself."""

    Config = Plain

    def __call__(self, replies: Replies) -> Credit:
        return Credit({"advantages": replies.per_token(replies.rewards)})


class Misnamed(Good):
    def __call__(self, replies: Replies) -> Credit:
        return Credit({"advantage": replies.per_token(replies.rewards)})


class Everywhere(Good):
    def __call__(self, replies: Replies) -> Credit:
        return Credit({"advantages": replies.rewards.float()[replies.owners]})


class Infinite(Good):
    def __call__(self, replies: Replies) -> Credit:
        return Credit({"advantages": replies.per_token(replies.rewards / 0)})


class Greedy(Good):
    def __call__(self, replies: Replies) -> Credit:
        assert replies.values is not None
        return Credit({"advantages": replies.values * replies.mask})


class Random(Good):
    def __call__(self, replies: Replies) -> Credit:
        return Credit({"advantages": replies.per_token(torch.rand(len(replies.rewards)))})


class Writing(Good):
    def __call__(self, replies: Replies) -> Credit:
        replies.token_rewards[replies.mask] = 7.0
        return super().__call__(replies)


class Positional(Good):
    def __call__(self, replies: Replies) -> Credit:
        return Credit({"advantages": replies.per_token(torch.arange(len(replies.rewards)).flip(0))})


class Backwards(Good):
    def __call__(self, replies: Replies) -> Credit:
        return Credit({"advantages": -replies.per_token(replies.rewards)})


def _subject(component: type[Advantage[Any]], folder: Path) -> Subject:
    origin = Origin("offenders", "aftertrain", "0", HERE, __file__)
    row = Registration("advantage", "offender", f"{HERE}:{component.__name__}", f"{HERE}:Plain", "x", origin)
    registry = Registry()
    registry.commit(Plugin(origin, "ok", registrations=(row,)))
    subject = Subject(row, registry, folder, {}, ())
    object.__setattr__(subject, "component", lambda: component(Plain(), None))  # type: ignore[arg-type]
    return subject


def test_a_good_estimator_keeps_every_promise(tmp_path: Path) -> None:
    for promise in promises_in(promises):
        promise(_subject(Good, tmp_path))


@pytest.mark.parametrize(
    ("promise", "component", "said"),
    [
        (promises.columns_are_named_and_finite, Misnamed, r"it gives \['advantage'\], its method names"),
        (promises.columns_are_named_and_finite, Everywhere, "at tokens that the policy did not sample"),
        (promises.columns_are_named_and_finite, Infinite, "is not finite"),
        (promises.it_is_pure, Random, "differs from call to call"),
        (promises.it_is_pure, Writing, "changes 'token_rewards' in place"),
        (promises.the_order_of_replies_changes_nothing, Positional, "depends on where in the step it lies"),
        (promises.better_replies_are_pushed_up, Backwards, "is not pushed up more"),
    ],
)
def test_a_broken_promise_is_found(promise: Any, component: Any, said: str, tmp_path: Path) -> None:
    with pytest.raises(BrokenPromise, match=said):
        promise(_subject(component, tmp_path))


def test_what_is_not_asked_for_is_not_given(tmp_path: Path) -> None:
    with pytest.raises(AssertionError):
        promises.what_is_not_asked_for_may_be_missing(_subject(Greedy, tmp_path))
