"""The advantage interface: from what a step's replies earned to the columns that a loss reads (F34, F37).

An estimator sees all replies of an online step at once and gives each of their tokens a number. It says what it needs
of the stage, and what its paper sets of it, in `Method`, on its settings class: recipes are checked before anything
heavy is imported. RLOO, whole:

    class RLOOSettings(AdvantageSettings):
        method = Method(samples=2, defaults={"loss": "reinforce"})

    class RLOO(Advantage[RLOOSettings]):
        Config = RLOOSettings

        def __call__(self, replies: Replies) -> Credit:
            rewards, others = replies.totals, replies.group_sizes - 1
            baseline = (replies.group_sum(rewards) - rewards) / others.clamp(min=1)
            return Credit({"advantages": replies.per_token(rewards - baseline)})
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeVar

from aftertrain.core.component import Component
from aftertrain.core.settings import Settings

if TYPE_CHECKING:
    from torch import Tensor

Sum = Callable[[Mapping[str, float]], Mapping[str, float]]
"""Sums each entry over all ranks (`Ranks.sum`)."""


@dataclass(frozen=True, slots=True)
class Method:
    """What an estimator needs of an online stage, and how its paper sets the stage.

    Attributes:
        critic: it reads `Replies.values`; the stage then trains a critic beside the policy (a loss's term `value`).
        samples: fewest replies to a prompt. From 2 on, replies are compared: one whose group all earned the same
            teaches nothing.
        logprobs: it reads `Replies.old_logprobs` before the update, which costs a forward pass where the first update
            would do for it.
        reference: it reads `Replies.reference_logprobs`.
        pairs: it learns from pairs of replies, which `Advantage.pairs` chooses, with a loss over preference pairs.
        columns: token columns it gives.
        kl: where a KL penalty may stand beside it; in the reward only if it reads `token_rewards` or `totals`.
        scale_free: only differences of rewards count, by their spread: factors of all rewards do nothing.
        defaults: settings of the stage `online` where a recipe says nothing, nested as a recipe nests them. They are
            the method's own; what a recipe sets wins.
    """

    critic: bool = False
    samples: int = 1
    logprobs: bool = False
    reference: bool = False
    pairs: bool = False
    columns: frozenset[str] = frozenset({"advantages"})
    kl: frozenset[Literal["reward", "loss"]] = frozenset({"loss"})
    scale_free: bool = False
    defaults: Mapping[str, Any] = field(default_factory=dict)


class AdvantageSettings(Settings):
    """Base of an estimator's settings."""

    method: ClassVar[Method] = Method()

    @property
    def samples(self) -> int:
        """Fewest replies to a prompt under these settings."""
        return self.method.samples


S = TypeVar("S", bound=AdvantageSettings)


@dataclass(frozen=True)
class Replies:
    """All replies of one online step, laid end to end with their prompts: R replies, N tokens, G groups.

    Attributes:
        rewards: float64 `[R]`, what each reply earned as a whole: verdicts, shaping, normalisation, and its turns.
        parts: float64 `[R]` by name, what each part of the reward gave (a check, a reward model); NaN where a reply has
            no such part.
        groups: int64 `[R]`, which of the step's problems each answers.
        lengths: int64 `[R]`, tokens of the reply.
        cut: bool `[R]`, whether it ended at its limit, not by itself.
        owners: int64 `[N]`, which reply each token belongs to.
        mask: bool `[N]`, the tokens that the policy sampled: the actions.
        sizes: tokens of each reply with its prompt; they sum to N.
        token_rewards: float32 `[N]`, what stands at each action: the reply's reward at its last one (F34), rewards of
            turns at theirs, and −β·KL where the penalty is in the reward (F28).
        generator_logprobs: float32 `[N]`, of each action, as its sampler had it.
        versions: int64 `[N]`, of the weights that made each action: the step of their last update, 0 before the first.
        old_logprobs: float32 `[N]`, by the policy before the update; None unless it is asked for or known.
        reference_logprobs: float32 `[N]`; None without a reference.
        values: float32 `[N]`, the critic's head *at* each token: V before token i is `values[i-1]`; None without one.
        sum: adds figures over all ranks.
    """

    rewards: Tensor
    parts: Mapping[str, Tensor]
    groups: Tensor
    lengths: Tensor
    cut: Tensor
    owners: Tensor
    mask: Tensor
    sizes: tuple[int, ...]
    token_rewards: Tensor
    generator_logprobs: Tensor
    versions: Tensor
    old_logprobs: Tensor | None = None
    reference_logprobs: Tensor | None = None
    values: Tensor | None = None
    sum: Sum = field(default=lambda sums: sums)

    @property
    def totals(self) -> Tensor:
        """Float64 `[R]`: the sum of each reply's token rewards: turns and, where it is in the reward, the KL penalty.

        Without a KL penalty these are `rewards`.
        """
        earned = self.token_rewards.double()
        return earned.new_zeros(len(self.rewards)).index_add(0, self.owners, earned)

    def group_sum(self, values: Tensor) -> Tensor:
        """For each reply the sum of `values` `[R]` over its group: `[R]`."""
        size = int(self.groups.max()) + 1 if len(self.groups) else 0
        return values.new_zeros(size).index_add(0, self.groups, values)[self.groups]

    @property
    def group_sizes(self) -> Tensor:
        """Float64 `[R]`: how many replies each one's group has."""
        return self.group_sum(self.rewards.new_ones(len(self.rewards)))

    def group_mean(self, values: Tensor) -> Tensor:
        """For each reply the mean of `values` `[R]` over its group: `[R]`."""
        return self.group_sum(values) / self.group_sizes

    def per_token(self, values: Tensor) -> Tensor:
        """One number for all actions of a reply: `values` `[R]` → float32 `[N]`, 0 at other tokens."""
        return values.float()[self.owners] * self.mask


@dataclass(frozen=True, slots=True)
class Credit:
    """What an estimator gives.

    Attributes:
        columns: float32 `[N]` by name, those of `Method.columns`; read where `Replies.mask` is true, `advantages` being
            0 elsewhere.
        metrics: figures over the whole step, for the run's log.
    """

    columns: Mapping[str, Tensor]
    metrics: Mapping[str, float] = field(default_factory=dict)


def sound(credit: Any, columns: frozenset[str], replies: Replies) -> Credit:
    """What a stranger's estimator returned, looked at.

    Raises:
        TypeError: it is no `Credit`, or a column is no tensor of floats. ValueError: its columns are not those that its
            method names, or one has another shape than the step's tokens.
    """
    if not isinstance(credit, Credit):
        raise TypeError(f"an estimator returns a Credit, not {credit!r:.100}")
    if credit.columns.keys() != columns:
        raise ValueError(f"it gives the columns {sorted(credit.columns)}, and its method names {sorted(columns)}")
    for name, column in credit.columns.items():
        if not hasattr(column, "is_floating_point") or not column.is_floating_point():
            raise TypeError(f"column {name!r} is no tensor of floats but {column!r:.100}")
        if column.shape != replies.mask.shape:
            n, r = len(replies.mask), len(replies.rewards)
            raise ValueError(
                f"column {name!r} has shape {tuple(column.shape)}, and the step {n:,} tokens of {r:,} replies: "
                "`Replies.per_token` spreads a number for each reply over its tokens"
            )
    return credit


class Advantage(Component[S]):
    """An advantage estimator. Subclasses are stateless: the same replies give the same columns."""

    kind: ClassVar[str] = "advantage"
    Config: ClassVar[type[Settings]] = AdvantageSettings

    @property
    def method(self) -> Method:
        """What it needs, and what its paper sets."""
        return self.settings.method

    def pairs(self, rewards: Sequence[float]) -> Sequence[tuple[int, int]]:
        """For a method of pairs: which replies of a group are compared, as places (chosen, rejected).

        Args:
            rewards: of one group's replies, in order. None may be chosen: the group then teaches nothing.
        """
        raise NotImplementedError(f"{type(self).__name__} learns from pairs and does not choose any")

    @abstractmethod
    def __call__(self, replies: Replies) -> Credit:
        """Columns for all tokens of the step."""
