"""Settings of the torch engine."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from aftertrain.core.settings import PositiveInt, Settings, unhashed


class TorchSettings(Settings):
    """PyTorch in one process. Weights, gradients and optimizer state are float32 whatever `dtype` is."""

    dtype: Literal["float32", "bfloat16"] = Field(
        "float32",
        description="Precision of matrix products (bfloat16 by autocast over float32 weights) and of the saved model.",
    )
    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="auto takes a GPU when there is one.")
    chunk: PositiveInt | None = Field(
        None,
        description="Tokens whose logits exist at one time; null takes as many as make 128 MiB of float32 logits.",
    )
    activation_checkpointing: bool = unhashed(
        False, description="Recompute each layer in the backward pass: about a third more time for much less memory."
    )
    share_prefixes: bool = Field(
        True,
        description="Compute once what the samples of one pair or prompt begin with. Moves results by rounding only.",
    )
