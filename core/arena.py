"""What preferences over many prompts say of two or more models (F50): mean sign, ties, position bias, strengths.

S(m₁, m₂) = mean of sign(P_i(m₁) − P_i(m₂)), over prompts i. Strengths are those of Bradley & Terry (1952): m beats n
with probability σ(s_m − s_n).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from aftertrain.core.errors import MissingExtra
from aftertrain.core.preference import Preference
from aftertrain.core.statistics import Interval, mcnemar, paired_difference

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Counts = NDArray[np.float64]

PRIOR = 1e-3
"""Wins that each model has over each other before any verdict: so that one that wins all has a finite strength."""


@dataclass(frozen=True, slots=True)
class Duel:
    """Two models over the prompts that both answered.

    Attributes:
        score: S with its 95 % interval over prompts, in [−1, 1]; above 0 where the first model is preferred.
        wins: prompts on which the first model is preferred over both orders; `losses`, `ties` likewise.
        unjudged: prompts about which the judge said nothing usable; they are in none of the other numbers.
        lowest: S if all of these were lost; `highest` if all were won.
        follows_first: prompts on which the judge preferred what stood first, both times; `follows_second` likewise.
        p: exact two-sided p-value that wins and losses are equally likely (sign test).
    """

    score: Interval
    wins: int
    losses: int
    ties: int
    unjudged: int
    lowest: float
    highest: float
    follows_first: int
    follows_second: int
    p: float

    @property
    def position_bias(self) -> float:
        """The share of prompts on which the verdict follows the position, whichever."""
        return (self.follows_first + self.follows_second) / self.score.n


def duel(preferences: Sequence[Preference], unjudged: int = 0) -> Duel:
    """The numbers of two models.

    Raises:
        ValueError: there is no preference.
    """
    signs = [preference.sign for preference in preferences]
    if not signs:
        raise ValueError("a comparison needs at least one preference")
    follows = [preference.follows for preference in preferences]
    n, total = len(signs) + unjudged, sum(signs)
    lost, won = ([float(sign == side) for sign in signs] for side in (-1, 1))
    return Duel(
        score=paired_difference(lost, won),
        wins=signs.count(1),
        losses=signs.count(-1),
        ties=signs.count(0),
        unjudged=unjudged,
        lowest=(total - unjudged) / n,
        highest=(total + unjudged) / n,
        follows_first=follows.count(1),
        follows_second=follows.count(-1),
        p=mcnemar(lost, won),
    )


def strengths(
    names: Sequence[str],
    verdicts: Sequence[tuple[int, int, int, float]],
    *,
    resamples: int = 500,
    seed: int = 0,
) -> dict[str, Interval]:
    """Bradley–Terry strengths, their mean 0, with 95 % intervals from a bootstrap over prompts.

    Args:
        verdicts: (prompt, model, other model, preference for the model in [0, 1]); a tie is half a win for both.

    Raises:
        MissingExtra: choix is not installed. ValueError: there are no verdicts.
    """
    import numpy as np

    if not verdicts:
        raise ValueError("strengths need at least one verdict")
    prompts = sorted({verdict[0] for verdict in verdicts})
    place = {prompt: number for number, prompt in enumerate(prompts)}
    won = np.zeros((len(prompts), len(names), len(names)))
    for prompt, model, other, preference in verdicts:
        won[place[prompt], model, other] += preference
        won[place[prompt], other, model] += 1 - preference
    whole = fitted(won.sum(0))
    rng = np.random.default_rng(seed)
    draws = [fitted(won[rng.integers(0, len(prompts), len(prompts))].sum(0)) for _ in range(resamples)]
    low, high = np.quantile([*draws, whole], [0.025, 0.975], axis=0)
    return {
        name: Interval(float(whole[i]), float(low[i]), float(high[i]), len(prompts)) for i, name in enumerate(names)
    }


def fitted(won: Counts) -> Counts:
    """Strengths by maximum likelihood, `PRIOR` added; `won[m, n]` counts the wins of m over n."""
    import numpy as np

    prior = PRIOR * (1 - np.eye(len(won)))
    found: Counts = _choix().ilsr_pairwise_dense(won + prior, max_iter=1000)
    centred: Counts = found - found.mean()
    return centred


def preflight() -> None:
    """Find choix.

    Raises:
        MissingExtra: it is not installed.
    """
    _choix()


def _choix() -> Any:
    try:
        import choix
    except ImportError as error:
        raise MissingExtra("choix", "preference", "Bradley–Terry strengths") from error
    return choix
