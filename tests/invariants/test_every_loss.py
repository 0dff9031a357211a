"""Every loss that trains on fixed rows keeps every invariant, with the settings that change its arithmetic."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from aftertrain.api.invariants import check_invariants
from aftertrain.invariants.finding import INVARIANTS
from aftertrain.plugins.training.composed import Composed
from aftertrain.registry.builder import ComponentBuilder
from aftertrain.registry.discovery import installed
from aftertrain.registry.resolve import SettingsResolver

FORMATS = {"Conversation": "messages", "Feedback": "feedback", "PreferencePair": "preference"}
VARIANTS: list[dict[str, Any]] = [
    {"use": "sft", "reduction": "token_mean"},
    {"use": "sft", "reduction": "sequence_mean"},
    {"use": "sft", "regularizer": {"use": "reference_kl"}, "regularizer_weight": 1.0},
    {"use": "dpo", "beta": 5.0, "normalize": "length", "label_smoothing": 0.1},
    {"use": "dpo", "beta_schedule": "adaptive", "target_loss": 0.1},
    {"use": "orpo", "likelihood": "sequence"},
    {"use": "kto", "kl": "none", "desirable_weight": 2.0},
    {"use": "reward_model", "margin": True, "centering": 0.01},
]


def built_in() -> list[dict[str, Any]]:
    """Every registered loss of aftertrain that learns from records a data set can hold, as it comes; and variants."""
    registry = installed()
    rows = [{"use": row.name} for row in registry.registrations("loss") if row.origin.built_in]
    return [loss for loss in [*rows, *VARIANTS] if format_of(loss)]


def format_of(loss: dict[str, Any]) -> str | None:
    registry = installed()
    needs = ComponentBuilder(registry).build(SettingsResolver(registry).resolve("loss", loss)).needs
    return next((FORMATS[name] for name in sorted(needs.records) if name in FORMATS), None)


def label(loss: dict[str, Any]) -> str:
    return " ".join([loss["use"], *(f"{key}={value}" for key, value in loss.items() if key != "use")])


@pytest.mark.slow
@pytest.mark.parametrize("loss", built_in(), ids=label)
def test_a_loss_keeps_every_invariant(loss: dict[str, Any], recipe: Callable[..., str]) -> None:
    (found,) = check_invariants(recipe(loss, format_of(loss)), ranks=False, rows=6)
    assert [finding.invariant for finding in found.findings] == list(INVARIANTS)
    states = {finding.invariant: finding.state for finding in found.findings}
    referenced = loss["use"] in {"dpo", "ipo", "hinge", "robust", "wpo", "kto", "reference_kl"} or "regularizer" in loss
    unchecked = {"ranks"} if referenced else {"ranks", "reference"}
    assert {name for name, state in states.items() if state == "not checked"} == unchecked
    assert not found.broken, [finding.dump() for finding in found.broken]


def test_the_family_is_there() -> None:
    """The list is the registry's, so that a new loss is tried by itself."""
    names = {loss["use"] for loss in built_in()}
    assert names >= {"sft", "dpo", "ipo", "hinge", "robust", "wpo", "simpo", "orpo", "kto", "reward_model"}
    assert not names & {"ppo", "grpo"}


@pytest.mark.slow
def test_two_ranks_take_the_step_of_one(recipe: Callable[..., str]) -> None:
    (found,) = check_invariants(recipe("dpo", "preference"), rows=3)
    states = {finding.invariant: finding.state for finding in found.findings}
    assert states == dict.fromkeys(INVARIANTS, "holds"), [finding.dump() for finding in found.broken]


@pytest.mark.slow
@pytest.mark.parametrize("settings", [{"dtype": "bfloat16"}, {"lora": {"rank": 4}}], ids=str)
def test_bfloat16_and_adapters(settings: dict[str, Any], recipe: Callable[..., str]) -> None:
    path = recipe("dpo", "preference", engine={"use": "torch", "device": "cpu", **settings})
    (found,) = check_invariants(path, ranks=False, rows=4)
    assert not found.broken, [finding.dump() for finding in found.broken]
    gradient = next(finding for finding in found.findings if finding.invariant == "gradient")
    assert (" 0 frozen" in gradient.compared) == ("lora" not in settings)


@pytest.mark.slow
def test_a_stream_resumes(recipe: Callable[..., str]) -> None:
    (found,) = check_invariants(recipe("sft", stream={"window": 3}, max_steps=9), ranks=False, rows=4)
    assert not found.broken, [finding.dump() for finding in found.broken]


@pytest.mark.slow
def test_batches_that_the_model_composes_resume(recipe: Callable[..., str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Stopped inside a pool, whose division the checkpoint holds; without it the rest is divided by other weights."""
    path = recipe("sft", compose={"pool": 4})
    (found,) = check_invariants(path, ranks=False)
    assert not found.broken, [finding.dump() for finding in found.broken]
    monkeypatch.setattr(Composed, "restore", lambda self, folder: None)
    (found,) = check_invariants(path, ranks=False)
    assert [finding.invariant for finding in found.broken] == ["resume"]
