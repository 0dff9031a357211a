"""DeepSpeed ZeRO 1 to 3 on two CPU processes: the torch engine's steps, exact resume, plain folders (F42)."""

from __future__ import annotations

import json
import os
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch

from aftertrain.core.ranks import ALONE
from tests.core.learning.ranks import start, worker

HERE = Path(__file__).parent
RANKS = HERE.parents[1] / "core" / "learning" / "ranks"
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(find_spec("deepspeed") is None, reason="the extra 'deepspeed' is not installed"),
]
ZERO: dict[str, dict[str, Any]] = {
    "zero 1": {"zero": 1},
    "zero 2": {"zero": 2},
    "zero 3": {"zero": 3},
    "zero 2, offloaded": {"zero": 2, "offload": "optimizer"},
    "zero 3, offloaded": {"zero": 3, "offload": "optimizer"},
}
FEW = ["sft token_mean", "dpo, beta by step and loss", "kto", "ppo"]
"""Each a different way through the engine: one forward, another without gradient before it, two models of two heads."""
MORE = [*FEW, "sft with entropy", "orpo of whole samples", "wpo", "reward_model with margins", "grpo"]
STEPS: dict[str, tuple[str, dict[str, Any], list[str]]] = {
    "zero 1": ("tied", {"zero": 1}, FEW),
    "zero 2": ("tied", {"zero": 2}, FEW),
    "zero 3": ("tied", {"zero": 3}, FEW),
    # Released weights would show where the head's backward pass reads its weight again, chunk by chunk.
    "zero 3, chunked": ("tied", {"zero": 3, "chunk": 5}, ["sft with entropy"]),
    "zero 3, chunked, untied": ("untied", {"zero": 3, "chunk": 5}, MORE),
    "zero 3, recomputed": ("untied", {"zero": 3, "activation_checkpointing": True}, ["wpo"]),
}
"""Which head, which settings, which losses."""


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Random Llamas, by what their head is; their tensors (61 rows of 18) do not divide evenly over two or three."""
    from transformers import LlamaConfig, LlamaForCausalLM

    from aftertrain.core.learning.seeding import global_seed

    folder = tmp_path_factory.mktemp("odd")
    for name in ("tied", "untied"):
        config = LlamaConfig(
            vocab_size=61,
            hidden_size=18,
            intermediate_size=25,
            num_hidden_layers=2,
            num_attention_heads=3,
            num_key_value_heads=1,
            max_position_embeddings=64,
            initializer_range=0.2,
            tie_word_embeddings=name == "tied",
            pad_token_id=0,
        )
        with global_seed(0):
            LlamaForCausalLM(config).save_pretrained(folder / name)
    return {name: str(folder / name) for name in ("tied", "untied")}


def _furthest(one: dict[str, Any], other: dict[str, Any]) -> float:
    assert one.keys() == other.keys()
    return max(float((one[name] - other[name]).abs().max()) for name in one)


def test_losses_take_the_steps_of_the_torch_engine(models: dict[str, str], tmp_path: Path) -> None:
    """Also with token budgets that give the ranks unlike shares (see the worker)."""
    cases = {
        name: [models[head], {"use": "deepspeed", "device": "cpu", **settings}, losses]
        for name, (head, settings, losses) in STEPS.items()
    }
    start.run_ranks(RANKS / "worker.py", [str(tmp_path / "two.pt"), json.dumps(cases)], 2)
    two = torch.load(tmp_path / "two.pt")
    torch_engine = {"use": "torch", "device": "cpu"}
    one = {head: worker.results(ALONE, folder, torch_engine, MORE) for head, folder in models.items()}
    for case, (head, _, losses) in STEPS.items():
        for loss in losses:
            expected, found = one[head][loss], two[case][loss]
            for a, b in zip(expected["steps"], found["steps"], strict=True):
                # Whether a value is clipped is decided by rounding where it was not moved at all.
                rounded = {k: v for k, v in a.items() if k != "value_clip_fraction"}
                assert {k: b[k] for k in rounded} == pytest.approx(rounded, rel=1e-5, abs=1e-5), (case, loss)
            assert _furthest(expected["weights"], found["weights"]) < 1e-5, (case, loss)


WHOLE = "AFTERTRAIN_WHOLE_TABLE" in os.environ
States = dict[str, dict[str, torch.Tensor]]


def _run(models: dict[str, str], cases: dict[str, tuple[str, Path]], out: Path, size: int = 2) -> States:
    """The weights that each setting of `ZERO` ends with, of (what, state folder) by `name` or `name: note`."""
    given = {
        key: [models["tied"], ZERO[key.partition(":")[0]], what, str(state)] for key, (what, state) in cases.items()
    }
    start.run_ranks(HERE / "state_worker.py", [str(out), json.dumps(given)], size)
    found: States = torch.load(out)
    return found


@pytest.fixture(scope="module")
def whole(models: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, States]:
    """A folder with the state after two steps by setting, and what comes of four steps of all kinds."""
    folder = tmp_path_factory.mktemp("whole")
    cases = {name: ("whole", folder / name) for name in ZERO}
    cases |= {f"{name}: nan": ("nan", folder / "none") for name in ZERO}
    cases["zero 3: saved"] = ("saved", folder / "saved")
    return folder, _run(models, cases, folder / "whole.pt")


@pytest.fixture(scope="module", params=[1, 2, 3] if WHOLE else [1, 2])
def resumed(request: pytest.FixtureRequest, whole: tuple[Path, States], models: dict[str, str]) -> tuple[int, States]:
    """What other processes, as many as the parameter says, make of the two ranks' states.

    CI takes stage 3 alone where their number is another one; AFTERTRAIN_WHOLE_TABLE=1 every stage, and three of them.
    """
    folder, _ = whole
    names = list(ZERO) if request.param == 2 or (WHOLE and request.param == 1) else ["zero 3"]
    cases = {name: ("resumed", folder / name) for name in names}
    return request.param, _run(models, cases, folder / f"resumed-{request.param}.pt", size=request.param)


def test_a_resume_is_exact_and_that_of_other_ranks_close(
    resumed: tuple[int, States], whole: tuple[Path, States]
) -> None:
    size, weights = resumed
    folder, expected = whole
    for name, found in weights.items():
        written = {path.name for path in (folder / name).iterdir()}
        assert written == {"engine.json", "state-0.safetensors", "state-1.safetensors"}, "each rank writes its part"
        distance = _furthest(expected[name], found)
        assert (distance == 0.0) if size == 2 else (distance < 5e-6), (name, distance)


def test_a_gradient_of_nan_is_refused(whole: tuple[Path, States]) -> None:
    _, weights = whole
    for name in ZERO:
        distance = _furthest(weights[name], weights[f"{name}: nan"])
        assert distance == 0.0, f"{name}: the steps after it are not those of a run without it"


def test_a_sharded_model_is_saved_as_a_plain_folder(whole: tuple[Path, States]) -> None:
    from transformers import AutoModelForCausalLM

    folder, weights = whole
    assert {path.name for path in (folder / "saved").iterdir()} >= {"config.json", "model.safetensors"}
    state = AutoModelForCausalLM.from_pretrained(folder / "saved", dtype=torch.float32).state_dict()
    for name, tensor in weights["zero 3: saved"].items():
        assert torch.equal(state[name], tensor), name
