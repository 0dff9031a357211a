"""How many rows a check takes by itself: enough to compare, few enough for a large model."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file

from aftertrain.api.invariants import trials
from aftertrain.invariants import work
from aftertrain.invariants.work import LEAST, ROWS, affordable, choose, count_weights, lightened

SIZES = st.lists(st.integers(1, 3000), min_size=1, max_size=work.POOL)


@given(sizes=SIZES, tokens=st.floats(1, 20_000))
def test_rows_fit_or_are_the_fewest(sizes: list[int], tokens: float) -> None:
    kept = choose(sizes, tokens)
    assert kept == sorted(set(kept))
    assert min(LEAST, len(sizes)) <= len(kept) <= ROWS
    total = sum(sizes[i] for i in kept)
    assert total <= tokens or total == sum(sorted(sizes)[: len(kept)])
    if sum(sizes[:ROWS]) <= tokens:
        assert kept == list(range(min(ROWS, len(sizes))))


def test_a_longer_row_is_among_short_ones() -> None:
    """The shortest take half of 400 tokens (30 + 40 + 50 + 60); into the 220 that are left 210 fits, 230 does not."""
    assert choose([900, 30, 230, 40, 210, 50, 60, 90, 800], tokens=400) == [1, 3, 4, 5, 6]


def test_weights_are_counted_without_being_read(tmp_path: Path) -> None:
    save_file({"a": torch.zeros(3, 4), "b": torch.zeros(5)}, tmp_path / "model-1.safetensors")
    save_file({"c": torch.zeros(2, dtype=torch.bfloat16)}, tmp_path / "model-2.safetensors")
    assert count_weights(str(tmp_path)) == 19
    assert count_weights(str(tmp_path / "nowhere")) == 0


def test_a_large_model_gets_short_rows(recipe: Callable[..., str], monkeypatch: pytest.MonkeyPatch) -> None:
    ((_, trial, _),) = trials(recipe("dpo", "preference"), (), None, None)
    assert trial is not None
    sizes = [sum(len(segment.token_ids) for segment in atom) for atom in trial.atoms]
    assert len(sizes) > LEAST
    monkeypatch.setattr(work, "WORK", count_weights(next(iter(trial.models.values()))) * 1.0)
    assert affordable(trial) == 1.0
    light = lightened(trial)
    assert light.about.startswith(f"{LEAST} pairs of jsonl")
    assert sorted(sum(len(s.token_ids) for s in atom) for atom in light.atoms) == sorted(sizes)[:LEAST]
    assert light.rehearsal is not None


def test_a_gpu_has_time_for_all_rows(recipe: Callable[..., str], monkeypatch: pytest.MonkeyPatch) -> None:
    ((_, trial, _),) = trials(recipe("sft"), (), None, None)
    assert trial is not None
    monkeypatch.setattr(work, "WORK", 1.0)
    assert affordable(trial) < 1
    monkeypatch.setattr(type(trial.builder.build(trial.engine)), "facts", lambda self, model: {"device": "cuda"})
    assert affordable(trial) == float("inf")
