"""Packing: budgets are kept, nothing is lost, segments know where they are (F14)."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from aftertrain.core.batch import CHOSEN, REJECTED
from aftertrain.core.errors import DataError
from aftertrain.core.packed.layout import PackedLayout, shared_prefixes
from aftertrain.core.packed.packing import Segment, collate, deal, group_by_budget, pack, pack_share

SIZES = st.lists(st.integers(1, 50), max_size=60)


@given(SIZES, st.integers(50, 120))
def test_groups_are_a_partition_within_the_budget(sizes: list[int], budget: int) -> None:
    groups = group_by_budget(sizes, budget)
    assert sorted(index for group in groups for index in group) == list(range(len(sizes)))
    assert all(sum(sizes[i] for i in group) <= budget for group in groups)
    assert all(group == sorted(group) for group in groups)
    assert groups == sorted(groups)


@given(SIZES, st.integers(50, 120))
def test_no_two_groups_would_fit_into_one(sizes: list[int], budget: int) -> None:
    """Best fit opens a group only where none has room, so the two emptiest never fit together."""
    loads = sorted(sum(sizes[i] for i in group) for group in group_by_budget(sizes, budget))
    assert len(loads) < 2 or loads[0] + loads[1] > budget


def test_best_fit_takes_the_tightest_group() -> None:
    """Budget 10: 7 and 6 open two groups; 4 goes beside 6 (room 4), not beside 7; 3 then beside 7."""
    assert group_by_budget([7, 6, 4, 3], 10) == [[0, 3], [1, 2]]


def test_an_item_over_the_budget_is_named() -> None:
    with pytest.raises(ValueError, match="item 1 has 11 tokens, the budget is 10"):
        group_by_budget([3, 11], 10)


def test_collate_by_hand() -> None:
    """Two segments of 3 and 2 tokens; the first token of a segment is never a target, whatever its mask says."""
    batch = collate(
        [
            Segment("a", [5, 6, 7], [True, False, True], "x", role=CHOSEN, group=4, columns={"c": [1, 2, 3]}),
            Segment("b", [8, 9], [True, True], "y", role=REJECTED, group=4, weight=0.0, columns={"c": [4, 5]}),
        ]
    )
    assert batch.token_ids.tolist() == [5, 6, 7, 8, 9]
    assert batch.position_ids.tolist() == [0, 1, 2, 0, 1]
    assert batch.segment_ids.tolist() == [0, 0, 0, 1, 1]
    assert batch.loss_mask.tolist() == [False, False, True, False, True]
    assert batch.columns["c"].tolist() == [1, 2, 3, 4, 5]
    assert batch.last_token().tolist() == [2, 4]
    assert (batch.sample_ids, batch.sources, batch.lengths) == (("a", "b"), ("x", "y"), (3, 2))
    assert batch.targets.tolist() == [False, False, True, False, False]
    assert [batch.count(unit) for unit in ("token", "segment", "pair")] == [1.0, 1.0, 1.0]
    numbers = torch.tensor([9.0, 9.0, 2.0, 9.0, 3.0])
    assert batch.segment_sum(numbers).tolist() == [2.0, 3.0]
    assert [part.tolist() for part in batch.pairs(torch.tensor([10.0, 20.0]))] == [[10.0], [20.0]]


def test_a_segment_without_targets_has_mean_zero() -> None:
    batch = collate([Segment("a", [1, 2], [False, False]), Segment("b", [1, 2, 3], [False, True, True])])
    assert batch.segment_mean(torch.tensor([7.0, 7.0, 7.0, 2.0, 4.0])).tolist() == [0.0, 3.0]


@given(st.lists(st.tuples(st.integers(1, 12), st.integers(1, 12)), min_size=1, max_size=20), st.integers(24, 60))
def test_pairs_stay_whole_and_in_order(lengths: list[tuple[int, int]], budget: int) -> None:
    """No pair is split, every token is in exactly one micro-batch, and chosen comes before rejected."""
    atoms = [
        [
            Segment(f"p{i}", [i] * n, [True] * n, role=role, group=i)
            for n, role in ((chosen, CHOSEN), (rejected, REJECTED))
        ]
        for i, (chosen, rejected) in enumerate(lengths)
    ]
    batches = pack(atoms, budget)
    assert all(batch.n_tokens <= budget for batch in batches)
    assert sum(batch.n_tokens for batch in batches) == sum(a + b for a, b in lengths)
    seen = []
    for batch in batches:
        chosen, rejected = batch.pairs(batch.segments["group"])
        assert chosen.tolist() == rejected.tolist()
        assert [(a, b) for a, b in zip(batch.lengths[::2], batch.lengths[1::2], strict=True)] == [
            lengths[i] for i in chosen.tolist()
        ]
        seen += chosen.tolist()
    assert sorted(seen) == list(range(len(lengths)))


def test_an_atom_over_the_budget_names_its_sample() -> None:
    with pytest.raises(DataError, match=r"sample 'long' needs 12 tokens in one micro-batch, batch\.micro_tokens is 10"):
        pack([[Segment("long", range(12), [True] * 12)]], 10)


def test_a_column_of_another_length_is_refused() -> None:
    batch = collate([Segment("a", [1, 2], [True, True])])
    with pytest.raises(ValueError, match=r"column 'c' has shape \(3,\), needs \(2,\)"):
        batch.with_columns(c=torch.zeros(3))


def test_selected_segments_are_a_batch_of_their_own() -> None:
    """The first and third of three segments, as if they alone had been collated."""
    segments = [
        Segment("a", [3, 4], [False, True], "one", role=CHOSEN, label=1.0, columns={"x": [0.0, 1.0]}),
        Segment("b", [5, 6, 7], [False, True, True], "two", role=REJECTED, columns={"x": [2.0, 3.0, 4.0]}),
        Segment("c", [8, 9], [False, True], "three", margin=2.5, columns={"x": [5.0, 6.0]}),
    ]
    found, expected = collate(segments).select(torch.tensor([True, False, True])), collate([segments[0], segments[2]])
    for name, value in vars(expected).items():
        other = getattr(found, name)
        if isinstance(value, torch.Tensor):
            assert torch.equal(value, other), name
        elif isinstance(value, dict):
            assert value.keys() == other.keys()
            assert all(torch.equal(value[key], other[key]) for key in value), name
        else:
            assert value == other, name


def test_deal_gives_the_longest_to_the_emptiest_hand() -> None:
    """9 to the first, 7 to the second, 5 to the second (7 < 9), 4 to the first (9 < 12), 1 to the second (12 < 13)."""
    assert deal([5, 9, 1, 7, 4], 2) == [[1, 4], [0, 2, 3]]


@given(st.lists(st.integers(1, 50), min_size=1, max_size=30), st.integers(50, 120), st.integers(1, 5))
def test_ranks_share_a_step_and_make_equally_many_micro_batches(sizes: list[int], budget: int, ranks: int) -> None:
    atoms = [[Segment(f"s{i}", [5] * n, [True] * n)] for i, n in enumerate(sizes)]
    shares = [pack_share(atoms, budget, rank=rank, ranks=ranks) for rank in range(ranks)]
    assert len({len(share) for share in shares}) == 1
    assert all(batch.n_tokens <= budget for share in shares for batch in share)
    counted = [
        name
        for share in shares
        for batch in share
        for name, counts in zip(batch.sample_ids, batch.counted.tolist(), strict=True)
        if counts
    ]
    assert sorted(counted) == sorted(f"s{i}" for i in range(len(sizes))), "each once, fillers count for nothing"
    assert max(len(share) for share in shares) == max(
        len(group_by_budget([sizes[i] for i in hand], budget)) for hand in deal(sizes, ranks)
    )


def test_a_filler_keeps_its_atom_whole_and_weighs_nothing() -> None:
    pair = [Segment("p", [4, 5], [False, True], role=role, group=3) for role in (CHOSEN, REJECTED)]
    long = [Segment("q", [4] * 5, [True] * 5, role=role, group=4) for role in (CHOSEN, REJECTED)]
    first, second = (pack_share([pair, long, long], 10, rank=rank, ranks=2) for rank in (0, 1))
    (filler,) = [batch for batch in (*first, *second) if not batch.counted.any()]
    assert filler.sample_ids == ("p", "p")
    assert filler.segments["role"].tolist() == [CHOSEN, REJECTED]
    assert filler.count("pair") == filler.count("token") == 0


def replies(group: int, prompt: int, sizes: list[int]) -> list[list[Segment]]:
    """An atom for each reply to one prompt; no two replies begin alike."""
    return [
        [Segment(f"{group}/{i}", [*range(prompt), *[1000 + i] * n], [False] * prompt + [True] * n, group=group)]
        for i, n in enumerate(sizes)
    ]


def test_a_shared_prompt_counts_once() -> None:
    """A prompt of 20 with replies of 4, 5 and 6 is 35 tokens in place of 75, so that two such groups fit in 70."""
    atoms = [atom for group in range(3) for atom in replies(group, 20, [4, 5, 6])]
    packed = pack(atoms, 70, shared=True)
    assert [batch.sample_ids for batch in packed] == [
        ("0/0", "0/1", "0/2", "1/0", "1/1", "1/2"),
        ("2/0", "2/1", "2/2"),
    ]
    assert [batch.n_tokens for batch in packed] == [150, 75]
    assert sum(batch.count("token") for batch in packed) == 3 * (4 + 5 + 6)
    assert len(pack(atoms, 75)) == 4


def test_a_group_over_the_budget_is_split_and_each_part_carries_the_prompt() -> None:
    """20 tokens of prompt leave 10 of 30: replies of 6 and 4 go together, 5 and 5, and 7 alone."""
    packed = pack(replies(0, 20, [6, 5, 7, 5, 4]), 30, shared=True)
    assert [batch.sample_ids for batch in packed] == [("0/0", "0/4"), ("0/1", "0/3"), ("0/2",)]
    with pytest.raises(DataError, match="sample '0/1' needs 31 tokens in one micro-batch"):
        pack(replies(0, 20, [6, 11]), 30, shared=True)


def test_a_whole_group_that_is_an_atom_is_never_split() -> None:
    atom = [segment for (segment,) in replies(0, 20, [6, 5])]
    assert [batch.n_segments for batch in pack([atom], 31, shared=True)] == [2]
    with pytest.raises(DataError, match="needs 31 tokens"):
        pack([atom], 30, shared=True)


@given(st.lists(st.tuples(st.integers(0, 40), st.lists(st.integers(1, 20), min_size=1, max_size=6)), max_size=8))
def test_what_is_computed_keeps_the_budget_and_nothing_is_lost(groups: list[tuple[int, list[int]]]) -> None:
    """The engine's own count of computed tokens, by what it finds shared, is within the budget of each micro-batch."""
    atoms = [atom for group, (prompt, sizes) in enumerate(groups) for atom in replies(group, prompt, sizes)]
    packed = pack(atoms, 64, shared=True)
    assert sorted(name for batch in packed for name in batch.sample_ids) == sorted(s.sample_id for (s,) in atoms)
    for batch in packed:
        prefixes = shared_prefixes(batch.token_ids, batch.lengths, batch.segments["group"].tolist())
        assert PackedLayout(batch.lengths, torch.device("cpu"), prefixes).n_own <= 64
