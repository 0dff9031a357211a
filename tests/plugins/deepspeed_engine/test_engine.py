"""DeepSpeed ZeRO 1 to 3 on two CPU processes: the torch engine's steps, exact resume, plain folders (F42)."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

HERE = Path(__file__).parent
RANKS = HERE.parents[1] / "core" / "ranks"
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(importlib.util.find_spec("deepspeed") is None, reason="the extra 'deepspeed' is not installed"),
]
ZERO: dict[str, dict[str, Any]] = {
    "zero 1": {"zero": 1},
    "zero 2": {"zero": 2},
    "zero 3": {"zero": 3},
    "zero 2, offloaded": {"zero": 2, "offload": "optimizer"},
}


def _module(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"deepspeed_{name}", RANKS / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


worker, start = _module("worker"), _module("start")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random Llama whose tensors (61 rows of 18) do not divide evenly over two or three ranks."""
    from transformers import LlamaConfig, LlamaForCausalLM

    from aftertrain.core.seeding import global_seed

    config = LlamaConfig(
        vocab_size=61,
        hidden_size=18,
        intermediate_size=25,
        num_hidden_layers=2,
        num_attention_heads=3,
        num_key_value_heads=1,
        max_position_embeddings=64,
        initializer_range=0.2,
        tie_word_embeddings=True,
        pad_token_id=0,
    )
    folder = tmp_path_factory.mktemp("odd")
    with global_seed(0):
        LlamaForCausalLM(config).save_pretrained(folder)
    return folder


def _run(model: Path, settings: dict[str, Any], what: str, state: Path, out: Path, size: int = 2) -> dict[str, Any]:
    start.run_ranks(HERE / "state_worker.py", [str(model), json.dumps(settings), what, str(state), str(out)], size)
    found: dict[str, Any] = torch.load(out)
    return found


def _furthest(one: dict[str, Any], other: dict[str, Any]) -> float:
    assert one.keys() == other.keys()
    return max(float((one[name] - other[name]).abs().max()) for name in one)


@pytest.mark.parametrize("settings", ZERO.values(), ids=ZERO.keys())
def test_every_loss_takes_the_steps_of_the_torch_engine(settings: dict[str, Any], model: Path, tmp_path: Path) -> None:
    engine = {"use": "deepspeed", "device": "cpu", **settings}
    start.run_ranks(RANKS / "worker.py", [str(model), str(tmp_path / "two.pt"), json.dumps(engine)], 2)
    two = torch.load(tmp_path / "two.pt")
    one = worker.results(str(model), {"use": "torch", "device": "cpu"})
    for loss in worker.LOSSES:
        for a, b in zip(one[loss]["steps"], two[loss]["steps"], strict=True):
            # Whether a value is clipped is decided by rounding where it was not moved at all.
            expected = {k: v for k, v in a.items() if k != "value_clip_fraction"}
            assert {k: b[k] for k in expected} == pytest.approx(expected, rel=1e-5, abs=1e-5), loss
        assert _furthest(one[loss]["weights"], two[loss]["weights"]) < 5e-6, loss


@pytest.fixture(scope="module", params=ZERO.values(), ids=ZERO.keys())
def whole(
    request: pytest.FixtureRequest, model: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[dict[str, Any], Path, dict[str, Any]]:
    """Settings, the state after two steps, and the weights after four."""
    folder = tmp_path_factory.mktemp("whole")
    state = folder / "state"
    return request.param, state, _run(model, request.param, "whole", state, folder / "whole.pt")


Whole = tuple[dict[str, Any], Path, dict[str, Any]]


def test_a_resume_is_exact_and_that_of_one_rank_close(whole: Whole, model: Path, tmp_path: Path) -> None:
    settings, state, weights = whole
    assert {path.name for path in state.iterdir()} == {
        "engine.json",
        "state-0.safetensors",
        "state-1.safetensors",
    }, "each rank writes its part"
    resumed = _run(model, settings, "resumed", state, tmp_path / "resumed.pt")
    assert _furthest(weights, resumed) == 0.0
    alone = _run(model, settings, "resumed", state, tmp_path / "alone.pt", size=1)
    assert _furthest(weights, alone) < 5e-6


def test_a_gradient_of_nan_is_refused(whole: Whole, model: Path, tmp_path: Path) -> None:
    settings, _, weights = whole
    after = _run(model, settings, "nan", tmp_path / "none", tmp_path / "after.pt")
    assert _furthest(after, weights) == 0.0, "the steps after it are those of a run without it"


def test_a_sharded_model_is_saved_as_a_plain_folder(model: Path, tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM

    folder = tmp_path / "saved"
    weights = _run(model, {"zero": 3}, "saved", folder, tmp_path / "weights.pt")
    assert {path.name for path in folder.iterdir()} >= {"config.json", "model.safetensors"}
    state = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).state_dict()
    for name, tensor in weights.items():
        assert torch.equal(state[name], tensor), name


def test_three_ranks_go_on_with_what_two_saved(model: Path, tmp_path: Path) -> None:
    state = tmp_path / "state"
    whole = _run(model, {"zero": 3}, "whole", state, tmp_path / "whole.pt")
    three = _run(model, {"zero": 3}, "resumed", state, tmp_path / "three.pt", size=3)
    assert _furthest(whole, three) < 5e-6
