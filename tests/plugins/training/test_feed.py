"""Streams: windows, shuffles, epochs, and a position that a resume goes on from to the same bits."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from safetensors.torch import load_file

from aftertrain.core.errors import CheckpointError, DataError, Interrupted, RunError
from aftertrain.core.loss import Needs
from aftertrain.core.text.chat import load_tokenizer
from aftertrain.plugins.training.feed import Streamed

NEEDS = Needs(records=frozenset({"Conversation"}))


@pytest.fixture
def stream(bench: Callable[..., Any], conversations: Path, tiny_model: Path) -> Callable[..., Streamed]:
    """`stream(window, sequences)` over the twelve conversations."""

    def make(window: int = 5, sequences: int = 4, seed: int = 0, told: Any = lambda *_: None, **batch: Any) -> Streamed:
        stage = bench(
            "x",
            loss={"use": "sft"},
            data={"use": "jsonl", "path": str(conversations)},
            batch={"sequences": sequences, **batch},
            stream={"window": window},
            max_steps=100,
        ).stage
        tokenizer = load_tokenizer(str(tiny_model))
        return Streamed(stage.settings, tokenizer, stage.parts.data, NEEDS, seed=seed, told=told)

    return make


def names(feed: Streamed, steps: range) -> list[list[str]]:
    return [[segment.sample_id for atom in feed.atoms(step) for segment in atom] for step in steps]


def test_every_row_comes_once_an_epoch_and_windows_in_order(stream: Callable[..., Streamed]) -> None:
    """Twelve rows in windows of five, four a step: shuffled within windows, and anew each epoch."""
    steps = names(stream(), range(1, 7))
    flat = [name for step in steps for name in step]
    first, second = flat[:12], flat[12:]
    every = [f"sum-{i}" for i in range(12)]
    for epoch in (first, second):
        assert sorted(epoch[:5]) == sorted(every[:5])
        assert sorted(epoch[5:10]) == sorted(every[5:10])
        assert sorted(epoch[10:]) == sorted(every[10:])
    assert first != second
    assert first[:5] != every[:5]
    assert names(stream(), range(1, 7)) == steps != names(stream(seed=1), range(1, 7))
    assert {len(step) for step in steps} == {4}


@pytest.mark.parametrize("stop", range(7))
def test_a_restored_stream_goes_on_with_the_same_rows(
    stop: int, stream: Callable[..., Streamed], tmp_path: Path
) -> None:
    """After any step: in a window, at its end, at the end of an epoch; a begun window is told of once."""
    told: list[int] = []
    whole, half = stream(told=lambda samples, step: told.append(step)), stream()
    expected = names(whole, range(1, 10))
    assert names(half, range(1, stop + 1)) == expected[:stop]
    half.save(tmp_path)
    again: list[int] = []
    rest = stream(told=lambda samples, step: again.append(step))
    rest.restore(tmp_path)
    assert names(rest, range(stop + 1, 10)) == expected[stop:]
    assert again == [step for step in told if step > stop]


def test_windows_of_unusable_rows_are_passed_over(stream: Callable[..., Streamed]) -> None:
    """Rows of 24 tokens and fewer are kept, so that some windows of one row are empty; if all are, it is an error."""
    kept = {name for step in names(stream(window=1, max_tokens=24), range(1, 4)) for name in step}
    assert 0 < len(kept) < 12
    with pytest.raises(DataError, match="none of the rows of jsonl is left to train on"):
        stream(window=1, max_tokens=3).atoms(1)


def test_a_checkpoint_without_a_position_is_refused(stream: Callable[..., Streamed], tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"stream\.json: cannot be read"):
        stream().restore(tmp_path)


def test_a_stopped_streamed_run_goes_on_to_the_same_bits(bench: Callable[..., Any], conversations: Path) -> None:
    """Stopped in the middle of a window and resumed: metrics, counts of dropped rows and weights of a whole run."""
    settings: dict[str, Any] = {
        "loss": {"use": "sft"},
        "data": {"use": "jsonl", "path": str(conversations)},
        "batch": {"sequences": 3, "max_tokens": 34},
        "stream": {"window": 7},
        "max_steps": 7,
    }
    whole = bench("whole", **settings)
    expected = whole.run()
    parts = []
    for stop in (2, 2, None):
        parts.append(bench("parts", stop_after=stop, **settings))
        if stop is None:
            artifact = parts[-1].run()
        else:
            with pytest.raises(Interrupted):
                parts[-1].run()
    for name in ("metrics", "dropped"):
        assert [event for part in parts for event in part.of(name)] == whole.of(name), name
    assert len(whole.of("metrics")) == 7
    assert whole.of("dropped")
    one, other = (load_file(Path(a.path) / "model.safetensors") for a in (expected, artifact))
    assert all(bool((one[name] == other[name]).all()) for name in one)


def test_the_plan_of_a_stream_reads_one_window(bench: Callable[..., Any], conversations: Path) -> None:
    stage = bench(
        "x",
        loss={"use": "sft"},
        data={"use": "jsonl", "path": str(conversations)},
        stream={"window": 5},
        max_steps=9,
    )
    items = {item.label: item.value for item in stage.plan()}
    assert items["rows"] == "streamed from jsonl, shuffled within windows of 5; figures are of the first 5"
    assert items["all"] == "9 steps"
    assert items["1 step"].startswith("4 conversations ≈ ")


def test_a_stream_needs_an_end_and_no_reference(bench: Callable[..., Any], pairs: Path) -> None:
    data = {"use": "jsonl", "path": str(pairs), "format": "preference"}
    with pytest.raises(ValidationError, match="a stream's length is not known; say max_steps"):
        bench("x", loss={"use": "simpo"}, data=data, stream={})
    stage = bench("x", loss={"use": "dpo"}, data=data, stream={}, max_steps=2)
    with pytest.raises(RunError, match="loss 'dpo' needs a reference, which is computed for all rows at once"):
        stage.run()
    bench("y", loss={"use": "simpo"}, data=data, stream={}, max_steps=2).run()
