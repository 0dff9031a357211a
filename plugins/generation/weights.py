"""The weights of the in-process generator: made ready for decoding, and replaced by name."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from aftertrain.core.errors import ModelError
from aftertrain.plugins.generation.products import WORTH_PACKING, DecodingLinear, packs


class Weights:
    """All weights of a network by name; linear layers are exchanged for `DecodingLinear` ones.

    Args:
        network: on its device, in its type, without gradients.
    """

    def __init__(self, network: Any, device: torch.device, dtype: torch.dtype) -> None:
        self._tensors: dict[str, Tensor] = network.state_dict()
        self._shapes = {name: tensor.shape for name, tensor in self._tensors.items()}
        self._same = _together(self._tensors)
        self._linear: dict[str, DecodingLinear] = {}
        may_pack = packs(device, dtype)
        for name, layer in list(network.named_modules()):
            if type(layer) is not nn.Linear:
                continue
            exchanged = self._linear[f"{name}.weight"] = DecodingLinear(layer)
            network.set_submodule(name, exchanged)
            if may_pack and layer.weight.numel() >= WORTH_PACKING:
                exchanged.pack(layer.weight.detach())
                del self._tensors[f"{name}.weight"]

    def update(self, weights: Iterable[tuple[str, Tensor]]) -> None:
        """Copy weights in by name, in any order; of tied ones any may be given.

        Raises:
            ModelError: a name is unknown, a shape differs, or a weight is missing.
        """
        missing = set(self._shapes)
        with torch.no_grad():
            for name, weight in weights:
                if name not in self._shapes:
                    raise ModelError(f"the generator's model has no weight named {name!r}")
                if self._shapes[name] != weight.shape:
                    raise ModelError(
                        f"weight {name!r} has shape {tuple(weight.shape)}, the generator's {tuple(self._shapes[name])}"
                    )
                for place in self._same[name]:
                    self._write(place, weight)
                missing -= self._same[name]
        if missing:
            names = [name for name in self._shapes if name in missing]
            raise ModelError(f"weights are missing from the update: {', '.join(names[:8])} ({len(names)} in all)")

    def _write(self, name: str, weight: Tensor) -> None:
        if name in self._tensors:
            self._tensors[name].copy_(weight)
        else:
            self._linear[name].repack(weight)


def _together(tensors: dict[str, Tensor]) -> dict[str, frozenset[str]]:
    """For each name all that are the same tensor."""
    groups: dict[int, set[str]] = {}
    for name, tensor in tensors.items():
        groups.setdefault(tensor.data_ptr(), set()).add(name)
    return {name: frozenset(names) for names in groups.values() for name in names}
