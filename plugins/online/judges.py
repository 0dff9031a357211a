"""The verifiers of an online stage: of its problems' checks, and of what shapes rewards."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from aftertrain.core.settings import Builder, Use
from aftertrain.core.verification.checks import reward_name
from aftertrain.core.verifier import Verifier
from aftertrain.plugins.online.reward_settings import RewardSettings


def judges(
    rewards: Sequence[Use[Verifier[Any]]], settings: RewardSettings, builder: Builder
) -> dict[str, Verifier[Any]]:
    """By name, as they are built: the rewards, then what shapes them."""
    shaping = {name: part.verifier for name, part in settings.shaping.items()}
    return {name: builder.build(use) for name, use in {**{reward_name(use): use for use in rewards}, **shaping}.items()}


def any_pooled(built: Mapping[str, Verifier[Any]]) -> bool:
    """Whether one of them, or a part of one, is judged by a pool."""
    return any(map(_pooled, built.values()))


def _pooled(verifier: Verifier[Any]) -> bool:
    return any(map(_pooled, verifier.parts)) if verifier.parts else verifier.isolated
