"""GPU kernels: which one is taken, and that each is handed the right tokens (their arithmetic is tested on a GPU)."""

from __future__ import annotations

import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch

from aftertrain.core.errors import MissingExtra, ModelError
from aftertrain.core.packed import attention_kernels
from aftertrain.core.packed.attention import attend
from aftertrain.core.packed.attention_kernels import choose_kernel
from aftertrain.core.packed.layout import Kernel, PackedLayout, Prefix

CPU, CUDA = torch.device("cpu"), torch.device("cuda")
PLAIN, CAPPED = SimpleNamespace(), SimpleNamespace(attn_logit_softcapping=50.0)


@pytest.mark.parametrize(
    ("wanted", "device", "dtype", "config", "chosen"),
    [
        ("auto", CPU, "bfloat16", PLAIN, "sdpa"),
        ("auto", CUDA, "float32", PLAIN, "sdpa"),
        ("auto", CUDA, "bfloat16", PLAIN, "varlen"),
        ("auto", CUDA, "bfloat16", CAPPED, "flex"),
        ("sdpa", CUDA, "bfloat16", CAPPED, "sdpa"),
        ("flex", CUDA, "float32", CAPPED, "flex"),
    ],
)
def test_the_kernel_is_chosen(wanted: Any, device: torch.device, dtype: str, config: Any, chosen: str) -> None:
    assert choose_kernel(wanted, device, dtype, config) == chosen


def test_flash_is_taken_first_where_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attention_kernels, "find_spec", lambda name: object())
    assert choose_kernel("auto", CUDA, "bfloat16", CAPPED) == "flash"


@pytest.mark.parametrize(
    ("wanted", "device", "dtype", "config", "message"),
    [
        ("flex", CPU, "bfloat16", PLAIN, "engine.attention is flex, which needs a GPU; the model is on cpu"),
        ("varlen", CUDA, "float32", PLAIN, "computes in bfloat16 only; set engine.dtype: bfloat16"),
        ("varlen", CUDA, "bfloat16", CAPPED, "has no soft cap of scores"),
    ],
)
def test_one_that_cannot_run_is_refused(wanted: Any, device: Any, dtype: str, config: Any, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        choose_kernel(wanted, device, dtype, config)


def test_a_missing_package_is_named() -> None:
    with pytest.raises(MissingExtra, match=r"flash-attn.*aftertrain\[flash\]"):
        choose_kernel("flash", CUDA, "bfloat16", PLAIN)


LENGTHS = [24, 30, 5, 22]
PREFIXES = [Prefix(0, 0), Prefix(0, 17), Prefix(2, 0), Prefix(0, 20)]


def of_segments(q: Any, k: Any, v: Any, bounds: Any, scale: float | None, window: int | None, cap: float | None) -> Any:
    """`[N, heads, dim]` attention written out segment by segment: what a kernel of varying lengths is to compute."""
    repeats = q.shape[1] // k.shape[1]
    k, v = k.repeat_interleave(repeats, 1), v.repeat_interleave(repeats, 1)
    out = []
    for a, b in zip(bounds.tolist(), bounds.tolist()[1:], strict=False):
        scores = torch.einsum("ihd,jhd->hij", q[a:b], k[a:b]) * (q.shape[-1] ** -0.5 if scale is None else scale)
        scores = scores if not cap else cap * torch.tanh(scores / cap)
        i, j = torch.arange(b - a)[:, None], torch.arange(b - a)
        seen = (j <= i) & (True if window is None or window < 0 else j >= i - window)
        out.append(torch.einsum("hij,jhd->ihd", scores.masked_fill(~seen, float("-inf")).softmax(-1), v[a:b]))
    return torch.cat(out)


def given(kernel: Kernel, dtype: torch.dtype = torch.float32) -> tuple[PackedLayout, list[torch.Tensor]]:
    layout = PackedLayout(LENGTHS, CPU, prefixes=PREFIXES, kernel=kernel)
    draw = torch.Generator().manual_seed(0)
    shapes = [(1, heads, layout.n_own, 16) for heads in (4, 2, 2)]
    return layout, [torch.randn(shape, generator=draw).to(dtype).requires_grad_() for shape in shapes]


@pytest.mark.parametrize("kernel", ["flash", "varlen"])
@pytest.mark.parametrize(("window", "softcap"), [(None, None), (4, None), (4, 2.0)])
def test_kernels_get_whole_segments_and_their_bounds(
    kernel: Any, window: int | None, softcap: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a kernel written out in its place: outputs and gradients are those of SDPA, shared beginnings included."""

    def flash(q: Any, k: Any, v: Any, at: Any, to: Any, n: int, m: int, **options: Any) -> Any:
        assert (q.dtype, n, m, options["causal"]) == (torch.bfloat16, 30, 30, True)
        assert at.dtype == to.dtype == torch.int32
        wide = (each.double() for each in (q, k, v))
        left = options["window_size"][0]
        return of_segments(*wide, at, options["softmax_scale"], left, options["softcap"]).to(q.dtype)

    def varlen(q: Any, k: Any, v: Any, at: Any, to: Any, n: int, m: int, **options: Any) -> Any:
        assert options["window_size"][1] == 0
        assert options["enable_gqa"]
        wide = (each.double() for each in (q, k, v))
        return of_segments(*wide, at, options["scale"], options["window_size"][0], None).to(q.dtype)

    fake = ModuleType("flash_attn")
    fake.flash_attn_varlen_func = flash  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "flash_attn", fake)
    monkeypatch.setattr("torch.nn.attention.varlen.varlen_attn", varlen)
    results = []
    for name in (kernel, "sdpa"):
        layout, inputs = given(name)
        if name == "varlen" and softcap is not None:
            with pytest.raises(ModelError, match="no soft cap"):
                attend(torch.nn.Module(), *inputs, None, packed=layout, sliding_window=window, softcap=softcap)
            return
        out, _ = attend(torch.nn.Module(), *inputs, None, packed=layout, sliding_window=window, softcap=softcap)
        direction = torch.randn(out.shape, generator=torch.Generator().manual_seed(1))
        results.append([out, *torch.autograd.grad((out.float() * direction).sum(), inputs)])
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(one.float(), other.float(), atol=0.06, rtol=0.05)


@pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile")
@pytest.mark.parametrize(("window", "softcap"), [(None, None), (4, None), (None, 2.0), (4, 2.0)])
def test_flex_is_sdpa(window: int | None, softcap: float | None) -> None:
    """Torch's own writing-out of flex attention, forward; the second layer finds the mask of the first."""
    results = []
    for name in ("flex", "sdpa"):
        layout, inputs = given(name)  # type: ignore[arg-type]
        with torch.no_grad():
            for _ in range(2):
                out, _ = attend(torch.nn.Module(), *inputs, None, packed=layout, sliding_window=window, softcap=softcap)
        results.append(out)
        assert len(layout.masks) == (name == "flex")
    torch.testing.assert_close(*results, atol=1e-5, rtol=1e-4)
