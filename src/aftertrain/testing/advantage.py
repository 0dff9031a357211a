"""What an advantage estimator promises: the columns it names, 0 off the actions, and the same however replies lie."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from aftertrain.core.advantage import Advantage, Replies
from aftertrain.core.learning.rl import token_rewards
from aftertrain.testing.promise import Subject, require

SHAPES = ((3, 4, 0), (2, 1, 0), (5, 3, 1), (1, 6, 1), (4, 2, 2), (2, 5, 2))
"""Prompt tokens, reply tokens and group of each made-up reply."""
REWARDS = (10.0, 0.0, -10.0, 4.0, 2.5, 2.5)
IN_ORDER = (0, 1, 2, 3, 4, 5)
CLOSE = 1e-5


def columns_are_named_and_finite(subject: Subject) -> None:
    """It gives the columns of `Method.columns`, finite float32 `[N]`, 0 at every token that is no action."""
    replies = make_replies()
    found = _columns(subject, replies)
    named = _estimator(subject).method.columns
    require(found.keys() == named, f"it gives {sorted(found)}, its method names {sorted(named)}")
    for name, column in found.items():
        require(column.dtype == torch.float32, f"column {name!r} is {column.dtype}")
        require(column.shape == replies.mask.shape, f"column {name!r} has shape {tuple(column.shape)}")
        require(bool(torch.isfinite(column).all()), f"column {name!r} is not finite")
    advantages = found.get("advantages")
    if advantages is not None:
        require(not bool(advantages[~replies.mask].any()), "advantages stand at tokens that the policy did not sample")


def it_is_pure(subject: Subject) -> None:
    """Called twice it gives the same bits, and it leaves what it was given as it was."""
    replies = make_replies()
    first, second = _columns(subject, replies), _columns(subject, replies)
    for name, column in first.items():
        require(torch.equal(column, second[name]), f"column {name!r} differs from call to call")
    fresh = make_replies()
    for name in ("rewards", "token_rewards", "generator_logprobs", "old_logprobs", "reference_logprobs", "values"):
        require(torch.equal(getattr(replies, name), getattr(fresh, name)), f"it changes {name!r} in place")


def the_order_of_replies_changes_nothing(subject: Subject) -> None:
    """Replies laid in another order, groups numbered otherwise: each reply has the same numbers."""
    order = [5, 2, 0, 4, 3, 1]
    ours, theirs = _columns(subject, make_replies()), _columns(subject, make_replies(order))
    for name, column in ours.items():
        apart = dict(zip(order, _by_reply(theirs[name], order), strict=True))
        for place, mine in enumerate(_by_reply(column, IN_ORDER)):
            actions = slice(SHAPES[place][0], None)
            close = torch.allclose(mine[actions], apart[place][actions], atol=CLOSE, rtol=CLOSE)
            require(close, f"column {name!r} of a reply depends on where in the step it lies")


def what_is_not_asked_for_may_be_missing(subject: Subject) -> None:
    """It works with what its method asks for alone: no values, no reference and no log-probs but those."""
    method, replies = _estimator(subject).method, make_replies()
    least = replace(
        replies,
        values=replies.values if method.critic else None,
        old_logprobs=replies.old_logprobs if method.logprobs else None,
        reference_logprobs=replies.reference_logprobs if method.reference else None,
    )
    for name, column in _columns(subject, least).items():
        require(bool(torch.isfinite(column).all()), f"without what is not asked for, column {name!r} is not finite")


def better_replies_are_pushed_up(subject: Subject) -> None:
    """Of two replies to one prompt that are alike but for their rewards, the better one has the higher advantages; a
    method of pairs chooses it."""
    estimator = _estimator(subject)
    if estimator.method.pairs:
        require([*estimator.pairs([0.0, 1.0])] == [(1, 0)], "of rewards 0 and 1 the second is not the chosen one")
        require(not [*estimator.pairs([1.0, 1.0])], "it makes a pair of replies that earned the same")
        return
    twins = _made([(3, 4, 0), (3, 4, 0)], [1.0, 0.0], range(2), alike=True)
    better, worse = _by_reply(estimator(twins).columns["advantages"], range(2), [(3, 4, 0), (3, 4, 0)])
    require(float(better.sum()) > float(worse.sum()), "the better of two replies to a prompt is not pushed up more")


def make_replies(order: Sequence[int] = IN_ORDER) -> Replies:
    """Six made-up replies to three problems, with all that may be asked for."""
    return _made([SHAPES[place] for place in order], [REWARDS[place] for place in order], order)


def _made(shapes: Any, rewards: Any, seeds: Any, *, alike: bool = False) -> Replies:
    def numbers(name: str) -> Tensor:
        found = []
        for seed, (prompt, reply, _) in zip(seeds, shapes, strict=True):
            rng = random.Random(f"{name} {0 if alike else seed}")
            found += [rng.gauss(-1.0, 0.3) for _ in range(prompt + reply)]
        return torch.tensor(found)

    sizes = tuple(prompt + reply for prompt, reply, _ in shapes)
    owners = torch.repeat_interleave(torch.arange(len(sizes)), torch.tensor(sizes))
    mask = torch.cat([torch.arange(prompt + reply) >= prompt for prompt, reply, _ in shapes])
    earned = torch.tensor(rewards, dtype=torch.float64)
    groups = [group for _, _, group in shapes]
    order = {group: place for place, group in enumerate(dict.fromkeys(groups))}
    return Replies(
        rewards=earned,
        parts={"contains": earned / 10},
        groups=torch.tensor([order[group] for group in groups]),
        lengths=torch.tensor([reply for _, reply, _ in shapes]),
        cut=torch.tensor([reply > 4 for _, reply, _ in shapes]),
        owners=owners,
        mask=mask,
        sizes=sizes,
        token_rewards=token_rewards(torch.zeros(len(mask)), earned.float(), mask, owners, 0.0),
        generator_logprobs=numbers("generator"),
        versions=torch.zeros(len(mask), dtype=torch.int64),
        old_logprobs=numbers("old"),
        reference_logprobs=numbers("reference"),
        values=numbers("values"),
    )


def _by_reply(column: Tensor, order: Any, shapes: Any = SHAPES) -> list[Tensor]:
    return list(torch.split(column, [sum(shapes[place][:2]) for place in order]))


def _estimator(subject: Subject) -> Advantage[Any]:
    estimator: Advantage[Any] = subject.component()
    return estimator


def _columns(subject: Subject, replies: Replies) -> dict[str, Tensor]:
    return dict(_estimator(subject)(replies).columns)
