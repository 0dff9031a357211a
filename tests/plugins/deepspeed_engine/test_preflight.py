"""What the engine lacks is told before any stage of a recipe is trained."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from aftertrain.core.errors import MissingExtra, ModelError
from aftertrain.plugins.deepspeed_engine import engine
from aftertrain.plugins.deepspeed_engine.settings import DeepSpeedSettings


def make(**settings: str) -> engine.DeepSpeedEngine:
    return engine.DeepSpeedEngine(DeepSpeedSettings.model_validate(settings), None)  # type: ignore[arg-type]


def test_a_package_that_is_not_there_is_found_before_the_run(tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It was found when the stage began, after the stages before it."""
    monkeypatch.setattr(engine, "find_spec", lambda name: None)
    with pytest.raises(MissingExtra, match=r"pip install 'aftertrain\[deepspeed\]'"):
        make().preflight(str(tiny_model))


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_device_that_is_not_there_is_found_before_the_run(tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "find_spec", lambda name: object())
    with pytest.raises(ModelError, match="torch finds no GPU"):
        make(device="cuda").preflight(str(tiny_model))
