"""Drawing tokens: exact by hand, right in distribution, and blind to neighbours."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import (
    LogitsProcessorList,
    MinPLogitsWarper,
    RepetitionPenaltyLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from aftertrain.core.generator import Sampling
from aftertrain.plugins.generation.sampling import Sampler, draws, pick

CPU = torch.device("cpu")


def _choose(logits: torch.Tensor, sampling: Sampling, uniforms: Sequence[float]) -> tuple[list[int], list[float]]:
    rows = logits.expand(len(uniforms), -1)
    tokens, logprobs = Sampler([sampling] * len(rows), CPU).choose(rows, torch.tensor(uniforms, dtype=torch.float64))
    return tokens.tolist(), logprobs.tolist()


def test_inverse_cdf_by_hand() -> None:
    """p = (0.2, 0.5, 0.3), CDF (0.2, 0.7, 1): u picks the first token whose CDF exceeds it."""
    logits = torch.tensor([[0.2, 0.5, 0.3]]).log()
    tokens, logprobs = _choose(logits, Sampling(), [0.0, 0.19, 0.21, 0.69, 0.71, 0.999999])
    assert tokens == [0, 0, 1, 1, 2, 2]
    assert logprobs == pytest.approx([logits[0, t].item() for t in tokens], abs=1e-6)


def test_temperature_sharpens_and_logprobs_follow_it() -> None:
    """T = ½ squares and renormalises p = (0.25, 0.75): (0.1, 0.9)."""
    tokens, logprobs = _choose(torch.tensor([[0.25, 0.75]]).log(), Sampling(temperature=0.5), [0.05, 0.15])
    assert tokens == [0, 1]
    assert torch.tensor(logprobs).exp().tolist() == pytest.approx([0.1, 0.9], abs=1e-6)


def test_top_p_keeps_the_smallest_nucleus_and_the_unfiltered_logprob() -> None:
    """p = (0.1, 0.5, 0.4), top_p 0.6: kept are tokens 1 and 2 (0.5 alone falls short), in that order: CDF (5/9, 1)."""
    p = torch.tensor([[0.1, 0.5, 0.4]])
    tokens, logprobs = _choose(p.log(), Sampling(top_p=0.6), [0.0, 0.55, 0.56, 0.99])
    assert tokens == [1, 1, 2, 2]
    assert torch.tensor(logprobs).exp().tolist() == pytest.approx([0.5, 0.5, 0.4, 0.4], abs=1e-6)


def test_top_p_of_zero_is_the_likeliest_token() -> None:
    assert _choose(torch.tensor([[0.1, 0.5, 0.4]]).log(), Sampling(top_p=0.0), [0.0, 0.99])[0] == [1, 1]


def test_greedy_is_the_argmax_with_the_plain_logprob() -> None:
    logits = torch.tensor([[0.2, 0.5, 0.3]]).log()
    tokens, logprobs = _choose(logits, Sampling(temperature=0.0), [0.99])
    assert tokens == [1]
    assert logprobs == pytest.approx([logits[0, 1].item()])


def test_frequencies_are_the_probabilities() -> None:
    """20,000 draws; each frequency within 5 standard errors (a wrong CDF by one bin is off by 20)."""
    p = torch.tensor([[0.05, 0.6, 0.0, 0.15, 0.2]])
    n = 20_000
    tokens, _ = _choose(p.log(), Sampling(), draws(7, n).tolist())
    found = torch.bincount(torch.tensor(tokens), minlength=5) / n
    assert found[2] == 0
    assert ((found - p[0]).abs() <= 5 * (p[0] * (1 - p[0]) / n).sqrt()).all()


KINDS = (
    Sampling(),
    Sampling(temperature=0.0),
    Sampling(temperature=0.7, top_p=0.5),
    Sampling(temperature=1.3, top_k=3),
    Sampling(min_p=0.2),
    Sampling(temperature=0.5, repetition_penalty=1.8),
    Sampling(temperature=0.0, repetition_penalty=3.0),
)


def test_a_row_s_token_is_the_same_whoever_is_beside_it() -> None:
    logits = torch.randn(len(KINDS), 700, generator=torch.Generator().manual_seed(0))
    seen = [range(row, 700, 3) for row in range(len(KINDS))]
    together = Sampler(KINDS, CPU)
    for uniforms in draws(3, 5 * len(KINDS)).view(5, -1):
        tokens, logprobs = together.choose(logits, uniforms, seen)
        for row, sampling in enumerate(KINDS):
            one = slice(row, row + 1)
            token, logprob = Sampler([sampling], CPU).choose(logits[one], uniforms[one], seen[one])
            assert token.item() == tokens[row]
            assert logprob.item() == pytest.approx(logprobs[row].item(), abs=1e-6)


@given(st.integers(1, 2000), st.integers(0, 2**32))
def test_the_cdf_in_blocks_is_the_whole_cdf(n: int, seed: int) -> None:
    """Integer weights, many of them 0, against Python's own bisection of their exact cumulated sums."""
    generator = torch.Generator().manual_seed(seed)
    weights = torch.randint(0, 5, (3, n), generator=generator) * torch.randint(0, 2**40, (3, n), generator=generator)
    weights[:, int(torch.randint(0, n, (1,), generator=generator))] = 7
    uniforms = torch.tensor([0.0, 1 - 2**-53, float(torch.rand(1, generator=generator))], dtype=torch.float64)
    for row, place in enumerate(pick(weights, uniforms).tolist()):
        sums = list(accumulate(weights[row].tolist()))
        target = min(int(uniforms[row].item() * sums[-1]), sums[-1] - 1)
        assert place == bisect_right(sums, target)


@pytest.mark.parametrize(
    "sampling",
    [
        Sampling(top_k=5),
        Sampling(temperature=1.7, top_k=40, top_p=0.8),
        Sampling(temperature=0.6, min_p=0.05),
        Sampling(top_k=30, top_p=0.9, min_p=0.02),
        Sampling(temperature=1.2, repetition_penalty=1.5, top_p=0.95, min_p=0.01),
    ],
)
def test_what_can_be_drawn_is_what_transformers_keeps(sampling: Sampling) -> None:
    """Its processors and warpers give the distribution: ours draws each of its tokens, by its CDF, and no other."""
    logits = torch.randn(1, 300, generator=torch.Generator().manual_seed(1)) * 3
    seen = [5, 9, 9, *range(100, 160)]
    warpers = LogitsProcessorList([RepetitionPenaltyLogitsProcessor(sampling.repetition_penalty)])
    warpers.append(TemperatureLogitsWarper(sampling.temperature))
    if sampling.top_k is not None:
        warpers.append(TopKLogitsWarper(sampling.top_k))
    warpers.append(TopPLogitsWarper(sampling.top_p))
    warpers.append(MinPLogitsWarper(sampling.min_p))
    expected = warpers(torch.tensor([seen]), logits.clone()).softmax(-1)[0]  # type: ignore[no-untyped-call]
    n = 20_000
    tokens, logprobs = Sampler([sampling] * n, CPU).choose(
        logits.expand(n, -1), (torch.arange(n, dtype=torch.float64) + 0.5) / n, [seen] * n
    )
    found = torch.bincount(tokens, minlength=300) / n
    torch.testing.assert_close(found, expected, atol=2 / n + 1e-6, rtol=0)
    model = (logits[0] / sampling.temperature).log_softmax(-1)
    torch.testing.assert_close(logprobs, model[tokens], atol=1e-5, rtol=0)


def test_a_greedy_reply_heeds_the_repetition_penalty() -> None:
    """Logits 2, 1, -1 with the first token seen: 2/3 falls below 1; with the first two seen, 1/3 does not reach 2/3."""
    logits = torch.tensor([[2.0, 1.0, -1.0]])
    sampler = Sampler([Sampling(temperature=0.0, repetition_penalty=3.0)], CPU)
    for seen, token in (([], 0), ([0], 1), ([0, 1], 0), ([2], 0)):
        chosen, logprob = sampler.choose(logits, torch.zeros(1, dtype=torch.float64), [seen])
        assert chosen.item() == token
        assert logprob.item() == pytest.approx(logits.log_softmax(-1)[0, token].item())


@pytest.mark.parametrize(
    ("settings", "names"),
    [
        ({}, []),
        ({"temperature": 0.7, "stop": ("a",)}, []),
        ({"top_p": 0.9}, ["top_p"]),
        ({"top_k": 20, "min_p": 0.1}, ["top_k", "min_p"]),
        ({"repetition_penalty": 1.1, "temperature": 0.0}, ["repetition_penalty"]),
    ],
)
def test_what_draws_from_another_distribution_is_named(settings: dict[str, Any], names: list[str]) -> None:
    assert Sampling(**settings).reshapes == names
