"""From verdicts to rewards: small pure functions, one per rule. Standard library only.

Beside them stand the figures that say whether verdicts can be trusted: the quality of problems (F33) and the error of a
verifier against people's labels (F41).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from aftertrain.core.records import Outcome
from aftertrain.core.statistics import Interval, mean_interval, wilson

ROUNDING = 1e-9
"""How far under a threshold a value may lie and still reach it: a weighted mean of 0.8 may come out as 0.7999…"""


def verified(value: float, threshold: float | None = None) -> bool:
    """Whether a verdict's value is all that can be had: 1, or the threshold where there is one.

    >>> verified(1.0), verified(0.8), verified(0.1 * 3 + 0.5, 0.8), verified(0.79, 0.8)
    (True, False, True, False)
    """
    return value == 1.0 if threshold is None else value >= threshold - ROUNDING


def verification_reward(value: float, positive: float, negative: float, threshold: float | None = None) -> float:
    """r_neg + V·(r_pos − r_neg) with V(y, y*) in [0, 1]: r_pos at 1, r_neg at 0 (F27; Tülu 3: 10 and 0, V is 0 or 1).

    Args:
        threshold: all or nothing: r_pos from this value on, r_neg below it; None pays in between.

    >>> [verification_reward(value, 10.0, -1.0) for value in (1.0, 0.5, 0.0)]
    [10.0, 4.5, -1.0]
    >>> [verification_reward(value, 10.0, -1.0, threshold=0.5) for value in (1.0, 0.5, 0.49)]
    [10.0, 10.0, -1.0]

    Raises:
        ValueError: the value is not in [0, 1].
    """
    if not 0.0 <= value <= 1.0:
        raise ValueError(f"a verdict's value lies in [0, 1], not {value}")
    if threshold is not None:
        return positive if verified(value, threshold) else negative
    # Written so that 1 and 0 give r_pos and r_neg to the last bit.
    return value * positive + (1.0 - value) * negative


def total_reward(base: float, verification: float, weight: float) -> float:
    """R = R_base + λ·R_verify (F26). Tülu 3's best has R_base = 0 and λ = 1.

    >>> total_reward(0.5, 10.0, 0.2)
    2.5
    """
    return base + weight * verification


def ended_reward(reward: float, ended: bool, missing_eos: float | None) -> float:
    """The missing-EOS rule: a reply that was cut gets the penalty *instead of* its reward, even when correct.

    Args:
        ended: the reply ended by itself (finish reason `stop`).
        missing_eos: the penalty (Tülu 3: −10); None leaves the reward as it is.

    >>> ended_reward(10.0, True, -10.0), ended_reward(10.0, False, -10.0), ended_reward(10.0, False, None)
    (10.0, -10.0, 10.0)
    """
    return reward if ended or missing_eos is None else missing_eos


def verification_weight(step: int, initial: float, *, warmup: float | None = None, decay: float | None = None) -> float:
    """λ_t = λ₀·min(1, √(t/T_warm))·exp(−t/T_decay) (F31).

    Args:
        step: t, counted from 1.
        initial: λ₀.
        warmup: T_warm, in steps; None starts at full weight.
        decay: T_decay, in steps; None does not decay.

    T_warm = 4, T_decay = 10: λ_1 = 2·√(1/4)·e^(−0.1), and from t = 4 on only the decay is left:

    >>> [round(verification_weight(t, 2.0, warmup=4, decay=10), 4) for t in (1, 4, 10)]
    [0.9048, 1.3406, 0.7358]
    >>> verification_weight(1, 2.0)
    2.0

    Raises:
        ValueError: the step is below 1, or T_warm or T_decay is not positive.
    """
    if step < 1 or (warmup is not None and warmup <= 0) or (decay is not None and decay <= 0):
        raise ValueError(f"steps count from 1, warmup and decay are above 0; not {step}, {warmup}, {decay}")
    risen = 1.0 if warmup is None else min(1.0, math.sqrt(step / warmup))
    fallen = 1.0 if decay is None else math.exp(-step / decay)
    return initial * risen * fallen


@dataclass(frozen=True, slots=True)
class Running:
    """Mean and spread of all rewards so far (F35), by Welford's method: plain numbers that a checkpoint can hold.

    Attributes:
        squares: sum of squared differences from the mean.

    >>> both = Running().add([1.0, 2.0]).add([6.0])
    >>> both.count, both.mean, round(both.squares, 6), round(both.std, 4)
    (3, 3.0, 14.0, 2.1602)
    """

    count: int = 0
    mean: float = 0.0
    squares: float = 0.0

    @property
    def std(self) -> float:
        """σ, the root of the mean squared difference; 0 before the second reward."""
        return math.sqrt(self.squares / self.count) if self.count else 0.0

    def add(self, rewards: Iterable[float]) -> Running:
        """With further rewards, one after the other: the order decides the last bits.

        Raises:
            ValueError: a reward is not finite.
        """
        count, mean, squares = self.count, self.mean, self.squares
        for reward in rewards:
            if not math.isfinite(reward):
                raise ValueError(f"a reward is {reward}")
            count += 1
            gap = reward - mean
            mean += gap / count
            squares += gap * (reward - mean)
        return Running(count, mean, squares)


def normalised_reward(reward: float, running: Running, *, scale: float = 1.0, target: float = 0.0) -> float:
    """(R − μ_R)/σ_R·s + μ_target (F35); μ_target where all rewards were the same so far (σ_R = 0).

    μ = 3 and σ = 2: (7 − 3)/2·0.5 + 1 = 2:

    >>> normalised_reward(7.0, Running(2, 3.0, 8.0), scale=0.5, target=1.0)
    2.0
    >>> normalised_reward(7.0, Running(1, 7.0, 0.0), target=1.0)
    1.0
    """
    return target if running.std == 0 else (reward - running.mean) / running.std * scale + target


def task_weights(losses: Mapping[str, float], alpha: float) -> dict[str, float]:
    """w_i = softmax(−α·L_i) over tasks (F36): with α > 0 a task of low loss weighs more, with α < 0 one of high loss.

    Losses log 1 and log 3 with α = 1 weigh as 1 to 1/3; any shift of all losses leaves the weights as they are:

    >>> {task: round(weight, 4) for task, weight in task_weights({"a": 0.0, "b": math.log(3)}, 1.0).items()}
    {'a': 0.75, 'b': 0.25}

    Raises:
        ValueError: there is no task, or a loss or α is not finite.
    """
    scores = {task: -alpha * loss for task, loss in losses.items()}
    if not scores or not all(map(math.isfinite, scores.values())):
        raise ValueError(f"weights need finite losses of at least one task and a finite alpha: {dict(losses)}, {alpha}")
    highest = max(scores.values())
    powers = {task: math.exp(score - highest) for task, score in scores.items()}
    total = math.fsum(powers.values())
    return {task: power / total for task, power in powers.items()}


def well_defined(outcomes: Sequence[Outcome]) -> float:
    """V(d) of F33: the share of responses to a problem whose verification is well defined, that is, scored.

    >>> well_defined(["scored", "scored", "error", "timeout"])
    0.5

    Raises:
        ValueError: there are no responses.
    """
    if not outcomes:
        raise ValueError("the share of no responses is not defined: judge at least one for each problem")
    return sum(outcome == "scored" for outcome in outcomes) / len(outcomes)


def complexity(steps: int, most: int) -> float:
    """C(d) = min(1, log(1 + S)/log(1 + S_max)) of F33.

    Args:
        steps: S, solution steps or test cases of the problem.
        most: S_max, the number from which a problem counts as fully complex.

    >>> complexity(1, 3), complexity(0, 3), complexity(7, 3)
    (0.5, 0.0, 1.0)

    Raises:
        ValueError: S is negative or S_max is below 1.
    """
    if steps < 0 or most < 1:
        raise ValueError(f"S is at least 0 and S_max at least 1, not {steps} and {most}")
    return min(1.0, math.log1p(steps) / math.log1p(most))


def data_quality(verifiable: float, complex_: float, alpha: float) -> float:
    """Q(d) = α·V(d) + (1 − α)·C(d) (F33), see `well_defined` and `complexity`.

    >>> data_quality(0.75, 0.5, 0.5)
    0.625

    Raises:
        ValueError: one of the three is not in [0, 1].
    """
    if not all(0.0 <= number <= 1.0 for number in (verifiable, complex_, alpha)):
        raise ValueError(f"V, C and alpha lie in [0, 1], not {verifiable}, {complex_}, {alpha}")
    return alpha * verifiable + (1.0 - alpha) * complex_


def above_quality(qualities: Mapping[str, float], threshold: float) -> list[str]:
    """Ids of the problems to keep, Q(d) > threshold (F33), in their order.

    >>> above_quality({"a": 0.7, "b": 0.5, "c": 0.9}, 0.5)
    ['a', 'c']
    """
    return [name for name, quality in qualities.items() if quality > threshold]


@dataclass(frozen=True, slots=True)
class VerifierError:
    """How far a verifier is from people's labels (F41); intervals are 95 %.

    Attributes:
        error: E, the mean of |R_verify − R_human|/|R_human|; the aim is below 0.05.
        false_positives: share of the replies that people hold wrong which the verifier rewards in full (Wilson).
        false_negatives: share of those that people hold right which it does not; None where there are none of a kind.
        unscored: verdicts without a score, which the others leave out.
    """

    error: Interval
    false_positives: Interval | None
    false_negatives: Interval | None
    unscored: int = 0


def verifier_error(verified: Sequence[float | None], human: Sequence[float], *, positive: float = 1.0) -> VerifierError:
    """E = (1/N)·Σ |R_verify − R_human|/|R_human| (F41).

    Where R_human is 0 the quotient is not defined, and `positive` (r_pos) is the divisor instead: a wrong reply that is
    rewarded in full counts 1, as a right one that is not. With labels of 0 and r_pos, E is the share of disagreements.

    Args:
        verified: the verifier's rewards, or its scores; None where it gave none.
        human: people's, on the same scale.
        positive: r_pos, the reward of a reply that is right.

    Of two wrong replies the verifier rewards one, of three right ones it misses one: E = 2/5.

    >>> measured = verifier_error([10, 0, 10, 10, 0], [0, 0, 10, 10, 10], positive=10)
    >>> measured.error.mean, measured.false_positives.mean, round(measured.false_negatives.mean, 4)
    (0.4, 0.5, 0.3333)

    Raises:
        ValueError: the lists differ in length, no reward is there, one is not finite, or `positive` is not above 0.
    """
    if len(verified) != len(human):
        raise ValueError(f"every verdict needs a label: there are {len(verified)} verdicts and {len(human)} labels")
    pairs = [(value, label) for value, label in zip(verified, human, strict=True) if value is not None]
    if not pairs:
        raise ValueError(f"none of {len(verified)} verdicts has a score: there is nothing to compare")
    if not all(math.isfinite(number) for number in (positive, *itertools.chain(*pairs))) or positive <= 0:
        raise ValueError("rewards and labels must be finite, and positive above 0")
    terms = [abs(value - label) / (abs(label) or positive) for value, label in pairs]
    on_wrong = [value == positive for value, label in pairs if label != positive]
    on_right = [value != positive for value, label in pairs if label == positive]
    return VerifierError(
        mean_interval(terms),
        wilson(sum(on_wrong), len(on_wrong)) if on_wrong else None,
        wilson(sum(on_right), len(on_right)) if on_right else None,
        len(verified) - len(pairs),
    )
