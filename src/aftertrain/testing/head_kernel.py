"""What a head kernel promises: the scores and per-token gradients of our own head, on this machine's device."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from aftertrain.core.errors import ModelError
from aftertrain.core.head_kernel import HeadKernel, LMHead
from aftertrain.core.loss import Score
from aftertrain.core.packed.logprobs import OF_LOGITS, token_scores
from aftertrain.testing.promise import Subject, Unchecked, require

CLOSE = {"float32": 1e-4, "bfloat16": 0.05}
"""Largest difference from our head in float32, as a share of the largest entry, by the dtype of products."""
HIDDEN, VOCABULARY, TOKENS = 64, 500, 40


@dataclass(frozen=True)
class Trial:
    """One head that the kernel accepts, with tokens to score; all numbers are such as `dtype` holds."""

    words: str
    kernel: HeadKernel[Any]
    head: LMHead
    hidden: Tensor
    ids: Tensor
    dtype: torch.dtype
    temperature: float

    @property
    def tolerance(self) -> float:
        """Of `CLOSE`."""
        return CLOSE[str(self.dtype).removeprefix("torch.")]


def scores_are_those_of_our_head(subject: Subject) -> None:
    """Each of `scores`, at least `logprobs`, is float32 `[n]` and what `token_scores` gives."""
    for trial in _trials(subject):
        names = trial.kernel.scores
        require("logprobs" in names and names <= set(OF_LOGITS), f"scores is {set(names)}, of {', '.join(OF_LOGITS)}")
        for name in sorted(names):
            scores, expected = (_scores(trial, name, ours=ours).detach() for ours in (False, True))
            require(scores.dtype == torch.float32, f"{name} is {scores.dtype}")
            require(scores.shape == trial.ids.shape, f"{name} of {len(trial.ids)} ids has shape {tuple(scores.shape)}")
            if name == "hits":
                # Logits that are equal after rounding may be taken for one another.
                off = float((scores != expected).float().mean())
                require(off <= 2 * trial.tolerance, f"{trial.words}: {off:.0%} of hits are others")
            else:
                _require_close(scores, expected, trial, name)


def gradients_are_each_tokens_own(subject: Subject) -> None:
    """Gradients of states, weight and bias agree with `token_scores` under random factors for each token and score."""
    for trial in _trials(subject):
        for name in sorted(trial.kernel.scores - {"hits"}):
            factors = torch.randn(len(trial.ids), generator=torch.Generator().manual_seed(1)).to(trial.ids.device)
            inputs = {"states": trial.hidden, "weight": trial.head.weight}
            inputs |= {"bias": trial.head.bias} if trial.head.bias is not None else {}
            gradients, expected = (
                torch.autograd.grad((_scores(trial, name, ours=ours) * factors).sum(), list(inputs.values()))
                for ours in (False, True)
            )
            for what, gradient, wanted in zip(inputs, gradients, expected, strict=True):
                _require_close(gradient, wanted, trial, f"gradient of {what} by {name}")


def _trials(subject: Subject) -> Iterator[Trial]:
    """What the kernel accepts on the GPU if there is one: float32 and bfloat16, heads of several kinds, one token.

    Raises:
        Unchecked: it accepts nothing here; says why.
    """
    kernel: HeadKernel[Any] = subject.component()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    draw = torch.Generator().manual_seed(0)
    hidden, weight = torch.randn(TOKENS, HIDDEN, generator=draw), torch.randn(VOCABULARY, HIDDEN, generator=draw) * 0.2
    bias, ids = torch.randn(VOCABULARY, generator=draw), torch.randint(20, (TOKENS,), generator=draw).to(device)
    refusal, tried = "", False
    for dtype in (torch.float32, torch.bfloat16):
        h, w, b = (tensor.to(dtype).float().to(device).requires_grad_() for tensor in (hidden, weight, bias))
        plain = LMHead(w, None, 1.0, None)
        for words, head, n, temperature in (
            ("a plain head", plain, TOKENS, 1.0),
            ("one token", plain, 1, 1.0),
            ("a scaled head at temperature 0.7", replace(plain, scale=0.5), TOKENS, 0.7),
            ("a soft cap", replace(plain, softcap=3.0), TOKENS, 1.0),
            ("a bias", replace(plain, bias=b), TOKENS, 1.0),
        ):
            try:
                kernel.check(head, device, dtype)
            except ModelError as error:
                refusal = refusal or str(error)
                continue
            tried = True
            yield Trial(f"{words} in {dtype} on {device.type}", kernel, head, h[:n], ids[:n], dtype, temperature)
    if not tried:
        raise Unchecked(refusal)


def _scores(trial: Trial, name: Score, *, ours: bool) -> Tensor:
    """`[n]`, by our head in float32 or by the kernel in the trial's dtype."""
    if not ours:
        hidden = trial.hidden.to(trial.dtype)
        return trial.kernel(hidden, trial.head, trial.ids, {name}, temperature=trial.temperature)[name]
    # A token is predicted by the state before it: one state and one token more.
    hidden, ids = torch.cat([trial.hidden, trial.hidden[:1]]), torch.cat([trial.ids[:1], trial.ids])
    head, mask = trial.head, torch.arange(len(ids), device=ids.device) > 0
    options: dict[str, Any] = {"bias": head.bias, "scale": head.scale, "softcap": head.softcap}
    scores = token_scores(hidden, head.weight, ids, mask, (name,), temperature=trial.temperature, **options)
    return scores.filled()[name][1:]


def _require_close(values: Tensor, expected: Tensor, trial: Trial, what: str) -> None:
    off = float((values.double() - expected.double()).abs().max() / expected.double().abs().max())
    require(off <= trial.tolerance, f"{trial.words}: {what} differs by {off:.2g} of its largest entry")
