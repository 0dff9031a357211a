"""Truncated and masked importance sampling against the sampler's own distribution (TIS; IcePop).

A policy loss is linear in its advantages, so that a weight on a token's advantage is a weight on its loss.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from aftertrain.core.advantage import Replies
from aftertrain.plugins.online.policy_settings import CorrectionSettings

LARGEST_LOG = 20.0
"""Log-weights are bounded to ± this before they are exponentiated, as elsewhere: e^20 is far above any cap."""


def corrected(
    columns: Mapping[str, Tensor], replies: Replies, settings: CorrectionSettings
) -> tuple[dict[str, Tensor], dict[str, float]]:
    """The columns with `advantages` weighed and `correction`, the weights; and how many tokens were touched.

    With w = π_old/π_generator of a token, or of its whole reply: truncate gives min(w, high); mask gives w within
    [low, high] and 0 outside. What is left out is still counted where the loss divides.
    """
    assert replies.old_logprobs is not None
    mask = replies.mask
    log = torch.where(mask, replies.old_logprobs - replies.generator_logprobs, 0.0)
    if settings.level == "sequence":
        log = log.new_zeros(len(replies.sizes)).index_add(0, replies.owners, log)[replies.owners]
    weights = log.clamp(-LARGEST_LOG, LARGEST_LOG).exp()
    outside = weights > settings.high
    if settings.rule == "mask":
        outside |= weights < settings.low
        weights = weights.masked_fill(outside, 0.0)
    weights = weights.clamp(max=settings.high)
    shares = {
        "correction_weight": float(weights[mask].double().mean()),
        "corrected_rate": float(outside[mask].double().mean()),
    }
    return {**columns, "advantages": columns["advantages"] * weights, "correction": weights}, shares
