"""Shared prefixes: found where they are, and of no effect on scores but rounding."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from aftertrain.core.packed.attention import attend
from aftertrain.core.packed.layout import PackedLayout, Prefix, shared_prefixes

CPU = torch.device("cpu")
PROMPT = list(range(100, 120))


def test_a_prefix_is_that_of_the_groups_first() -> None:
    """Group 0: 20 tokens in common, then 22 (a reply that begins alike). Group 1 begins alike but is another group."""
    rows = [[*PROMPT, 1, 2, 3], [*PROMPT, 9], [*PROMPT, 1, 2, 8], [*PROMPT, 1, 2, 3]]
    ids = torch.tensor([token for row in rows for token in row])
    found = shared_prefixes(ids, [len(row) for row in rows], [0, 0, 0, 1])
    assert found == [Prefix(0, 0), Prefix(0, 20), Prefix(0, 22), Prefix(3, 0)]


def test_a_short_beginning_is_not_worth_it() -> None:
    ids = torch.tensor([*PROMPT[:15], 1, *PROMPT[:15], 2, *PROMPT[:16], *PROMPT[:16]])
    assert shared_prefixes(ids, [16, 16, 16, 16], [0, 0, 1, 1]) == [
        Prefix(0, 0), Prefix(1, 0), Prefix(2, 0), Prefix(2, 16),
    ]  # fmt: skip


GROUPS = st.lists(
    st.tuples(st.integers(16, 30), st.lists(st.integers(0, 40), min_size=1, max_size=4)), min_size=1, max_size=4
)


@given(GROUPS)
def test_shared_is_unshared(groups: list[tuple[int, list[int]]]) -> None:
    """Attention over tokens that are a function of an embedding and of position: same outputs, same gradients.

    A prompt of some tokens with replies of some lengths, also none (a prefix of its own owner).
    """
    lengths = [prompt + reply for prompt, replies in groups for reply in replies]
    prefixes, owner = [], 0
    for prompt, replies in groups:
        prefixes += [Prefix(owner + i, 0) if i == 0 else Prefix(owner, prompt) for i in range(len(replies))]
        owner += len(replies)
    draw = torch.Generator().manual_seed(sum(lengths))
    plain, shared = PackedLayout(lengths, CPU), PackedLayout(lengths, CPU, prefixes=prefixes)
    table = torch.randn(shared.n_own, 4, 8, generator=draw).requires_grad_()
    places = torch.arange(sum(lengths)) if shared.places is None else shared.places

    def attended(tokens: torch.Tensor, layout: PackedLayout) -> torch.Tensor:
        q = tokens.transpose(0, 1).unsqueeze(0)
        return attend(torch.nn.Module(), q, q[:, :2] * 0.5, q[:, 2:], None, packed=layout)[0][0]

    one = shared.whole(attended(table, shared))
    other = attended(table[places], plain)
    torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-5)
    direction = torch.randn(one.shape, generator=draw)
    gradients = [torch.autograd.grad((out * direction).sum(), table)[0] for out in (one, other)]
    torch.testing.assert_close(*gradients, atol=1e-4, rtol=1e-4)


def test_computed_tokens_are_each_beginning_once() -> None:
    layout = PackedLayout([20, 23, 18, 5], CPU, prefixes=[Prefix(0, 0), Prefix(0, 17), Prefix(0, 18), Prefix(3, 0)])
    assert layout.n_own == 20 + 6 + 0 + 5
    assert layout.places is not None
    assert layout.places[20:40].tolist() == [*range(17), 20, 21, 22]
    tokens = torch.arange(31.0)
    assert torch.equal(layout.whole(tokens), tokens[layout.places])
