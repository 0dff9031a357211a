"""The diary: what is written survives, what is superseded is dropped, what is torn is tolerated."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from aftertrain.core.errors import RunError
from aftertrain.core.events import Event, EventLog, read_events


def _seen(path: Path) -> list[tuple[str, str, int | None]]:
    return [(e.name, e.stage, e.step) for e in read_events(path)]


def test_events_come_back_as_written(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    heard: list[Event] = []
    log = EventLog(path, heard.append)
    log.emit("run_started", name="a run")
    log.emit("metrics", "sft", 1, loss=0.5, odd=float("nan"), text="ü\n")
    log.close()
    assert [e.data for e in read_events(path)] == [{"name": "a run"}, {"loss": 0.5, "odd": "nan", "text": "ü\n"}]
    assert [e.name for e in heard] == ["run_started", "metrics"]


def test_each_start_is_an_attempt(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    for expected in (1, 2, 3):
        log = EventLog(path)
        assert log.emit("run_started").attempt == expected
        log.close()


@pytest.mark.parametrize("cut", range(1, 12))
def test_a_torn_last_line_is_tolerated_and_cut_even_inside_a_character(tmp_path: Path, cut: int) -> None:
    """A kill may leave any number of bytes of the last line, half of an 'ü' included."""
    path = tmp_path / "events.jsonl"
    log = EventLog(path)
    log.emit("metrics", "sft", 1, loss=0.5)
    log.close()
    whole = path.read_bytes()
    path.write_bytes(whole + '{"name": "üüüüüü'.encode()[: cut + 9])
    assert _seen(path) == [("metrics", "sft", 1)]
    log = EventLog(path)
    log.emit("metrics", "sft", 2)
    log.close()
    assert _seen(path) == [("metrics", "sft", 1), ("metrics", "sft", 2)]


@pytest.mark.parametrize(
    ("line", "told"),
    [
        (b"not json", "events.jsonl:2:1: not JSON: Expecting value"),
        (b"[1]", "events.jsonl:2: "),
        (b"{}", "events.jsonl:2: name: field required"),
        (b'{"name": 1}', "events.jsonl:2: name: "),
        (b'{"name": "a", "attempt": "x"}', "events.jsonl:2: attempt: "),
        (b'{"name": "a", "data": []}', "events.jsonl:2: data: "),
        (b'{"name": "a", "step": ' + b"1" * 5000 + b"}", "events.jsonl:2: not JSON: a whole number of 5,000 digits"),
        (b"[" * 100_000, "events.jsonl:2: more than 100 brackets"),
        (b"\xff\xfe", "events.jsonl:2: is UTF-16"),
        (b"\x00" * 20, "events.jsonl:2:1: not JSON"),
        (b'{"name": "\xff"}', "events.jsonl:2:1: byte 0xff is no UTF-8 text"),
    ],
)
def test_a_line_that_is_no_event_is_told_and_passed_over(tmp_path: Path, line: bytes, told: str) -> None:
    path = tmp_path / "events.jsonl"
    path.write_bytes(b'{"name": "a"}\n' + line + b'\n{"name": "b", "attempt": 4}\n')
    said: list[str] = []
    assert [event.name for event in read_events(path, said.append)] == ["a", "b"]
    (message,) = said
    assert message.startswith(str(path.parent / told))
    log = EventLog(path)
    log.emit("c")
    log.close()
    assert log.damage == said
    assert [(event.name, event.attempt) for event in read_events(path, said.append)] == [("a", 1), ("b", 4), ("c", 5)]
    assert line in path.read_bytes()


def _write(path: Path, *lines: tuple[str, str, int | None, int, dict[str, Any]]) -> None:
    rows = [{"name": n, "stage": s, "step": t, "attempt": a, "data": d} for n, s, t, a, d in lines]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def test_a_rewind_drops_later_steps_of_its_stage_only(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    _write(
        path,
        ("stage_started", "a", None, 1, {"hash": "x"}),
        ("metrics", "a", 1, 1, {"loss": 1}),
        ("metrics", "a", 2, 1, {"loss": 2}),
        ("metrics", "b", 2, 1, {}),
        ("stage_started", "a", None, 2, {"hash": "x"}),
        ("rewind", "a", 1, 2, {}),
        ("metrics", "a", 2, 2, {"loss": 2}),
    )
    kept = [(e.stage, e.step, e.attempt) for e in read_events(path) if e.name == "metrics"]
    assert kept == [("a", 1, 1), ("b", 2, 1), ("a", 2, 2)]
    assert [e.attempt for e in read_events(path) if e.name == "stage_started"] == [1, 2]


def test_a_rewind_to_0_drops_all_that_earlier_attempts_said_of_the_stage(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    _write(
        path,
        ("stage_started", "a", None, 1, {"hash": "x"}),
        ("sample", "a", None, 1, {}),
        ("dropped", "a", 0, 1, {}),
        ("stage_started", "a", None, 2, {"hash": "x"}),
        ("rewind", "a", 0, 2, {}),
        ("sample", "a", None, 2, {}),
    )
    assert [(e.name, e.attempt) for e in read_events(path)] == [("stage_started", 2), ("rewind", 2), ("sample", 2)]


def test_only_the_events_of_a_stage_s_last_hash_hold(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    lines: list[tuple[str, str, int | None, int, dict[str, Any]]] = [
        ("stage_started", "a", None, 1, {"hash": "x"}),
        ("metrics", "a", 1, 1, {"loss": 1}),
        ("stage_started", "a", None, 2, {"hash": "y"}),
        ("rewind", "a", 0, 2, {}),
        ("metrics", "a", 1, 2, {"loss": 5}),
    ]
    _write(path, *lines)
    assert [e.data["loss"] for e in read_events(path) if e.name == "metrics"] == [5]
    _write(path, *lines, ("stage_reused", "a", None, 3, {"hash": "x"}))
    assert [e.data["loss"] for e in read_events(path) if e.name == "metrics"] == [1]


def test_a_full_disk_is_told_and_leaves_whole_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "events.jsonl"
    log = EventLog(path)
    log.emit("metrics", "a", 1)

    class Full:
        def __init__(self, real: Any) -> None:
            self.real, self.left = real, 20

        def write(self, line: bytes) -> int:
            if not self.left:
                raise OSError(28, "No space left on device")
            written: int = self.real.write(line[: self.left])
            self.left -= written
            return written

        def __getattr__(self, name: str) -> Any:
            return getattr(self.real, name)

    real = log._file
    monkeypatch.setattr(log, "_file", Full(real))
    with pytest.raises(RunError, match=r"events\.jsonl: cannot write events: No space left on device"):
        log.emit("metrics", "a", 2)
    monkeypatch.setattr(log, "_file", real)
    assert _seen(path) == [("metrics", "a", 1)]
    assert path.read_bytes().endswith(b"\n")
    log.emit("metrics", "a", 2)
    log.close()
    assert _seen(path) == [("metrics", "a", 1), ("metrics", "a", 2)]


def test_an_unwritable_place_is_told(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="is no regular file"):
        EventLog(tmp_path)
