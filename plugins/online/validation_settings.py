"""Settings of the measurement on held-out problems. No torch here."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from aftertrain.core.dataset import Dataset
from aftertrain.core.ground.usage import used_unless
from aftertrain.core.learning.held_out import HeldOut
from aftertrain.core.settings import PositiveInt, Use


class ValidationSettings(HeldOut):
    """Problems that are not trained on, to which the policy replies now and then; the stage's rewards judge them."""

    data: Use[Dataset[Any]] = Field(description="Problems, whose checks the stage's rewards can judge.")
    every: PositiveInt = Field(10, description="Online steps between two measurements; the last step has one.")
    temperature: Annotated[float, Field(ge=0)] = Field(
        0.0,
        description="Of the replies: 0 takes the likeliest token each time. Else the same seeds are drawn each time.",
    )
    samples: Annotated[PositiveInt, used_unless("temperature", 0)] = Field(
        1, description="Replies to each problem, whose mean counts."
    )
    keep: Literal["best", "last"] = Field(
        "best",
        description="The weights that the stage leaves: those of the best measurement (of equal ones the first), or "
        "those of its last step.",
    )
