"""The one token-logprob function: hidden states and LM-head weights to per-token scores, chunk by chunk.

Only tokens that some mask wants are scored. Logits of at most `chunk` tokens exist at a time: the backward pass makes
each chunk's logits again and turns them into their gradient in closed form, so that memory is O(chunk x vocabulary).
A batch that fits one chunk keeps its logits and saves that product. Sums run in float32 whatever the model's dtype, and
the head's gradient is added up in float32.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from aftertrain.core.batch import TokenScores
from aftertrain.core.loss import Score

LOGITS = 1 << 25
"""Logits held at one time by default: 128 MiB in float32."""

WIDENED = 1 << 20
"""Numbers of a narrow head that a CPU widens to float32 at one time: what fits its caches."""

BLOCK = 1 << 21
"""Logits of which a CPU makes exponentials at one time: what fits its caches."""

OF_LOGITS: tuple[Score, ...] = ("logprobs", "entropy", "log_sum_p2", "hits")


@dataclass(frozen=True, slots=True)
class _Head:
    """How products become logits, which scores are wanted of them, and how many rows exist at one time.

    logits = `softcap * tanh(scale * (weight @ hidden + bias) / softcap) / temperature`
    """

    scale: float
    softcap: float | None
    temperature: float
    wanted: tuple[Score, ...]
    chunk: int
    compute: torch.dtype
    into_grad: bool

    def logits(self, hidden: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """`[n, vocabulary]` in float32 (float64 for a float64 model), a fresh tensor."""
        z = _logits(hidden, weight)
        if bias is not None:
            z += bias
        if self.scale != 1.0:
            z *= self.scale
        if self.softcap is not None:
            z = z.div_(self.softcap).tanh_().mul_(self.softcap)
        if self.temperature != 1.0:
            z /= self.temperature
        return z

    def slope(self, z: Tensor, top: Tensor) -> Tensor | None:
        """Derivative of the soft cap at logits `z`, shifted by their largest, `top`; None where there is no cap."""
        if self.softcap is None:
            return None
        t = (z + top.unsqueeze(1)).mul_(self.temperature / self.softcap)
        return t.square_().neg_().add_(1)


def token_scores(
    hidden: Tensor,
    weight: Tensor,
    token_ids: Tensor,
    mask: Tensor,
    wants: Iterable[Score],
    *,
    bias: Tensor | None = None,
    temperature: float = 1.0,
    softcap: float | None = None,
    scale: float = 1.0,
    chunk: int | None = None,
    into_grad: bool = False,
) -> TokenScores:
    """Score each token under the distribution predicted at the token before it.

    Under autocast products are of autocast's dtype, as those of any linear layer.

    Args:
        hidden: `[N, hidden]`, last hidden states of the packed tokens.
        weight: `[vocabulary, hidden]`, the (possibly tied) LM head.
        token_ids: int64 `[N]`.
        mask: bool `[N]`: the tokens to score; every score is 0 elsewhere. Never the first token of a segment.
        bias: `[vocabulary]` or None.
        temperature: logits are divided by it after scaling and capping.
        softcap: logits become `softcap * tanh(logits / softcap)`.
        scale: logits are multiplied by it first.
        chunk: tokens whose logits exist at one time; by default as many as make `LOGITS` numbers.
        into_grad: add the weight's gradient to its `grad` where it has one, instead of handing autograd another of the
            head's size. For a caller of `backward` without hooks on the weight; never for `torch.autograd.grad`.

    Returns:
        float32 `[N]` scores (float64 for float64 hidden states), differentiable in `hidden`, `weight` and `bias`.
    """
    kind = hidden.device.type
    autocast = torch.is_autocast_enabled(kind)
    head = _Head(
        scale=scale,
        softcap=softcap,
        temperature=temperature,
        wanted=tuple(name for name in OF_LOGITS if name in set(wants)),
        chunk=max(1, LOGITS // len(weight)) if chunk is None else chunk,
        compute=torch.get_autocast_dtype(kind) if autocast else hidden.dtype,
        into_grad=into_grad,
    )
    rows = torch.nonzero(mask).squeeze(1)
    with torch.autocast(kind, enabled=False):
        columns = _Scores.apply(hidden, weight, bias, token_ids[rows], rows, head)  # type: ignore[no-untyped-call]
        zeros = hidden.new_zeros(len(token_ids), dtype=torch.promote_types(hidden.dtype, torch.float32))
        return TokenScores(
            **{name: zeros.index_copy(0, rows, column) for name, column in zip(head.wanted, columns, strict=True)}
        )


class _Scores(torch.autograd.Function):
    """Scores of the tokens `ids` at `rows`, each predicted by the hidden state of the row before."""

    @staticmethod
    def forward(  # noqa: PLR0917 - autograd hands arguments over by position
        ctx: Any, hidden: Tensor, weight: Tensor, bias: Tensor | None, ids: Tensor, rows: Tensor, head: _Head
    ) -> tuple[Tensor, ...]:
        ctx.set_materialize_grads(False)
        ctx.head = head
        cast = weight.to(head.compute)
        parts: list[dict[str, Tensor]] = []
        logits: Tensor | None = None
        scratch: Tensor | None = None
        for start in range(0, len(rows), head.chunk) or (0,):
            at = slice(start, start + head.chunk)
            z = head.logits(hidden.index_select(0, rows[at] - 1).to(head.compute), cast, bias)
            block = max(1, BLOCK // z.shape[1]) if z.device.type == "cpu" else max(1, len(z))
            if scratch is None:
                scratch = torch.empty_like(z[:block])
            blocks = zip(torch.split(z, block), torch.split(ids[at], block), strict=True)
            parts += [_reduce(rows_of, ids_of, head.wanted, scratch) for rows_of, ids_of in blocks]
            logits = z if len(rows) <= head.chunk and any(ctx.needs_input_grad) else None
        scores = {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
        own = (scores["top"], scores["log_sum"], scores.get("entropy"), scores.get("log_sum_p2"))
        ctx.logits = logits
        ctx.save_for_backward(hidden, weight, bias, ids, rows, *own)
        if "hits" in scores:
            ctx.mark_non_differentiable(scores["hits"])
        return tuple(scores[name] for name in head.wanted)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
        hidden, weight, bias, ids, rows, top, log_sum, entropy, log_sum_p2 = ctx.saved_tensors
        # Used up here: overwritten by their gradient. A second backward pass makes its logits again.
        logits, ctx.logits = ctx.logits, None
        head: _Head = ctx.head
        into_hidden, into_weight, into_bias, *_ = ctx.needs_input_grad
        grad_hidden = torch.zeros_like(hidden) if into_hidden else None
        held = weight.grad if head.into_grad and weight.is_leaf else None
        in_place = held is not None and held.dtype == top.dtype and into_weight
        grad_weight = (held if in_place else torch.zeros_like(weight, dtype=top.dtype)) if into_weight else None
        grad_bias = torch.zeros_like(bias, dtype=top.dtype) if into_bias else None
        cast = weight.to(head.compute)
        wanted = any(grad is not None for grad in grads)
        for start in range(0, len(rows) if wanted else 0, head.chunk):
            at = slice(start, start + head.chunk)
            part = rows[at] - 1
            h = hidden.index_select(0, part).to(head.compute)
            z = head.logits(h, cast, bias).sub_(top[at].unsqueeze(1)) if logits is None else logits
            slope = head.slope(z, top[at])
            incoming: dict[str, Tensor | None] = dict(zip(head.wanted, grads, strict=True))
            own = {"entropy": entropy, "log_sum_p2": log_sum_p2}
            d, factor = _logit_gradient(
                z.sub_(log_sum[at].unsqueeze(1)),
                ids[at],
                {name: None if grad is None else grad[at] for name, grad in incoming.items()},
                {name: None if score is None else score[at] for name, score in own.items()},
            )
            if slope is not None:
                d *= slope
            d = d.to(head.compute)
            # A factor of each row costs less on the products' narrow side.
            factor = factor.mul_(head.scale / head.temperature).unsqueeze(1)
            if grad_hidden is not None:
                grad_hidden.index_copy_(0, part, _product(d, cast).mul_(factor).to(hidden.dtype))
            if grad_weight is not None:
                _add_product(grad_weight, d.t(), h.mul(factor).to(head.compute))
            if grad_bias is not None:
                grad_bias += (d.t().to(factor.dtype) @ factor).squeeze(1)
        return (
            grad_hidden,
            None if grad_weight is None or in_place else grad_weight.to(weight.dtype),
            None if grad_bias is None else grad_bias.to(bias.dtype),
            None,
            None,
            None,
        )


def _reduce(z: Tensor, ids: Tensor, wanted: tuple[Score, ...], scratch: Tensor) -> dict[str, Tensor]:
    """`[n, vocabulary]` logits, shifted in place by their largest, to one `[n]` vector per score.

    `scratch` takes the exponentials of all blocks in turn. One allocated for each would leave a hole that the block's
    results pin and that glibc before 2.38 cannot use again, so that the heap would grow by a block each time.
    """
    reduced: dict[str, Tensor] = {}
    if "hits" in wanted:
        top, at = z.max(-1)
        reduced["hits"] = (at == ids).to(z.dtype)
    else:
        top = z.amax(-1)
    z -= top.unsqueeze(1)
    e = torch.exp(z, out=scratch[: len(z)])
    total = e.sum(-1)
    log_sum = total.log()
    reduced |= {"top": top, "log_sum": log_sum}
    if "logprobs" in wanted:
        reduced["logprobs"] = z.gather(1, ids.unsqueeze(1)).squeeze(1) - log_sum
    if "entropy" in wanted:
        reduced["entropy"] = log_sum - _dot(e, z) / total
    if "log_sum_p2" in wanted:
        reduced["log_sum_p2"] = _dot(e, e).log() - 2 * log_sum
    return reduced


def _logit_gradient(
    logp: Tensor, ids: Tensor, grads: Mapping[str, Tensor | None], scores: Mapping[str, Tensor | None]
) -> tuple[Tensor, Tensor]:
    """Gradient in the logits as (matrix, factor of each of its rows); overwrites `logp`.

    With p the distribution, H its entropy and y the token:

        ∂ log p_y / ∂z = 1_y − p        ∂H / ∂z = −p (log p + H)        ∂ log Σp² / ∂z = 2 (p² / Σp² − p)
    """
    of_logprob, of_entropy, of_p2 = (grads.get(name) for name in ("logprobs", "entropy", "log_sum_p2"))
    at = ids.unsqueeze(1)
    if of_entropy is None and of_p2 is None:
        assert of_logprob is not None
        p = logp.exp_()
        return p.scatter_(1, at, p.gather(1, at) - 1), -of_logprob
    p = logp.exp()
    inside = p.new_zeros(len(ids), 1) if of_logprob is None else -of_logprob.unsqueeze(1)
    if of_p2 is not None:
        log_sum_p2 = scores["log_sum_p2"]
        assert log_sum_p2 is not None
        inside = (p * torch.exp(-log_sum_p2).unsqueeze(1)).sub_(1).mul_(2 * of_p2.unsqueeze(1)).add_(inside)
    if of_entropy is not None:
        entropy = scores["entropy"]
        assert entropy is not None
        inside = logp.add_(entropy.unsqueeze(1)).mul_(-of_entropy.unsqueeze(1)).add_(inside)
    d = p.mul_(inside)
    if of_logprob is not None:
        d.scatter_(1, at, d.gather(1, at) + of_logprob.unsqueeze(1))
    return d, p.new_ones(len(ids))


def _logits(hidden: Tensor, weight: Tensor) -> Tensor:
    """`hidden @ weight.T` of exact products, summed and left in float32 (float64 for float64).

    A CPU's own product of bfloat16 rounds each sum to 8 bits: 0.06 nats at a logit of 16.
    """
    if hidden.is_cuda or hidden.dtype in (torch.float32, torch.float64):
        return _product(hidden, weight.t())
    out = torch.empty(len(hidden), len(weight), dtype=torch.float32, device=hidden.device)
    wide = hidden.float()
    step = max(1, WIDENED // weight.shape[1])
    for start in range(0, len(weight), step):
        torch.mm(wide, weight[start : start + step].float().t(), out=out[:, start : start + step])
    return out


def _product(a: Tensor, b: Tensor) -> Tensor:
    """`a @ b` as float32 (float64 for float64). A CPU rounds the sums of narrow types once, like any linear layer."""
    if a.dtype in (torch.float32, torch.float64):
        return a @ b
    if a.is_cuda:
        return torch.mm(a, b, out_dtype=torch.float32)
    return (a @ b).float()


def _add_product(total: Tensor, a: Tensor, b: Tensor) -> None:
    """`total += a @ b` for a float32 total (float64 for float64)."""
    if a.dtype == total.dtype:
        total.addmm_(a, b)
    elif a.is_cuda:
        torch.addmm(total, a, b, out_dtype=torch.float32, out=total)
    else:
        # Rounding each chunk's product to bfloat16 before the sum would bias the head's gradient.
        total.addmm_(a.float(), b.float())


def _dot(a: Tensor, b: Tensor) -> Tensor:
    """Row-wise inner products without a matrix of products."""
    return torch.bmm(a.unsqueeze(1), b.unsqueeze(2)).flatten()
