"""Schedules of learning rates and β as pure functions of the step: a resume needs no scheduler state (F12, F22)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field

from aftertrain.core.engine import AdamW
from aftertrain.core.ground.usage import Unused, UsedIf
from aftertrain.core.settings import Fraction, PositiveInt


class Optimizer(AdamW):
    """AdamW with a learning-rate schedule."""

    lr: Annotated[float, Field(gt=0)] = Field(description="Peak learning rate.")
    schedule: Literal["linear", "cosine", "wsd", "constant", "adaptive"] = Field(
        "linear",
        description="After warmup: linear or cosine decay until the last step; wsd, constant and at the end a linear "
        "decay; constant; or adaptive, which follows the size of the step's batch (F12).",
    )
    warmup: Fraction = Field(
        0.0, description="Share of all steps over which the rate rises from 0: linearly, for adaptive as a square root."
    )
    decay: Annotated[Fraction, UsedIf("schedule", "wsd")] = Field(
        0.1, description="For wsd: share of all steps over which the rate falls at the end."
    )
    floor: Annotated[Fraction, UsedIf("schedule", "linear", "cosine", "wsd")] = Field(
        0.0, description="Share of the peak rate that linear, cosine and wsd decay to."
    )
    horizon: PositiveInt | None = Field(
        None,
        description="Steps of the stage that the schedule is planned over, where these are not the steps that it runs: "
        "a run that is to be stopped early ends with the rate that it has by then. After fewer the rate stays at its "
        "end. null: the steps that it runs.",
    )

    def planned(self, steps: int, updates: int = 1) -> int:
        """Optimizer steps that the schedule goes over, in a stage of so many steps of so many updates each.

        >>> Optimizer(lr=1.0).planned(75, updates=4), Optimizer(lr=1.0, horizon=161).planned(75, updates=4)
        (300, 644)
        """
        return updates * (steps if self.horizon is None else self.horizon)

    def without_use(self) -> dict[str, Unused]:
        """Further the horizon of a rate that does not change with the steps."""
        unused = super().without_use()
        if self.schedule in {"constant", "adaptive"} and self.warmup == 0:
            reason = f"schedule is {self.schedule} without a warmup, which goes by no number of steps"
            unused["horizon"] = Unused(reason, ("schedule", "warmup"))
        return unused

    def rate(self, step: int, n_steps: int, batch_share: float = 1.0) -> float:
        """Learning rate of optimizer step `step`, counted from 0, of a schedule over `n_steps` (see `planned`).

        The rises and falls are those of transformers' schedulers: the first step of a warmup has rate 0. `adaptive` is
        η₀·√(b₀/b_t)·min(1, √(t/t_w)) with t counted from 1 (F12).

        Args:
            batch_share: b_t/b₀, the sequences of this step against those of a full one.

        >>> [round(Optimizer(lr=1.0, warmup=0.5).rate(t, 4), 3) for t in range(4)]
        [0.0, 0.5, 1.0, 0.5]
        >>> Optimizer(lr=1.0, warmup=0.5, schedule="adaptive").rate(1, 16, batch_share=0.25)
        1.0
        """
        warm = math.ceil(self.warmup * n_steps)
        if self.schedule == "adaptive":
            return self.lr / math.sqrt(batch_share) * min(1.0, math.sqrt((step + 1) / max(1, warm)))
        if step < warm:
            return self.lr * step / warm
        return self.lr * (self.floor + (1.0 - self.floor) * self._height(step, warm, n_steps))

    def _height(self, step: int, warm: int, n_steps: int) -> float:
        """From 1 at the end of the warmup to 0 at the last step."""
        if self.schedule == "constant":
            return 1.0
        start = warm if self.schedule != "wsd" else max(warm, n_steps - math.ceil(self.decay * n_steps))
        progress = min(1.0, max(0, step - start) / max(1, n_steps - start))
        return 0.5 * (1.0 + math.cos(math.pi * progress)) if self.schedule == "cosine" else 1.0 - progress


@dataclass(frozen=True, slots=True)
class Pace:
    """Where an optimizer step stands in its stage: all that rates and scheduled losses go by, whatever the stage.

    The figures are those of the whole step, not of a rank's share, so that every rank and every model (policy, critic)
    gets its rate from the same ones.

    Attributes:
        step: counted from 0.
        total: optimizer steps of the stage.
        batch_share: b_t/b₀, the sequences of this step against those of a full one (F12).
        updates: optimizer steps of one step of the stage, which is what a schedule's horizon counts.
    """

    step: int
    total: int
    batch_share: float = 1.0
    updates: int = 1

    @property
    def progress(self) -> float:
        """t/T, with t counted from 1: the share of the stage's steps that are done with this one (F22)."""
        return (self.step + 1) / self.total

    def rates(self, optimizers: Mapping[str, Optimizer]) -> dict[str, float]:
        """The step's learning rate of each model, by the term it is trained by.

        >>> policy, critic = Optimizer(lr=1.0, schedule="constant"), Optimizer(lr=8.0, schedule="adaptive")
        >>> Pace(2, 4, batch_share=0.25).rates({"policy": policy, "value": critic})
        {'policy': 1.0, 'value': 16.0}
        """
        return {
            term: optimizer.rate(
                self.step, optimizer.planned(self.total // self.updates, self.updates), self.batch_share
            )
            for term, optimizer in optimizers.items()
        }


def adaptive_beta(beta: float, progress: float, loss: float | None = None, target: float | None = None) -> float:
    """β_t = β₀·√(t/T)·min(1, √(L/l_t)) (F22): it rises with the steps, and is lower while the loss is above its target.

    Args:
        beta: β₀.
        progress: t/T with t counted from 1.
        loss: l_t, the current loss; None leaves out the second factor.
        target: L.

    >>> adaptive_beta(4.0, 0.25), adaptive_beta(4.0, 0.25, loss=1.0, target=0.25), adaptive_beta(4.0, 1.0, 0.1, 0.25)
    (2.0, 1.0, 4.0)
    """
    scale = 1.0 if loss is None or target is None or loss <= target else math.sqrt(target / loss)
    return beta * math.sqrt(progress) * scale
