"""Both kernels on a CPU, by Triton's interpreter, in a process of its own: Triton reads its variable when imported.

python kernel_child.py OUT        writes OUT: {case name: {who: {what: tensor}}}, who is kernel, ours and float64
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from aftertrain.core.head_kernel import LMHead
from aftertrain.core.packed.head_scores import head_scores


@dataclass(frozen=True)
class Case:
    """A head and some tokens. `ids` are drawn with duplicates; the first of `n + 1` tokens is never scored."""

    kernel: str
    n: int = 21
    hidden: int = 64
    vocabulary: int = 300
    bias: bool = False
    scale: float = 1.0
    softcap: float | None = None
    temperature: float = 1.0
    dtype: str = "float32"
    entropy: bool = False


OF_LIGER: dict[str, dict[str, Any]] = {
    "bias": {"bias": True, "scale": 0.5, "temperature": 2.0},
    "bfloat16": {"dtype": "bfloat16", "vocabulary": 3000, "temperature": 0.7},
}
CASES = {
    f"{kernel} {name}": Case(kernel, **{"dtype": dtype, **options})
    for kernel, dtype in (("liger", "float32"), ("cut_cross_entropy", "float16"))
    for name, options in {
        "plain": {},
        "one token": {"n": 1},
        "odd sizes": {"n": 5, "hidden": 20, "vocabulary": 11},
        "softcap": {"softcap": 3.0},
        "scale": {"scale": 0.3},
        "temperature": {"temperature": 0.7},
        "with our entropy": {"entropy": True, "softcap": 3.0},
        "all": {"softcap": 2.5, "scale": 1.7, "temperature": 1.3},
        **(OF_LIGER if kernel == "liger" else {}),
    }.items()
}


def problem(case: Case, device: str = "cpu") -> dict[str, Any]:
    """Tensors of a case, drawn from one seed; what is scored, and what comes back to each token."""
    draw = torch.Generator().manual_seed(0)
    n, dtype = case.n + 1, getattr(torch, case.dtype)
    hidden = torch.randn(n, case.hidden, generator=draw)
    weight = torch.randn(case.vocabulary, case.hidden, generator=draw) * 0.3
    bias = torch.randn(case.vocabulary, generator=draw) if case.bias else None
    ids = torch.randint(min(case.vocabulary, 9), (n,), generator=draw)  # 9 of them only: many twice
    given = {"hidden": hidden, "weight": weight, **({} if bias is None else {"bias": bias})}
    # Numbers that the dtype holds, so that only what is computed of them can differ.
    leaves = {name: tensor.to(dtype).float().to(device) for name, tensor in given.items()}
    direction = torch.randn(n, generator=draw).to(device)
    return {"leaves": leaves, "ids": ids.to(device), "direction": direction, "dtype": dtype}


def scored(case: Case, given: dict[str, Any], who: str, make: Any) -> dict[str, Tensor]:
    """Log-probabilities, hits and gradients, by `who`: `kernel`, `ours` or `float64`."""
    dtype = torch.float64 if who == "float64" else given["dtype"] if who == "kernel" else torch.float32
    inputs = {name: tensor.to(dtype).requires_grad_() for name, tensor in given["leaves"].items()}
    head = LMHead(inputs["weight"], inputs.get("bias"), case.scale, case.softcap)
    ids, n = given["ids"], len(given["ids"])
    mask = torch.arange(n, device=ids.device) > 0
    if who == "float64":
        found = by_definition(inputs["hidden"], head, ids, case.temperature)
    else:
        kernel = make(case.kernel) if who == "kernel" else None
        wants = ("logprobs", "hits", *(["entropy"] if case.entropy else []))
        options = {"temperature": case.temperature, "kernel": kernel}
        found = head_scores(inputs["hidden"], head, ids, mask, wants, **options).filled()
    total = (found["logprobs"] * given["direction"]).sum()
    if case.entropy:
        total = total + (found["entropy"] * given["direction"].flip(0)).sum()
    gradients = torch.autograd.grad(total, list(inputs.values()))
    found |= {f"gradient of {name}": gradient for name, gradient in zip(inputs, gradients, strict=True)}
    return {name: tensor.detach().cpu() for name, tensor in found.items()}


def by_definition(hidden: Tensor, head: LMHead, ids: Tensor, temperature: float) -> dict[str, Tensor]:
    """All logits at once, straight from `LMHead`'s formula."""
    logits = hidden[:-1] @ head.weight.T
    if head.bias is not None:
        logits = logits + head.bias
    logits = logits * head.scale
    if head.softcap is not None:
        logits = head.softcap * torch.tanh(logits / head.softcap)
    logp = (logits / temperature).log_softmax(-1)
    scores = {
        "logprobs": logp.gather(1, ids[1:, None]).squeeze(1),
        "hits": (logits.argmax(-1) == ids[1:]).double(),
        "entropy": -(logp.exp() * logp).sum(-1),
    }
    return {name: torch.cat([score.new_zeros(1), score]) for name, score in scores.items()}


def make_kernel(name: str) -> Any:
    """The component with its defaults."""
    from aftertrain.plugins.head_kernels.cut_cross_entropy import CutCrossEntropy
    from aftertrain.plugins.head_kernels.liger import Liger

    kind = {"liger": Liger, "cut_cross_entropy": CutCrossEntropy}[name]
    return kind(kind.Config(), None)


def main(out: str) -> None:
    import interpreter  # noqa: F401  (it makes the kernels run here)

    found = {}
    for name, case in CASES.items():
        given = problem(case)
        found[name] = {who: scored(case, given, who, make_kernel) for who in ("kernel", "ours", "float64")}
    torch.save(found, out)


if __name__ == "__main__":
    main(sys.argv[1])
