"""The token-logprob function against a direct softmax over full logits."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from aftertrain.core.packed.logprobs import token_scores

WANTS = ("logprobs", "entropy", "log_sum_p2")


def problem(n: int, seed: int = 0) -> dict[str, Any]:
    draw = torch.Generator().manual_seed(seed)
    mask = torch.rand(n, generator=draw) < 0.7
    mask[0] = False
    return {
        "hidden": torch.randn(n, 6, generator=draw, dtype=torch.float32).requires_grad_(),
        "weight": torch.randn(11, 6, generator=draw).requires_grad_(),
        "token_ids": torch.randint(11, (n,), generator=draw),
        "mask": mask,
        "bias": torch.randn(11, generator=draw),
    }


def direct(hidden: Any, weight: Any, token_ids: Any, mask: Any, *, bias: Any, scale: Any, softcap: Any, t: Any) -> Any:
    """Float64, all logits at once, straight from the definitions."""
    logits = scale * (hidden.double() @ weight.double().T + bias.double())
    if softcap is not None:
        logits = softcap * torch.tanh(logits / softcap)
    p = torch.softmax(logits / t, -1)[:-1]
    zero = p.new_zeros(1)
    scores = {
        "logprobs": p.gather(1, token_ids[1:, None]).squeeze(1).log(),
        "entropy": -(p * p.log()).sum(-1),
        "log_sum_p2": (p**2).sum(-1).log(),
    }
    return {name: torch.cat([zero, score]) * mask for name, score in scores.items()}


@pytest.mark.parametrize(("scale", "softcap", "temperature"), [(1.0, None, 1.0), (0.5, 3.0, 0.7), (2.0, None, 1.3)])
def test_scores_are_those_of_the_definition(scale: float, softcap: float | None, temperature: float) -> None:
    """Scale first, then the soft cap, then the temperature; tokens that no mask names stay 0."""
    given_ = problem(17)
    found = token_scores(wants=WANTS, scale=scale, softcap=softcap, temperature=temperature, **given_)
    # the bias is scaled with the product, as in every family that has both
    expected = direct(scale=scale, softcap=softcap, t=temperature, **given_)
    for name in WANTS:
        torch.testing.assert_close(getattr(found, name).double(), expected[name], atol=2e-6, rtol=1e-5)


@given(st.integers(2, 40), st.integers(1, 45), st.integers(0, 1000))
def test_chunked_is_full(n: int, chunk: int, seed: int) -> None:
    """Scores and both gradients, for any chunk."""
    results = []
    for size in (chunk, None):
        given_ = problem(n, seed)
        scores = token_scores(wants=WANTS, chunk=size, **given_)
        total = sum((getattr(scores, name) * torch.arange(n)).sum() for name in WANTS)
        gradients = torch.autograd.grad(total, [given_["hidden"], given_["weight"]])
        results.append([*(getattr(scores, name) for name in WANTS), *gradients])
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-4)


def test_only_what_is_wanted_is_there() -> None:
    scores = token_scores(wants=("entropy",), **problem(5))
    assert scores.logprobs is None
    assert scores.entropy is not None


def test_a_batch_without_targets_has_zero_scores_and_gradients() -> None:
    given_ = problem(4)
    given_["mask"] = torch.zeros(4, dtype=torch.bool)
    scores = token_scores(wants=("logprobs",), **given_)
    assert scores.logprobs is not None
    assert scores.logprobs.tolist() == [0.0] * 4
    (gradient,) = torch.autograd.grad(scores.logprobs.sum(), given_["hidden"])
    assert not gradient.any()


@pytest.mark.parametrize("autocast", [False, True])
def test_logits_of_bfloat16_are_not_rounded(autocast: bool) -> None:
    """Logits near ±16, where neighbouring bfloat16 numbers are 0.06 to 0.125 apart, against float64 products.

    5,000 words are widened in three parts. Once logits were rounded to bfloat16 on a CPU: up to 0.07 nats.
    """
    draw = torch.Generator().manual_seed(0)
    hidden = torch.randn(64, 512, generator=draw).bfloat16()
    weight = (torch.randn(5000, 512, generator=draw) * 0.3).bfloat16()
    ids, mask = torch.randint(5000, (64,), generator=draw), torch.arange(64) > 0
    expected = (hidden.double() @ weight.double().T)[:-1].log_softmax(-1).gather(1, ids[1:, None]).squeeze(1)
    inputs = (hidden.float(), weight.float()) if autocast else (hidden, weight)
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
        found = token_scores(*inputs, ids, mask, ("logprobs",), chunk=50).logprobs
    assert found is not None
    torch.testing.assert_close(found[1:].double(), expected, atol=5e-5, rtol=0)


class Sizes(TorchDispatchMode):
    """Rows of the largest tensor as wide as the vocabulary, and how many products made one."""

    def __init__(self, vocabulary: int) -> None:
        self.vocabulary, self.rows, self.products = vocabulary, 0, 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if isinstance(result, Tensor) and result.shape[-1:] == (self.vocabulary,):
            self.rows = max(self.rows, len(result))
            self.products += func is torch.ops.aten.mm.default
        return result


@pytest.mark.parametrize(("chunk", "products"), [(8, 12), (64, 1)])
def test_full_logits_never_exist(chunk: int, products: int) -> None:
    """Never more rows than a chunk; logits are made a second time only where they do not fit one."""
    given_ = problem(64, seed=1)
    targets = int(given_["mask"].sum())
    assert 40 < targets <= 48
    with Sizes(11) as sizes:
        scores = token_scores(wants=WANTS, chunk=chunk, **given_)
        scores.logprobs.sum().backward()  # type: ignore[union-attr]
    assert sizes.rows == min(chunk, targets)
    assert sizes.products == products


@pytest.mark.parametrize("wants", [("logprobs",), ("entropy",), ("log_sum_p2",), WANTS])
@pytest.mark.parametrize("chunk", [3, 20])
@pytest.mark.parametrize("softcap", [None, 1.5])
def test_gradients_are_those_of_finite_differences(wants: Any, chunk: int, softcap: float | None) -> None:
    """Float64, each score alone and all together, through bias, scale, cap and temperature."""
    given_ = problem(9)
    mask, ids = given_["mask"], given_["token_ids"]

    def scores_of(hidden: Tensor, weight: Tensor, bias: Tensor) -> tuple[Tensor, ...]:
        found = token_scores(
            hidden, weight, ids, mask, wants, bias=bias, scale=0.7, softcap=softcap, temperature=1.3, chunk=chunk
        )
        return tuple(found.filled().values())

    inputs = [given_[name].detach().double().requires_grad_() for name in ("hidden", "weight", "bias")]
    assert torch.autograd.gradcheck(scores_of, inputs)


@pytest.mark.parametrize("wants", [("logprobs",), WANTS])
def test_gradients_are_those_of_the_full_computation(wants: Any) -> None:
    """Float32 chunks against autograd through all logits in float64: 1e-6 of the gradient's largest entry."""
    given_ = problem(33, seed=3)
    factors = {name: torch.randn(33, generator=torch.Generator().manual_seed(i)) for i, name in enumerate(wants)}
    inputs = [given_["hidden"], given_["weight"], given_["bias"].requires_grad_()]
    found = token_scores(wants=wants, chunk=7, softcap=4.0, temperature=0.8, **given_).filled()
    gradients = torch.autograd.grad(sum((factors[name] * score).sum() for name, score in found.items()), inputs)
    wide = direct(scale=1.0, softcap=4.0, t=0.8, **given_)
    expected = torch.autograd.grad(sum((factors[name] * wide[name]).sum() for name in wants), inputs)
    for one, other in zip(gradients, expected, strict=True):
        torch.testing.assert_close(one, other, atol=2e-6 * float(other.abs().max()), rtol=0)


def test_only_gradients_that_are_asked_for_are_made() -> None:
    """A frozen head gets none, and costs no product."""
    given_ = problem(20)
    given_["weight"].requires_grad_(False)
    scores = token_scores(wants=("logprobs",), chunk=4, **given_)
    scores.logprobs.sum().backward()  # type: ignore[union-attr]
    assert given_["hidden"].grad is not None
    assert given_["weight"].grad is None
    with torch.no_grad():
        assert not token_scores(wants=("logprobs",), **given_).logprobs.requires_grad  # type: ignore[union-attr]


def test_a_tied_head_has_the_sum_of_both_gradients() -> None:
    """Embedding and head share a weight: autograd adds what each contributes."""
    given_ = problem(12)
    weight, ids = given_["weight"], given_["token_ids"]
    expected = torch.zeros_like(weight)
    for embedded in (weight, weight.detach()):
        head = weight.detach() if embedded is weight else weight
        rest = {name: given_[name] for name in ("token_ids", "mask", "bias")}
        total = token_scores(embedded[ids], head, wants=("logprobs",), **rest).logprobs.sum()  # type: ignore[union-attr]
        expected += torch.autograd.grad(total, weight)[0]
    total = token_scores(weight[ids], weight, wants=("logprobs",), **rest).logprobs.sum()  # type: ignore[union-attr]
    torch.testing.assert_close(torch.autograd.grad(total, weight)[0], expected)


def test_hits_mark_the_likeliest_token() -> None:
    """Logits of row i are its hidden state (weight is the unit matrix): 2 > 1 > 0, then a tie, which the first wins."""
    hidden = torch.tensor([[0.0, 1.0, 2.0], [0.0, 1.0, 2.0], [3.0, 3.0, 0.0], [3.0, 3.0, 0.0], [0.0, 0.0, 0.0]])
    ids = torch.tensor([0, 2, 1, 0, 1])
    mask = torch.tensor([False, True, True, True, True])
    hits = token_scores(hidden.requires_grad_(), torch.eye(3), ids, mask, ("hits",)).hits
    assert hits is not None
    assert hits.tolist() == [0.0, 1.0, 0.0, 1.0, 0.0]
    assert not hits.requires_grad


def test_autocast_rounds_products_and_adds_in_float32() -> None:
    """Bfloat16 logits; the head's gradient differs from float32's by rounding of products only, whatever the chunk."""
    results = {}
    for chunk in (4, 200, None):
        given_ = problem(200)
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=chunk is not None):
            scores = token_scores(wants=("logprobs",), chunk=chunk, **given_)
        assert scores.logprobs is not None
        assert scores.logprobs.dtype == torch.float32
        scores.logprobs.sum().backward()
        assert given_["weight"].grad.dtype == torch.float32
        results[chunk] = (scores.logprobs.detach(), given_["weight"].grad)
    # Which order the processor adds float32 products in depends on its kind and on how many rows there are.
    torch.testing.assert_close(results[4][0], results[200][0], atol=5e-6, rtol=0)
    torch.testing.assert_close(results[4][1], results[200][1], atol=1e-5, rtol=1e-5)
    assert 0 < float((results[4][0] - results[None][0]).abs().max()) < 0.1
    torch.testing.assert_close(results[4][1], results[None][1], atol=0.1, rtol=0.02)


def test_a_second_backward_is_the_first_again() -> None:
    """The logits that a small batch keeps are overwritten by the first."""
    given_ = problem(30)
    total = token_scores(wants=("logprobs",), **given_).logprobs.sum()  # type: ignore[union-attr]
    inputs = [given_["hidden"], given_["weight"]]
    first, second = (torch.autograd.grad(total, inputs, retain_graph=True) for _ in range(2))
    torch.testing.assert_close(first, second, atol=1e-6, rtol=1e-6)


def test_the_same_bits_each_time() -> None:
    def once() -> list[Tensor]:
        given_ = problem(50)
        scores = token_scores(wants=WANTS, chunk=8, **given_)
        total = sum(score.sum() for score in scores.filled().values())
        return [*scores.filled().values(), *torch.autograd.grad(total, [given_["hidden"], given_["weight"]])]

    assert all(torch.equal(one, other) for one, other in zip(once(), once(), strict=True))


@pytest.mark.parametrize("chunk", [3, 100])
def test_a_gradient_added_in_place_is_the_same(chunk: int) -> None:
    """Into a grad that is there, twice: the weight's gradient is what autograd would have added up."""
    found = []
    for into_grad in (False, True):
        given_ = problem(17)
        for factor in (1.0, 2.0):
            scores = token_scores(wants=("logprobs",), chunk=chunk, into_grad=into_grad, **given_)
            assert scores.logprobs is not None
            (factor * scores.logprobs.sum()).backward()
        found.append((given_["weight"].grad, given_["hidden"].grad))
    torch.testing.assert_close(found[0], found[1], atol=1e-5, rtol=1e-5)
    single = problem(17)
    (3.0 * token_scores(wants=("logprobs",), **single).logprobs.sum()).backward()  # type: ignore[union-attr]
    torch.testing.assert_close(found[1][0], single["weight"].grad, atol=1e-5, rtol=1e-5)


def test_the_heap_does_not_grow_with_the_blocks() -> None:
    """100 blocks of 8 MiB of exponentials, of 5,200 tokens in chunks of 128 MiB: memory of the process at the end is
    not theirs, though results that outlive each lie between them."""
    token_ids = torch.zeros(5200, dtype=torch.int64)
    mask = token_ids == 0
    mask[0] = False
    hidden, weight = torch.randn(5200, 2).requires_grad_(), torch.randn(40_000, 2).requires_grad_()
    before = resident()
    scores = token_scores(hidden, weight, token_ids, mask, ("logprobs", "entropy", "hits"))
    assert resident() - before < 250 << 20
    assert scores.logprobs is not None


def resident() -> int:
    """Bytes of this process in memory."""
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * 4096
