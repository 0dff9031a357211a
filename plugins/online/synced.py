"""Whether the generator has the weights that it was handed: their checksums against the trainer's."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from aftertrain.core.errors import RunError
from aftertrain.core.generator import Generator
from aftertrain.core.packed.checksum import checksum


def check_synced(weights: Iterable[tuple[str, Tensor]], generator: Generator[Any], version: int) -> None:
    """See that each weight arrived with the trainer's bits, in the generator's dtype.

    A generator that cannot tell, or that reads the trainer's own tensors, is taken at its word; whether its replies are
    likely is measured anyway (`parity`).

    Raises:
        RunError: one differs, or none of them is among those that the generator tells of.
    """
    held = generator.checksums()
    if held is None:
        return
    ours = dict(weights)
    if not ours.keys() & held.keys():
        raise RunError(
            f"the generator {type(generator).__name__} was handed version {version} of the weights and tells of none"
        )
    apart = [
        name
        for name, weight in ours.items()
        if name in held and checksum(weight, getattr(torch, held[name][0])) != held[name][1]
    ]
    if apart:
        raise RunError(
            f"the generator {type(generator).__name__} has other weights than version {version} that it was handed: "
            f"the checksums of {len(apart):,} of {len(ours):,} differ, the first of {apart[0]!r}. What replies would "
            "not be what is trained; the last checkpoint stays"
        )
