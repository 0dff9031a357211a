"""Scale and temperature put where kernels that know neither still compute the same logits."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

from aftertrain.core.head_kernel import LMHead


class Folded(NamedTuple):
    """`softcap * tanh((weight @ hidden + bias) / softcap)` are the logits, all tensors of hidden's dtype."""

    hidden: Tensor
    weight: Tensor
    bias: Tensor | None
    softcap: float | None


def fold(hidden: Tensor, head: LMHead, temperature: float) -> Folded:
    """The head at a temperature, with f = scale / temperature and c = softcap / temperature.

        softcap tanh(scale (W h + b) / softcap) / temperature = c tanh((W (f h) + f b) / c)

    Only `f h` and `f b` are rounded once more, and not if f is a power of two.
    """
    weight = head.weight.to(hidden.dtype)
    bias = None if head.bias is None else head.bias.to(hidden.dtype)
    factor = head.scale / temperature
    if factor != 1.0:
        hidden = hidden * factor
        bias = None if bias is None else bias * factor
    return Folded(hidden, weight, bias, None if head.softcap is None else head.softcap / temperature)
