"""How well each task goes, over the steps: the L_i of dynamic task weights (F36). Standard library only."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from aftertrain.core.learning.rewards import task_weights


@dataclass(frozen=True, slots=True)
class TaskRates:
    """The running mean loss of each task: plain numbers that a checkpoint can hold.

    A step before counts `decay` times what the step after it counts, and of the steps those in which the task occurred.
    Beside L_i = 1 − success rate, which a list of zeros and ones makes, any losses of single replies will do.

    Attributes:
        totals: by task, the decayed sum of its losses.
        counts: by task, the decayed number of them.

    One failure of two, then three of three, the first step counting half: (½·1 + 3)/(½·2 + 3) = 3.5/4:

    >>> rates = TaskRates().add({"math": [0.0, 1.0]}, 0.5).add({"math": [1.0, 1.0, 1.0]}, 0.5)
    >>> rates.losses()
    {'math': 0.875}
    """

    totals: Mapping[str, float] = field(default_factory=dict)
    counts: Mapping[str, float] = field(default_factory=dict)

    def add(self, losses: Mapping[str, Iterable[float]], decay: float) -> TaskRates:
        """With one step's losses by task; a task without any stays as it is."""
        totals, counts = dict(self.totals), dict(self.counts)
        for task, found in losses.items():
            numbers = list(found)
            if numbers:
                totals[task] = decay * totals.get(task, 0.0) + sum(numbers)
                counts[task] = decay * counts.get(task, 0.0) + len(numbers)
        return TaskRates(totals, counts)

    def losses(self) -> dict[str, float]:
        """L_i of each task that had any."""
        return {task: self.totals[task] / count for task, count in self.counts.items() if count > 0}


def reply_weights(tasks: Iterable[str], losses: Mapping[str, float], alpha: float) -> list[float]:
    """For each reply of a step the factor of its advantages: w_i = softmax(−α·L_i) of its task, over their mean (F36).

    The mean over the replies is 1, so that weights move effort between tasks and leave the size of a step alone. A task
    without a loss so far counts as the mean of those that have one.

    L = 0 and L = log 3 with α = 1 weigh as 1 to 1/3, two replies of the one and one of the other 9/7 and 3/7:

    >>> import math
    >>> weights = reply_weights(["a", "b", "a"], {"a": 0.0, "b": math.log(3)}, 1.0)
    >>> [round(7 * weight, 9) for weight in weights], sum(weights)
    ([9.0, 3.0, 9.0], 3.0)
    >>> reply_weights(["a", "b"], {}, 2.0)
    [1.0, 1.0]
    """
    named = list(tasks)
    if not named:
        return []
    usual = sum(losses.values()) / len(losses) if losses else 0.0
    weights = task_weights({task: losses.get(task, usual) for task in dict.fromkeys(named)}, alpha)
    # Over the highest first, so that tasks which are all alike weigh 1 to the last bit.
    highest = max(weights.values())
    weights = {task: weight / highest for task, weight in weights.items()}
    mean = sum(weights[task] for task in named) / len(named)
    return [weights[task] / mean for task in named]
