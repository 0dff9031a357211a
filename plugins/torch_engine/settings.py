"""Settings of the torch engine."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from aftertrain.core.head_kernel import HeadKernel
from aftertrain.core.packed.router import RouterLoss
from aftertrain.core.settings import PositiveInt, Settings, Use, unhashed


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


class TorchSettings(Settings):
    """PyTorch in one process. Weights, gradients and optimizer state are float32 whatever `dtype` is."""

    dtype: Literal["float32", "bfloat16"] = Field(
        "float32",
        description="Precision of matrix products (bfloat16 by autocast over float32 weights) and of the saved model.",
    )
    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="auto takes a GPU when there is one.")
    attention: Literal["auto", "sdpa", "flash", "varlen", "flex"] = Field(
        "auto",
        description="Kernel of packed attention. sdpa runs everywhere, on groups of like lengths; flash (the package "
        "flash-attn), varlen (torch's own) and flex need a GPU. auto takes on a GPU in bfloat16 the first there is of "
        "flash, varlen and sdpa, or flex for soft-capped scores; sdpa else.",
    )
    router_loss: RouterLoss = unhashed(
        "refuse",
        description="What to do with a language model whose configuration asks for a loss on its routers "
        "(output_router_logits with a coefficient, or aux_loss_alpha), which is not computed: refuse to train it, or "
        "ignore the wish.",
    )
    chunk: PositiveInt | None = Field(
        None,
        description="Tokens whose logits exist at one time; null takes as many as make 128 MiB of float32 logits. A "
        "head_kernel cuts its work by itself: then this is for the scores that it does not make.",
    )
    head_kernel: Use[HeadKernel[Any]] | None = Field(
        None,
        description="Kernel that makes the LM head's scores on a GPU: liger, cut_cross_entropy or a plugin's; null "
        "takes our own function, which rounds least. A scalar head has none.",
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
