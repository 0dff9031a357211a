"""Cut cross-entropy (Wijmans et al. 2025, package cut-cross-entropy)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from importlib.metadata import version
from typing import TYPE_CHECKING

from aftertrain.core.errors import ModelError
from aftertrain.core.head_kernel import HeadKernel, LMHead
from aftertrain.core.loss import Score
from aftertrain.plugins.head_kernels.folding import fold
from aftertrain.plugins.head_kernels.requirement import require
from aftertrain.plugins.head_kernels.settings import CutCrossEntropySettings

if TYPE_CHECKING:
    import torch
    from torch import Tensor

LARGEST = 2**31
"""Numbers of a tensor that the kernel's 32-bit offsets reach."""


class CutCrossEntropy(HeadKernel[CutCrossEntropySettings]):
    """No logits in memory at all. The gradients of head and hidden states are added up in bfloat16, in the order in
    which the GPU's blocks finish: two runs, and a resumed one, differ by rounding.
    """

    Config = CutCrossEntropySettings

    @property
    def version(self) -> str:
        return version("cut-cross-entropy")

    @property
    def notes(self) -> Sequence[str]:
        return (
            "cut_cross_entropy adds gradients up in the order in which a GPU's blocks finish: runs of one seed, and "
            "resumed ones, differ by rounding",
        )

    def check(self, head: LMHead, device: torch.device, dtype: torch.dtype) -> None:
        require("cut_cross_entropy", "cut-cross-entropy", device)
        if dtype.itemsize != 2:
            raise ModelError(
                "engine.head_kernel is cut_cross_entropy, which has no gradient in float32; set engine.dtype: bfloat16 "
                "or use liger"
            )
        if head.bias is not None:
            raise ModelError(
                "engine.head_kernel is cut_cross_entropy, which knows no bias, and the model's head has one; use liger"
            )
        if head.weight.numel() >= LARGEST:
            raise ModelError(
                f"engine.head_kernel is cut_cross_entropy, whose offsets end at {LARGEST:,} numbers, and the head has "
                f"{head.weight.numel():,}; use liger"
            )

    def __call__(
        self, hidden: Tensor, head: LMHead, ids: Tensor, wants: Set[Score], *, temperature: float
    ) -> Mapping[Score, Tensor]:
        from cut_cross_entropy import linear_cross_entropy

        if hidden.numel() >= LARGEST:
            raise ModelError(
                f"engine.head_kernel is cut_cross_entropy, whose offsets end at {LARGEST:,} numbers, and the states of "
                f"{len(hidden):,} targets have {hidden.numel():,}; lower batch.micro_tokens"
            )
        states, own = fold(hidden, head, temperature)
        loss: Tensor = linear_cross_entropy(
            states,
            own.weight,
            ids,
            softcap=own.softcap,
            reduction="none",
            filter_eps=self.settings.filter_eps,
        )
        return {"logprobs": -loss}
