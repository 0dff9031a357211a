"""Settings of the torch engine."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from aftertrain.core.packed.settings import PackedSettings
from aftertrain.core.settings import PositiveInt, Settings, unhashed


class Lora(Settings):
    """Low-rank adapters (Hu et al. 2021): only they, and a scalar head, are trained. Without dropout."""

    rank: PositiveInt = Field(16, description="Rank of each adapter.")
    alpha: Annotated[float, Field(gt=0)] = Field(32.0, description="An adapter's product is scaled by alpha / rank.")
    targets: tuple[str, ...] | Literal["all-linear"] = Field(
        "all-linear", description="Names of the linear layers that get one; all-linear is every one but the head."
    )
    save: Literal["merged", "adapter"] = Field(
        "merged",
        description="What the trained model's folder holds: plain weights with the adapters added in, which every "
        "later stage reads, or the adapters alone as peft writes them.",
    )


class TorchSettings(PackedSettings):
    """PyTorch in one process."""

    attention: Literal["auto", "sdpa", "flash", "varlen", "flex"] = Field(
        "auto",
        description="Kernel of packed attention. sdpa runs everywhere, on groups of like lengths; flash (the package "
        "flash-attn), varlen (torch's own) and flex need a GPU. auto takes on a GPU in bfloat16 the first there is of "
        "flash, varlen and sdpa, or flex for soft-capped scores; sdpa else.",
    )
    share_prefixes: bool = Field(
        True,
        description="Compute once what the samples of one pair or prompt begin with. Moves results by rounding only.",
    )
    compile: bool = Field(
        False,
        description="Compile the layers with torch.compile (attention stays as it is): the first steps take minutes, "
        "later ones less time and memory. Moves results by rounding only.",
    )
    lean: bool = unhashed(
        True,
        description="Keep for the backward pass no tensor that a few cheap operations make again, such as normalised "
        "states or the gate's activation: about half the memory of activations, to the same bits. For layers whose "
        "kind is known; others stay as they are. false is for comparisons.",
    )
    activation_checkpointing: bool | Literal["selective"] = unhashed(
        False,
        description="Compute activations again in the backward pass instead of keeping them. true keeps only what "
        "enters each layer: up to a third more time for much less memory. selective keeps the results of matrix "
        "products and attention and repeats the cheap rest: about half the memory.",
    )
    lora: Lora | None = Field(None, description="Train low-rank adapters instead of all weights; null trains all.")
    adamw: Literal["fused", "plain", "8bit"] = Field(
        "fused",
        description="Implementation of AdamW: torch's fused kernel, torch's own composed one, or moments in 8 bits by "
        "the package bitsandbytes (a GPU is needed).",
    )
