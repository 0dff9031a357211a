"""Steps whose size goes by memory (F40): measured before a step, written down, and read by whoever resumes."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from aftertrain.core.errors import CheckpointError
from aftertrain.core.ground.memory import peak_bytes
from aftertrain.plugins.online import memory
from aftertrain.plugins.online.memory import GIB, MemoryBatch
from aftertrain.plugins.online.memory_settings import MemorySettings

Make = Callable[..., Any]


def sizes(folder: Path, planned: int = 8, least: int = 1, **settings: float) -> MemoryBatch:
    return MemoryBatch(MemorySettings(**settings), planned, folder, list, least=least, most=8)


def machine(monkeypatch: pytest.MonkeyPatch, free: Iterator[float], need: float) -> None:
    """A machine that has so much free at each look, in GiB."""
    monkeypatch.setattr(memory, "free_bytes", lambda: next(free) * GIB)
    monkeypatch.setattr(memory, "peak_bytes", lambda pids: need * GIB)


def test_a_quarter_of_the_memory_halves_the_step_f40(tmp_path: Path) -> None:
    assert sizes(tmp_path, free_gib=1, need_gib=4).measured(1) == {"prompts": 4.0, "free_gib": 1.0, "need_gib": 4.0}
    assert sizes(tmp_path / "enough", free_gib=9, need_gib=4).measured(1)["prompts"] == 8
    assert sizes(tmp_path / "none", free_gib=0, need_gib=4, least=3).measured(1)["prompts"] == 3


def test_what_was_measured_is_read_again_f40(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second attempt finds another machine; only step 3, which was never begun, is measured there."""
    machine(monkeypatch, iter([1.0, 4.0]), need=4.0)
    first = sizes(tmp_path)
    assert [first.measured(step)["prompts"] for step in (1, 2, 1)] == [4, 8, 4]
    with (tmp_path / memory.FILE).open("a") as file:
        file.write('{"step": 3, "prom')
    machine(monkeypatch, iter([0.25]), need=4.0)
    second = sizes(tmp_path)
    assert [second.measured(step)["prompts"] for step in (1, 2, 3)] == [4, 8, 2]
    lines = (tmp_path / memory.FILE).read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == [1, 2, 3]


def test_verification_that_has_not_begun_needs_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    machine(monkeypatch, iter([0.0]), need=0.0)
    assert sizes(tmp_path).measured(1)["prompts"] == 8


def test_a_changed_record_is_refused(tmp_path: Path) -> None:
    (tmp_path / memory.FILE).write_text('{"step": 1}\n')
    with pytest.raises(CheckpointError, match="without this file no step can be repeated"):
        sizes(tmp_path)


def test_the_peak_of_processes_is_their_sum() -> None:
    own = peak_bytes([os.getpid()])
    assert own > 10 * 2**20
    assert peak_bytes([os.getpid(), os.getpid(), 2**22 + 1]) >= 2 * own


def test_a_killed_run_on_another_machine_ends_with_the_same_bits_f40(
    bench: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed after the checkpoint of step 2, in step 4; resumed with less free: steps 3 and 4 stay as they were."""
    changes = {"batch": {"prompts": 8, "by_memory": {}, "minibatches": 1}}
    seen = [1.0, 4.0, 0.25, 2.25]
    machine(monkeypatch, iter(seen), need=4.0)
    whole = bench("whole", changes)
    whole.run()
    figures = whole.of("metrics")
    assert [step["batch_prompts"] for step in figures] == [4, 8, 2, 6]
    assert [step["batch_free_gib"] for step in figures] == seen
    assert [sum(step["contains"].values()) for step in whole.of("verdicts")] == [8, 16, 4, 12]
    machine(monkeypatch, iter(seen), need=4.0)
    killed = bench("killed", changes, kill_at=("verdicts", 4))
    with pytest.raises(BaseException, match="verdicts 4"):
        killed.run()
    machine(monkeypatch, iter([]), need=4.0)
    again = bench("killed", changes)
    again.run()
    assert again.outcome() == whole.outcome()
    assert again.of("metrics") == figures[2:]


def test_what_sizes_steps_leaves_nothing_to_an_epochs_end(bench: Make) -> None:
    with pytest.raises(ValidationError, match=r"by_memory sizes every step"):
        bench("bad", {"batch": {"by_memory": {}, "incomplete": "drop"}})
