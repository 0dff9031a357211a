"""A stage is done when plain transformers reads from its folder the model that was in memory."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

import aftertrain
from aftertrain.core.engine import AdamW
from aftertrain.core.errors import ModelError, NumericsError
from aftertrain.core.ground.memory import free_bytes
from aftertrain.core.learning import saved as module
from aftertrain.core.learning.saved import save_checked
from aftertrain.core.learning.seeding import global_seed

SHAPE: dict[str, Any] = {
    "vocab_size": 61,
    "hidden_size": 32,
    "intermediate_size": 40,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 128,
    "initializer_range": 0.3,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
EXPERTS = {"num_experts": 4, "num_local_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 24}
DEEPSEEK = {
    **EXPERTS,
    "n_routed_experts": 4,
    "num_key_value_heads": 4,
    "n_shared_experts": 1,
    "kv_lora_rank": 8,
    "q_lora_rank": 8,
    "qk_rope_head_dim": 8,
    "qk_nope_head_dim": 8,
    "v_head_dim": 8,
    "head_dim": 8,
    "first_k_dense_replace": 1,
    "n_group": 1,
    "topk_group": 1,
}
FAMILIES: dict[str, tuple[str, dict[str, Any]]] = {
    "mixtral": ("MixtralConfig", {**EXPERTS, "head_dim": 8, "sliding_window": None}),
    "qwen2-moe": ("Qwen2MoeConfig", {**EXPERTS, "shared_expert_intermediate_size": 24}),
    "qwen3-moe": ("Qwen3MoeConfig", {**EXPERTS, "head_dim": 8}),
    "olmoe": ("OlmoeConfig", EXPERTS),
    "deepseek-v2": ("DeepseekV2Config", {**DEEPSEEK, "topk_method": "greedy"}),
    "deepseek-v3": ("DeepseekV3Config", DEEPSEEK),
    "phimoe": ("PhimoeConfig", {**EXPERTS, "sliding_window": None}),
    "granite-moe": ("GraniteMoeConfig", EXPERTS),
    "gpt2": ("GPT2Config", {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 128}),
    "llama-bias": ("LlamaConfig", {"attention_bias": True, "mlp_bias": True}),
    "gemma3-tied": ("Gemma3TextConfig", {"head_dim": 8, "sliding_window": 4, "query_pre_attn_scalar": 8}),
}
MERGED, ALONE = {"rank": 4}, {"rank": 4, "save": "adapter"}
WAYS: list[tuple[str, dict[str, Any]]] = [
    ("mixtral", {"lora": MERGED}),
    ("qwen2-moe", {"lora": MERGED}),
    ("qwen3-moe", {"lora": {**MERGED, "targets": ["q_proj", "gate_proj", "up_proj"]}}),
    ("qwen3-moe", {"lora": MERGED, "dtype": "bfloat16"}),
    ("qwen3-moe", {"lora": ALONE}),
    ("qwen3-moe", {"head": "scalar", "lora": MERGED}),
    ("olmoe", {"lora": ALONE}),
    ("deepseek-v2", {"lora": MERGED}),
    ("deepseek-v3", {"dtype": "bfloat16"}),
    ("deepseek-v3", {"head": "scalar", "lora": ALONE}),
    ("phimoe", {"lora": MERGED}),
    ("granite-moe", {"lora": MERGED}),
    ("gpt2", {"lora": MERGED}),
    ("gpt2", {"head": "scalar"}),
    ("llama-bias", {"lora": MERGED}),
    ("gemma3-tied", {"dtype": "bfloat16"}),
    ("gemma3-tied", {"lora": ALONE}),
]
ROWS = [[3, 4, 5, 6, 7, 8], [9, 10, 11, 12, 13]]


def write_family(family: str, folder: Path, **changed: Any) -> Path:
    import transformers

    name, extra = FAMILIES[family]
    with global_seed(1):
        model = transformers.AutoModelForCausalLM.from_config(
            getattr(transformers, name)(**{**SHAPE, **extra, **changed})
        )
    model.save_pretrained(folder)
    return folder


def trained(folder: Path, *, head: str = "lm", **settings: Any) -> Any:
    """A torch engine two steps on."""
    from aftertrain.core.packed.packing import Segment, collate
    from aftertrain.plugins.torch_engine.engine import TorchEngine
    from aftertrain.plugins.torch_engine.settings import TorchSettings

    engine = TorchEngine(TorchSettings(device="cpu", **settings), None)  # type: ignore[arg-type]
    engine.load(str(folder), head=head, optimizer=AdamW())  # type: ignore[arg-type]
    batch = collate([Segment(f"s{i}", row, [True] * len(row), group=i) for i, row in enumerate(ROWS)])
    for _ in range(2):
        scores = engine.score(batch, ("logprobs",) if head == "lm" else ("values",))
        engine.backward(next(iter(scores.filled().values())).sum(), -10.0)
        engine.step(1e-2)
    return engine


def loaded(folder: Path, base: Path, head: str) -> Any:
    """The folder by transformers and peft alone."""
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification

    kind: Any = AutoModelForCausalLM if head == "lm" else AutoModelForSequenceClassification
    if not (folder / "adapter_config.json").exists():
        return kind.from_pretrained(folder, dtype=torch.float32)
    options = {} if head == "lm" else {"num_labels": 1}
    return PeftModel.from_pretrained(kind.from_pretrained(base, **options), str(folder)).merge_and_unload()


@pytest.mark.parametrize(("family", "way"), WAYS, ids=lambda part: part if isinstance(part, str) else json.dumps(part))
def test_every_way_of_saving_gives_back_the_model(
    family: str, way: dict[str, Any], tmp_path: Path, recwarn: pytest.WarningsRecorder
) -> None:
    """The check passes, and each weight of transformers' own load equals base weight plus what training added."""
    base = write_family(family, tmp_path / "base")
    engine = trained(base, **way)
    head = way.get("head", "lm")
    found = save_checked(engine, tmp_path / "out", head=head, base=str(base), rows=ROWS)
    assert (found.rows, found.tokens, found.left_out) == (2, 11, "")
    assert found.kind == ("adapter" if way.get("lora") == ALONE else "model")
    theirs = loaded(tmp_path / "out", base, head).state_dict()
    tolerance = 1e-2 if way.get("dtype") == "bfloat16" else 1e-5
    own = dict(engine.weights())
    assert own.keys() <= theirs.keys()
    for name, weight in own.items():
        torch.testing.assert_close(theirs[name], weight.detach(), atol=tolerance, rtol=tolerance, msg=name)


def misname(folder: Path) -> None:
    rewrite(folder, lambda t: {name.replace("up_proj", "base_layer.up_proj"): v for name, v in t.items()})


def lose(folder: Path) -> None:
    rewrite(folder, lambda t: {name: v for name, v in t.items() if "layers.1.mlp.down_proj" not in name})


def flip(folder: Path) -> None:
    rewrite(folder, lambda t: {n: v.roll(1, 0) if n.endswith("1.self_attn.o_proj.weight") else v for n, v in t.items()})


def crop(folder: Path) -> None:
    rewrite(folder, lambda t: {n: v[:-1].clone() if n == "model.embed_tokens.weight" else v for n, v in t.items()})


def add(folder: Path) -> None:
    rewrite(folder, lambda t: {**t, "model.extra": torch.zeros(2)})


def truncate(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])


def reconfigure(folder: Path) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "hidden_act": "relu"}))


def untie(folder: Path) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "tie_word_embeddings": False}))


def rewrite(folder: Path, change: Callable[[dict[str, Tensor]], dict[str, Tensor]]) -> None:
    path = folder / "model.safetensors"
    save_file(change(load_file(path)), path, metadata={"format": "pt"})


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (misname, r"missing: model\.layers\.0\.mlp\.up_proj\.weight.*base_layer\.up_proj"),
        (lose, r"missing: model\.layers\.1\.mlp\.down_proj\.weight"),
        (add, r"not the model's: model\.extra"),
        (crop, r"of another shape: model\.embed_tokens\.weight"),
        (untie, r"missing: lm_head\.weight"),
        (flip, r"model\.layers\.1\.self_attn\.o_proj\.weight in model\.safetensors has other bits"),
        (truncate, r"plain transformers cannot load it"),
        (reconfigure, r"scores 2 of the stage's rows \(11 tokens\) .* its configuration is another"),
    ],
)
def test_what_differs_is_named(
    damage: Callable[[Path], None], message: str, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = trained(tiny_model)
    write = engine.save_model
    monkeypatch.setattr(engine, "save_model", lambda folder: (write(folder), damage(folder)))
    with pytest.raises(ModelError, match=message):
        save_checked(engine, tmp_path / "out", head="lm", base=str(tiny_model), rows=ROWS)


def test_adapters_that_lack_one_are_refused(tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = trained(tiny_model, lora=ALONE)
    write = engine.save_model

    def save(folder: Path) -> None:
        write(folder)
        path = folder / "adapter_model.safetensors"
        tensors = load_file(path)
        del tensors["base_model.model.model.layers.1.mlp.up_proj.lora_A.weight"]
        save_file(tensors, path, metadata={"format": "pt"})

    monkeypatch.setattr(engine, "save_model", save)
    with pytest.raises(ModelError, match=r"missing: .*layers\.1\.mlp\.up_proj\.lora_A"):
        save_checked(engine, tmp_path / "out", head="lm", base=str(tiny_model), rows=ROWS)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_not_saved_as_done(value: float, tiny_model: Path, tmp_path: Path) -> None:
    engine = trained(tiny_model)
    with torch.no_grad():
        engine._model.model.layers[1].mlp.up_proj.weight[0, 0] = value
    with pytest.raises(NumericsError, match=r"NaN or infinite: model\.layers\.1\.mlp\.up_proj\.weight; lower"):
        save_checked(engine, tmp_path / "out", head="lm", base=str(tiny_model), rows=ROWS)


def test_without_memory_for_a_copy_names_and_bits_are_still_checked(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = trained(tiny_model)
    monkeypatch.setattr(module, "free_bytes", lambda: 1000)
    found = save_checked(engine, tmp_path / "out", head="lm", base=str(tiny_model), rows=ROWS)
    assert found.left_out.startswith("a second copy takes 0.0 GiB")
    assert found.facts() == {
        "kind": "model",
        "names": 21,
        "tensors": 20,
        "dtype": "float32",
        "files": ["model.safetensors"],
        "rows": 0,
        "tokens": 0,
        "left_out": found.left_out,
    }
    write = engine.save_model
    monkeypatch.setattr(engine, "save_model", lambda folder: (write(folder), flip(folder)))
    with pytest.raises(ModelError, match="other bits"):
        save_checked(engine, tmp_path / "again", head="lm", base=str(tiny_model), rows=ROWS)


def test_shards_are_looked_through(tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Several files, as a large model has."""
    engine = trained(tiny_model)
    write = type(engine._model).save_pretrained
    monkeypatch.setattr(
        type(engine._model),
        "save_pretrained",
        lambda self, *a, **k: write(self, *a, max_shard_size="40KB", **k),
    )
    found = save_checked(engine, tmp_path / "out", head="lm", base=str(tiny_model), rows=ROWS)
    assert len(found.files) > 2
    assert found.tensors == 20


def test_free_memory_is_the_control_group_s_where_that_is_less(tmp_path: Path) -> None:
    (tmp_path / "meminfo").write_text("MemTotal: 9000 kB\nMemAvailable:    5000 kB\n")
    assert free_bytes(tmp_path / "meminfo", tmp_path) == 5000 * 1024
    (tmp_path / "memory.max").write_text("1000000\n")
    (tmp_path / "memory.current").write_text("900000\n")
    (tmp_path / "memory.stat").write_text("anon 1\ninactive_file 50000\n")
    assert free_bytes(tmp_path / "meminfo", tmp_path) == 150_000
    (tmp_path / "memory.max").write_text("max\n")
    assert free_bytes(tmp_path / "meminfo", tmp_path) == 5000 * 1024
    assert free_bytes(tmp_path / "nothing", tmp_path) == 0


RECIPE = """
name: r
model: {model}
threads: 1
stages:
  sft:
    use: train
    loss: {{use: sft, reduction: token_mean}}
    data: {{use: jsonl, path: rows.jsonl, format: messages}}
    optimizer: {{lr: 2.0e-2}}
    epochs: 4
    batch: {{sequences: 1, max_tokens: 64}}
    engine: {engine}
    validation: {{data: {{use: jsonl, path: rows.jsonl, format: messages}}}}
"""
QUESTION, ANSWER = "<|user|>\n2+2\n<|assistant|>\n", "It is 4.<eos>"


def write_recipe(folder: Path, model: Path, engine: str) -> Path:
    turns = [{"role": "user", "content": "2+2"}, {"role": "assistant", "content": "It is 4."}]
    (folder / "rows.jsonl").write_text(json.dumps({"messages": turns}) + "\n")
    (folder / "r.yaml").write_text(RECIPE.format(model=model, engine=engine))
    return folder / "r.yaml"


def events(run: Path, name: str) -> list[dict[str, Any]]:
    lines = (json.loads(line) for line in (run / "events.jsonl").read_text().splitlines())
    return [line["data"] for line in lines if line["name"] == name]


def test_a_mixture_of_experts_with_adapters_is_saved_as_it_was_trained(tiny_model: Path, tmp_path: Path) -> None:
    """From a recipe with default settings; once the experts were saved under names that no model has."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = write_family("qwen3-moe", tmp_path / "model", vocab_size=len(AutoTokenizer.from_pretrained(tiny_model)))
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        shutil.copy(tiny_model / name, model)
    recipe = write_recipe(tmp_path, model, "{use: torch, lora: {rank: 4, alpha: 16}}")
    done = aftertrain.run(recipe, out=tmp_path / "runs", console=False)
    path = done.artifacts["sft"].path
    measured = events(tmp_path / "runs" / "r", "metrics")
    tokenizer = AutoTokenizer.from_pretrained(path)
    kind: Any = AutoModelForCausalLM
    network, info = kind.from_pretrained(path, output_loading_info=True)
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    ids = tokenizer(QUESTION + ANSWER, add_special_tokens=False, return_tensors="pt").input_ids
    n = len(tokenizer(ANSWER, add_special_tokens=False).input_ids)
    with torch.no_grad():
        logp = network(ids).logits[0, :-1].log_softmax(-1).gather(1, ids[0, 1:, None])
    assert -float(logp[-n:].mean()) == pytest.approx(measured[-1]["validation_nll_per_token"], abs=1e-5)
    (event,) = events(tmp_path / "runs" / "r", "saved")
    assert event == done.artifacts["sft"].details["saved"]
    assert (event["names"], event["tensors"], event["rows"]) == (25, 45, 1)


def test_a_stage_whose_folder_is_wrong_is_not_done_and_goes_on_from_its_last_step(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copy(Path(__file__).parents[2] / "invariants" / "broken.py", tmp_path)
    recipe = write_recipe(tmp_path, tiny_model, "{use: './broken.py:Misnamed', device: cpu}")
    told = r"missing: model\.layers\.0\.mlp\.up_proj\.weight; not the model's: .*base_layer"
    with pytest.raises(ModelError, match=told):
        aftertrain.run(recipe, out=tmp_path / "runs", console=False)
    (stage,) = (tmp_path / "runs" / "r" / "stages").iterdir()
    assert not (stage / "done.json").exists()
    assert [path.name for path in (stage / "checkpoints").iterdir()] == ["step-00000004"]
    assert not events(tmp_path / "runs" / "r", "stage_done")
    with pytest.raises(ModelError, match="missing"):
        aftertrain.run(recipe, out=tmp_path / "runs", console=False)
    assert len(events(tmp_path / "runs" / "r", "metrics")) == 4


@pytest.mark.slow
@pytest.mark.parametrize("zero", [1, 3] if "AFTERTRAIN_WHOLE_TABLE" in os.environ else [3])
def test_shared_out_experts_are_saved_whole(zero: int, tiny_model: Path, tmp_path: Path) -> None:
    """Two ranks of ZeRO, bfloat16: DeepSeek-V3's expert biases are no parameters, and stay in float32."""
    pytest.importorskip("deepspeed", reason="deepspeed is not installed")
    from transformers import AutoTokenizer

    model = write_family("deepseek-v3", tmp_path / "model", vocab_size=len(AutoTokenizer.from_pretrained(tiny_model)))
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        shutil.copy(tiny_model / name, model)
    recipe = write_recipe(tmp_path, model, f"{{use: deepspeed, zero: {zero}, dtype: bfloat16, device: cpu}}")
    command = [sys.executable, "-P", "-m", "aftertrain.cli", "run", str(recipe), "--nproc", "2"]
    command += ["--out", str(tmp_path / "runs")]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    (event,) = events(tmp_path / "runs" / "r", "saved")
    assert (event["names"], event["tensors"], event["rows"], event["dtype"]) == (31, 41, 1, "bfloat16, float32")
    (folder,) = (tmp_path / "runs" / "r" / "stages").glob("*/model")
    written = load_file(folder / "model.safetensors")
    assert written["model.layers.1.mlp.gate.e_score_correction_bias"].dtype == torch.float32
