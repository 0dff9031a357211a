"""Keys and values that rows attend to, each kept once for all that read it.

What a row has before it is a path: the beginning that all prompts share, the rest of its own prompt, its reply. Each of
the three is a *level* whose nodes several rows may read: attention is computed level by level, all readers of a node in
one product, and the parts are joined by their log-sum-exps. No row holds a copy of its prompt, and only nodes of one
level are padded to a common length.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

GROWTH = 1.5
"""A level that is full gets this much more room, at least `FIRST` tokens: growing copies what it holds."""
FIRST = 32


class Level:
    """Nodes of one level: keys and values of every layer, `[nodes, kv_heads, room, dim]`.

    Args:
        lengths: tokens that each node will hold; nodes of none grow together, by `grow` and `append`.

    Attributes:
        used: tokens of the longest node.
    """

    def __init__(self, lengths: Sequence[int], device: torch.device) -> None:
        self.lengths = list(lengths)
        self.used = max(self.lengths)
        self.keys: list[Tensor] = []
        self.values: list[Tensor] = []
        self._device = device
        self._width = 1
        self._place: Tensor | None = None  # None: each node's readers stand together, equally many
        self._masks: dict[torch.dtype, Tensor | None] = {}

    def read_by(self, nodes: Sequence[int]) -> None:
        """Say which node each row reads, in the order of the rows. A level of one node need not be told."""
        counts = [0] * len(self.lengths)
        numbers = []
        for node in nodes:
            numbers.append(counts[node])
            counts[node] += 1
        self._width = max(counts)
        places = [node * self._width + number for node, number in zip(nodes, numbers, strict=True)]
        whole = places == list(range(len(self.lengths) * self._width))
        self._place = None if whole else torch.tensor(places, device=self._device)

    def put(self, layer: int, node: int, start: int, keys: Tensor, values: Tensor) -> None:
        """Write a node's states `[kv_heads, tokens, dim]` from token `start` on."""
        if layer == len(self.keys):
            for held, states in ((self.keys, keys), (self.values, values)):
                # Padding must be finite: its weight of 0 times what lies in fresh memory may be NaN.
                held.append(states.new_zeros(len(self.lengths), len(states), self.used, states.shape[-1]))
        end = start + keys.shape[1]
        self.keys[layer][node, :, start:end] = keys
        self.values[layer][node, :, start:end] = values

    def grow(self) -> None:
        """Make all nodes one token longer; each layer then writes it by `append`."""
        self.used += 1
        self.lengths = [self.used] * len(self.lengths)

    def append(self, layer: int, keys: Tensor, values: Tensor) -> None:
        """Write the last token of the nodes that are read, `[rows, kv_heads, dim]` in the order of `read_by`."""
        for held, states in ((self.keys, keys), (self.values, values)):
            if layer == len(held):
                held.append(states.new_empty(len(self.lengths), states.shape[1], FIRST, states.shape[2]))
            elif held[layer].shape[2] < self.used:
                old = held[layer]
                held[layer] = old.new_empty(*old.shape[:2], int(old.shape[2] * GROWTH), old.shape[3])
                held[layer][:, :, : old.shape[2]] = old
            if self._place is None:
                held[layer][:, :, self.used - 1] = states
            else:
                held[layer][:, :, self.used - 1].index_copy_(0, self._place, states)

    def keep(self, nodes: Sequence[int]) -> None:
        """Drop all nodes but these; say next who reads them."""
        index = torch.tensor(nodes, device=self._device)
        self.keys = [held.index_select(0, index) for held in self.keys]
        self.values = [held.index_select(0, index) for held in self.values]
        self.lengths = [self.lengths[node] for node in nodes]
        self.used = max(self.lengths)
        self._masks = {}

    def attend(self, layer: int, query: Tensor, scale: float) -> tuple[Tensor, Tensor]:
        """Each row over its node: `[rows, heads, dim]` to the same, and float32 log-sum-exps `[rows, heads]`."""
        keys, values = self.keys[layer][:, :, : self.used], self.values[layer][:, :, : self.used]
        nodes, kv_heads = len(keys), keys.shape[1]
        width = len(query) // nodes if self._place is None else self._width
        heads, dim = query.shape[1:]
        if self._place is None and width == 1:
            out, lse = attention(query.reshape(nodes, kv_heads, -1, dim), keys, values, self._mask(query.dtype), scale)
            return out.reshape(nodes, heads, -1), lse.reshape(nodes, heads)
        slots = query
        if self._place is not None:
            slots = query.new_zeros(nodes * width, heads, dim).index_copy_(0, self._place, query)
        # Heads that share keys stand beside the rows that do: one product for all of them.
        shape = (nodes, width, kv_heads, heads // kv_heads)
        grouped = slots.view(*shape, dim).transpose(1, 2).reshape(nodes, kv_heads, -1, dim)
        out, lse = attention(grouped, keys, values, self._mask(query.dtype), scale)
        shape = (nodes, kv_heads, width, heads // kv_heads)
        out = out.reshape(*shape, values.shape[-1]).transpose(1, 2).reshape(nodes * width, heads, -1)
        lse = lse.reshape(shape).transpose(1, 2).reshape(nodes * width, heads)
        return (out, lse) if self._place is None else (out[self._place], lse[self._place])

    def _mask(self, dtype: torch.dtype) -> Tensor | None:
        """Added to the scores `[nodes, 1, 1, used]`: minus infinity on padding; None where there is none."""
        if self.lengths.count(self.lengths[0]) == len(self.lengths):
            return None
        if dtype not in self._masks:
            ends = torch.tensor(self.lengths, device=self._device)
            padding = torch.arange(self.used, device=self._device) >= ends.unsqueeze(1)
            mask = torch.zeros(padding.shape, dtype=dtype, device=self._device)
            self._masks[dtype] = mask.masked_fill_(padding, float("-inf"))[:, None, None]
        return self._masks[dtype]


def attention(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, scale: float) -> tuple[Tensor, Tensor]:
    """Softmax attention and its log-sum-exp, `[nodes, heads, queries, dim]` and float32 `[nodes, heads, queries]`."""
    if q.device.type == "cpu" and q.shape[-1] == v.shape[-1]:
        out, lse = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(
            q, k, v, 0.0, False, attn_mask=mask, scale=scale
        )
        return out, lse
    scores = (q @ k.transpose(2, 3)).float() * scale
    if mask is not None:
        scores = scores + mask
    lse = scores.logsumexp(-1)
    return (scores - lse.unsqueeze(-1)).exp().to(v.dtype) @ v, lse


def joined(parts: Sequence[tuple[Tensor, Tensor]]) -> Tensor:
    """Attention over all parts' keys from that over each part's: `Σ out_i · exp(lse_i - lse)`."""
    out, lse = parts[0]
    for number, (other, other_lse) in enumerate(parts[1:], start=2):
        share = torch.sigmoid(other_lse - lse).unsqueeze(-1)
        out = out + (other - out) * share
        if number < len(parts):
            lse = torch.logaddexp(lse, other_lse)
    return out.to(parts[0][0].dtype)
