"""Weights on their way: checked by name and shape before the first is sent, then one after the other as raw bytes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from aftertrain.core.errors import ModelError, unknown
from aftertrain.core.ground.model_folder import read_config, weight_shapes
from aftertrain.core.packed.model import skeleton

if TYPE_CHECKING:
    from torch import Tensor


class Expected:
    """What an update of a model folder's weights consists of.

    vLLM reads weights by the names of the files, and keeps without a word what it is not given; so each parameter must
    come. Of parameters that are one (a head tied to the embedding) any of the names will do.
    """

    def __init__(self, folder: str) -> None:
        model: Any = skeleton(read_config(folder), "lm")
        self._tensors: dict[str, Tensor] = model.state_dict(keep_vars=True)
        stored = weight_shapes(Path(folder)).keys()
        tied: dict[int, list[str]] = {}
        for name, parameter in model.named_parameters(remove_duplicate=False):
            tied.setdefault(id(parameter), []).append(name)
        self._one_of = list(tied.values())
        self._renamed = [
            names[0]
            for names in self._one_of
            if not any(name == other or name.endswith(f".{other}") for name in names for other in stored)
        ]

    def checked(self, weights: Iterable[tuple[str, Tensor]]) -> list[tuple[str, Tensor]]:
        """All weights of an update, in their order; of those that are one, the first.

        Raises:
            ModelError: a name is unknown or given twice, a shape differs, or a weight is missing; or the family's
                files name weights otherwise than the model does, so that vLLM could not tell which is which.
        """
        if self._renamed:
            raise ModelError(
                f"the model's files do not hold {self._renamed[0]} under that name, by which vLLM would look for it "
                f"({len(self._renamed)} such): train this family online with generator: transformers"
            )
        found: dict[str, Tensor] = {}
        for name, weight in weights:
            own = self._tensors.get(name)
            if own is None:
                raise ModelError(f"an update of the generator: {unknown('weight', name, self._near(name))}")
            if own.shape != weight.shape:
                raise ModelError(f"weight {name!r} has shape {tuple(weight.shape)}, the generator's {tuple(own.shape)}")
            if name in found:
                raise ModelError(f"weight {name!r} is given twice")
            found[name] = weight
        for names in self._one_of:
            for twin in [name for name in names if name in found][1:]:
                del found[twin]
        if missing := [names[0] for names in self._one_of if found.keys().isdisjoint(names)]:
            raise ModelError(f"weights are missing from the update: {', '.join(missing[:8])} ({len(missing)} in all)")
        return list(found.items())

    def _near(self, name: str) -> Iterable[str]:
        """Of hundreds of names, those that end alike."""
        last = name.rpartition(".")[2]
        return [own for own in self._tensors if own.endswith(last)][:6] or list(self._tensors)[:6]


def described(weights: Iterable[tuple[str, Tensor]], dtype: str) -> list[tuple[str, list[int], str]]:
    """Name, shape and type of each weight as it will be sent."""
    return [(name, list(weight.shape), dtype) for name, weight in weights]


def raw(weights: Iterable[tuple[str, Tensor]], dtype: str) -> Iterator[tuple[str, memoryview]]:
    """Names and bytes, converted one after the other, so that no second model is held."""
    for name, weight in weights:
        flat = weight.detach().to("cpu", getattr(torch, dtype)).contiguous().reshape(-1)
        data: Any = flat.view(torch.uint8).numpy()
        yield name, memoryview(data)
