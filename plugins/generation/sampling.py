"""Drawing one token per row, each row from its own uniform number, so that a reply never depends on its neighbours."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

_ONE = 1 << 46
"""Probability 1 as an integer: sums of integers are exact, so the CDF has no drift and cumsum is deterministic on GPUs
too. 2^46 times a vocabulary of 2^17 tokens fits an int64."""


def draws(seed: int, n: int) -> Tensor:
    """The `n` uniform numbers in [0, 1) of one request, float64: number k decides its token k."""
    return torch.rand(n, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


class Sampler:
    """Temperature and top-p of the rows of one batch.

    Args:
        temperatures: per row; 0 is greedy, and its log-probabilities are those at temperature 1.
        top_p: per row, the nucleus mass kept.
        uniforms: float64 `[rows, steps]`, see `draws`.
    """

    def __init__(
        self, temperatures: Sequence[float], top_p: Sequence[float], uniforms: Tensor, device: torch.device
    ) -> None:
        self.greedy = torch.tensor([t == 0 for t in temperatures], device=device)
        self.divisor = torch.tensor([t or 1.0 for t in temperatures], dtype=torch.float32, device=device).unsqueeze(1)
        self.top_p = torch.tensor(list(top_p), dtype=torch.float64, device=device)
        self.uniforms = uniforms.to(device)
        self._plan()

    def keep(self, rows: Tensor) -> None:
        """Drop all rows but `rows` (int64 indices)."""
        self.greedy, self.divisor, self.top_p = self.greedy[rows], self.divisor[rows], self.top_p[rows]
        self.uniforms = self.uniforms[rows]
        self._plan()

    def _plan(self) -> None:
        self.all_greedy = bool(self.greedy.all())
        self.any_greedy = bool(self.greedy.any())
        self.nucleus = torch.nonzero(~self.greedy & (self.top_p < 1)).squeeze(1)
        self.plain = bool((self.divisor == 1).all())

    def choose(self, logits: Tensor, step: int) -> tuple[Tensor, Tensor]:
        """Token `step` of each row and its log-probability under the temperature, before top-p.

        Args:
            logits: `[rows, vocabulary]`, any float type.

        Returns:
            int64 `[rows]` and float32 `[rows]`.
        """
        logits = logits.float()
        logprobs = torch.log_softmax(logits if self.plain else logits / self.divisor, -1)
        if self.all_greedy:
            tokens = logits.argmax(-1)
        else:
            weights = (logprobs.double().exp() * _ONE).long()
            uniform = self.uniforms[:, step]
            tokens = _pick(weights, uniform)
            if len(self.nucleus):
                tokens[self.nucleus] = _pick_nucleus(
                    weights[self.nucleus], uniform[self.nucleus], self.top_p[self.nucleus]
                )
            if self.any_greedy:
                tokens = torch.where(self.greedy, logits.argmax(-1), tokens)
        return tokens, logprobs.gather(1, tokens.unsqueeze(1)).squeeze(1)


def _pick(weights: Tensor, uniform: Tensor) -> Tensor:
    """Inverse CDF over integer `weights` `[rows, n]`: the first index whose cumulated weight exceeds u·total."""
    cdf = weights.cumsum(-1)
    target = (uniform * cdf[:, -1]).long().clamp(max=cdf[:, -1] - 1)
    return torch.searchsorted(cdf, target.unsqueeze(1), right=True).squeeze(1)


def _pick_nucleus(weights: Tensor, uniform: Tensor, top_p: Tensor) -> Tensor:
    """As `_pick` from the smallest set of likeliest tokens whose mass reaches `top_p` (Holtzman et al. 2020)."""
    ranked, order = weights.sort(dim=-1, descending=True, stable=True)
    before = ranked.cumsum(-1) - ranked
    nucleus = before < top_p.unsqueeze(1) * ranked.sum(-1, keepdim=True)
    nucleus[:, 0] = True
    place = _pick(ranked.masked_fill(~nucleus, 0), uniform)
    return order.gather(1, place.unsqueeze(1)).squeeze(1)
