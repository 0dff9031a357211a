"""Every family replies as transformers' own forward says, whichever way it is decoded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from transformers import AutoModelForCausalLM, AutoTokenizer

from aftertrain.core.generator import GenerationRequest, Sampling
from aftertrain.core.learning.seeding import global_seed
from aftertrain.plugins.generation.decoding import Decoder
from aftertrain.plugins.generation.fitting import network_of
from aftertrain.plugins.generation.weights import Weights

SMALL = {"vocab_size": 300, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
SMALL |= {"intermediate_size": 48, "initializer_range": 0.3, "pad_token_id": 0}
GROUPED = {**SMALL, "num_key_value_heads": 2}
EXPERTS = {"num_local_experts": 4, "num_experts_per_tok": 2}
MAMBA = {"mamba_d_state": 8, "mamba_n_heads": 4, "mamba_d_head": 16, "mamba_n_groups": 1}
NEO = {"vocab_size": 300, "hidden_size": 32, "num_layers": 2, "num_heads": 4, "initializer_range": 0.3}
LOCAL = {"attention_types": [[["global", "local"], 1]], "window_size": 8}
DYNAMIC = {"rope_parameters": {"rope_type": "dynamic", "rope_theta": 10000.0, "factor": 4.0}}
LONG = {
    "rope_parameters": {
        "rope_type": "longrope",
        "rope_theta": 10000.0,
        "factor": 4.0,
        "short_factor": [1.0] * 4,
        "long_factor": [2.0] * 4,
        "original_max_position_embeddings": 40,
    }
}

FLAT = {
    "Llama": GROUPED,
    "Qwen2": GROUPED,
    "Qwen3": {**GROUPED, "head_dim": 16},
    "Gemma": {**GROUPED, "head_dim": 16},
    "Olmo2": GROUPED,
    "Granite": {**GROUPED, "logits_scaling": 3.0, "attention_multiplier": 0.2, "residual_multiplier": 0.5},
    "Cohere": {**GROUPED, "logit_scale": 0.3},
    "Mistral": {**GROUPED, "sliding_window": None},
    "Mixtral": {**GROUPED, **EXPERTS},
    "Phi": GROUPED,
    "GPTNeoX": SMALL,
}
PADDED = {
    "Mistral": {**GROUPED, "sliding_window": 8},
    "Gemma2": {**GROUPED, "head_dim": 16, "sliding_window": 8},
    "GPTNeo": {**NEO, **LOCAL},
    "Mamba": {"vocab_size": 300, "hidden_size": 32, "num_hidden_layers": 2, "initializer_range": 0.3},
    "Bamba": {**GROUPED, **MAMBA, "attn_layer_indices": [1]},
    "Llama": {**GROUPED, **DYNAMIC, "max_position_embeddings": 160},
    "Phi3": {**GROUPED, **LONG, "max_position_embeddings": 160},
    "Bloom": {"vocab_size": 300, "hidden_size": 32, "n_layer": 2, "n_head": 4, "initializer_range": 0.3},
    "GptOss": {**GROUPED, "head_dim": 16, **EXPERTS, "layer_types": ["full_attention"] * 2},
}
CASES = [(name, settings, "FlatNetwork") for name, settings in FLAT.items()]
CASES += [(name, settings, "PaddedNetwork") for name, settings in PADDED.items()]


def decoder_of(model: Any, tokenizer: Any) -> Decoder:
    """The generator's decoder over a model, which never says that a reply ends."""
    device = torch.device("cpu")
    model.requires_grad_(False)
    Weights(model, device, torch.float32)
    return Decoder(network_of(model), tokenizer, frozenset(), None, device)


@pytest.mark.parametrize(("name", "settings", "way"), CASES, ids=[f"{case[0]}-{case[2]}" for case in CASES])
def test_a_family_replies_as_transformers(tiny_model: Path, name: str, settings: dict[str, Any], way: str) -> None:
    """Prompts of unlike lengths beyond every window, two samples of each; some rows end early."""
    config = getattr(transformers, f"{name}Config")
    with global_seed(0):
        model = AutoModelForCausalLM.from_config(config(**settings)).eval()
    with global_seed(0):
        plain = AutoModelForCausalLM.from_config(config(**settings)).eval()
    draw = torch.Generator().manual_seed(1)
    prompts = [tuple(torch.randint(3, 300, (n,), generator=draw).tolist()) for n in (1, 14, 44)]
    requests = [
        GenerationRequest(f"{i}/{j}", prompt, Sampling(max_new_tokens=(3, 9)[j]), 10 * i + j)
        for i, prompt in enumerate(prompts)
        for j in range(2)
    ]
    decoder = decoder_of(model, AutoTokenizer.from_pretrained(tiny_model))
    assert type(decoder.network).__name__ == way
    waiting, finished = list(requests), []
    while waiting or decoder.replies:
        entering = decoder.fits(waiting, 8, 10_000) if waiting else 0
        finished += decoder.admit(waiting[:entering], 0) if entering else decoder.step()
        del waiting[:entering]
    assert len(finished) == len(requests)
    for reply in finished:
        completion = reply.completion()
        ids = completion.prompt_ids + completion.token_ids
        # Of frequencies that change with the length each cached key keeps its own: only the first token is as of a
        # forward of all.
        compared = 1 if name == "Phi3" else len(completion.token_ids)
        drawn = list(zip(completion.token_ids, completion.logprobs, strict=True))
        for at, (token, logprob) in enumerate(drawn[:compared]):
            with torch.no_grad():
                logits = plain(torch.tensor([ids[: len(completion.prompt_ids) + at]])).logits[0, -1]
            assert logprob == pytest.approx(float(logits.log_softmax(-1)[token]), abs=2e-4)
