"""Steps of deepspeed engines around a checkpoint. Rank 0 saves the weights that each setting ends with.

python state_worker.py OUT CASES_JSON     cases: {name: [model folder, engine settings, what, state folder]}

what:
    whole     four steps; the state after two is written to the state folder
    resumed   the state, then the last two steps
    nan       as whole without a state, and between the second and third step one whose gradient is NaN, refused
    saved     four steps, and a Hugging Face folder in the state folder
"""

from __future__ import annotations

import json
import os
import random
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from aftertrain.core.engine import AdamW
from aftertrain.core.errors import NumericsError
from aftertrain.core.learning.processes import joined
from aftertrain.core.packed.packing import Segment, pack_share
from aftertrain.core.ranks import Ranks


class NoBuilder:
    """For components that nest none."""

    def build(self, use: Any) -> Any:
        raise AssertionError(f"{use} was not to be built")


def step(engine: Any, number: int, scale: float = 1.0) -> None:
    """One optimizer step on six samples."""
    rng = random.Random(number)
    atoms = [[Segment(f"s{i}", [rng.randrange(3, 60) for _ in range(9 + i)], [True] * (9 + i))] for i in range(6)]
    ranks = engine.ranks
    for batch in pack_share(atoms, 24, rank=ranks.rank, ranks=ranks.size):
        scores = engine.score(batch)
        engine.backward(-scores.logprobs[batch.targets].sum() * scale, 60.0)
    engine.step(1e-2)


def weights(engine: Any) -> dict[str, torch.Tensor]:
    """A copy of all weights."""
    return {name: tensor.detach().clone() for name, tensor in engine.weights()}


def trained(ranks: Ranks, model: str, settings: dict[str, Any], what: str, state: str) -> dict[str, torch.Tensor]:
    """The weights that `what` ends with."""
    from aftertrain.plugins.deepspeed_engine.engine import DeepSpeedEngine

    engine = DeepSpeedEngine(DeepSpeedEngine.Config(device="cpu", **settings), NoBuilder())
    engine.load(model, optimizer=AdamW(eps=1e-4, weight_decay=0.1), ranks=ranks)
    folder = Path(state)
    if what == "resumed":
        engine.load_state(folder)
    else:
        step(engine, 1)
        step(engine, 2)
    if what == "whole":
        if ranks.first:
            folder.mkdir()
        ranks.meet("the folder")
        engine.save_state(folder)
    if what == "nan":
        before = weights(engine)
        with pytest.raises(NumericsError, match="the weights are left as they were"):
            step(engine, 3, scale=float("nan"))
        after = weights(engine)
        assert all(torch.equal(before[name], after[name]) for name in before)
    step(engine, 3)
    step(engine, 4)
    if what == "saved":
        engine.save_model(folder)
    return weights(engine)


def main() -> None:
    """See the module."""
    out, cases = sys.argv[1:]
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    with joined() as ranks:
        found = {name: trained(ranks, *case) for name, case in json.loads(cases).items()}
        if ranks.first:
            torch.save(found, out)


if __name__ == "__main__":
    main()
    sys.stdout.flush()
    # Threads of native libraries may abort while the interpreter is taken down, and nothing is left to do.
    os._exit(0)
