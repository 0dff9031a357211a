"""Layers that keep less: the same bits as transformers' own, and only the tensors that F23 counts."""

from __future__ import annotations

import weakref
from contextlib import nullcontext
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from aftertrain.core.learning.seeding import global_seed
from aftertrain.core.packed import attention
from aftertrain.core.packed.layout import PackedLayout
from aftertrain.core.packed.lean import make_lean
from aftertrain.core.packed.model import hidden_states
from aftertrain.core.packed.notes import notebook, noted

SHAPE: dict[str, Any] = {
    "vocab_size": 61,
    "hidden_size": 32,
    "intermediate_size": 80,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "initializer_range": 0.3,
    "pad_token_id": 0,
}
FAMILIES: dict[str, tuple[str, dict[str, Any], int]] = {
    "llama": ("LlamaConfig", {}, 7),
    "qwen2": ("Qwen2Config", {}, 7),
    "qwen3": ("Qwen3Config", {"head_dim": 8}, 11),
    "gemma": ("GemmaConfig", {"head_dim": 8}, 7),
    "gemma2": ("Gemma2Config", {"head_dim": 8, "query_pre_attn_scalar": 8}, 11),
    "gemma3": ("Gemma3TextConfig", {"head_dim": 8, "query_pre_attn_scalar": 8}, 15),
    "mistral": ("MistralConfig", {"head_dim": 8}, 7),
    "olmo2": ("Olmo2Config", {}, 11),
    "phi": ("PhiConfig", {}, 5),
    "phi3": ("Phi3Config", {}, 7),
    "smollm3": ("SmolLM3Config", {"no_rope_layers": [1, 0]}, 7),
}
"""Configuration, and modules of two layers and the last norm that have a lean form."""
LENGTHS = (30, 7, 41)


def model_of(family: str) -> Any:
    import transformers

    name, extra, _ = FAMILIES[family]
    config = getattr(transformers, name)(**{**SHAPE, **extra})
    with global_seed(1):
        model = transformers.AutoModelForCausalLM.from_config(config, attn_implementation=attention.register())
        for parameter in model.parameters():
            if parameter.ndim == 1:
                nn.init.normal_(parameter)
    return model.eval()


def run(model: Any, dtype: torch.dtype, *, lean: bool) -> tuple[Tensor, list[Tensor]]:
    """Hidden states, and gradients of a random sum of them."""
    ids = torch.arange(sum(LENGTHS)) % 61
    positions = torch.cat([torch.arange(n) for n in LENGTHS])
    weights = torch.randn(len(ids), 32, generator=torch.Generator().manual_seed(2))
    model.zero_grad()
    narrow = torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16)
    with narrow, notebook() if lean else nullcontext():
        hidden = hidden_states(model, ids, positions, PackedLayout(LENGTHS, ids.device))
    (hidden.float() * weights).sum().backward()
    own = model.base_model.named_parameters()
    return hidden.detach(), [p.grad.clone() for _, p in own if p.grad is not None]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("family", FAMILIES)
def test_states_and_gradients_are_the_same_bits(family: str, dtype: torch.dtype) -> None:
    model = model_of(family)
    states, gradients = run(model, dtype, lean=False)
    assert sum(make_lean(model).values()) == FAMILIES[family][2]
    lean_states, lean_gradients = run(model, dtype, lean=True)
    assert torch.equal(states, lean_states)
    assert len(gradients) == len(lean_gradients) > 10
    for one, other in zip(gradients, lean_gradients, strict=True):
        assert torch.equal(one, other)


class Odd(nn.Module):
    """Looks like Llama's feed-forward block, and clamps."""

    def __init__(self) -> None:
        super().__init__()
        self.gate_proj, self.up_proj, self.down_proj = nn.Linear(8, 12), nn.Linear(8, 12), nn.Linear(12, 8)
        self.act_fn = nn.SiLU()

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.down_proj((self.act_fn(self.gate_proj(x)) * self.up_proj(x)).clamp(-0.1, 0.1))
        return out


class Cubed(nn.Module):
    """Looks like an RMSNorm."""

    def __init__(self) -> None:
        super().__init__()
        self.weight, self.eps = nn.Parameter(torch.ones(8)), 1e-6

    def forward(self, x: Tensor) -> Tensor:
        return self.weight**3 * x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.eps)


@pytest.mark.parametrize("module", [Odd(), Cubed()])
def test_a_module_that_does_something_else_is_left_alone(module: nn.Module) -> None:
    """The cubed weight of 1 would pass for a norm if its weight were not drawn anew for the comparison."""
    assert make_lean(module) == {}
    assert "forward" not in vars(module)


def test_a_noted_tensor_is_freed_and_made_again() -> None:
    """d/dx sum((3x)^2 / 2) = 9x: the square keeps 3x, which is made from x in the backward pass."""
    made = []

    def triple(x: Tensor) -> Tensor:
        made.append(len(made))
        return x * 3

    x = torch.tensor([1.0, 2.0], requires_grad=True)
    with notebook():
        middle = noted(triple(x), triple, x)
        whole = middle.square().sum() / 2
    alive = weakref.ref(middle)
    del middle
    assert alive() is None
    whole.backward()
    assert x.grad is not None
    assert x.grad.tolist() == [9.0, 18.0]
    assert made == [0, 1]


def test_a_view_of_a_noted_tensor_is_made_again() -> None:
    x = torch.arange(6.0).view(2, 3).requires_grad_()
    with notebook():
        middle = noted(x * 2, lambda x: x * 2, x)
        whole = middle.t()[1:].square().sum()
    del middle
    whole.backward()
    assert x.grad is not None
    assert x.grad.tolist() == [[0.0, 8.0, 16.0], [0.0, 32.0, 40.0]]


def test_an_overwritten_input_is_an_error() -> None:
    x = torch.ones(2, requires_grad=True)
    base = x * 1
    with notebook():
        whole = noted(base * 2, lambda base: base * 2, base).square().sum()
    base.detach().add_(1)
    with pytest.raises(RuntimeError, match="overwritten after the forward pass"):
        whole.backward()


def test_a_result_changed_after_its_note_is_kept_itself() -> None:
    x = torch.ones(2, requires_grad=True)
    with notebook():
        changed = noted(x * 2, lambda x: x * 2, x).add_(1)
        whole = changed.square().sum()
    whole.backward()
    assert x.grad is not None
    assert x.grad.tolist() == [12.0, 12.0]
