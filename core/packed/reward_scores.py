"""What a reward model says of whole samples: its value at each one's last token."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from aftertrain.core.engine import Engine
from aftertrain.core.packed.packing import Atom, pack


def scores_at_end(engine: Engine[Any], atoms: Sequence[Atom], budget: int) -> dict[str, float]:
    """By sample the value at its last token, from batches of at most `budget` tokens, without gradients.

    Args:
        engine: loaded with the head `scalar`.
    """
    scores: dict[str, float] = {}
    for batch in pack(atoms, budget, shared=engine.shares_prefixes):
        values = engine.score(batch, ("values",), grad=False).values
        assert values is not None
        at_end = values.detach().cpu()[batch.last_token()]
        scores |= dict(zip(batch.sample_ids, at_end.tolist(), strict=True))
    return scores
