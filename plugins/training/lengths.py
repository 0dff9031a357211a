"""How long rows are, and what `batch.max_tokens` costs of them, as a plan tells it."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from aftertrain.core.records import PlanItem
from aftertrain.plugins.training.settings import Batch
from aftertrain.plugins.training.store import Store

SHARES = (50, 90, 99)
"""Percentiles that are told."""
UNITS = {"pairs": "a pair's longer side", "replies": "a reply with its prompt", "texts": "a text"}


def lengths_told(store: Store, batch: Batch, noun: str, *, sampled: bool) -> Iterator[PlanItem]:
    """Percentiles of the lengths before any cut, and the share of rows and tokens that are beyond the limit.

    A percentile is the smallest length that so many of a hundred rows do not exceed.

    Args:
        noun: what the rows are called.
        sampled: the store holds some of the rows alone.
    """
    if not len(store):
        return
    longest = np.maximum.reduceat(store.lengths, store.atom_starts)
    shares = [
        f"{share} % have at most {length:,}"
        for share, length in zip(SHARES, np.percentile(longest, SHARES, method="inverted_cdf"), strict=True)
    ]
    unit = "a piece" if batch.overlong == "split" else UNITS.get(noun, f"a {noun.removesuffix('s')}")
    yield PlanItem("lengths", f"tokens of {unit}: {', '.join(shares)}, the longest has {longest.max():,}")
    if batch.overlong == "split":
        return
    over = longest > batch.max_tokens
    limit = f"batch.max_tokens, {batch.max_tokens:,}"
    if not over.any():
        yield PlanItem("limit", f"{limit}: none{f' of the {len(over):,} tokenised' if sampled else ''} is longer")
        return
    sizes = np.add.reduceat(store.lengths, store.atom_starts)
    if batch.overlong == "truncate":
        lost, becomes = np.maximum(store.lengths - batch.max_tokens, 0).sum(), "cut, which takes"
    else:
        lost, becomes = sizes[over].sum(), "left out, which takes"
    about = "about " if sampled else ""
    rows = f"{about}{over.mean():.2%} of the {noun} ({over.sum():,} of {len(over):,}) are longer and {becomes}"
    yield PlanItem("limit", f"{limit}: {rows} {lost / sizes.sum():.2%} of the tokens")
