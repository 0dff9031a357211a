"""The diary: what is written survives, what is superseded is dropped, what is torn is tolerated."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import pytest

from aftertrain.core.errors import RunError
from aftertrain.core.events import (
    EVENTS,
    Alarm,
    Balance,
    Books,
    Checkpointed,
    DataCheck,
    Difference,
    Dropped,
    Entry,
    Event,
    Hardware,
    Health,
    Lengths,
    LoadedPlugin,
    Metrics,
    Other,
    Packing,
    Progress,
    Rewind,
    RowsTrained,
    RunDone,
    RunFailed,
    RunStarted,
    Sample,
    SampleVerdict,
    Saved,
    ScoreRow,
    Scores,
    Skipped,
    SourceRows,
    StageDone,
    StageReused,
    StageStarted,
    Timing,
    VerdictCounts,
    Warned,
)
from aftertrain.core.events.diary import EventLog
from aftertrain.core.events.lines import read_events
from aftertrain.core.records import Artifact

OLD_RUN = Path(__file__).with_name("run_of_api_1.jsonl")


def _without_unsaid(value: Any) -> Any:
    """Without what is null or an empty name: a field that came later is so in a line of before."""
    if isinstance(value, dict):
        return {key: _without_unsaid(inner) for key, inner in value.items() if inner is not None and inner != ""}
    return [_without_unsaid(inner) for inner in value] if isinstance(value, list) else value


def _seen(path: Path) -> list[tuple[str, str, int | None]]:
    return [(e.name, e.stage, e.step) for e in read_events(path)]


@dataclass(frozen=True)
class Souped(Event):
    """A plugin's own event."""

    event: ClassVar[str] = "acme/souped"
    share: float
    parts: Mapping[str, tuple[int, ...]] = field(default_factory=dict)


EXAMPLES: tuple[Event, ...] = (
    RunStarted("r", {"seed": 0}, ("a", "b"), Hardware("x", gpus=("g",)), 2, (LoadedPlugin("p"),), {"torch": "2"}),
    DataCheck("a"),
    StageStarted("train", "h", ("first run",), 3, {"model": "base"}),
    StageReused("h", Artifact("model", "x/model", "a", "h", {"saved": {"rows": 4}})),
    Rewind(),
    Checkpointed("stages/a/checkpoints/step-00000003"),
    StageDone(Artifact("scores", "x", "a", "h"), Timing(1.5)),
    RunDone(Timing(2.5)),
    RunFailed("disk full", "RunError", "a", interrupted=True, traceback="Traceback"),
    Warned("odd \u202e\x00"),
    Progress(0, None, "steps"),
    Metrics({"loss": 0.5, "timing": 3.0, "far": math.inf}, {"seconds": 0.1}),
    Sample(
        "p",
        "",
        0.0,
        (SampleVerdict("gsm8k", "timeout"),),
        "i",
        "t",
        1.0,
        "length",
        0,
        0.0,
        -1.0,
        response_with_special="<s>",
    ),
    VerdictCounts({"gsm8k": {"scored": 3}, "timing": {"error": 1}}),
    Dropped({"too_long": 3, "examples": 1}, ("row-1",)),
    Alarm("kl_blow_up", "KL 3 → 90", "lower the learning rate"),
    Alarm("kl_blow_up", "gone", cleared=True),
    Skipped("loss is nan"),
    RowsTrained(
        3, 2, 4, 9, 5, {"a": SourceRows(2, 9, 5)}, Lengths(2, (0, 2), 2.5, 2, 2, 3, 3), Packing(1, 8, 2, 0.5, 0.1)
    ),
    Saved("adapter", 3, 2, "float32", ("a.safetensors",), 2, 9, 1e-7, 1e-3, "no room"),
    Scores(
        (ScoreRow("t", "m", None, 0.5, 0.4, 0.6, 9, 1, 0.4, 0.6, primary=True, fingerprint="f"),),
        (Difference("t", "m", 0.0, "b", 0.1, 0.0, 0.2, 9, 3, 1, 1, None, None, 0.04, 0.08),),
        (Health("t", 1.0, 9, 1, 2, 3.5, {"scored": 9}),),
    ),
    Books({"row": Balance(3, {"learnt": 2, "dropped: overlong": 1}, {"learnt": 5})}),
    Souped(0.25, {"layers": (1, 2)}),
    Other("elsewhere/odd", {"a": [1, None]}),
)


@pytest.mark.parametrize("event", EXAMPLES, ids=lambda event: type(event).__name__)
def test_an_event_comes_back_as_it_was_told(tmp_path: Path, event: Event) -> None:
    path = tmp_path / "events.jsonl"
    heard: list[Entry] = []
    log = EventLog(path, heard.append)
    log.emit(event, "s", 2)
    log.close()
    (entry,) = read_events(path, pytest.fail, also=[Souped])
    assert heard == [entry]
    assert (entry.stage, entry.step, entry.attempt) == ("s", 2, 1)
    if isinstance(event, Metrics):  # a metric that is called like a field of the event's own
        event = Metrics({"loss": 0.5, "timing (2)": 3.0, "far": math.inf}, {"seconds": 0.1})
    if isinstance(event, Dropped):
        event = Dropped({"too_long": 3, "examples (2)": 1}, ("row-1",))
    assert entry.event == event


def test_every_event_of_our_own_is_among_the_examples() -> None:
    assert {type(event) for event in EXAMPLES} - {Souped, Other} == set(EVENTS)
    assert len({kind.event for kind in EVENTS}) == len(EVENTS)


def test_an_event_of_an_unknown_class_keeps_all_that_it_says(tmp_path: Path) -> None:
    log = EventLog(tmp_path / "events.jsonl")
    log.emit(Souped(0.25, {"layers": (1,)}), "soup")
    log.close()
    (entry,) = read_events(tmp_path / "events.jsonl")
    assert (entry.name, entry.data) == ("acme/souped", {"share": 0.25, "parts": {"layers": [1]}})


def test_what_is_no_event_of_ours_is_refused(tmp_path: Path) -> None:
    @dataclass(frozen=True)
    class Mine(Event):
        event: ClassVar[str] = "metrics"

    log = EventLog(tmp_path / "events.jsonl")
    with pytest.raises(TypeError, match=r"'metrics', which is no event; write emit\(Metrics"):
        log.emit("metrics")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"Mine: the event 'metrics' is aftertrain's; name it plugin/name"):
        log.emit(Mine())
    log.close()
    assert (tmp_path / "events.jsonl").read_bytes() == b""


@pytest.mark.parametrize(
    ("name", "data", "event", "told"),
    [
        ("metrics", {"loss": "nan", "note": "x", "timing": {"s": 1}}, None, ["metrics: values.note"]),
        ("progress", {"done": 3, "total": "many"}, Progress(3), ["progress: total"]),
        ("progress", {"total": 3}, Other("progress", {"total": 3}), []),
        ("run_started", {"name": "r", "recipe": "a.yaml", "order": ["a", 7, 8, "b"]},
         RunStarted("r", order=("a", "b")), ["order.2", "order.1", "run_started: recipe"]),
        ("stage_done", {"artifact": {"type": 3, "path": 4}, "timing": {"seconds": 1}, "more": 1},
         StageDone(timing=Timing(1)), ["artifact.digest"]),
        ("scores", {"scores": [{"mean": 1}, {"mean": 2}], "differences": [], "health": []},
         Scores((), (), ()), ["scores.1", "scores.0"]),
    ],
)  # fmt: skip
def test_what_a_class_does_not_expect_is_left_out_and_told(
    tmp_path: Path, name: str, data: dict[str, Any], event: Event | None, told: list[str]
) -> None:
    path = tmp_path / "events.jsonl"
    path.write_text(json.dumps({"name": name, "data": data}) + "\n")
    said: list[str] = []
    (entry,) = read_events(path, said.append)
    if event is None:
        assert isinstance(entry.event, Metrics)
        assert list(entry.event.values) == ["loss"]
        assert math.isnan(entry.event.values["loss"])
    else:
        assert entry.event == event
    assert len(said) == min(len(told), 4)
    for words, message in zip(told, said, strict=False):
        assert words in message


def test_a_run_written_before_events_had_types_opens(tmp_path: Path) -> None:
    """Its lines were written by the first version of the writer: a killed run, resumed, and started once more."""
    path = tmp_path / "events.jsonl"
    path.write_text(OLD_RUN.read_text(encoding="utf-8"), encoding="utf-8")
    held = read_events(path, pytest.fail)
    assert {type(entry.event) for entry in held} == {*EVENTS, Other} - {Alarm}  # came later
    raw = [json.loads(line) for line in OLD_RUN.read_text(encoding="utf-8").splitlines()]
    assert [entry.data for entry in held if isinstance(entry.event, Other)] == [{"share": 0.5}]
    losses = [(row["stage"], row["step"], row["data"]["loss"]) for row in raw if row["name"] == "metrics"]
    losses.remove(("sft", 2, losses[1][2]))  # said before the kill, superseded by the rewind
    read = [(e.stage, e.step, e.event.values["loss"]) for e in held if isinstance(e.event, Metrics)]
    assert read == losses
    for entry in held:
        known = {line["name"]: line["data"] for line in raw if line["time"] == entry.time}[entry.name]
        for name, value in entry.data.items():
            assert _without_unsaid(json.loads(json.dumps(value))) == _without_unsaid(known[name])


def test_what_events_hold_is_in_no_stage_s_hash() -> None:
    from aftertrain.core.run.sources import source_digests
    from aftertrain.plugins.evaluation.evaluate import Evaluate

    modules = source_digests([Evaluate])
    assert "aftertrain.core.book" in modules
    assert [name for name in modules if name.startswith("aftertrain.core.events")] == []


def test_each_start_is_an_attempt(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    for expected in (1, 2, 3):
        log = EventLog(path)
        assert log.emit(RunDone()).attempt == expected
        log.close()


@pytest.mark.parametrize("cut", range(1, 12))
def test_a_torn_last_line_is_tolerated_and_cut_even_inside_a_character(tmp_path: Path, cut: int) -> None:
    """A kill may leave any number of bytes of the last line, half of an 'ü' included."""
    path = tmp_path / "events.jsonl"
    log = EventLog(path)
    log.emit(Metrics({"loss": 0.5}), "sft", 1)
    log.close()
    whole = path.read_bytes()
    path.write_bytes(whole + '{"name": "üüüüüü'.encode()[: cut + 9])
    assert _seen(path) == [("metrics", "sft", 1)]
    log = EventLog(path)
    log.emit(Metrics({}), "sft", 2)
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
    log.emit(Other("c"))
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
        ("stage_started", "a", None, 1, {"use": "u", "hash": "x"}),
        ("metrics", "a", 1, 1, {"loss": 1}),
        ("metrics", "a", 2, 1, {"loss": 2}),
        ("metrics", "b", 2, 1, {}),
        ("stage_started", "a", None, 2, {"use": "u", "hash": "x"}),
        ("rewind", "a", 1, 2, {}),
        ("metrics", "a", 2, 2, {"loss": 2}),
    )
    kept = [(e.stage, e.step, e.attempt) for e in read_events(path) if e.name == "metrics"]
    assert kept == [("a", 1, 1), ("b", 2, 1), ("a", 2, 2)]
    assert [e.attempt for e in read_events(path) if e.name == "stage_started"] == [1, 2]


def test_what_closes_a_stage_is_said_once_where_it_was_killed_between_that_and_its_end(tmp_path: Path) -> None:
    """Both are said after the last checkpoint, that of step 3, and again when the stage goes on from there."""
    path = tmp_path / "events.jsonl"
    saved: dict[str, Any] = {"kind": "model", "names": 3, "tensors": 2}
    books = {"row": {"owed": 4, "states": {"learnt": 4}, "tokens": {}}}
    _write(
        path,
        ("stage_started", "a", None, 1, {"use": "u", "hash": "x"}),
        ("metrics", "a", 3, 1, {"loss": 1}),
        ("saved", "a", 3, 1, saved),
        ("ledger", "a", None, 1, books),
        ("stage_started", "a", None, 2, {"use": "u", "hash": "x"}),
        ("rewind", "a", 3, 2, {}),
        ("saved", "a", 3, 2, saved),
        ("ledger", "a", None, 2, books),
    )
    kept = [(e.name, e.attempt) for e in read_events(path) if e.name in ("metrics", "saved", "ledger")]
    assert kept == [("metrics", 1), ("saved", 2), ("ledger", 2)]


def test_a_rewind_to_0_drops_all_that_earlier_attempts_said_of_the_stage(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    _write(
        path,
        ("stage_started", "a", None, 1, {"use": "u", "hash": "x"}),
        ("warning", "a", None, 1, {"message": "m"}),
        ("dropped", "a", 0, 1, {}),
        ("stage_started", "a", None, 2, {"use": "u", "hash": "x"}),
        ("rewind", "a", 0, 2, {}),
        ("warning", "a", None, 2, {"message": "m"}),
    )
    assert [(e.name, e.attempt) for e in read_events(path)] == [("stage_started", 2), ("rewind", 2), ("warning", 2)]


def test_only_the_events_of_a_stage_s_last_hash_hold(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    lines: list[tuple[str, str, int | None, int, dict[str, Any]]] = [
        ("stage_started", "a", None, 1, {"use": "u", "hash": "x"}),
        ("metrics", "a", 1, 1, {"loss": 1}),
        ("stage_started", "a", None, 2, {"use": "u", "hash": "y"}),
        ("rewind", "a", 0, 2, {}),
        ("metrics", "a", 1, 2, {"loss": 5}),
    ]
    _write(path, *lines)
    assert [e.data["loss"] for e in read_events(path) if e.name == "metrics"] == [5]
    _write(path, *lines, ("stage_reused", "a", None, 3, {"use": "u", "hash": "x"}))
    assert [e.data["loss"] for e in read_events(path) if e.name == "metrics"] == [1]


def test_a_full_disk_is_told_and_leaves_whole_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "events.jsonl"
    log = EventLog(path)
    log.emit(Metrics({}), "a", 1)

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
        log.emit(Metrics({}), "a", 2)
    monkeypatch.setattr(log, "_file", real)
    assert _seen(path) == [("metrics", "a", 1)]
    assert path.read_bytes().endswith(b"\n")
    log.emit(Metrics({}), "a", 2)
    log.close()
    assert _seen(path) == [("metrics", "a", 1), ("metrics", "a", 2)]


def test_an_unwritable_place_is_told(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="is no regular file"):
        EventLog(tmp_path)
