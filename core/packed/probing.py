"""What is tried on a loaded model before it is trained: packed scores against its own, kernels against plain ones."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from aftertrain.core.engine import Head
from aftertrain.core.errors import ModelError
from aftertrain.core.head_kernel import HeadKernel
from aftertrain.core.packed import attention
from aftertrain.core.packed.head_scores import head_scores
from aftertrain.core.packed.layout import Kernel, PackedLayout
from aftertrain.core.packed.model import hidden_states, lm_head, values

if TYPE_CHECKING:
    from transformers import PreTrainedModel

PROBE_TOLERANCE = 1e-3
"""Largest difference in nats (float32) between packed scores and the model's own, or share of a head kernel's norm."""
APART = 1e-5
"""Largest share of their norm by which a segment's states may move when another segment beside it is another text."""
LENGTHS = (5, 8)
"""Tokens of the probe's segments."""
PROBE_WINDOW = 3
"""A sliding window that ends inside the probe's segments."""
KERNEL_TOLERANCE = 0.05
"""Largest difference between two kernels' results in bfloat16, as a share of their norm."""
PLAIN: Kernel = "sdpa"


def probe(model: PreTrainedModel, head: Head) -> None:
    """Compare packed scores of two short segments with the model's own, each alone, under its eager attention.

    Catches every family whose layers mix packed segments or whose head does more than `lm_head` knows. A sliding window
    is tried too, narrowed to fit in the segments: some families have theirs in the mask alone, which packing replaces.

    Raises:
        ModelError: they differ, or the family cannot compute packed scores at all.
    """
    _check_apart(model)
    widths = {sum(LENGTHS): ""}
    if windowed := _windowed(model):
        own = min(part.sliding_window for part in windowed)
        widths[PROBE_WINDOW] = (
            f"its sliding window (sliding_window: {own}) does not reach packed attention; with a window of "
            f"{PROBE_WINDOW} "
        )
    for width, fault in widths.items():
        with _narrowed(model, width):
            worst = _difference(model, head)
        if not worst <= PROBE_TOLERANCE:
            raise ModelError(
                f"{type(model).__name__} cannot be trained packed: {fault}its own scores of a probe differ from the "
                f"packed ones by {worst:.2g} (at most {PROBE_TOLERANCE} is allowed)"
            )


def _check_apart(model: PreTrainedModel) -> None:
    """A segment's states must not depend on what stands before it, however small the model's weights are.

    Raises:
        ModelError: they do.
    """
    first, second = LENGTHS
    vocabulary = model.config.get_text_config().vocab_size
    ids = torch.arange(3, 3 + first + second, device=model.device) % vocabulary
    positions = torch.cat([torch.arange(n, device=model.device) for n in LENGTHS])
    other = ids.clone()
    other[:first] = ids[:first].flip(0)
    with torch.no_grad():
        before, after = (_packed_states(model, tokens, positions)[first:] for tokens in (ids, other))
    moved = float((before - after).norm() / before.norm().clamp(min=torch.finfo(before.dtype).tiny))
    if moved > APART:
        raise ModelError(
            f"{type(model).__name__} cannot be trained packed: packed samples see one another (the states of a probe "
            f"move by {moved:.2g} of their norm with the text beside it)"
        )


def _packed_states(model: PreTrainedModel, ids: Tensor, positions: Tensor) -> Tensor:
    """Hidden states of the probe's segments.

    Raises:
        ModelError: the family's layers have an attention of their own.
    """
    layout = PackedLayout(LENGTHS, ids.device)
    try:
        states = hidden_states(model, ids, positions, layout)
    except torch.OutOfMemoryError:
        raise
    except (AttributeError, IndexError, KeyError, TypeError, ValueError, RuntimeError) as error:
        raise ModelError(
            f"{type(model).__name__} cannot be trained packed: it cannot do without its own attention "
            f"({type(error).__name__}: {error})"
        ) from error
    if not layout.attended:
        raise ModelError(
            f"{type(model).__name__} cannot be trained packed: its layers do not attend through transformers' "
            "AttentionInterface, so that packed samples would see one another"
        )
    return states


def _difference(model: PreTrainedModel, head: Head) -> float:
    """Largest difference between packed scores of segments and the model's own of each alone.

    Before a scalar head each segment ends in the end-of-sequence token, as trained ones do.
    """
    config = model.config.get_text_config()
    pad, eos = config.pad_token_id, config.eos_token_id
    ids = torch.tensor([i for i in range(3, 3 + sum(LENGTHS) + 1) if i != pad][: sum(LENGTHS)])
    ids = (ids % config.vocab_size).to(model.device)
    if head == "scalar" and eos is not None:
        ids[torch.tensor(LENGTHS).cumsum(0) - 1] = eos[0] if isinstance(eos, list) else eos
    positions = torch.cat([torch.arange(n) for n in LENGTHS]).to(model.device)
    with torch.no_grad():
        hidden = _packed_states(model, ids, positions)
        packed = _probed(model, head, hidden, ids, positions)
        model.set_attn_implementation("eager")
        alone = torch.cat([_own_scores(model, head, part) for part in ids.split(list(LENGTHS))])
        model.set_attn_implementation(attention.NAME)
    if head == "scalar":
        packed = packed[torch.tensor(LENGTHS).cumsum(0) - 1]
    return float((packed - alone).abs().max())


def _windowed(model: PreTrainedModel) -> list[Any]:
    """Configurations and layers that hold a sliding window: some families read the one, some the other."""
    parts = {id(part): part for module in model.modules() for part in (module, getattr(module, "config", None))}
    windowed = {}
    for part in [*parts.values(), model.config.get_text_config()]:
        size = getattr(part, "sliding_window", None)
        if isinstance(size, int) and not isinstance(size, bool) and size > 0:
            windowed[id(part)] = part
    return list(windowed.values())


@contextmanager
def _narrowed(model: PreTrainedModel, size: int) -> Iterator[None]:
    """Every sliding window of the model is `size` inside."""
    own = [(part, part.sliding_window) for part in _windowed(model)]
    try:
        for part, _ in own:
            part.sliding_window = size
        yield
    finally:
        for part, before in own:
            part.sliding_window = before


def probe_kernel(model: PreTrainedModel, kernel: Kernel) -> None:
    """Compare the states of two short segments under `kernel` with those under SDPA, both in bfloat16.

    Raises:
        ModelError: they differ by more than rounding.
    """
    lengths = (9, 40)
    ids = torch.arange(sum(lengths), device=model.device) % model.config.get_text_config().vocab_size
    positions = torch.cat([torch.arange(n) for n in lengths]).to(model.device)
    with torch.no_grad(), torch.autocast(model.device.type, dtype=torch.bfloat16):
        layouts = (PackedLayout(lengths, model.device, kernel=choice) for choice in (kernel, PLAIN))
        ours, plain = (hidden_states(model, ids, positions, layout) for layout in layouts)
    difference = float((ours - plain).float().norm() / plain.float().norm())
    if not difference <= KERNEL_TOLERANCE:
        raise ModelError(
            f"{type(model).__name__}: attention by {kernel!r} differs from SDPA's by {difference:.2g} of its norm (at "
            f"most {KERNEL_TOLERANCE} is allowed); use engine.attention: sdpa"
        )


def probe_head(model: PreTrainedModel, kernel: HeadKernel[Any], dtype: torch.dtype) -> None:
    """Compare a head kernel's log-probabilities and gradients of a few tokens with `token_scores`, in `dtype`.

    Raises:
        ModelError: it refuses this head, or they differ by more than rounding.
    """
    own = lm_head(model)
    kernel.check(own, model.device, dtype)
    draw = torch.Generator().manual_seed(0)
    n, (vocabulary, width) = 9, own.weight.shape
    hidden = torch.randn(n + 1, width, generator=draw).to(model.device, dtype).requires_grad_()
    ids = torch.randint(vocabulary, (n + 1,), generator=draw).to(model.device)
    direction = torch.randn(n + 1, generator=draw).to(model.device)
    mask = torch.arange(n + 1, device=model.device) > 0
    weight = own.weight.detach().requires_grad_()
    head = replace(own, weight=weight)
    results = []
    with torch.enable_grad():
        for choice in (kernel, None):
            logprobs = head_scores(hidden, head, ids, mask, ("logprobs",), kernel=choice).logprobs
            assert logprobs is not None
            results.append([logprobs.detach(), *torch.autograd.grad((logprobs * direction).sum(), (hidden, weight))])
    tolerance = PROBE_TOLERANCE if dtype == torch.float32 else KERNEL_TOLERANCE
    parts = ("log-probabilities", "states' gradient", "head's gradient")
    for what, ours, theirs in zip(parts, *results, strict=True):
        difference = float((ours - theirs).float().norm() / theirs.float().norm())
        if not difference <= tolerance:
            raise ModelError(
                f"{type(model).__name__}: engine.head_kernel {type(kernel).__name__} differs from our head by "
                f"{difference:.2g} of the norm of the {what} (at most {tolerance} is allowed); leave it out"
            )


def _probed(model: PreTrainedModel, head: Head, hidden: Tensor, ids: Tensor, positions: Tensor) -> Tensor:
    if head == "scalar":
        return values(model, hidden)
    scores = head_scores(hidden, lm_head(model), ids, positions > 0, ("logprobs",))
    assert scores.logprobs is not None
    return scores.logprobs


def _own_scores(model: PreTrainedModel, head: Head, ids: Tensor) -> Tensor:
    logits: Tensor = model(input_ids=ids.unsqueeze(0), use_cache=False).logits[0].float()
    if head == "scalar":
        return logits
    logprobs = logits[:-1].log_softmax(-1).gather(1, ids[1:].unsqueeze(1)).squeeze(1)
    return torch.cat([logprobs.new_zeros(1), logprobs])
