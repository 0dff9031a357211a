"""Models that cannot be packed: refused for training in the plan, evaluated all the same."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import aftertrain
from aftertrain.cli import main
from aftertrain.core.engine import AdamW, Continuation
from aftertrain.core.errors import ModelError, RunError
from aftertrain.core.learning.seeding import global_seed
from tests.plugins.torch_engine.test_families import FAMILIES, SHAPE

SMALL = {"vocab_size": 61, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
HYBRID = {
    **SHAPE,
    "num_hidden_layers": 4,
    "head_dim": 8,
    "linear_key_head_dim": 8,
    "linear_value_head_dim": 8,
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 4,
    "num_experts": 4,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 16,
    "shared_expert_intermediate_size": 16,
}
OTHERS: dict[str, dict[str, Any]] = {
    "BloomConfig": {**SMALL, "hidden_size": 32, "n_layer": 2, "n_head": 4},
    "MptConfig": {**SMALL, "d_model": 32, "n_heads": 4, "n_layers": 2},
    "MambaConfig": {**SMALL, "hidden_size": 32, "num_hidden_layers": 2, "state_size": 8},
    "FalconConfig": {**SMALL, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4},
    "Qwen3NextConfig": HYBRID,
    "Lfm2Config": {**SHAPE, "layer_types": ["conv", "full_attention"]},
}
"""Attention of their own (Falcon's cannot even be loaded for packing), recurrent layers, experts, convolutions."""


def made(family: str, folder: Path, **changes: Any) -> Path:
    """A seeded random model of a family."""
    import transformers

    config = getattr(transformers, family)(**{**OTHERS[family], **changes})
    with global_seed(1):
        model = transformers.AutoModelForCausalLM.from_config(config)
    model.save_pretrained(folder)
    return folder


@pytest.mark.parametrize("budget", [1, 64])
@pytest.mark.parametrize("family", OTHERS)
def test_continuations_are_scored_as_by_transformers(
    family: str, budget: int, tmp_path: Path, make_engine: Callable[..., Any]
) -> None:
    """Of one context with one token each, of one with several, of a context that begins another, of unequal lengths."""
    import transformers

    folder = made(family, tmp_path)
    items = [
        Continuation((5, 6, 7, 8, 9), 4),
        Continuation((5, 6, 7, 8, 10), 4),
        Continuation((5, 6, 7, 8, 9, 11, 12), 4),
        Continuation((5, 6, 7, 8, 9, 11, 12), 1),
        Continuation((20, 21, 22, 23, 24, 25, 26), 6),
        Continuation(tuple(range(3, 40)), 30),
    ]
    alone = transformers.AutoModelForCausalLM.from_pretrained(folder, attn_implementation="eager").eval()
    told = make_engine(folder).likelihoods(items, budget)
    assert len(told) == len(items)
    for item, found in zip(items, told, strict=True):
        ids = torch.tensor(item.token_ids)
        with torch.no_grad():
            logp = alone(input_ids=ids.unsqueeze(0)).logits[0, item.n_context - 1 : -1].log_softmax(-1)
        expected = logp.gather(1, ids[item.n_context :].unsqueeze(1)).sum()
        assert found.logprob == pytest.approx(float(expected), abs=1e-4)
        assert found.greedy == bool((logp.argmax(-1) == ids[item.n_context :]).all())


@pytest.mark.parametrize("family", OTHERS)
def test_training_refuses_what_scoring_takes(family: str, tmp_path: Path, make_engine: Callable[..., Any]) -> None:
    folder = made(family, tmp_path)
    engine = make_engine(folder)
    name = family.replace("Config", "ForCausalLM")
    (misfit,) = engine.misfits(str(folder))
    assert misfit.startswith(f"{name} cannot be trained packed: ")
    with pytest.raises(ModelError, match=f"{name} cannot be trained packed: "):
        make_engine(folder, optimizer=AdamW())


@pytest.mark.parametrize("family", FAMILIES)
def test_families_that_are_packed_are_not_refused(family: str, tmp_path: Path) -> None:
    import transformers

    from aftertrain.plugins.torch_engine.engine import TorchEngine
    from aftertrain.plugins.torch_engine.settings import TorchSettings

    name, extra = FAMILIES[family]
    getattr(transformers, name)(**{**SHAPE, **extra}).save_pretrained(tmp_path)
    assert TorchEngine(TorchSettings(device="cpu"), None).misfits(str(tmp_path)) == []  # type: ignore[arg-type]


@pytest.fixture
def recurrent(tiny_model: Path, tmp_path: Path) -> Path:
    """A Mamba with the tiny tokenizer and its template."""
    from transformers import AutoTokenizer

    folder = made("MambaConfig", tmp_path / "mamba", vocab_size=len(AutoTokenizer.from_pretrained(tiny_model)))
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        shutil.copy(tiny_model / name, folder)
    return folder


@pytest.mark.parametrize("stage", ["train", "online"])
def test_a_plan_says_that_it_cannot_be_trained(stage: str, recurrent: Path, tmp_path: Path) -> None:
    turns = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b #### 1"}]
    row = {"messages": turns, "question": "a", "answer": "b #### 1"}
    (tmp_path / "rows.jsonl").write_text(json.dumps(row) + "\n", encoding="utf-8")
    stages = {
        "train": "{use: train, loss: sft, optimizer: {lr: 1e-3}, epochs: 1, "
        "data: {use: jsonl, path: rows.jsonl, format: messages}}",
        "online": "{use: online, optimizer: {lr: 1e-3}, steps: 1, loss: grpo, advantages: group, rewards: [gsm8k], "
        "batch: {prompts: 1, samples_per_prompt: 2}, "
        "data: {use: jsonl, path: rows.jsonl, format: gsm8k, as: problem}}",
    }
    recipe = tmp_path / "r.yaml"
    recipe.write_text(f"name: r\nmodel: {recurrent}\nstages:\n  first: {stages[stage]}\n", encoding="utf-8")
    told = "MambaForCausalLM cannot be trained packed: it has recurrent layers"
    assert told in "; ".join(aftertrain.plan(recipe, out=tmp_path / "runs").errors)
    with pytest.raises(RunError, match=told):
        aftertrain.run(recipe, out=tmp_path / "runs", console=False)


def test_it_is_evaluated_from_the_command(
    recurrent: Path, shared_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """lm-eval takes any model, and so do we; the plan says that it takes longer."""
    hub = shared_data / "hub"
    task = ["openbookqa", "shots=0", "--data", str(hub), "--limit", "4"]
    assert main(["evaluate", str(recurrent), *task, "--out", str(tmp_path / "runs")]) == 0
    assert "openbookqa" in capsys.readouterr().out
    recipe = tmp_path / "r.yaml"
    stage = f"{{use: evaluate, limit: 4, tasks: [{{use: openbookqa, shots: 0, data: {hub}}}]}}"
    recipe.write_text(f"name: r\nmodel: {recurrent}\nstages:\n  eval: {stage}\n", encoding="utf-8")
    (planned,) = aftertrain.plan(recipe, out=tmp_path / "runs").stages
    told = [item.value for item in planned.items]
    assert any(value.startswith("scores each continuation by itself, which is slower: Mamba") for value in told)
