"""Settings of the pool that judges."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from aftertrain.core.ground.cores import usable_cores
from aftertrain.core.settings import PositiveInt, Settings, unhashed


class PoolSettings(Settings):
    """How many processes judge, and what one case may take."""

    workers: PositiveInt | None = unhashed(None, description="Judging processes; null takes the CPU cores, 8 at most.")
    timeout: Annotated[float, Field(gt=0)] | None = Field(
        None, description="Seconds one case may take before its verdict is `timeout`; null takes the verifier's own."
    )
    memory_gib: Annotated[float, Field(ge=0.5)] = Field(
        4.0, description="Address space of one process in GiB; a case that needs more is an `error`."
    )
    recycle: PositiveInt = unhashed(10_000, description="Cases after which a process is replaced by a fresh one.")

    @property
    def size(self) -> int:
        """Judging processes."""
        return self.workers or min(usable_cores(), 8)
