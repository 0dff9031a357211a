"""Sizes of a model and checks of its tokenizer, from its folder, without loading weights."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from aftertrain.core.errors import ModelError
from aftertrain.core.ground.model_folder import read_config
from aftertrain.core.records import PlanItem
from aftertrain.core.text.chat import load_tokenizer
from aftertrain.core.text.template_checks import template_checks

TRAINING_BYTES = {"weights": 4, "gradients": 4, "AdamW moments": 8}
"""Bytes a parameter when training in float32; activations come on top."""


def count_parameters(folder: Path) -> int:
    """Number of weights of a model folder's language model, each tied weight counted once; only shapes are made.

    Raises:
        ModelError: the configuration cannot be read, or transformers has no causal language model for it.
    """
    import torch
    from transformers import AutoModelForCausalLM

    config = read_config(folder)
    try:
        with torch.device("meta"):
            model = AutoModelForCausalLM.from_config(config, trust_remote_code=False)  # type: ignore[no-untyped-call]
    except Exception as error:
        raise ModelError(
            f"{folder / 'config.json'}: transformers makes no language model of this configuration: "
            f"{type(error).__name__}: {str(error)[:300]}"
        ) from error
    return sum(weight.numel() for weight in model.parameters())


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
        found = template_checks(tokenizer, str(folder))
    except ModelError as error:
        found = [PlanItem("chat template", str(error), "warning")]
    return items + [replace(item, status="warning") if item.status == "error" else item for item in found]


def gibibytes(size: float) -> str:
    """A size in bytes, for people.

    >>> gibibytes(2.5 * 2**30), gibibytes(3_000_000)
    ('2.50 GiB', '2.9 MiB')
    """
    return f"{size / 2**30:.2f} GiB" if size >= 2**30 else f"{size / 2**20:.1f} MiB"
