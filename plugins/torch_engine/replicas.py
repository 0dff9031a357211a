"""Copies of one model in several ranks: their gradients added up, and a proof that they stay equal."""

from __future__ import annotations

import torch
from torch import nn

from aftertrain.core.errors import NumericsError
from aftertrain.core.ranks import Ranks


def add_gradients(model: nn.Module, ranks: Ranks) -> None:
    """Give every rank the sum of all ranks' gradients; their denominators were global already (F42).

    A parameter without a gradient on any rank stays without, so that the optimizer leaves it alone as in one process.
    """
    if ranks.size == 1:
        return
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    there = torch.tensor([float(p.grad is not None) for p in parameters], device=parameters[0].device)
    ranks.add([there], "which gradients there are")
    reached = [p for p, n in zip(parameters, there.tolist(), strict=True) if n > 0]
    for parameter in reached:
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
    ranks.add([p.grad for p in reached if p.grad is not None], "the sum of gradients")


def check_equal(model: nn.Module, ranks: Ranks) -> None:
    """Compare a checksum of the weights' bits over ranks.

    Raises:
        NumericsError: the copies have drifted apart.
    """
    if ranks.size == 1:
        return
    with torch.no_grad():
        sums = [int(p.detach().contiguous().view(torch.int32).sum(dtype=torch.int64)) for p in model.parameters()]
    checksums = ranks.gather(sums, "checksums of the weights")
    odd = [rank for rank, others in enumerate(checksums) if others != checksums[0]]
    if odd:
        raise NumericsError(
            f"the model's copies have drifted apart: the weights of rank {', '.join(map(str, odd))} are not rank 0's; "
            "the last checkpoint is intact"
        )
