"""Memory of activations: the prediction against what autograd keeps (F23)."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import _VersionWrapper

from aftertrain.core.errors import ModelError
from aftertrain.core.packed import attention
from aftertrain.core.packed.layout import PackedLayout
from aftertrain.core.packed.lean import make_lean
from aftertrain.core.packed.model import hidden_states
from aftertrain.core.packed.notes import notebook
from aftertrain.core.packed.recompute import (
    Mode,
    predicted_bytes,
    predicted_head_bytes,
    recompute_layers,
)

LENGTHS = (100, 100, 100)


@contextmanager
def saved_bytes(model: nn.Module, *, lean: bool = False) -> Iterator[list[int]]:
    """Count what autograd keeps in the block, beside the model's weights: one number, grown as storages are saved.

    Args:
        lean: under notes, whose inputs are counted.
    """
    own = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    seen: dict[int, Tensor] = {}
    total = [0]

    def count(tensor: Tensor) -> None:
        at = tensor.untyped_storage().data_ptr()
        if at not in own and at not in seen:
            seen[at] = tensor  # held, so that no other tensor takes its address
            total[0] += tensor.untyped_storage().nbytes()

    def pack(tensor: Tensor) -> Tensor:
        count(tensor)
        return tensor

    with notebook(count) if lean else torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        yield total


def selected() -> int:
    """Bytes that selective checkpointing keeps, which autograd's hooks do not see."""
    kept = [each.val for each in gc.get_objects() if type(each) is _VersionWrapper]
    return sum(value.untyped_storage().nbytes() for value in kept if isinstance(value, torch.Tensor))


def kept_of(layers: int, mode: Mode, width: int) -> tuple[int, int]:
    """Bytes kept by a forward of 300 tokens through so many layers, and predicted for the same."""
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        hidden_size=64,
        intermediate_size=160,
        num_hidden_layers=layers,
        num_attention_heads=4,
        num_key_value_heads=2,
        vocab_size=100,
    )
    model = LlamaForCausalLM._from_config(config, attn_implementation=attention.register()).eval()
    if mode == "lean":
        make_lean(model)
    elif mode != "none":
        recompute_layers(model, mode)
    positions = torch.cat([torch.arange(n) for n in LENGTHS])
    gc.collect()
    before = selected()
    narrow = torch.autocast("cpu", torch.bfloat16, enabled=width == 2)
    with narrow, saved_bytes(model, lean=mode == "lean") as kept:
        hidden = hidden_states(model, positions % 100, positions, PackedLayout(LENGTHS, positions.device))
    found = kept[0] + selected() - before
    del hidden
    return found, predicted_bytes(config, sum(LENGTHS), mode, width)


@pytest.mark.parametrize("width", [4, 2])
@pytest.mark.parametrize("mode", ["none", "lean", "full", "selective"])
def test_a_layer_keeps_what_is_predicted(mode: Mode, width: int) -> None:
    """Two layers more, within 2 %: what is outside the layers is not theirs, nor the one that is made again."""
    (small, less), (large, more) = kept_of(1, mode, width), kept_of(3, mode, width)
    assert large - small == pytest.approx(more - less, rel=0.02)


def test_the_modes_rank() -> None:
    """Of 30 layers of SmolLM2-135M's shape, by hand: 11,723, 5,771, 6,345 and 576 numbers a token and layer."""
    config = smollm2()
    layer = 2 * (3 * 576 + 1) + (576 + 2 * 192) + (576 + 9) + 576 + 4 * 1536
    lean = 2 * (576 + 1) + (576 + 2 * 192) + (576 + 9) + 2 * 1536
    assert (layer, lean) == (11723, 5771)
    assert predicted_bytes(config, 10, "none") == 40 * 30 * layer
    assert predicted_bytes(config, 10, "lean") == 40 * 30 * lean
    assert predicted_bytes(config, 10, "full") == 40 * (30 * 576 + layer)
    assert predicted_bytes(config, 10, "selective") == 40 * (30 * 6345 + layer)


def test_the_head_holds_a_chunk_of_logits_twice() -> None:
    """49,152 logits for each of 10 tokens, or of the 682 that make 128 MiB, and a gradient of 49,152 x 576."""
    config = smollm2()
    assert predicted_head_bytes(config, 10, None) == 4 * 49152 * (20 + 576)
    assert predicted_head_bytes(config, 10_000, None) == 4 * 49152 * (2 * 682 + 576)
    assert predicted_head_bytes(config, 10_000, 16) == 4 * 49152 * (32 + 576)


def test_a_configuration_of_another_kind_is_named() -> None:
    from transformers import GPT2Config

    with pytest.raises(ModelError, match="gpt2: its configuration does not say 'intermediate_size'"):
        predicted_bytes(GPT2Config(), 10, "none")


def smollm2() -> Any:
    from transformers import LlamaConfig

    return LlamaConfig(
        vocab_size=49152,
        hidden_size=576,
        intermediate_size=1536,
        num_hidden_layers=30,
        num_attention_heads=9,
        num_key_value_heads=3,
    )


def test_a_family_without_marked_layers_is_refused() -> None:
    model: Any = torch.nn.Linear(2, 2)
    with pytest.raises(ModelError, match="Linear has no layers that activation_checkpointing knows"):
        recompute_layers(model)
