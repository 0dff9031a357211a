"""Odds-ratio preference optimisation: finetuning and preference in one, without a reference model."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from aftertrain.core.batch import PackedBatch, TokenScores
from aftertrain.core.loss import Loss, LossOutput, Needs, Ratio
from aftertrain.plugins.losses.pairs import counted_pairs, reward_metrics
from aftertrain.plugins.losses.settings import ORPOSettings

CERTAIN = -1e-6
"""A mean log-prob is taken to be at most this: at 0 the odds are infinite."""


class ORPO(Loss[ORPOSettings]):
    """−(1/m) log P(y_w|x) − λ·log σ(log odds(y_w|x) − log odds(y_l|x)), odds = p/(1 − p), log p = (1/|y|) log P(y|x).

    Hong et al. 2024 (arXiv 2403.07691), equations 4, 6 and 7; λ is `beta`. The likelihood is a mean over the m tokens
    of the chosen sample: of its reply alone, or with `likelihood: sequence` of its prompt too.
    """

    Config = ORPOSettings

    @property
    def needs(self) -> Needs:
        """Pairs; the prompts' log-probs only where they are learnt."""
        return Needs(
            records=frozenset({"PreferencePair"}),
            atom="pair",
            per={"policy": "pair"},
            masks=frozenset({"chosen_sequence"} if self.settings.likelihood == "sequence" else ()),
        )

    def __call__(self, batch: PackedBatch, scores: TokenScores) -> LossOutput:
        """Sum over pairs of the chosen sample's mean −log p and of λ times the odds ratio's loss."""
        assert scores.logprobs is not None
        beta, means = self.settings.beta, batch.segment_mean(scores.logprobs)
        learnt = batch.masks["chosen_sequence"] if self.settings.likelihood == "sequence" else batch.loss_mask
        nll, _ = counted_pairs(batch, -batch.segment_mean(scores.logprobs, learnt))
        chosen, rejected = counted_pairs(batch, means)
        ratio = log_odds(chosen) - log_odds(rejected)
        n = len(ratio)
        return LossOutput(
            {"policy": (nll - beta * logsigmoid(ratio)).sum()},
            {
                **reward_metrics(beta * chosen, beta * rejected),
                "nll": Ratio(nll.detach().sum(), n),
                "log_odds_ratio": Ratio(ratio.detach().sum(), n),
            },
        )


def log_odds(logp: Tensor) -> Tensor:
    """log(p/(1 − p)) of log p ≤ 0.

    log(1 − eˣ) is computed by log1p below −log 2 and by expm1 above, each where it loses no digits (Mächler 2012).
    """
    x = logp.clamp(max=CERTAIN)
    half = -0.6931471805599453
    low, high = torch.where(x < half, x, half), torch.where(x < half, half, x)
    return x - torch.where(x < half, torch.log1p(-low.exp()), torch.log(-torch.expm1(high)))
