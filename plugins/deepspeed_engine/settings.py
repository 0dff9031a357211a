"""Settings of the deepspeed engine."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from aftertrain.core.packed.settings import PackedSettings
from aftertrain.core.settings import unhashed


class DeepSpeedSettings(PackedSettings):
    """DeepSpeed ZeRO: weights, gradients and optimizer state are shared out over ranks."""

    zero: Literal[1, 2, 3] = Field(
        2, description="What each rank holds only a share of: 1 optimizer state, 2 gradients too, 3 weights too."
    )
    offload: Literal["none", "optimizer"] = Field(
        "none", description="optimizer: AdamW's state and step on the CPU, for GPUs that it does not fit on."
    )
    activation_checkpointing: bool = unhashed(
        False, description="Recompute each layer in the backward pass: up to a third more time for much less memory."
    )
