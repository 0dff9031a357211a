"""Layers that keep less for the backward pass (F23): transformers' own operations, with notes at what they waste.

Of each layer of a gated decoder transformers makes autograd keep the normalised states, twice, the activation of the
gate and its product with the other half, and the result of attention a second time; under autocast also a narrow copy
of its input for each linear layer. All are cheap to make again from what is kept beside them (`core.packed.notes`). No
product is repeated and gradients are equal to the last bit.

A module is made lean only if its lean form gives the same bits on a probe; any other stays as it is.
"""

from __future__ import annotations

from collections.abc import Callable
from copy import copy
from functools import partial
from inspect import signature
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from aftertrain.core.packed.notes import narrowed, noted

Form = Callable[[Any, Tensor], Tensor]


def make_lean(model: nn.Module) -> dict[str, int]:
    """Give norms, feed-forward blocks and linear layers their lean form, before adapters are added.

    Returns:
        how many norms and blocks of each class got one.
    """
    forms: dict[tuple[type[nn.Module], str], Form | None] = {}
    counts: dict[str, int] = {}
    for module in model.modules():
        if type(module) is nn.Linear:
            module.forward = partial(_linear, module)  # type: ignore[method-assign]
            continue
        kind = (type(module), repr(_activation(module)))
        if kind not in forms:
            forms[kind] = _form_of(module)
        if (form := forms[kind]) is not None:
            module.forward = partial(form, module)
            counts[kind[0].__name__] = counts.get(kind[0].__name__, 0) + 1
    return counts


def _activation(module: nn.Module) -> Any:
    """What tells modules of one class apart: the activation that a configuration chose."""
    return getattr(module, "act_fn", getattr(module, "activation_fn", None))


def _form_of(module: nn.Module) -> Form | None:
    """The form that gives the module's bits, on numbers where the norm's epsilon counts, in float32 and bfloat16."""
    if len(signature(type(module).forward).parameters) > len(("self", "states")):
        return None  # a layer may have the names of a block and take masks as well (OPT's)
    for names, form in _FORMS:
        if all(hasattr(module, name) for name in names) and _alike(module, form):
            return form
    return None


def _alike(module: nn.Module, form: Form) -> bool:
    weight = next(iter(module.parameters()), None)
    function = _activation(module)
    if weight is None or (isinstance(function, nn.Module) and next(iter(function.parameters()), None) is not None):
        return False
    width = weight.shape[-1]
    formed = copy(module)
    formed.forward = partial(form, formed)
    random = torch.Generator().manual_seed(0)
    own = {name: torch.randn(p.shape, generator=random).to(p) for name, p in module.named_parameters() if p.ndim == 1}
    with torch.no_grad():
        for scale, dtype in ((1.0, weight.dtype), (1e-3, weight.dtype), (1.0, torch.bfloat16)):
            x = (scale * torch.randn(1, 2, width, generator=random)).to(weight.device, dtype)
            with torch.autocast(weight.device.type, torch.bfloat16, enabled=dtype == torch.bfloat16):
                theirs, ours = (torch.func.functional_call(part, own, (x,)) for part in (module, formed))
            if theirs.dtype != ours.dtype or not torch.equal(theirs, ours):
                return False
    return True


def _rms(module: Any, x: Tensor) -> tuple[Tensor, Tensor]:
    """`x` in float32, divided by its root mean square, and the inverse of that."""
    eps = module.variance_epsilon if hasattr(module, "variance_epsilon") else module.eps
    wide = x.float()
    if wide is not x:
        noted(wide, Tensor.float, x)
    inverse = torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + eps)
    return noted(wide * inverse, _scaled, x, inverse), inverse


def _scaled(x: Tensor, inverse: Tensor) -> Tensor:
    return x.float() * inverse


def _rms_norm(finish: Callable[[Tensor, Tensor, torch.dtype], Tensor], module: Any, x: Tensor) -> Tensor:
    """RMSNorm (Zhang & Sennrich 2019); `finish(normalised, weight, dtype)` is where families differ."""

    def make(x: Tensor, inverse: Tensor, weight: Tensor) -> Tensor:
        return finish(_scaled(x, inverse), weight, x.dtype)

    scaled, inverse = _rms(module, x)
    return noted(finish(scaled, module.weight, x.dtype), make, x, inverse, module.weight)


def _narrow_first(scaled: Tensor, weight: Tensor, dtype: torch.dtype) -> Tensor:
    """Llama, Qwen, Mistral, Phi-3."""
    return weight * scaled.to(dtype)


def _narrow_last(scaled: Tensor, weight: Tensor, dtype: torch.dtype) -> Tensor:
    """OLMo 2."""
    return (weight * scaled).to(dtype)


def _around_one(scaled: Tensor, weight: Tensor, dtype: torch.dtype) -> Tensor:
    """Gemma."""
    return (scaled * (1.0 + weight.float())).to(dtype)


def _layer_norm(module: nn.LayerNorm, x: Tensor) -> Tensor:
    shape = list(module.normalized_shape)

    def make(x: Tensor, weight: Tensor | None = None, bias: Tensor | None = None) -> Tensor:
        return F.layer_norm(x, shape, weight, bias, module.eps)

    own = [vector for vector in (module.weight, module.bias) if vector is not None]
    return noted(make(x, *own), make, x, *own)


def _gated(module: Any, x: Tensor) -> Tensor:
    """`down(act(gate(x)) * up(x))`, in which gate and up are kept."""
    gate, up = module.gate_proj(x), module.up_proj(x)
    return _joined(module.act_fn, gate, up, module.down_proj)


def _joined(act: Callable[[Tensor], Tensor], gate: Tensor, up: Tensor, down: Callable[[Tensor], Tensor]) -> Tensor:
    opened = noted(act(gate), act, gate)
    return down(noted(opened * up, lambda gate, up: act(gate) * up, gate, up))


def _gated_together(module: Any, x: Tensor) -> Tensor:
    """The same with gate and up from one layer (Phi-3)."""
    gate, up = module.gate_up_proj(x).chunk(2, dim=-1)
    return _joined(module.activation_fn, gate, up, module.down_proj)


def _plain(module: Any, x: Tensor) -> Tensor:
    """`fc2(act(fc1(x)))` (Phi)."""
    inside = module.fc1(x)
    out: Tensor = module.fc2(noted(module.activation_fn(inside), module.activation_fn, inside))
    return out


def _linear(module: nn.Linear, x: Tensor) -> Tensor:
    """Under autocast a narrow copy of `x` is multiplied, which autograd would keep for each layer that reads `x`."""
    kind = x.device.type
    if torch.is_autocast_enabled(kind) and x.dtype == torch.float32:
        x = narrowed(x, torch.get_autocast_dtype(kind))
    return F.linear(x, module.weight, module.bias)


_FORMS: tuple[tuple[tuple[str, ...], Form], ...] = (
    (("gate_proj", "up_proj", "down_proj", "act_fn"), _gated),
    (("gate_up_proj", "down_proj", "activation_fn"), _gated_together),
    (("fc1", "fc2", "activation_fn"), _plain),
    (("normalized_shape", "weight", "bias", "eps"), _layer_norm),
    *(
        ((name, "weight"), partial(_rms_norm, finish))
        for finish in (_narrow_first, _narrow_last, _around_one)
        for name in ("variance_epsilon", "eps")
    ),
)
