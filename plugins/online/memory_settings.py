"""Settings of steps whose size goes by memory (F40). No torch here."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from aftertrain.core.settings import Settings


class MemorySettings(Settings):
    """B_t = B₀·min(1, √(M/V_t)) problems in a step, B₀ being `prompts` (F40).

    What is not set is measured before each step and kept in the stage's folder, from which a resumed run reads it.
    """

    free_gib: Annotated[float, Field(ge=0)] | None = Field(
        None, description="M, memory for verification in GiB; null: what the machine, or its control group, has free."
    )
    need_gib: Annotated[float, Field(gt=0)] | None = Field(
        None,
        description="V_t, what verification needs in GiB; null: the most that the processes which judge have held "
        "(none, and so a full step, before they have started).",
    )
