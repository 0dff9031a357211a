"""Mixtures: exact counts in the ratio asked for (F2)."""

from __future__ import annotations

from collections import Counter
from fractions import Fraction
from typing import Any, ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from aftertrain.core.errors import DataError
from aftertrain.plugins.data.mixture import apportion


@pytest.fixture
def part(write: Any) -> Any:
    """`part("name", rows, weight=…)`: a part of a mixture."""

    def make(name: str, n: int, /, **measure: Any) -> dict[str, Any]:
        path = write([{"prompt": f"{name} {i}", "response": "yes"} for i in range(n)], f"{name}.jsonl")
        return {"data": {"use": "jsonl", "path": str(path), "format": "prompt_response"}, **measure}

    return make


def shares(mixture: Any) -> Counter[str]:
    return Counter(record.source for record in mixture)


@given(st.lists(st.integers(1, 1000), min_size=1, max_size=8), st.integers(0, 10_000))
def test_apportioned_rows_sum_to_the_total(weights: list[int], total: int) -> None:
    """Each count is within one of its exact share."""
    counts = apportion([Fraction(weight) for weight in weights], total)
    assert sum(counts) == total
    for count, weight in zip(counts, weights, strict=True):
        assert abs(count - Fraction(weight * total, sum(weights))) < 1


def test_real_and_synthetic_in_the_ratio_alpha(dataset: Any, part: Any) -> None:
    """S = 0.7·R + 0.3·G of 50 rows is 35 real and 15 generated ones, none twice (F2)."""
    mixture = dataset("mixture", parts=[part("real", 60, weight=0.7), part("made", 40, weight=0.3)], rows=50)
    assert shares(mixture) == {"real": 35, "made": 15}
    assert len({record.messages[0].content for record in mixture}) == 50
    assert len(mixture) == 50


def test_without_a_total_the_scarcest_part_decides(dataset: Any, part: Any) -> None:
    """10 rows at a share of a quarter allow 40 in all."""
    mixture = dataset("mixture", parts=[part("a", 100, weight=3), part("b", 10, weight=1)])
    assert shares(mixture) == {"a": 30, "b": 10}


def test_a_tenth_is_a_tenth(dataset: Any, part: Any) -> None:
    """10 and 90 rows at 0.1 and 0.9 are all of them: the float 0.1 is a little more, and made 99."""
    mixture = dataset("mixture", parts=[part("a", 10, weight=0.1), part("b", 90, weight=0.9)])
    assert shares(mixture) == {"a": 10, "b": 90}


def test_order_is_seeded_and_interleaved_or_kept(dataset: Any, part: Any) -> None:
    parts = [part("a", 20, rows=20), part("b", 20, rows=20)]
    shuffled = [record.source for record in dataset("mixture", parts=parts)]
    assert shuffled == [record.source for record in dataset("mixture", parts=parts)]
    assert shuffled != [record.source for record in dataset("mixture", parts=parts, seed=1)]
    assert set(shuffled[:20]) == {"a", "b"}
    kept = [record.source for record in dataset("mixture", parts=parts, order="concatenated")]
    assert kept == ["a"] * 20 + ["b"] * 20


def test_a_part_that_is_too_small_is_an_error_or_repeated(dataset: Any, part: Any) -> None:
    """Repeated, each row comes at least twice of 3 rows for 7, with ids told apart."""
    parts = [part("a", 3, rows=7)]
    with pytest.raises(DataError, match=r"parts\[0\] of the mixture has 3 rows, its share is 7; .* set repeat: true"):
        list(dataset("mixture", parts=parts))
    records = list(dataset("mixture", parts=parts, repeat=True))
    assert sorted(Counter(record.messages[0].content for record in records).values()) == [2, 2, 3]
    assert len({record.id for record in records}) == 7


@pytest.mark.parametrize(
    ("measure", "settings"), [({"rows": 2}, {"repeat": True}), ({"rows": 2}, {}), ({"weight": 1}, {})]
)
def test_a_part_without_rows_is_named(
    measure: Any, settings: Any, dataset: Any, part: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Files are never empty, but a data set of another make may be; its share was divided by zero."""
    from aftertrain.plugins.data.jsonl import Jsonl

    read = Jsonl.__iter__
    monkeypatch.setattr(Jsonl, "__iter__", lambda self: iter(()) if self.default_source == "b" else read(self))
    mixture = dataset("mixture", parts=[part("a", 5, **measure), part("b", 5, **measure)], **settings)
    with pytest.raises(DataError, match=r"^parts\[1\] of the mixture, 'jsonl', has no rows to take its share from"):
        list(mixture)


def test_a_repeated_part_with_twin_rows_keeps_ids_unique(dataset: Any, write: Any) -> None:
    """Rows `a` and `a#2` of a part, taken twice, gave two records the id `a#2`."""
    path = write([{"prompt": "x", "response": "yes"}] * 2, "a.jsonl")
    part = {"data": {"use": "jsonl", "path": str(path), "format": "prompt_response"}, "rows": 6}
    ids = [record.id for record in dataset("mixture", parts=[part], repeat=True)]
    assert len(set(ids)) == 6


def test_the_fingerprint_follows_parts_and_settings(dataset: Any, part: Any) -> None:
    parts = [part("a", 5, weight=1), part("b", 5, weight=1)]
    base = dataset("mixture", parts=parts).fingerprint()
    assert dataset("mixture", parts=parts).fingerprint() == base
    assert dataset("mixture", parts=parts, seed=1).fingerprint() != base
    assert dataset("mixture", parts=[part("a", 6, weight=1), parts[1]]).fingerprint() != base


def test_parts_are_of_one_record_type(dataset: Any, part: Any, write: Any) -> None:
    pairs = write([{"prompt": "a", "chosen": "b", "rejected": "c"}], "pairs.jsonl")
    other = {"data": {"use": "jsonl", "path": str(pairs), "format": "preference"}, "weight": 1}
    with pytest.raises(DataError, match="one record type; found Conversation, PreferencePair"):
        list(dataset("mixture", parts=[part("a", 5, weight=1), other]))


def test_parts_are_measured_alike(dataset: Any, part: Any) -> None:
    for measure in ({"rows": 2}, {"most": 2}, {}):
        with pytest.raises(ValidationError, match="give every part a weight, or none"):
            dataset("mixture", parts=[part("a", 5, weight=1), part("b", 5, **measure)])
    with pytest.raises(ValidationError, match="give a part rows or most, not both"):
        dataset("mixture", parts=[part("a", 5, rows=2, most=2)])
    with pytest.raises(ValidationError, match="it is for parts with weights, and these have none"):
        dataset("mixture", parts=[part("a", 5, rows=2)], rows=3)
    with pytest.raises(ValidationError, match="no part must have more rows than it has"):
        dataset("mixture", parts=[part("a", 5)], repeat=True)


def test_parts_without_weights_are_taken_whole_at_most_or_exactly(dataset: Any, part: Any) -> None:
    """By hand: all 5 of a, 3 drawn of b's 7, all 2 of c, which has fewer than 10, exactly 4 of d."""
    parts = [part("a", 5), part("b", 7, most=3), part("c", 2, most=10), part("d", 9, rows=4)]
    mixture = dataset("mixture", parts=parts)
    assert shares(mixture) == {"a": 5, "b": 3, "c": 2, "d": 4}
    assert len({record.id for record in mixture}) == 14
    drawn = [
        {record.id for record in dataset("mixture", parts=parts, seed=seed) if record.source == "b"}
        for seed in range(9)
    ]
    assert len(set(map(frozenset, drawn))) > 1


def test_a_mixture_keeps_no_records_in_memory(dataset: Any, part: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A shuffled mixture reads each part once and holds one record at a time; it was a list of all of them."""
    import gc
    import weakref

    from aftertrain.plugins.data.jsonl import Jsonl

    alive: list[int] = []

    class Tracked:
        """Stands for a record, counts how many like it live."""

        living: ClassVar[weakref.WeakSet[Any]] = weakref.WeakSet()

        def __init__(self, id: str) -> None:
            self.id = id
            self.living.add(self)

        def __reduce__(self) -> Any:
            return _plain, (self.id,)

    def rows(self: Any) -> Any:
        for i in range(50):
            gc.collect()
            alive.append(len(Tracked.living))
            yield Tracked(f"{self.settings.path}{i}")

    monkeypatch.setattr(Jsonl, "__iter__", rows)
    mixture = dataset("mixture", parts=[part("a", 1, weight=1), part("b", 1, weight=1)])
    gc.freeze()  # what other tests left behind need not be looked through a hundred times
    try:
        assert sum(1 for _ in mixture) == 100
    finally:
        gc.unfreeze()
    assert max(alive) <= 1


def _plain(name: str) -> Any:
    from types import SimpleNamespace

    return SimpleNamespace(id=name)


def test_where_the_rows_of_parts_stand(dataset: Any, part: Any, tmp_path: Any) -> None:
    """A row that comes twice stands where it stands."""
    parts = [part("a", 2, rows=4), part("b", 3, rows=1)]
    mixture = dataset("mixture", parts=parts, repeat=True, order="concatenated")
    ids = [record.id for record in mixture]
    assert ids[2] == f"{ids[0]}#2"
    found = mixture.where([ids[1], ids[2], ids[4], "unknown"])
    place = found.pop(ids[4])
    assert found == {ids[1]: f"{tmp_path}/a.jsonl:2", ids[2]: f"{tmp_path}/a.jsonl:1"}
    assert place.startswith(f"{tmp_path}/b.jsonl:")
