"""Settings of the PPO loss. No torch here."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from aftertrain.core.ground.usage import used_unless
from aftertrain.core.settings import Settings


class PPOSettings(Settings):
    """Clipped policy and value losses (F37); the defaults are Tülu 3's."""

    clip: Annotated[float, Field(gt=0)] = Field(
        0.2, description="How far the probability ratio may leave 1 before a token stops pushing."
    )
    value_clip: Annotated[float, Field(gt=0)] | None = Field(
        0.2, description="How far a value may leave its old one; null does not clip. In units of the reward."
    )
    value_coefficient: Annotated[float, Field(ge=0)] = Field(0.1, description="Weight of the value loss, beside its ½.")
    entropy_coefficient: Annotated[float, Field(ge=0)] = Field(
        0.0, description="Weight of the entropy bonus; above 0 the entropy is computed and shown."
    )
    show_entropy: Annotated[bool, used_unless("entropy_coefficient")] = Field(
        False, description="Compute and show the policy's entropy without a bonus."
    )
