"""Where the tokens of a packed batch go (F14): which of them a model computes, and where attention finds each.

Segments of one group that begin alike (the two replies of a preference pair, the samples of one prompt) share what they
begin with: a causal model's states of it are the same whatever follows, so that they are computed once and read by
all. Only attention sees a segment whole. Moving tokens is by index with the inverse index as its gradient, which is
deterministic and fast; autograd's own gradient of an index is neither.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import torch
from torch import Tensor

from aftertrain.core.packed.shared_attention import Calls, calls_of

Kernel = Literal["sdpa", "flash", "varlen", "flex"]

CHEAP = 64
"""Segments up to this length share a group of slots whatever the padding: a call costs more than the padded slots."""
WASTE = 0.15
"""Largest share of padding in a group of longer segments."""
SHORT = 24
"""Segments that are at least so long on average have a call each on a CPU; moving them to slots would cost more."""
WORTH_SHARING = 16
"""Shortest beginning that is computed once for several segments."""


@dataclass(frozen=True, slots=True)
class Prefix:
    """The first `length` tokens of a segment are those of segment `owner`; a segment that owns all has length 0."""

    owner: int
    length: int


def shared_prefixes(token_ids: Tensor, lengths: Sequence[int], groups: Sequence[int]) -> list[Prefix]:
    """What each segment has in common with the first of its group.

    Args:
        token_ids: int64 `[N]`.
        groups: the group of each segment; segments of different groups are never compared.
    """
    parts = torch.split(token_ids, list(lengths))
    first: dict[int, int] = {}
    prefixes = []
    for index, (part, group) in enumerate(zip(parts, groups, strict=True)):
        owner = first.setdefault(group, index)
        common = 0
        if owner != index:
            n = min(len(part), len(parts[owner]))
            differing = torch.nonzero(part[:n] != parts[owner][:n])
            common = int(differing[0]) if len(differing) else n
        prefixes.append(Prefix(owner, common) if common >= WORTH_SHARING else Prefix(index, 0))
    return prefixes


class PackedLayout:
    """Where the tokens of one packed batch go; made once per forward, used by each layer.

    Args:
        lengths: tokens per segment.
        prefixes: one a segment; by default no segment shares anything.
        kernel: what attention is computed by; only `sdpa` has slots, the others take tokens end to end.

    Attributes:
        lengths: tokens per segment.
        own: int64 `[M]`: the tokens that are computed, M <= N.
        places: int64 `[N]`: where each token is among those, or None if all are computed.
        shapes: (segments, longest) of each group of slots.
        alone: whether `sdpa` has a call for each segment instead of slots.
        masks: what a kernel makes of the segments and keeps for the next layer, by sliding window.
        attended: how many times layers have attended by it.
    """

    def __init__(
        self,
        lengths: Sequence[int],
        device: torch.device,
        prefixes: Sequence[Prefix] | None = None,
        kernel: Kernel = "sdpa",
    ) -> None:
        self.lengths, self.kernel, self._device = tuple(lengths), kernel, device
        self.masks: dict[int | None, Any] = {}
        self.attended = 0
        self.alone = device.type == "cpu" and sum(lengths) >= SHORT * len(lengths)
        prefixes = prefixes or [Prefix(i, 0) for i in range(len(lengths))]
        own, places, copies = _shared(lengths, prefixes)
        self.n_own = len(own)
        self._prefixes = prefixes
        sizes = torch.tensor(lengths)
        starts = sizes.cumsum(0) - sizes
        self.shapes: list[tuple[int, int]] = []
        takes, real = [], []
        for group in _like_lengths(lengths):
            longest = lengths[group[0]]
            offsets = torch.arange(longest)
            size, start = sizes[group].unsqueeze(1), starts[group].unsqueeze(1)
            takes.append((start + torch.minimum(offsets, size - 1)).flatten())
            real.append((offsets < size).flatten())
            self.shapes.append((len(group), longest))
        take = torch.cat(takes)
        filled = torch.nonzero(torch.cat(real)).squeeze(1)
        slots = torch.empty_like(filled).index_copy(0, take[filled], filled)
        self.own = own.to(device)
        self.places = places.to(device) if copies else None
        self._take = places[take].to(device)
        self._slots = slots[own].to(device)
        self._copies = [(places[copy].to(device), slots[copy].to(device)) for copy in copies]
        self._token_copies = [(places[copy].to(device), copy.to(device)) for copy in copies]

    def spread(self, tokens: Tensor, *, queries: bool = False) -> list[Tensor]:
        """`[heads, M, dim]` to one `[segments, heads, longest, dim]` per group.

        Queries have a gradient only where `collect` reads them: at one slot a token.
        """
        copies = [] if queries else self._copies
        slots: Tensor = _Spread.apply(tokens, 1, self._take, self._slots, copies)  # type: ignore[no-untyped-call]
        parts = torch.split(slots, [n * longest for n, longest in self.shapes], dim=1)
        return [
            part.reshape(len(part), *shape, part.shape[-1]).transpose(0, 1)
            for part, shape in zip(parts, self.shapes, strict=True)
        ]

    def collect(self, groups: Sequence[Tensor]) -> Tensor:
        """The inverse of `spread`, tokens first: `[M, heads, dim]`."""
        rows = torch.cat([group.transpose(1, 2).flatten(0, 1) for group in groups])
        out: Tensor = _Collect.apply(rows, self._slots)  # type: ignore[no-untyped-call]
        return out

    def join(self, segments: Sequence[Tensor]) -> Tensor:
        """`[1, heads, length, dim]` of each segment to the tokens that are computed: `[M, heads, dim]`."""
        return self.owned(torch.cat([segment[0].transpose(0, 1) for segment in segments]))

    def owned(self, tokens: Tensor) -> Tensor:
        """Of all `N` tokens those that are computed: `[M, heads, dim]`."""
        if self.places is None:
            return tokens
        out: Tensor = _Collect.apply(tokens, self.own)  # type: ignore[no-untyped-call]
        return out

    @cached_property
    def bounds(self) -> Tensor:
        """Int32 `[S + 1]`: where each segment starts, and N."""
        sizes = torch.tensor((0, *self.lengths), dtype=torch.int32)
        return sizes.cumsum(0, dtype=torch.int32).to(self._device)

    @cached_property
    def segments(self) -> Tensor:
        """Int64 `[N]`: the segment of each token."""
        return torch.arange(len(self.lengths)).repeat_interleave(torch.tensor(self.lengths)).to(self._device)

    @cached_property
    def calls(self) -> Calls:
        """What attention computes where each beginning is seen in one copy."""
        spans: list[tuple[int, int, int, int]] = []
        start = 0
        for length, prefix in zip(self.lengths, self._prefixes, strict=True):
            at = spans[prefix.owner][0] if prefix.length else 0
            spans.append((start, length - prefix.length, at, prefix.length))
            start += length - prefix.length
        return calls_of(spans)

    def whole(self, tokens: Tensor, dim: int = 0) -> Tensor:
        """What was computed of `M` tokens, for all `N` along `dim`."""
        if self.places is None:
            return tokens
        out: Tensor = _Spread.apply(tokens, dim, self.places, self.own, self._token_copies)  # type: ignore[no-untyped-call]
        return out


class _Spread(torch.autograd.Function):
    """Tokens to slots. Padding's gradient is exactly zero (no real token sees it), so each token's is its slots'.

    `copies` holds rounds of (token, slot) beyond a token's first slot; in a round no token comes twice.
    """

    @staticmethod
    def forward(  # noqa: PLR0917 - autograd hands arguments over by position
        ctx: Any, tokens: Tensor, dim: int, take: Tensor, slots: Tensor, copies: Any
    ) -> Tensor:
        ctx.dim, ctx.copies = dim, copies
        ctx.save_for_backward(slots)
        return tokens.index_select(dim, take)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        (slots,) = ctx.saved_tensors
        total = grad.index_select(ctx.dim, slots)
        for tokens, others in ctx.copies:
            added = total.index_select(ctx.dim, tokens).add_(grad.index_select(ctx.dim, others))
            total.index_copy_(ctx.dim, tokens, added)
        return total, None, None, None, None


class _Collect(torch.autograd.Function):
    """Slots to tokens; the gradient of padding, and of slots that hold what another computes, is zero."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, slots: Tensor) -> Tensor:
        ctx.save_for_backward(slots)
        ctx.n_slots = len(rows)
        return rows.index_select(0, slots)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        (slots,) = ctx.saved_tensors
        return grad.new_zeros(ctx.n_slots, *grad.shape[1:]).index_copy_(0, slots, grad), None


def _shared(lengths: Sequence[int], prefixes: Sequence[Prefix]) -> tuple[Tensor, Tensor, list[Tensor]]:
    """Tokens computed `[M]`, each token's place among them `[N]`, and rounds of tokens that are read from another's.

    Round r holds what the (r + 1)th sharer of every group shares, so that a place comes once in a round.
    """
    own, places = [], []
    rounds: list[list[Tensor]] = []
    sharers: dict[int, int] = {}
    first_place: list[int] = []
    start = count = 0
    for length, prefix in zip(lengths, prefixes, strict=True):
        first_place.append(count)
        if prefix.length:
            places.append(first_place[prefix.owner] + torch.arange(prefix.length))
            number = sharers.get(prefix.owner, 0)
            sharers[prefix.owner] = number + 1
            if number == len(rounds):
                rounds.append([])
            rounds[number].append(torch.arange(start, start + prefix.length))
        fresh = length - prefix.length
        own.append(torch.arange(start + prefix.length, start + length))
        places.append(torch.arange(count, count + fresh))
        start, count = start + length, count + fresh
    return torch.cat(own), torch.cat(places), [torch.cat(sharers_of) for sharers_of in rounds]


def _like_lengths(lengths: Sequence[int]) -> list[list[int]]:
    """Segments grouped from long to short, each group's longest first."""
    groups: list[list[int]] = []
    tokens = 0
    for index in sorted(range(len(lengths)), key=lambda i: (-lengths[i], i)):
        if groups:
            longest = lengths[groups[-1][0]]
            padding = 1 - (tokens + lengths[index]) / (longest * (len(groups[-1]) + 1))
            if longest <= CHEAP or padding <= WASTE:
                groups[-1].append(index)
                tokens += lengths[index]
                continue
        groups.append([index])
        tokens = lengths[index]
    return groups
