"""Packed = each sequence alone under transformers' eager attention, for every family that recipes use (F14)."""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from aftertrain.core.engine import AdamW
from aftertrain.core.errors import ModelError
from aftertrain.core.learning.seeding import global_seed
from aftertrain.core.packed.model import load_model
from aftertrain.core.packed.probing import probe

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
FAMILIES: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("LlamaConfig", {"tie_word_embeddings": False}),
    "llama-tied": ("LlamaConfig", {"tie_word_embeddings": True, "num_key_value_heads": 4}),
    "qwen2": ("Qwen2Config", {}),
    "qwen2-window": ("Qwen2Config", {"use_sliding_window": True, "sliding_window": 4, "max_window_layers": 1}),
    "qwen3": ("Qwen3Config", {"head_dim": 8}),
    "gemma2": ("Gemma2Config", {"head_dim": 8, "sliding_window": 4, "query_pre_attn_scalar": 8}),
    "mistral": ("MistralConfig", {"sliding_window": 5, "head_dim": 8}),
    "olmo2": ("Olmo2Config", {}),
    "phi3": ("Phi3Config", {"sliding_window": 6}),
    "qwen2-tied": ("Qwen2Config", {"tie_word_embeddings": True}),
    "qwen3-tied": ("Qwen3Config", {"head_dim": 8, "tie_word_embeddings": True}),
    "gemma": ("GemmaConfig", {"head_dim": 8}),
    "gemma3": ("Gemma3TextConfig", {"head_dim": 8, "sliding_window": 4, "query_pre_attn_scalar": 8}),
    "gemma3-capped": (
        "Gemma3TextConfig",
        {"head_dim": 8, "sliding_window": 4, "query_pre_attn_scalar": 8, "final_logit_softcapping": 3.0},
    ),
    "olmo3": ("Olmo3Config", {"sliding_window": 4}),
    "phi": ("PhiConfig", {}),
    "smollm3": ("SmolLM3Config", {"no_rope_layers": [1, 0]}),
    "granite": ("GraniteConfig", {"logits_scaling": 4.0, "residual_multiplier": 0.5}),
    "opt": ("OPTConfig", {"ffn_dim": 40, "word_embed_proj_dim": 32}),
    "gpt2": ("GPT2Config", {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 128}),
    "gpt-neox": ("GPTNeoXConfig", {}),
    "cohere": ("CohereConfig", {"logit_scale": 0.25}),
}
LENGTHS = (3, 17, 9, 1, 40, 9, 70)
"""Longer and shorter than every window, equal ones, one without a target, two beyond the cheap length's group."""


def save(config: Any, folder: Path) -> Path:
    """A seeded random model of `config`."""
    from transformers import AutoModelForCausalLM

    with global_seed(1):
        model = AutoModelForCausalLM.from_config(config)
    model.save_pretrained(folder)
    return folder


def groups_of(lengths: tuple[int, ...], make_batch: Callable[..., Any]) -> Any:
    """A batch whose groups of three share the first 17 tokens of their first, where they are that long."""
    from dataclasses import replace

    batch = make_batch(lengths)
    groups = torch.arange(len(lengths)) // 3
    parts = list(batch.token_ids.split(list(lengths)))
    for i in range(len(parts)):
        shared = min(17, len(parts[i]), len(parts[i // 3 * 3]))
        parts[i] = torch.cat([parts[i // 3 * 3][:shared], parts[i][shared:]])
    return replace(batch, token_ids=torch.cat(parts), segments={**batch.segments, "group": groups})


@pytest.mark.parametrize("family", FAMILIES)
def test_packed_equals_each_alone(
    family: str, tmp_path: Path, make_engine: Callable[..., Any], make_batch: Callable[..., Any]
) -> None:
    """Log-probs within 2e-5 nats and gradients within 1e-4 of their norm, against `model(input_ids).logits`.

    Segments of one group begin alike, so that the engine computes their beginnings once.
    """
    import transformers

    name, extra = FAMILIES[family]
    folder = save(getattr(transformers, name)(**{**SHAPE, **extra}), tmp_path)
    batch = groups_of(LENGTHS, make_batch)
    engine = make_engine(folder, optimizer=AdamW(), chunk=16)
    packed = engine.score(batch).logprobs
    engine.backward(packed.sum(), 10.0)
    gradients = {name: p.grad for name, p in engine._model.named_parameters()}

    alone = transformers.AutoModelForCausalLM.from_pretrained(folder, attn_implementation="eager").eval()
    expected = []
    for ids in batch.token_ids.split(list(LENGTHS)):
        logp = alone(input_ids=ids.unsqueeze(0)).logits[0, :-1].log_softmax(-1)
        expected += [torch.zeros(1), logp.gather(1, ids[1:].unsqueeze(1)).squeeze(1)]
    torch.testing.assert_close(packed, torch.cat(expected), atol=2e-5, rtol=0)
    (torch.cat(expected).sum() / 10.0).backward()
    for name, parameter in alone.named_parameters():
        difference = (gradients[name] - parameter.grad).norm()
        assert difference <= 1e-4 * parameter.grad.norm() + 1e-6, name


def test_a_layer_that_has_the_names_of_a_block_stays_as_it_is(tmp_path: Path, make_engine: Callable[..., Any]) -> None:
    """OPT's layer has a block's `fc1`, `activation_fn` and `fc2` itself; tried as one, it could not be loaded."""
    from transformers import OPTConfig

    config = OPTConfig(
        vocab_size=61, hidden_size=32, ffn_dim=40, num_hidden_layers=2, num_attention_heads=4, word_embed_proj_dim=32
    )
    make_engine(save(config, tmp_path), optimizer=AdamW())


@pytest.mark.parametrize("family", ["llama-tied", "qwen3", "gemma2", "gemma3", "olmo2"])
def test_bfloat16_is_float32_to_rounding(
    family: str, tmp_path: Path, make_engine: Callable[..., Any], make_batch: Callable[..., Any]
) -> None:
    """Packed, with shared beginnings: log-probs within 3 % of their spread, gradients within 3 % of their direction.

    Longer segments are attended to by calls of their own, whose states autocast has left in two dtypes.
    """
    import transformers

    name, extra = FAMILIES[family]
    folder = save(getattr(transformers, name)(**{**SHAPE, "initializer_range": 0.1, **extra}), tmp_path)
    batch = groups_of((*LENGTHS, 60, 50), make_batch)
    found = []
    for dtype in ("float32", "bfloat16"):
        engine = make_engine(folder, optimizer=AdamW(), dtype=dtype)
        logprobs = engine.score(batch).logprobs
        engine.backward(logprobs.sum(), 10.0)
        assert logprobs.dtype == torch.float32
        found.append((logprobs.detach(), torch.cat([p.grad.flatten() for p in engine._model.parameters()])))
    (exact, gradient), (rough, other) = found
    assert 0 < float((exact - rough).norm()) < 0.03 * float((exact - exact.mean()).norm())
    assert float(torch.nn.functional.cosine_similarity(gradient, other, 0)) > 0.97


@pytest.mark.slow
def test_smollm2_packed_equals_each_alone(make_engine: Callable[..., Any], make_batch: Callable[..., Any]) -> None:
    """The real weights of SmolLM2-135M: log-probs within 1e-4 nats, the gradient within 1e-4 of its norm."""
    from transformers import AutoModelForCausalLM

    folder = os.environ.get("AFTERTRAIN_SMOLLM2")
    if not folder:
        pytest.skip("AFTERTRAIN_SMOLLM2 is not set: it names a Hugging Face folder of SmolLM2-135M")
    lengths = (40, 33, 60)
    batch = groups_of(lengths, lambda sizes: make_batch(sizes, vocabulary=49_000))
    engine = make_engine(Path(folder), optimizer=AdamW())
    packed = engine.score(batch).logprobs
    engine.backward(packed.sum(), 100.0)
    alone = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()
    expected = []
    for ids in batch.token_ids.split(list(lengths)):
        logp = alone(input_ids=ids.unsqueeze(0)).logits[0, :-1].log_softmax(-1)
        expected += [torch.zeros(1), logp.gather(1, ids[1:].unsqueeze(1)).squeeze(1)]
    torch.testing.assert_close(packed, torch.cat(expected), atol=1e-4, rtol=0)
    (torch.cat(expected).sum() / 100.0).backward()
    for (name, one), other in zip(engine._model.named_parameters(), alone.parameters(), strict=True):
        assert (one.grad - other.grad).norm() <= 1e-4 * other.grad.norm(), name


def test_shared_beginnings_are_computed_once(tiny_model: Path, make_engine: Any, make_batch: Any) -> None:
    """The layers see each beginning once; switching that off gives the same scores and gradients to rounding."""
    lengths = (30, 25, 40, 12, 20)
    batch = groups_of(lengths, make_batch)
    found = []
    for share in (True, False):
        engine = make_engine(tiny_model, optimizer=AdamW(), share_prefixes=share)
        seen: list[int] = []
        engine._model.model.layers[0].register_forward_hook(lambda _, args, out, seen=seen: seen.append(out.shape[1]))
        logprobs = engine.score(batch).logprobs
        engine.backward(logprobs.sum(), 1.0)
        found.append((logprobs, [p.grad for p in engine._model.parameters()], seen))
    assert found[0][2] == [sum(lengths) - 2 * 17]
    assert found[1][2] == [sum(lengths)]
    torch.testing.assert_close(found[0][0], found[1][0], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(found[0][1], found[1][1], atol=1e-4, rtol=1e-4)


class Wide:
    """Torch, whose float32 is float64: families that normalise in float32 round there whatever their weights are."""

    def __getattr__(self, name: str) -> Any:
        return getattr(torch, "float64" if name == "float32" else name)


@pytest.mark.parametrize("family", ["llama", "llama-tied", "qwen2-window", "qwen3", "mistral", "olmo2", "phi"])
def test_a_prompt_that_its_replies_share_changes_nothing(
    family: str,
    tmp_path: Path,
    make_engine: Callable[..., Any],
    make_batch: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Float64, two groups of replies: log-probs and every gradient within 1e-10 of their norm of the unshared ones.

    Layers with a sliding window attend segment by segment; what else they do is shared.
    """
    import transformers

    name, extra = FAMILIES[family]
    folder = save(getattr(transformers, name)(**{**SHAPE, **extra}), tmp_path)
    kind = name.removesuffix("Config").lower()
    module = importlib.import_module(f"transformers.models.{kind}.modeling_{kind}")
    monkeypatch.setattr(module, "torch", Wide())
    batch = groups_of((40, 33, 29, 25, 61, 25), make_batch)
    found = []
    for share in (True, False):
        engine = make_engine(folder, optimizer=AdamW(), share_prefixes=share, lean=False)
        engine._model.double()
        logprobs = engine.score(batch).logprobs
        engine.backward(logprobs.sum(), 10.0)
        found.append((logprobs.detach(), {name: p.grad for name, p in engine._model.named_parameters()}))
    (shared, ours), (alone, theirs) = found
    assert (shared - alone).norm() <= 1e-10 * alone.norm()
    for weight, gradient in theirs.items():
        assert (ours[weight] - gradient).norm() <= 1e-10 * gradient.norm(), weight


def test_a_family_with_a_longrope_is_held_to_its_original_length(
    tmp_path: Path, make_engine: Callable[..., Any], make_batch: Callable[..., Any]
) -> None:
    """Beyond 16 tokens every position's frequencies change, so that packed and unpacked would differ."""
    from transformers import Phi3Config

    rope = {
        "rope_type": "longrope",
        "rope_theta": 10000.0,
        "short_factor": [1.0] * 4,
        "long_factor": [2.0] * 4,
        "original_max_position_embeddings": 16,
    }
    config = Phi3Config(**SHAPE, rope_parameters=rope, original_max_position_embeddings=16)
    engine = make_engine(save(config, tmp_path))
    engine.score(make_batch([16, 3]))
    with pytest.raises(ModelError, match="sample 's1' has 17 tokens; the model takes 16"):
        engine.score(make_batch([3, 17]))


def test_a_model_that_mixes_segments_is_refused(tmp_path: Path, make_engine: Callable[..., Any]) -> None:
    """A state-space model carries its state from one packed segment to the next; the probe notices."""
    from transformers import MambaConfig

    config = MambaConfig(vocab_size=61, hidden_size=16, num_hidden_layers=1, state_size=4)
    with pytest.raises(ModelError, match="Mamba"):
        make_engine(save(config, tmp_path), optimizer=AdamW())


def test_attention_with_sinks_is_refused_by_name(tmp_path: Path, make_engine: Callable[..., Any]) -> None:
    """GPT-OSS hands `s_aux` to attention: an argument that changes the result is never ignored."""
    from transformers import GptOssConfig

    config = GptOssConfig(**{**SHAPE, "head_dim": 8, "num_local_experts": 2, "num_experts_per_tok": 1})
    with pytest.raises(ModelError, match="'s_aux'"):
        make_engine(save(config, tmp_path), optimizer=AdamW())


MOE = {"num_experts": 4, "num_local_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 24}
WINDOWS: dict[str, tuple[str, dict[str, Any]]] = {
    "phimoe": ("PhimoeConfig", {**MOE, "sliding_window": 16}),
    "qwen2-moe": (
        "Qwen2MoeConfig",
        {**MOE, "shared_expert_intermediate_size": 24, "use_sliding_window": True, "sliding_window": 16},
    ),
}


@pytest.mark.parametrize("family", WINDOWS)
def test_a_window_that_is_in_the_mask_alone_is_refused(
    family: str, tmp_path: Path, make_engine: Callable[..., Any]
) -> None:
    """Packing replaces the mask. The probe's segments are shorter than such windows, and once saw nothing of them."""
    import transformers

    name, extra = WINDOWS[family]
    folder = save(getattr(transformers, name)(**{**SHAPE, **extra}), tmp_path)
    with pytest.raises(ModelError, match=r"its sliding window \(sliding_window: 16\) does not reach packed attention"):
        make_engine(folder, optimizer=AdamW())


@pytest.mark.parametrize("family", ["qwen2-window", "gemma3", "mistral", "phi3"])
def test_a_window_longer_than_the_probe_is_accepted_and_left_as_it_is(
    family: str, tmp_path: Path, make_engine: Callable[..., Any], make_batch: Callable[..., Any]
) -> None:
    """Probing narrows the window for a while; afterwards 40 tokens under a window of 16 are each alone's."""
    import transformers

    name, extra = FAMILIES[family]
    folder = save(getattr(transformers, name)(**{**SHAPE, **extra, "sliding_window": 16}), tmp_path)
    engine = make_engine(folder)
    assert engine._model.config.sliding_window == 16
    batch = make_batch([40])
    alone = transformers.AutoModelForCausalLM.from_pretrained(folder, attn_implementation="eager").eval()
    with torch.no_grad():
        logp = alone(input_ids=batch.token_ids.unsqueeze(0)).logits[0, :-1].log_softmax(-1)
    expected = logp.gather(1, batch.token_ids[1:].unsqueeze(1)).squeeze(1)
    torch.testing.assert_close(engine.score(batch, grad=False).logprobs[1:], expected, atol=2e-5, rtol=0)


@pytest.mark.parametrize("scale", [0.1, 1.0, 20.0])
def test_a_family_with_an_attention_of_its_own_is_refused_however_small_its_weights(
    scale: float, tmp_path: Path, make_engine: Callable[..., Any], make_batch: Callable[..., Any]
) -> None:
    """Bloom's samples saw one another; with fresh weights that moved log-probs by less than the probe's tolerance."""
    from transformers import AutoModelForCausalLM, BloomConfig

    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(BloomConfig(vocab_size=64, hidden_size=32, n_layer=2, n_head=4))
    with torch.no_grad():
        for weight in model.parameters():
            weight.mul_(scale if weight.ndim > 1 else 1.0)
    model.save_pretrained(tmp_path)
    engine = make_engine(tmp_path)
    with pytest.raises(ModelError, match="BloomForCausalLM cannot be trained packed: its layers do not attend through"):
        engine.score(make_batch([5, 8]))
    with pytest.raises(ModelError, match="BloomForCausalLM cannot be trained packed: its layers do not attend through"):
        probe(load_model(str(tmp_path), "lm", 0), "lm")  # what no declaration tells is found so


def test_a_family_that_needs_its_own_mask_is_refused_by_name(
    tmp_path: Path, make_engine: Callable[..., Any], make_batch: Callable[..., Any]
) -> None:
    """MPT adds its position biases to a mask that packing has not."""
    from transformers import MptConfig

    config = MptConfig(vocab_size=61, d_model=32, n_heads=4, n_layers=1)
    engine = make_engine(save(config, tmp_path))
    with pytest.raises(ModelError, match="MptForCausalLM cannot be trained packed: its layers do not attend through"):
        engine.score(make_batch([5, 8]))
    with pytest.raises(ModelError, match="MptForCausalLM cannot be trained packed: it cannot do without its own"):
        probe(load_model(str(tmp_path), "lm", 0), "lm")


def test_weights_that_are_not_finite_are_named(tmp_path: Path, make_engine: Callable[..., Any]) -> None:
    import transformers
    from safetensors.torch import load_file, save_file

    folder = save(transformers.LlamaConfig(**SHAPE), tmp_path)
    weights = load_file(Path(folder) / "model.safetensors")
    weights["model.layers.0.mlp.up_proj.weight"][0, 0] = float("nan")
    save_file(weights, Path(folder) / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError, match=r"weights are NaN or infinite: model\.layers\.0\.mlp\.up_proj\.weight;"):
        make_engine(folder)
