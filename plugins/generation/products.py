"""Matrix products of decoding on a CPU: weights that oneDNN has laid out for them.

A decoding step multiplies each weight by a few rows only, so that reading the weights is most of its time. torch's
plain product reads them as they lie; in oneDNN's blocked layout they are read 1.2 to 2.2 times faster (more at fewer
rows, and in bfloat16). The blocked copy takes the plain one's place, so that no memory is added, but for a head that
is tied to the embeddings, which are looked up in the plain layout. Where a trainer lends its weights, the blocked copy
is there only while replies are made.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

WORTH_PACKING = 1 << 16
"""Fewest elements of a weight that is packed: oneDNN's call costs about 10 µs more than torch's own."""


def packs(device: torch.device, dtype: torch.dtype) -> bool:
    """Whether weights of this type are multiplied faster in oneDNN's layout here."""
    return (
        device.type == "cpu"
        and dtype in (torch.float32, torch.bfloat16)
        and bool(torch.backends.mkldnn.is_available())  # type: ignore[no-untyped-call]
        and hasattr(torch.ops.mkldnn, "_linear_pointwise")
        and hasattr(torch.ops.mkldnn, "_reorder_linear_weight")
    )


class DecodingLinear(nn.Module):
    """A linear layer without gradient, `[…, in]` to `[…, out]`, whose weight may be packed.

    Its rows are laid end to end before the product: torch multiplies a slice such as `hidden[:, -1:]` one row after the
    other, with the weight expanded to all of them.

    Attributes:
        plain: weight `[out, in]` as it lies; None where only the packed one is held.
    """

    def __init__(self, layer: nn.Linear) -> None:
        super().__init__()
        self.in_features, self.out_features = layer.in_features, layer.out_features
        self.dtype = layer.weight.dtype
        self.plain: Tensor | None = layer.weight.detach()
        self.bias = layer.bias
        self.packed: Tensor | None = None

    def pack(self, weight: Tensor) -> None:
        """Multiply by this weight `[out, in]` from now on, in the layer's type, and let go of the plain one."""
        self.plain = None
        self.packed = torch.ops.mkldnn._reorder_linear_weight(weight.detach().to(self.dtype).contiguous(), None)

    def release(self) -> None:
        """Let go of the packed weight; `pack` comes before the next product."""
        self.packed = None

    @property
    def weight(self) -> Tensor:
        """The weight as it lies, for a family that looks at it; a packed one is laid out anew each time."""
        if self.packed is not None:
            return self.packed.to_dense()
        assert self.plain is not None, "the weight was released"
        return self.plain

    def forward(self, states: Tensor) -> Tensor:
        """The product with every row."""
        if self.plain is not None and states.is_contiguous():
            return nn.functional.linear(states, self.plain, self.bias)
        rows = states.reshape(-1, self.in_features)
        if self.packed is None:
            assert self.plain is not None, "the weight was released"
            out = nn.functional.linear(rows, self.plain, self.bias)
        else:
            out = torch.ops.mkldnn._linear_pointwise(rows, self.packed, self.bias, "none", [], "")
        return out.view(*states.shape[:-1], self.out_features)
