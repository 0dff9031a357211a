"""A loss on routers that a model's configuration asks for is refused, or ignored by name; nothing is dropped unseen."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

import aftertrain
from aftertrain.core.engine import AdamW
from aftertrain.core.errors import ModelError, RunError
from aftertrain.core.packed.router import router_loss, router_misfit, untrained

ASKED: list[tuple[str, dict[str, Any], str]] = [
    ("MixtralConfig", {}, "router_aux_loss_coef: 0.001"),
    ("Qwen2MoeConfig", {}, "router_aux_loss_coef: 0.001"),
    ("Qwen3MoeConfig", {"router_aux_loss_coef": 0.02}, "router_aux_loss_coef: 0.02"),
    ("OlmoeConfig", {}, "router_aux_loss_coef: 0.01"),
    ("GraniteMoeConfig", {}, "router_aux_loss_coef: 0.001"),
    ("PhimoeConfig", {}, "router_aux_loss_coef: 0.001"),
    ("JetMoeConfig", {}, "aux_loss_coef: 0.01"),
    ("GptOssConfig", {}, "router_aux_loss_coef"),
    ("NllbMoeConfig", {}, "router_aux_loss_coef: 0.001; output_router_logits: true, router_z_loss_coef: 0.001"),
]


@pytest.mark.parametrize(("family", "extra", "told"), ASKED, ids=[family for family, *_ in ASKED])
def test_a_loss_that_is_asked_for_is_refused(family: str, extra: dict[str, Any], told: str) -> None:
    """`output_router_logits` asks, as in transformers; a coefficient alone, which each family has, does not."""
    import transformers

    kind = getattr(transformers, family)
    config = kind(output_router_logits=True, **extra)
    assert told in router_loss(config)
    assert "set engine.router_loss: ignore" in router_misfit(config, "refuse")
    assert router_misfit(config, "ignore") == ""
    assert router_loss(kind(**extra)) == ""


def test_other_switches() -> None:
    """DeepSeek-V2's own code balances wherever aux_loss_alpha is set; its V3 has neither loss nor coefficient."""
    import transformers

    assert router_loss(transformers.DeepseekV2Config(aux_loss_alpha=0.001)) == "aux_loss_alpha: 0.001"
    assert router_loss(transformers.DeepseekV2Config(aux_loss_alpha=0.0)) == ""
    assert router_loss(transformers.MixtralConfig(output_router_logits=True, router_aux_loss_coef=0.0)) == ""
    third = transformers.DeepseekV3Config(output_router_logits=True, num_nextn_predict_layers=1)
    assert router_loss(third) == ""
    notes = untrained(third)
    assert any(note.startswith("num_nextn_predict_layers is 1: transformers does not make") for note in notes)
    assert any("e_score_correction_bias" in note for note in notes)
    assert untrained(transformers.LlamaConfig()) == []
    assert router_loss(transformers.LlamaConfig()) == ""


SHAPE = {"hidden_size": 32, "intermediate_size": 40, "num_hidden_layers": 2, "num_attention_heads": 4}


@pytest.fixture
def mixture(tiny_model: Path, tmp_path: Path) -> Path:
    """A Mixtral with the tiny tokenizer, whose configuration asks for the loss, and a recipe on it."""
    from transformers import AutoTokenizer, MixtralConfig, MixtralForCausalLM

    size = len(AutoTokenizer.from_pretrained(tiny_model))
    experts = {"num_local_experts": 2, "num_experts_per_tok": 1, "num_key_value_heads": 2, "sliding_window": None}
    config = MixtralConfig(
        vocab_size=size, output_router_logits=True, pad_token_id=0, eos_token_id=2, **SHAPE, **experts
    )
    MixtralForCausalLM(config).save_pretrained(tmp_path / "base")
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        shutil.copy(tiny_model / name, tmp_path / "base")
    turns = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    (tmp_path / "rows.jsonl").write_text(json.dumps({"messages": turns}) + "\n")
    recipe = tmp_path / "r.yaml"
    recipe.write_text(
        "name: r\nmodel: ./base\nstages:\n  sft: {use: train, loss: sft, optimizer: {lr: 1e-3}, epochs: 1, "
        "data: {use: jsonl, path: rows.jsonl, format: messages}}\n"
    )
    return recipe


def test_plan_and_run_refuse_it_and_take_it_when_told_to(mixture: Path, tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    message = r"asks for a loss on its routers \(output_router_logits: true, router_aux_loss_coef: 0\.001\)"
    assert re.search(message, "; ".join(aftertrain.plan(mixture, out=runs).errors))
    with pytest.raises(RunError, match=message):
        aftertrain.run(mixture, out=runs, console=False)
    done = aftertrain.run(mixture, ["stages.sft.engine.router_loss=ignore"], out=runs, console=False)
    assert done.artifacts["sft"].details["saved"]["rows"] == 1  # type: ignore[index,call-overload]


def test_an_engine_refuses_it_where_no_stage_asks(mixture: Path) -> None:
    from aftertrain.plugins.torch_engine.engine import TorchEngine
    from aftertrain.plugins.torch_engine.settings import TorchSettings

    engine = TorchEngine(TorchSettings(device="cpu"), None)  # type: ignore[arg-type]
    with pytest.raises(ModelError, match=r"set engine\.router_loss: ignore"):
        engine.load(str(mixture.parent / "base"), optimizer=AdamW())
    engine.load(str(mixture.parent / "base"))
    assert not engine.misfits(str(mixture.parent / "base"), head="scalar")
