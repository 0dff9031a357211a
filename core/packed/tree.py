"""Log-likelihoods of many continuations at once, each distinct beginning computed once (for evaluation; no gradient).

The choices of a question begin with the question, and the questions of a subject with its worked examples. A causal
model's state of a token depends on what stands before it alone, so sequences are laid out as a tree: sorted, each adds
only the tokens in which it differs from the one before, and these attend to the whole path that leads to them. The last
token of a sequence predicts nothing and is never computed, so that choices of one token cost nothing beyond their
question.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from aftertrain.core.engine import Continuation, Likelihood
from aftertrain.core.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@dataclass(frozen=True, slots=True)
class _Branch:
    """What one sequence adds: its new tokens are `start` … `stop` - 1 of all, and `path` leads from its root there."""

    start: int
    stop: int
    path: Tensor


class TokenTree:
    """The distinct tokens of sequences, and for each where its beginning stands; what attention is given as `packed`.

    Args:
        sequences: token ids, none empty, sorted, so that what begins alike stands together.

    Attributes:
        token_ids: int64 `[M]`, each token of the tree once.
        position_ids: int64 `[M]`, how deep each stands.
        paths: int64 `[length]` a sequence: where each of its tokens is among the `M`.
        attended: how many times layers have attended by it.
    """

    kernel = "sdpa"
    places = None
    """No token is another's: as of a `PackedLayout` in which no segment shares anything."""

    def __init__(self, sequences: Sequence[Sequence[int]], device: torch.device) -> None:
        self.attended = 0
        self.paths: list[Tensor] = []
        self._branches: list[_Branch] = []
        self._masks: dict[tuple[int, int, int | None], Tensor] = {}
        token_ids: list[int] = []
        depths: list[int] = []
        before: Sequence[int] = ()
        path = torch.empty(0, dtype=torch.int64)
        for sequence in sequences:
            shared = common(before, sequence)
            start = len(token_ids)
            token_ids += sequence[shared:]
            depths += range(shared, len(sequence))
            path = torch.cat([path[:shared], torch.arange(start, len(token_ids))])
            self.paths.append(path)
            if shared < len(sequence):
                self._branches.append(_Branch(start, len(token_ids), path.to(device)))
            before = sequence
        self.token_ids = torch.tensor(token_ids, device=device)
        self.position_ids = torch.tensor(depths, device=device)

    def whole(self, tokens: Tensor) -> Tensor:
        """What was computed of each token, which is all."""
        return tokens

    @property
    def n_own(self) -> int:
        """Tokens that are computed."""
        return len(self.token_ids)

    def attend(self, query: Tensor, key: Tensor, value: Tensor, window: int | None, sdpa: Any) -> Tensor:
        """`[heads, M, dim]` to `[M, heads, dim]`: the new tokens of each sequence over the path that leads to them.

        Args:
            window: most tokens that one sees, itself among them; None without limit.
            sdpa: attention of `[1, heads, length, dim]` queries under a bool mask (None is causal).
        """
        self.attended += 1
        out = torch.empty(query.shape[1], query.shape[0], value.shape[2], dtype=query.dtype, device=query.device)
        for branch in self._branches:
            q = query[:, branch.start : branch.stop]
            whole = len(branch.path) == branch.stop - branch.start
            k, v = (t[:, branch.start : branch.stop] if whole else t.index_select(1, branch.path) for t in (key, value))
            mask = None if whole and window is None else self._mask(q.shape[1], k.shape[1], window)
            part = sdpa(q.unsqueeze(0), k.unsqueeze(0), v.unsqueeze(0), mask)
            out[branch.start : branch.stop] = part[0].transpose(0, 1)
        return out

    def _mask(self, new: int, length: int, window: int | None) -> Tensor:
        """`causal_mask`, made once for all layers."""
        key = (new, length, window)
        if key not in self._masks:
            self._masks[key] = causal_mask(new, length, window, self.token_ids.device)
        return self._masks[key]


def causal_mask(new: int, length: int, window: int | None, device: torch.device) -> Tensor:
    """Bool `[new, length]`: the last `new` of `length` tokens see themselves and those before.

    Args:
        window: most tokens that one sees, itself among them; None without limit.
    """
    places = torch.arange(length, device=device)
    back = places[length - new :].unsqueeze(1) - places
    return (back >= 0) & (back < (length if window is None else window))


def common(a: Sequence[int], b: Sequence[int]) -> int:
    """How many tokens two sequences have in common at their start.

    >>> common((1, 2, 3), (1, 2, 4, 5)), common((), (1,))
    (2, 0)
    """
    shortest = min(len(a), len(b))
    if a[:shortest] == b[:shortest]:
        return shortest
    return next(i for i in range(shortest) if a[i] != b[i])


def batches(items: Sequence[Continuation], budget: int) -> Iterator[list[int]]:
    """Indices of `items` in sorted order, as many together as add at most `budget` tokens to the tree.

    One that alone is longer is a batch of its own.
    """
    batch: list[int] = []
    size = 0
    before: Sequence[int] = ()
    for index in sorted(range(len(items)), key=lambda i: items[i].token_ids):
        ids = items[index].token_ids[:-1]
        new = len(ids) - common(before, ids)
        if batch and size + new > budget:
            yield batch
            batch, size, new = [], 0, len(ids)
        batch.append(index)
        size, before = size + new, ids
    if batch:
        yield batch


def check_parted(items: Sequence[Continuation]) -> None:
    """See that each item has tokens that are given, and tokens that are scored.

    Raises:
        DataError: a continuation has no token, or nothing before its first.
    """
    for number, item in enumerate(items):
        if not 1 <= item.n_context < len(item.token_ids):
            raise DataError(f"item {number}: {item.n_context} of {len(item.token_ids)} tokens are given; none is left")


def tree_likelihoods(
    items: Sequence[Continuation],
    budget: int,
    *,
    device: torch.device,
    hidden: Callable[[TokenTree], Tensor],
    score: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]],
) -> list[Likelihood]:
    """The log-likelihood of each item's continuation, in order.

    Args:
        budget: most tokens that are computed together.
        hidden: the model's last hidden states `[M, hidden]` of a tree.
        score: of hidden states `[n, hidden]` and the tokens int64 `[n]` that follow them: log-probabilities in nats,
            and 1 where the token is the likeliest.

    Raises:
        DataError: a continuation has no token, or nothing before its first.
    """
    check_parted(items)
    results: list[Likelihood | None] = [None] * len(items)
    for batch in batches(items, budget):
        tree = TokenTree([items[i].token_ids[:-1] for i in batch], device)
        states = hidden(tree)
        rows = torch.cat([path[items[i].n_context - 1 :] for i, path in zip(batch, tree.paths, strict=True)])
        following = torch.tensor([t for i in batch for t in items[i].token_ids[items[i].n_context :]], device=device)
        logprobs, likeliest = score(states.index_select(0, rows.to(device)), following)
        sizes = [len(items[i].token_ids) - items[i].n_context for i in batch]
        parts = zip(batch, torch.split(logprobs.double(), sizes), torch.split(likeliest, sizes), strict=True)
        for index, part, top in parts:
            results[index] = Likelihood(float(part.sum()), bool(top.all()))
    return [result for result in results if result is not None]
