"""Engines for tests."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from aftertrain.core.batch import PackedBatch
from aftertrain.core.engine import AdamW


class NoBuilder:
    """For components that nest none."""

    def build(self, use: Any) -> Any:
        raise AssertionError(f"{use} was not to be built")


@pytest.fixture
def make_engine() -> Callable[..., Any]:
    """`make_engine(folder, head=…, optimizer=…, seed=…, **settings)` loads a torch engine."""
    from aftertrain.plugins.torch_engine.engine import TorchEngine
    from aftertrain.plugins.torch_engine.settings import TorchSettings

    def make(folder: Path, *, head: str = "lm", optimizer: AdamW | None = None, seed: int = 0, **settings: Any) -> Any:
        engine = TorchEngine(TorchSettings(device="cpu", **settings), NoBuilder())
        engine.load(str(folder), head=head, optimizer=optimizer, seed=seed)
        return engine

    return make


@pytest.fixture
def make_batch() -> Callable[..., PackedBatch]:
    """`make_batch(lengths, vocabulary)` packs seeded random segments whose tokens are all targets but the first."""
    import random

    from aftertrain.core.packed.packing import Segment, collate

    def make(lengths: Sequence[int], vocabulary: int = 61, seed: int = 0) -> PackedBatch:
        rng = random.Random(seed)
        return collate(
            [
                Segment(f"s{i}", [rng.randrange(3, vocabulary) for _ in range(n)], [True] * n, group=i)
                for i, n in enumerate(lengths)
            ]
        )

    return make
