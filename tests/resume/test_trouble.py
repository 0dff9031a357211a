"""What goes wrong in the world, met by a whole run with the built-in stages: a clear error, the last state kept."""

from __future__ import annotations

import json
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import aftertrain
from aftertrain.core.errors import AftertrainError, CheckpointError, DataError, ModelError, NumericsError, RunError
from aftertrain.core.events.lines import read_events

ROWS = [{"question": f"What is {n} + 1?", "answer": f"{n} + 1 = {n + 1}\n#### {n + 1}"} for n in range(12)]


@pytest.fixture
def recipe(tmp_path: Path, tiny_model: Path) -> Path:
    """SFT of a tiny model on a dozen rows, six steps."""
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    file = tmp_path / "recipe.yaml"
    file.write_text(
        f"""
name: trouble
model: {tiny_model}
threads: 1
stages:
  sft:
    use: train
    loss: {{use: sft, reduction: token_mean}}
    data: {{use: jsonl, path: ./rows.jsonl, format: gsm8k}}
    optimizer: {{lr: 1.0e-3}}
    batch: {{sequences: 2, max_tokens: 128}}
    checkpoint_every: 2
"""
    )
    return file


def _run(recipe: Path, **overrides: Any) -> Any:
    named = {name.replace("__", "."): value for name, value in overrides.items()}
    return aftertrain.run(recipe, named, out=recipe.parent / "runs", console=False)


def _fails(recipe: Path, kind: type[AftertrainError], match: str, **overrides: Any) -> None:
    """The run fails so, says so in its events, and has made no artifact."""
    with pytest.raises(kind, match=match) as caught:
        _run(recipe, **overrides)
    run = recipe.parent / "runs" / "trouble"
    last = read_events(run / "events.jsonl")[-1]
    assert (last.name, last.data["error"], last.data["type"]) == ("run_failed", str(caught.value), kind.__name__)
    assert "traceback" not in last.data
    assert not list(run.glob("stages/*/done.json"))


def test_a_model_that_cannot_be_read(recipe: Path, tiny_model: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    broken.mkdir()
    for file in tiny_model.iterdir():
        (broken / file.name).write_bytes(file.read_bytes())
    weights = broken / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    _fails(recipe, ModelError, "broken", model=str(broken))


def test_a_model_that_is_not_there(recipe: Path) -> None:
    _fails(recipe, ModelError, r"model '/nowhere/at/all': there is no folder", model="/nowhere/at/all")


def test_a_data_file_that_is_not_there(recipe: Path) -> None:
    _fails(recipe, DataError, r"gone\.jsonl", stages__sft__data__path="gone.jsonl")


def test_an_empty_data_set(recipe: Path) -> None:
    (recipe.parent / "rows.jsonl").write_text("")
    _fails(recipe, DataError, r"rows\.jsonl: the data set is empty")


def test_a_row_that_is_not_json_is_named_with_its_line(recipe: Path) -> None:
    rows = (recipe.parent / "rows.jsonl").read_text().splitlines()
    (recipe.parent / "rows.jsonl").write_text("\n".join([*rows[:3], '{"question": "cut of', *rows[3:]]) + "\n")
    _fails(recipe, DataError, r"rows\.jsonl:4: ")


def test_a_field_that_is_missing_is_named_with_its_line(recipe: Path) -> None:
    (recipe.parent / "rows.jsonl").write_text('{"question": "x", "answer": "y"}\n{"question": "x"}\n')
    _fails(recipe, DataError, r"rows\.jsonl:2: field 'answer'")


def test_a_loss_that_is_not_finite_is_named_with_its_step_and_the_state_before_is_kept(recipe: Path) -> None:
    _fails(
        recipe,
        NumericsError,
        r"step [3-6]",
        stages__sft__optimizer__lr=1e30,
        stages__sft__optimizer__schedule="constant",
        stages__sft__optimizer__warmup=0.34,
        stages__sft__checkpoint_every=1,
    )
    assert list((recipe.parent / "runs").glob("trouble/stages/sft-*/checkpoints/step-*"))


@contextmanager
def _no_file_beyond(size: int) -> Iterator[None]:
    """The operating system refuses writes past `size` bytes of a file, as a full disk does in the midst of one."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_disk_that_refuses_a_checkpoint_is_told_and_the_run_goes_on_once_there_is_room(recipe: Path) -> None:
    whole = aftertrain.run(recipe, out=recipe.parent / "whole", console=False)
    with _no_file_beyond(60_000):
        _fails(recipe, CheckpointError, r"step-00000002: cannot write the checkpoint: .*earlier checkpoints are intact")
    again = _run(recipe)
    weights = [Path(r.artifacts["sft"].path, "model.safetensors").read_bytes() for r in (whole, again)]
    assert weights[0] == weights[1]


def test_a_disk_that_refuses_the_final_model_is_told_and_the_checkpoint_is_kept(recipe: Path) -> None:
    with _no_file_beyond(60_000):
        _fails(
            recipe,
            RunError,
            "stage 'sft': cannot write into .*: File too large; what was done",
            stages__sft__checkpoint_every=100,
        )
    assert _run(recipe).artifacts["sft"].type == "model"


def test_an_unwritable_place_is_told_with_the_cure(recipe: Path) -> None:
    (recipe.parent / "runs").write_text("a file is in the way")
    with pytest.raises(RunError, match=r"cannot write the run folder: .*--out DIR"):
        _run(recipe)
