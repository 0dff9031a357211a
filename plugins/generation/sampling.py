"""Drawing one token per row, each row from its own uniform number, so that a reply never depends on its neighbours."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import pad

from aftertrain.core.generator import Sampling

_ONE = 1 << 46
"""Probability 1 as an integer: sums of integers are exact, so the CDF has no drift and cumsum is deterministic on GPUs
too. 2^46 times a vocabulary of 2^17 tokens fits an int64."""
_BLOCK = 256
"""Tokens whose weights are summed before the CDF is made, which is then read in one of the blocks."""


def draws(seed: int, n: int) -> Tensor:
    """The `n` uniform numbers in [0, 1) of one request, float64: number k decides its token k."""
    return torch.rand(n, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


class Sampler:
    """How the tokens of some rows are drawn: in this order by repetition penalty, temperature, top-k, top-p and min-p.

    Args:
        samplings: per row. At temperature 0 the likeliest token is taken, and log-probabilities are those at 1.

    Attributes:
        looks_back: whether any row is drawn by what it has said before.
    """

    def __init__(self, samplings: Sequence[Sampling], device: torch.device) -> None:
        greedy = [sampling.temperature == 0 for sampling in samplings]
        self._greedy = torch.tensor(greedy, device=device)
        self._all_greedy, self._any_greedy = all(greedy), any(greedy)
        divisor = torch.tensor([sampling.temperature or 1.0 for sampling in samplings], device=device)
        self._divisor = None if bool((divisor == 1).all()) else divisor.unsqueeze(1)
        self._penalised = [(row, s.repetition_penalty) for row, s in enumerate(samplings) if s.repetition_penalty != 1]
        self.looks_back = bool(self._penalised)
        cut = [
            row
            for row, s in enumerate(samplings)
            if s.temperature > 0 and (s.top_p < 1 or s.top_k is not None or s.min_p > 0)
        ]
        self._cut = torch.tensor(cut, dtype=torch.int64, device=device)
        self._cuts = [samplings[row] for row in cut]

    def choose(self, logits: Tensor, uniforms: Tensor, seen: Sequence[Sequence[int]] = ()) -> tuple[Tensor, Tensor]:
        """The next token of each row and its log-probability under the temperature alone.

        Args:
            logits: `[rows, vocabulary]`, any float type.
            uniforms: float64 `[rows]` in [0, 1).
            seen: per row, token ids of prompt and reply so far; read where there is a repetition penalty.

        Returns:
            int64 `[rows]` and float32 `[rows]`.
        """
        logits = logits.float()
        logprobs = torch.log_softmax(logits if self._divisor is None else logits / self._divisor, -1)
        scores, drawn = logits, logprobs
        if self._penalised:
            scores = self._penalise(logits, seen)
            drawn = torch.log_softmax(scores if self._divisor is None else scores / self._divisor, -1)
        if self._all_greedy:
            tokens = scores.argmax(-1)
        else:
            weights = drawn.exp().mul_(_ONE).long()
            tokens = pick(weights, uniforms)
            if len(self._cut):
                tokens[self._cut] = pick_cut(weights[self._cut], uniforms[self._cut], self._cuts)
            if self._any_greedy:
                tokens = torch.where(self._greedy, scores.argmax(-1), tokens)
        return tokens, logprobs.gather(1, tokens.unsqueeze(1)).squeeze(1)

    def _penalise(self, logits: Tensor, seen: Sequence[Sequence[int]]) -> Tensor:
        """Scores of tokens seen before divided by the penalty where positive, multiplied where not (Keskar 2019)."""
        logits = logits.clone()
        for row, penalty in self._penalised:
            ids = torch.tensor(sorted(set(seen[row])), dtype=torch.int64, device=logits.device)
            scores = logits[row, ids]
            logits[row, ids] = torch.where(scores > 0, scores / penalty, scores * penalty)
        return logits


def pick(weights: Tensor, uniforms: Tensor) -> Tensor:
    """Inverse CDF over integer `weights` `[rows, n]`: the first index whose cumulated weight exceeds u·total."""
    if weights.shape[1] <= _BLOCK:
        cdf = weights.cumsum(-1)
        target = (uniforms * cdf[:, -1]).long().clamp(max=cdf[:, -1] - 1).unsqueeze(1)
        return torch.searchsorted(cdf, target, right=True).squeeze(1).clamp(max=weights.shape[1] - 1)
    blocks = pad(weights, (0, -weights.shape[1] % _BLOCK)).view(len(weights), -1, _BLOCK)
    cdf = blocks.sum(-1).cumsum(-1)
    target = (uniforms * cdf[:, -1]).long().clamp(max=cdf[:, -1] - 1).unsqueeze(1)
    block = torch.searchsorted(cdf, target, right=True).clamp(max=cdf.shape[1] - 1)
    before = torch.where(block > 0, cdf.gather(1, (block - 1).clamp(min=0)), 0)
    inner = blocks.gather(1, block.unsqueeze(2).expand(-1, 1, _BLOCK)).squeeze(1).cumsum(-1)
    place = block * _BLOCK + torch.searchsorted(inner, target - before, right=True)
    return place.squeeze(1).clamp(max=weights.shape[1] - 1)


def pick_cut(weights: Tensor, uniforms: Tensor, samplings: Sequence[Sampling]) -> Tensor:
    """As `pick`, from each row's likeliest tokens: top-k, of these the nucleus (Holtzman et al. 2020), then min-p."""
    device = weights.device
    n = weights.shape[1]
    top_k = torch.tensor([n if s.top_k is None else s.top_k for s in samplings], device=device).unsqueeze(1)
    top_p = torch.tensor([s.top_p for s in samplings], dtype=torch.float64, device=device).unsqueeze(1)
    min_p = torch.tensor([s.min_p for s in samplings], dtype=torch.float64, device=device).unsqueeze(1)
    ranked, order = weights.sort(dim=-1, descending=True, stable=True)
    ranked = ranked.masked_fill(torch.arange(n, device=device) >= top_k, 0)
    total = ranked.cumsum(-1)
    kept = (total - ranked < top_p * total[:, -1:]) & (ranked >= min_p * ranked[:, :1])
    kept[:, 0] = True
    return order.gather(1, pick(ranked.masked_fill(~kept, 0), uniforms).unsqueeze(1)).squeeze(1)
