"""The weights of the in-process generator: made ready for decoding, replaced by name, or lent by a trainer.

A trainer in the same process may lend its tensors: then the generator holds no weights of its own while it has nothing
to do. What it lays out for decoding is made with the first request after an update (about a millisecond per million
weights) and let go of with the last reply, before the trainer needs the memory for gradients and activations.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from aftertrain.core.errors import ModelError
from aftertrain.core.packed.checksum import checksum
from aftertrain.core.packed.heap import give_back
from aftertrain.plugins.generation.products import WORTH_PACKING, DecodingLinear, packs


class Weights:
    """All weights of a network by name; linear layers are exchanged for `DecodingLinear` ones.

    Args:
        network: on its device, in its type, without gradients.
        lent: the trainer's tensors by name; a tied one may be left out. Empty where nobody lends.

    Raises:
        ModelError: what is lent are not this network's weights.
    """

    def __init__(
        self, network: Any, device: torch.device, dtype: torch.dtype, lent: Mapping[str, Tensor] | None = None
    ) -> None:
        self._lent = dict(lent or {})
        self._tensors: dict[str, Tensor] = network.state_dict(keep_vars=True)
        self._shapes = {name: tensor.shape for name, tensor in self._tensors.items()}
        self._same = _together(self._tensors)
        self._packed: dict[str, DecodingLinear] = {}
        self._ready = not self._lent
        if self._lent:
            for _ in self._checked(self._lent.items()):
                pass
        linear = [name for name, module in network.named_modules() if type(module) is nn.Linear]
        may_pack = packs(device, dtype)
        # One after the other: each plain weight is let go of before the next is packed.
        for name in linear:
            if may_pack and self._shapes[f"{name}.weight"].numel() >= WORTH_PACKING:
                exchanged = self._packed[f"{name}.weight"] = DecodingLinear(network.get_submodule(name))
                network.set_submodule(name, exchanged)
                exchanged.pack(self._tensors.pop(f"{name}.weight"))
                give_back()
        self._take_place()
        for name in linear:
            if f"{name}.weight" not in self._packed:
                network.set_submodule(name, DecodingLinear(network.get_submodule(name)))
        if self._lent:
            self.release()

    def _take_place(self) -> None:
        """Put the lent tensors in place of the loaded ones, and a copy where there is none of the type."""
        for names in set(self._same.values()):
            places = [self._tensors[name] for name in names if name in self._tensors]
            if not places:
                continue
            loaded = places[0].detach()
            given = next((self._lent[name].detach() for name in names if name in self._lent), None)
            # A loaded tensor may lie at any address of a mapped file, and its alignment changes the bits of sums.
            held = loaded.clone() if given is None or given.dtype != loaded.dtype else given
            for place in places:
                place.data = held

    def update(self, weights: Iterable[tuple[str, Tensor]]) -> None:
        """Copy weights in by name, in any order; of tied ones any may be given. Lent ones are read where they stand.

        Raises:
            ModelError: a name is unknown, a shape differs, a weight is missing, or one stands elsewhere than was lent.
        """
        for name, weight in self._checked(weights):
            if not self._lent:
                for place in self._same[name]:
                    self._write(place, weight)
            elif name in self._lent and weight.data_ptr() != self._lent[name].data_ptr():
                raise ModelError(f"weight {name!r} was lent to the generator and stands elsewhere now")
        self.release()

    def checksums(self) -> dict[str, tuple[str, int]] | None:
        """Of all weights as they are held, packed ones laid out again; None where they are a trainer's."""
        if self._lent:
            return None
        held = {**self._tensors, **{name: layer.weight for name, layer in self._packed.items()}}
        return {name: (str(weight.dtype).removeprefix("torch."), checksum(weight)) for name, weight in held.items()}

    def prepare(self) -> None:
        """Make lent weights ready to decode with."""
        if self._ready:
            return
        for name, weight in self._lent.items():
            for place in self._same[name]:
                held = self._tensors.get(place)
                if held is None or held.data_ptr() != weight.data_ptr():
                    self._write(place, weight)
        self._ready = True

    def release(self) -> None:
        """Let go of what was made of lent weights."""
        if self._lent:
            for layer in self._packed.values():
                layer.release()
            self._ready = False

    def _write(self, name: str, weight: Tensor) -> None:
        if name in self._tensors:
            with torch.no_grad():
                self._tensors[name].copy_(weight)
        else:
            self._packed[name].pack(weight)

    def _checked(self, weights: Iterable[tuple[str, Tensor]]) -> Iterator[tuple[str, Tensor]]:
        """The weights as they come.

        Raises:
            ModelError: a name is unknown, a shape differs, or a weight is missing.
        """
        missing = set(self._shapes)
        for name, weight in weights:
            if name not in self._shapes:
                raise ModelError(f"the generator's model has no weight named {name!r}")
            if self._shapes[name] != weight.shape:
                raise ModelError(
                    f"weight {name!r} has shape {tuple(weight.shape)}, the generator's {tuple(self._shapes[name])}"
                )
            yield name, weight
            missing -= self._same[name]
        if missing:
            names = [name for name in self._shapes if name in missing]
            raise ModelError(f"weights are missing from the update: {', '.join(names[:8])} ({len(names)} in all)")


def _together(tensors: Mapping[str, Tensor]) -> dict[str, frozenset[str]]:
    """For each name all that are the same tensor."""
    groups: dict[int, set[str]] = {}
    for name, tensor in tensors.items():
        groups.setdefault(tensor.data_ptr(), set()).add(name)
    return {name: frozenset(names) for names in groups.values() for name in names}
