"""Mismatched samples: each prompt with the reply of another row, for losses that estimate a KL from them (KTO)."""

from __future__ import annotations

import random
from collections.abc import Sequence
from hashlib import blake2b

import numpy as np

from aftertrain.core.errors import DataError
from aftertrain.plugins.training.spans import Ints
from aftertrain.plugins.training.store import Store


def partners_of(store: Store, segments: Ints) -> Ints:
    """For each of these segments of a store the one whose reply goes to its prompt; -1 for the store's others.

    Which reply goes to which prompt is fixed by the number of rows alone, so that a resume and another batch size see
    the same. Every reply is used once, but for rows whose neighbour has the same prompt: they take the next one's.

    Raises:
        DataError: all rows have one prompt.
    """
    starts = store.first_targets
    prompts = [
        blake2b(store.span(number).token_ids[: starts[number]].tobytes(), digest_size=16).digest()
        for number in segments.tolist()
    ]
    partners = np.full(len(store), -1, np.int64)
    partners[segments] = segments[_partners(prompts)]
    return partners


def _partners(prompts: Sequence[bytes]) -> Ints:
    """For each row the next one in a shuffled ring that has another prompt.

    Raises:
        DataError: all rows have one prompt.
    """
    n = len(prompts)
    order = list(range(n))
    random.Random(0).shuffle(order)
    partners = np.full(n, -1, np.int64)
    partner = -1
    for at in range(2 * n - 1, -1, -1):
        here, after = order[at % n], order[(at + 1) % n]
        if prompts[after] != prompts[here]:
            partner = after
        partners[here] = partner
    if partner < 0:
        raise DataError(f"all {n} rows have one prompt, so that none has a reply to another; set kl: none, or add rows")
    return partners
