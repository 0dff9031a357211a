"""Fixtures for all tests: a tiny random model with its tokenizer, and the folder of shared real data."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import settings

settings.register_profile("aftertrain", deadline=None, derandomize=True, print_blob=True)
settings.load_profile("aftertrain")

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
if "AFTERTRAIN_CACHE" not in os.environ:
    os.environ["AFTERTRAIN_CACHE"] = tempfile.mkdtemp(prefix="aftertrain-cache-")
    atexit.register(shutil.rmtree, os.environ["AFTERTRAIN_CACHE"], ignore_errors=True)

CORPUS = (
    "How many apples does Ann have? Ann has 3 apples and buys 4 more.",
    "3 + 4 = 7\n#### 7",
    "What is the sum of 12 and 30? The answer is 42.",
    "A question, an answer, and a reason: yes or no.",
)


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Hugging Face folder: random Llama (2 layers, hidden 32, ~30k weights) and byte-level BPE with Tülu's template.

    Any text can be encoded. Special tokens: `<pad>` 0, `<bos>` 1, `<eos>` 2; role marks are one token each.
    """
    from transformers import LlamaConfig, LlamaForCausalLM

    from aftertrain.core.learning.seeding import global_seed

    folder = tmp_path_factory.mktemp("tiny") / "model"
    tokenizer = _tokenizer()
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=512,
        initializer_range=0.2,
        tie_word_embeddings=True,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    with global_seed(0):
        model = LlamaForCausalLM(config)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def _tokenizer():  # noqa: ANN202 (its type would import transformers at collection)
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    from aftertrain.core.text.chat import TULU_TEMPLATE

    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=320,
        special_tokens=["<pad>", "<bos>", "<eos>"],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    bpe.train_from_iterator(CORPUS, trainer)
    bpe.add_tokens([AddedToken(f"<|{role}|>", normalized=False) for role in ("system", "user", "assistant")])
    return PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        pad_token="<pad>",
        bos_token="<bos>",
        eos_token="<eos>",
        chat_template=TULU_TEMPLATE,
        clean_up_tokenization_spaces=False,
    )


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real public data named by AFTERTRAIN_DATA; tests that need it skip without."""
    folder = os.environ.get("AFTERTRAIN_DATA")
    if not folder:
        pytest.skip("AFTERTRAIN_DATA is not set: it names a folder of public data sets (gsm8k, tulu3_samples, …)")
    return Path(folder)
