"""What the settings ask for and this machine or model has not is told without weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from aftertrain.core.errors import ModelError
from aftertrain.plugins.torch_engine.engine import TorchEngine
from aftertrain.plugins.torch_engine.settings import TorchSettings


def engine(**settings: Any) -> TorchEngine:
    return TorchEngine(TorchSettings.model_validate(settings), None)  # type: ignore[arg-type]


@pytest.fixture
def folder(tiny_model: Path, tmp_path: Path) -> str:
    """A model's configuration alone."""
    (tmp_path / "config.json").write_bytes((tiny_model / "config.json").read_bytes())
    return str(tmp_path)


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"device": "cuda"}, "engine.device is cuda and torch finds no GPU"),
        ({"attention": "flash"}, "engine.attention is flash, which needs a GPU"),
        ({"attention": "flex"}, "engine.attention is flex, which needs a GPU"),
        ({"adamw": "8bit"}, "engine.adamw is 8bit, which needs a GPU"),
    ],
)
def test_what_needs_a_gpu_is_told(folder: str, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ModelError, match=message):
        engine(**settings).preflight(folder)


def test_adapters_must_find_their_layers(folder: str) -> None:
    pytest.importorskip("peft")
    engine(lora={"rank": 2}).preflight(folder)
    engine(lora={"rank": 2}).preflight(folder, head="scalar")
    with pytest.raises(ModelError, match=r"engine\.lora\.targets: .*Linear layers of the model: .*q_proj"):
        engine(lora={"rank": 2, "targets": ["q_projj"]}).preflight(folder)


def test_it_says_what_it_saves() -> None:
    assert engine().saves == "model"
    assert engine(lora={"rank": 2}).saves == "model"
    assert engine(lora={"rank": 2, "save": "adapter"}).saves == "adapter"
