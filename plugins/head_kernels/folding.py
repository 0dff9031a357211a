"""Scale and temperature put where kernels that know neither still compute the same logits."""

from __future__ import annotations

from torch import Tensor

from aftertrain.core.head_kernel import LMHead


def fold(hidden: Tensor, head: LMHead, temperature: float) -> tuple[Tensor, LMHead]:
    """Hidden states and a head of scale 1, of hidden's dtype, whose logits are those of `head` at a temperature.

    With f = scale / temperature and c = softcap / temperature:

        softcap tanh(scale (W h + b) / softcap) / temperature = c tanh((W (f h) + f b) / c)

    Only `f h` and `f b` are rounded once more, and not if f is a power of two.
    """
    weight = head.weight.to(hidden.dtype)
    bias = None if head.bias is None else head.bias.to(hidden.dtype)
    factor = head.scale / temperature
    if factor != 1.0:
        hidden = hidden * factor
        bias = None if bias is None else bias * factor
    return hidden, LMHead(weight, bias, 1.0, None if head.softcap is None else head.softcap / temperature)
