"""Settings beside the defaults keep every promise of a loss: any packing, filler, gradients, extremes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from aftertrain.registry.discovery import installed
from aftertrain.testing import loss
from aftertrain.testing.promise import Promise, Subject, promises_in

VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {
    "dpo by length, smoothed": ("dpo", {"normalize": "length", "label_smoothing": 0.1}),
    "dpo, beta by step": ("dpo", {"beta_schedule": "adaptive"}),
    "dpo, beta by step and loss": ("dpo", {"beta_schedule": "adaptive", "target_loss": 0.2}),
    "ipo by sums": ("ipo", {"normalize": "none"}),
    "ipo, beta by step and loss": ("ipo", {"beta": 1.0, "beta_schedule": "adaptive", "target_loss": 0.2}),
    "hinge by length": ("hinge", {"normalize": "length"}),
    "robust, beta by step and loss": ("robust", {"beta_schedule": "adaptive", "target_loss": 0.2}),
    "wpo by length, capped": ("wpo", {"normalize": "length", "max_weight": 1.0}),
    "wpo, beta by step and loss": ("wpo", {"beta_schedule": "adaptive", "target_loss": 0.2}),
    "simpo, smoothed, beta by step": ("simpo", {"label_smoothing": 0.1, "beta_schedule": "adaptive"}),
    "orpo of whole samples": ("orpo", {"likelihood": "sequence"}),
    "kto, weighted": ("kto", {"desirable_weight": 2.0}),
    "kto without kl": ("kto", {"kl": "none"}),
    "reward model with margins": ("reward_model", {"margin": True, "centering": 0.01}),
    "sft with entropy": ("sft", {"regularizer": {"use": "confidence_penalty"}}),
    "sft near the reference": (
        "sft",
        {"reduction": "token_mean", "regularizer": {"use": "reference_kl", "reduction": "token_mean"}},
    ),
}


@pytest.mark.parametrize("promise", promises_in(loss), ids=lambda promise: promise.__name__)
@pytest.mark.parametrize("variant", VARIANTS)
def test_variant(variant: str, promise: Promise, tmp_path: Path) -> None:
    name, settings = VARIANTS[variant]
    registry = installed()
    (row,) = [row for row in registry.registrations("loss") if row.name == name]
    promise(Subject(row, registry, tmp_path, settings))
