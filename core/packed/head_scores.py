"""Scores of an lm head by a kernel that was asked for, and by our own function what the kernel does not make."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from aftertrain.core.batch import TokenScores
from aftertrain.core.head_kernel import HeadKernel, LMHead
from aftertrain.core.loss import Score
from aftertrain.core.packed.logprobs import token_scores


def head_scores(
    hidden: Tensor,
    head: LMHead,
    token_ids: Tensor,
    mask: Tensor,
    wants: Iterable[Score],
    *,
    temperature: float = 1.0,
    chunk: int | None = None,
    into_grad: bool = False,
    kernel: HeadKernel[Any] | None = None,
) -> TokenScores:
    """`token_scores` of a head, with the same arguments and results, those that `kernel` makes from the kernel.

    Wanted scores that the kernel does not make cost a second pass over the head: the logits once more, and twice more
    if a loss sends gradient back to them. Gradients of both passes add up.
    """
    wanted = set(wants)
    rows = torch.nonzero(mask).squeeze(1) if kernel is not None else mask.new_zeros(0)
    # Without rows there is nothing to compute; token_scores gives zeros that have gradients.
    fused = wanted & kernel.scores if kernel is not None and len(rows) else set()
    ours = TokenScores()
    if wanted - fused:
        ours = token_scores(
            hidden,
            head.weight,
            token_ids,
            mask,
            wanted - fused,
            bias=head.bias,
            temperature=temperature,
            softcap=head.softcap,
            scale=head.scale,
            chunk=chunk,
            into_grad=into_grad,
        )
    if kernel is None or not fused:
        return ours
    kind = hidden.device.type
    dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else hidden.dtype
    with torch.autocast(kind, enabled=False):
        predicting = hidden.index_select(0, rows - 1).to(dtype)
        by_kernel = kernel(predicting, head, token_ids[rows], fused, temperature=temperature)
        zeros = hidden.new_zeros(len(token_ids), dtype=torch.float32)
        return replace(ours, **{name: zeros.index_copy(0, rows, by_kernel[name]) for name in fused})
