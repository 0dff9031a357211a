"""Where a judge of pairs cannot be a reward (OAIF, arXiv 2402.04792; F25)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aftertrain.core.errors import RunError
from aftertrain.core.verifier import Verifier


def refuse_single_replies(verifiers: Mapping[str, Verifier[Any]], samples: int) -> None:
    """Raise RunError where a judge of pairs is to compare the one reply to a prompt."""
    for name, verifier in verifiers.items():
        if verifier.compares and samples < 2:
            raise RunError(
                f"the reward {name!r} compares replies to one prompt: batch.samples_per_prompt must be 2 or more"
            )
