"""Settings of the data set `quickstart`."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from aftertrain.core.ground.usage import UsedIf
from aftertrain.core.settings import Fraction, PositiveInt, Settings


class QuickstartSettings(Settings):
    """Which part of the world, and how much of it."""

    split: Literal["sft", "preference", "problems", "heldout"] = Field(
        "sft",
        description="sft: conversations, tidy in form but no sounder than people's; preference: a sound tidy answer "
        "against a worse one; problems: training problems with the right number; heldout: problems no other split has.",
    )
    rows: PositiveInt = Field(1000, description="Records to make.")
    seed: int = Field(0, ge=0, description="Seed of the world; another one makes other problems.")
    noise: Annotated[Fraction, UsedIf("split", "preference")] = Field(
        0.2, description="Share of preference pairs that are labelled the wrong way round."
    )
