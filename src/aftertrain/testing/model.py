"""A tiny random model, made on the spot: what generators, engines and stages are tried on."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from aftertrain.core.learning.seeding import global_seed
from aftertrain.core.text.chat import TULU_TEMPLATE

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedTokenizerBase

ALPHABET = "abcdefghijklmnopqrstuvwxyz ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.,:;!?'\"+-*/=#$()[]{}<>|_\\\n"


def tiny_model(folder: Path, *, seed: int = 0) -> str:
    """Write a Hugging Face folder: a Llama of two layers and hidden size 32, one token a character; returns its path.

    Its weights are drawn wide enough that samples differ, and the end token is likely enough that replies end.
    """
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM
    from transformers.utils import logging

    # A bar for each of a hundred tiny models would bury the findings.
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    tokenizer = tiny_tokenizer()
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=512,
        initializer_range=0.2,
        tie_word_embeddings=False,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    with global_seed(seed):
        model = LlamaForCausalLM(config)
    with torch.no_grad():
        model.lm_head.weight *= 2
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)


def plain_logits(folder: str, ids: Tensor) -> Tensor:
    """Float32 `[n, vocabulary]`: what transformers' own forward of one sample `ids` predicts after each token."""
    import torch
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, trust_remote_code=False)
    with torch.no_grad():
        logits: Tensor = model(ids.unsqueeze(0)).logits[0].float()
    return logits


def tiny_tokenizer() -> PreTrainedTokenizerBase:
    """Characters as tokens, `<pad>` 0, `<bos>` 1, `<eos>` 2, unknown characters `<unk>` 3, Tülu's chat template."""
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    special = ["<pad>", "<bos>", "<eos>", "<unk>"]
    words = models.WordLevel({token: i for i, token in enumerate([*special, *ALPHABET])}, unk_token="<unk>")
    tokenizer = Tokenizer(words)
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated")
    tokenizer.decoder = decoders.Fuse()
    return PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        bos_token="<bos>",
        eos_token="<eos>",
        unk_token="<unk>",
        chat_template=TULU_TEMPLATE,
        clean_up_tokenization_spaces=False,
    )
