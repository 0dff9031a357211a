"""Settings of the head kernels."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from aftertrain.core.settings import Settings


class LigerSettings(Settings):
    """Liger's fused linear cross-entropy has nothing to set."""


class CutCrossEntropySettings(Settings):
    """Cut cross-entropy."""

    filter_eps: Annotated[float, Field(gt=0, lt=1)] | None = Field(
        None,
        description="Leave out of the gradient each block of logits whose probabilities (of targets: 1 - p) are all "
        "below this; the paper takes 0.000244 in bfloat16. The backward pass gets faster, and the gradient wrong by "
        "what is left out: unlikely tokens are no longer pushed down. null leaves nothing out.",
    )
