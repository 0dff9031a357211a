"""Packed attention on a CPU: ours (a call a segment) beside groups of like lengths, a block mask, a nested tensor.

    python benchmarks/attention.py

Forward and backward of one layer's attention (9 heads, 3 of keys and values, 64 wide: SmolLM2-135M's), float32, on
lengths like GSM8K's rows, on lengths alike, and on a few long ones. CPU seconds with one thread, the best of some.
Bare calls are what ours comes to without its checks; the block mask is one `[N, N]` mask of what each token may see;
the nested tensor is torch's jagged layout.
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Callable, Sequence

import torch
from table import Row, add_options, show
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention as sdpa
from train_child import Sample

from aftertrain.core.packed.attention import attend
from aftertrain.core.packed.layout import PackedLayout

HEADS, KEYS, WIDTH = 9, 3, 64
Kernel = Callable[[Tensor, Tensor, Tensor, Sequence[int]], Tensor]
"""`[1, heads, N, width]` query, key, value and the segments' lengths to `[1, N, heads, width]`."""


def ours(q: Tensor, k: Tensor, v: Tensor, lengths: Sequence[int]) -> Tensor:
    out: Tensor = attend(nn.Module(), q, k, v, None, packed=PackedLayout(lengths, torch.device("cpu")))[0]
    return out


def groups(q: Tensor, k: Tensor, v: Tensor, lengths: Sequence[int]) -> Tensor:
    layout = PackedLayout(lengths, torch.device("cpu"))
    layout.alone = False
    out: Tensor = attend(nn.Module(), q, k, v, None, packed=layout)[0]
    return out


def bare_calls(q: Tensor, k: Tensor, v: Tensor, lengths: Sequence[int]) -> Tensor:
    parts = zip(*(each.split(list(lengths), 2) for each in (q, k, v)), strict=True)
    return torch.cat([sdpa(a, b, c, is_causal=True, enable_gqa=True) for a, b, c in parts], 2).transpose(1, 2)


def block_mask(q: Tensor, k: Tensor, v: Tensor, lengths: Sequence[int]) -> Tensor:
    segments = torch.arange(len(lengths)).repeat_interleave(torch.tensor(lengths))
    mask = (segments[:, None] == segments).tril()
    return sdpa(q, k, v, attn_mask=mask, enable_gqa=True).transpose(1, 2)


def nested(q: Tensor, k: Tensor, v: Tensor, lengths: Sequence[int]) -> Tensor:
    offsets = torch.tensor([0, *lengths]).cumsum(0)
    k, v = (each.repeat_interleave(HEADS // KEYS, 1) for each in (k, v))
    jagged = [
        torch.nested.nested_tensor_from_jagged(each[0].transpose(0, 1).contiguous(), offsets).transpose(1, 2)
        for each in (q, k, v)
    ]
    return sdpa(*jagged, is_causal=True).transpose(1, 2).values().unsqueeze(0)


OTHERS: dict[str, Kernel] = {
    "groups of like lengths": groups,
    "bare calls of SDPA": bare_calls,
    "block mask": block_mask,
    "nested tensor": nested,
}


def seconds(kernel: Kernel, lengths: Sequence[int], times: int) -> tuple[float, list[Tensor]]:
    """CPU seconds of the quickest pass; output and gradients."""
    draw = torch.Generator().manual_seed(0)
    shapes = [(1, heads, sum(lengths), WIDTH) for heads in (HEADS, KEYS, KEYS)]
    inputs = [torch.randn(shape, generator=draw).requires_grad_() for shape in shapes]
    direction = torch.randn(1, sum(lengths), HEADS, WIDTH, generator=draw)
    best, found = float("inf"), []
    for _ in range(times + 1):
        with Sample() as sample:
            out = kernel(*inputs, lengths)
            gradients = torch.autograd.grad((out * direction).sum(), inputs)
        best, found = min(best, sample.cpu), [out.detach(), *gradients]
    return best, found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=int, default=10)
    add_options(parser, "2 passes of each")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    rng = random.Random(0)
    cases = {
        "32 of 40-400": [rng.randint(40, 400) for _ in range(32)],
        "128 of 30-60": [rng.randint(30, 60) for _ in range(128)],
        "4 of 1,024": [1024] * 4,
        "32 of 20-1,500, skewed": [min(1500, int(rng.lognormvariate(4.5, 1)) + 20) for _ in range(32)],
    }
    rows = []
    for label, lengths in cases.items():
        mine, expected = seconds(ours, lengths, 2 if arguments.quick else arguments.times)
        for name, kernel in OTHERS.items():
            try:
                other, found = seconds(kernel, lengths, 2 if arguments.quick else arguments.times)
            except (RuntimeError, NotImplementedError) as error:
                print(f"{label}: {name} left out: {str(error).splitlines()[0]}")
                continue
            for one, two in zip(expected, found, strict=True):
                torch.testing.assert_close(one, two, atol=1e-3, rtol=1e-3)
            rows.append(Row.less_is_better(f"{label} ({sum(lengths)} tokens) vs {name}", "s", mine, other))
    show(rows, arguments.json)


if __name__ == "__main__":
    main()
