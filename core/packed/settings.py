"""Settings that the engines of packed batches share. No torch here."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from aftertrain.core.head_kernel import HeadKernel
from aftertrain.core.packed.router import RouterLoss
from aftertrain.core.settings import PositiveInt, Settings, Use, unhashed


class PackedSettings(Settings):
    """What a model is scored by. Weights, gradients and optimizer state are float32 whatever `dtype` is."""

    dtype: Literal["float32", "bfloat16"] = Field(
        "float32",
        description="Precision of matrix products (bfloat16 by autocast over float32 weights) and of the saved model.",
    )
    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="auto takes a GPU when there is one.")
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
