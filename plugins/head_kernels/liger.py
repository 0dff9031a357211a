"""Liger's fused linear cross-entropy (Hsu et al. 2024, package liger-kernel)."""

from __future__ import annotations

from collections.abc import Mapping, Set
from importlib.metadata import version

import torch
from torch import Tensor

from aftertrain.core.head_kernel import HeadKernel, LMHead
from aftertrain.core.loss import Score
from aftertrain.plugins.head_kernels.folding import fold
from aftertrain.plugins.head_kernels.requirement import require
from aftertrain.plugins.head_kernels.settings import LigerSettings


class Liger(HeadKernel[LigerSettings]):
    """Logits of a few tokens at a time, made again in the backward pass. In bfloat16 each logit is rounded to 8 bits,
    and so are a token's logit gradients and what comes back to it; the head's gradient is added up in float32 and
    rounded once a micro-batch.
    """

    Config = LigerSettings
    scores = frozenset({"logprobs", "hits"})

    @property
    def version(self) -> str:
        return version("liger-kernel")

    def check(self, head: LMHead, device: torch.device, dtype: torch.dtype) -> None:
        require("liger", "liger-kernel", device)

    def __call__(
        self, hidden: Tensor, head: LMHead, ids: Tensor, wants: Set[Score], *, temperature: float
    ) -> Mapping[Score, Tensor]:
        from liger_kernel.ops.fused_linear_cross_entropy import LigerFusedLinearCrossEntropyFunction

        states, own = fold(hidden, head, temperature)
        loss, _, hits, _ = LigerFusedLinearCrossEntropyFunction.apply(
            states,
            own.weight,
            ids,
            own.bias,
            None,  # weights of classes
            -100,  # ids that count for nothing: none has this
            0.0,  # factor of log²Z
            0.0,  # label smoothing
            "none",
            own.softcap,
            False,  # log²Z is not wanted
            torch.float32,  # the head's gradient is added up in
            False,  # tokens are not weighted by their probability
            "hits" in wants,
        )
        logprobs: dict[Score, Tensor] = {"logprobs": -loss}
        return logprobs | {"hits": hits.detach()} if "hits" in wants else logprobs
