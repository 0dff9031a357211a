"""Sizes of a model and checks of its tokenizer, from its folder, without loading weights."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from aftertrain.core.errors import ModelError
from aftertrain.core.ground.model_folder import read_config, weight_shapes
from aftertrain.core.records import PlanItem
from aftertrain.core.text.chat import load_tokenizer
from aftertrain.core.text.template_checks import template_checks

TRAINING_BYTES = {"weights": 4, "gradients": 4, "AdamW moments": 8}
"""Bytes a parameter when training in float32; activations come on top."""


FAMILIES = frozenset({"llama", "mistral", "qwen2", "qwen3", "olmo2", "gemma2"})
"""Those whose models are embeddings, like layers, a norm and a head, so that files that fit the configuration tell all.

To make a model, be it of shapes alone, takes seconds of imports.
"""
_NAME = re.compile(r"(?:model\.(?:embed_tokens|norm|layers\.(\d+)\.(\w+(?:\.\w+)*))|lm_head)\.(?:weight|bias)")


def count_parameters(folder: Path) -> int:
    """Number of weights of a model folder's language model, each tied weight counted once; only shapes are made.

    Raises:
        ModelError: the configuration cannot be read, or transformers has no causal language model for it.
    """
    config = read_config(folder)
    stored = stored_parameters(weight_shapes(folder), config)
    if stored is not None:
        return stored
    import torch
    from transformers import AutoModelForCausalLM

    try:
        with torch.device("meta"):
            model = AutoModelForCausalLM.from_config(config, trust_remote_code=False)  # type: ignore[no-untyped-call]
    except Exception as error:
        raise ModelError(
            f"{folder / 'config.json'}: transformers makes no language model of this configuration: "
            f"{type(error).__name__}: {str(error)[:300]}"
        ) from error
    return sum(weight.numel() for weight in model.parameters())


def stored_parameters(shapes: Mapping[str, tuple[int, ...]], config: Any) -> int | None:
    """The number of weights in files of a family that is known, None where they are not all that it has, or more."""
    if config.model_type not in FAMILIES or config.num_attention_heads < 1:
        return None
    layers: dict[int, dict[str, tuple[int, ...]]] = {}
    for name, shape in shapes.items():
        match = _NAME.fullmatch(name)
        if match is None:
            return None
        if match[1] is not None:
            layers.setdefault(int(match[1]), {})[name.split(".", 3)[3]] = shape
    hidden = config.hidden_size
    head = getattr(config, "head_dim", None) or hidden // config.num_attention_heads
    fitting: dict[str, tuple[int, ...]] = {
        "self_attn.q_proj.weight": (config.num_attention_heads * head, hidden),
        "self_attn.k_proj.weight": (config.num_key_value_heads * head, hidden),
        "self_attn.v_proj.weight": (config.num_key_value_heads * head, hidden),
        "mlp.down_proj.weight": (hidden, config.intermediate_size),
    }
    first = layers.get(0, {})
    alike = layers.keys() == set(range(config.num_hidden_layers)) and all(layer == first for layer in layers.values())
    embedding = (config.vocab_size, hidden)
    others = {"model.embed_tokens.weight": embedding, "model.norm.weight": (hidden,)}
    if not config.tie_word_embeddings:
        others["lm_head.weight"] = embedding
    if not alike or not fitting.items() <= first.items() or not others.items() <= shapes.items():
        return None
    tied = {"lm_head.weight"} if config.tie_word_embeddings else set()
    return sum(math.prod(shape) for name, shape in shapes.items() if name not in tied)


def model_items(folder: Path, chat_template: str | None, *, trained: bool) -> list[PlanItem]:
    """Parameters, memory, and the checks of tokenizer and template.

    Raises:
        ModelError: the configuration or the tokenizer cannot be read.
    """
    n = count_parameters(folder)
    items = [
        PlanItem("folder", str(folder)),
        PlanItem("parameters", f"{n:,}"),
        PlanItem("weights", f"{gibibytes(4 * n)} in float32, {gibibytes(2 * n)} in bfloat16"),
    ]
    if trained:
        parts = ", ".join(TRAINING_BYTES)
        total = sum(TRAINING_BYTES.values()) * n
        items.append(PlanItem("training memory", f"{gibibytes(total)} in float32 ({parts}), and activations"))
    tokenizer = load_tokenizer(str(folder), chat_template, needs_template=False)
    items.append(PlanItem("vocabulary", f"{len(tokenizer):,} tokens"))
    if tokenizer.chat_template is None:
        items.append(PlanItem("chat template", "none: set chat_template: tulu to train on conversations", "warning"))
        return items
    # Whether a fault keeps the run from starting is for the stages to say: plain texts need no template.
    try:
        checks = template_checks(tokenizer, str(folder))
    except ModelError as error:
        checks = [PlanItem("chat template", str(error), "warning")]
    return items + [replace(item, status="warning") if item.status == "error" else item for item in checks]


def gibibytes(size: float) -> str:
    """A size in bytes, for people.

    >>> gibibytes(2.5 * 2**30), gibibytes(3_000_000)
    ('2.50 GiB', '2.9 MiB')
    """
    return f"{size / 2**30:.2f} GiB" if size >= 2**30 else f"{size / 2**20:.1f} MiB"
