"""A model of a few hundred weights."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def smallest_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random Llama of one layer, hidden 16, 61 tokens."""
    from transformers import LlamaConfig, LlamaForCausalLM

    from aftertrain.core.learning.seeding import global_seed

    config = LlamaConfig(
        vocab_size=61,
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=64,
        initializer_range=0.2,
        tie_word_embeddings=True,
        pad_token_id=0,
    )
    folder = tmp_path_factory.mktemp("smallest")
    with global_seed(0):
        LlamaForCausalLM(config).save_pretrained(folder)
    return folder
