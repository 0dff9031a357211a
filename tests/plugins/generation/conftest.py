"""Generators over the tiny model."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from aftertrain.plugins.generation.settings import TransformersSettings
from aftertrain.plugins.generation.transformers import Transformers


@pytest.fixture
def make_generator(tiny_model: Path) -> Callable[..., Transformers]:
    """Opens a generator with the given settings."""

    def make(folder: Path = tiny_model, **settings: Any) -> Transformers:
        generator = Transformers(TransformersSettings(device="cpu", **settings), builder=None)  # type: ignore[arg-type]
        generator.open(str(folder), version=3)
        return generator

    return make


@pytest.fixture
def computed() -> Callable[[Transformers], list[int]]:
    """Counts the tokens of each forward of a generator's model from now on."""

    def count(generator: Transformers) -> list[int]:
        network: Any = generator._opened().network
        tokens: list[int] = []
        network._model.get_input_embeddings().register_forward_pre_hook(
            lambda module, args: tokens.append(args[0].numel())
        )
        return tokens

    return count
