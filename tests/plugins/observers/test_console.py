"""The console, whole output compared."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import pytest
from rich.console import Console as Terminal

from aftertrain.core import events
from aftertrain.core.events import (
    Balance,
    Books,
    Checkpointed,
    Difference,
    Dropped,
    Entry,
    Metrics,
    Other,
    RunDone,
    RunFailed,
    RunStarted,
    ScoreRow,
    Scores,
    StageDone,
    StageReused,
    StageStarted,
    Timing,
    Warned,
)
from aftertrain.core.records import Artifact
from aftertrain.plugins.observers import wording
from aftertrain.plugins.observers.console import Console
from aftertrain.plugins.observers.live import LiveView
from aftertrain.plugins.observers.plain import PlainView
from aftertrain.plugins.observers.progress import Progress
from aftertrain.plugins.observers.settings import ConsoleSettings


class _NoBuilder:
    def build(self, use: object) -> object:
        raise AssertionError("an observer builds nothing")


def _console(**settings: object) -> Console:
    return Console(ConsoleSettings.model_validate(settings), _NoBuilder())  # type: ignore[arg-type]


SCORE = ScoreRow("gsm8k", "exact", 1.0, 0.5, 0.4, 0.6, 100, primary=True)
LENIENT = ScoreRow("gsm8k", "lenient", 1.0, 0.7, 0.6, 0.8, 100, primary=False)
DIFFERENCE = Difference("gsm8k", "exact", 1.0, "base-eval", 0.1, 0.02, 0.18, 100, p_holm=0.07)
BASE = Scores((ScoreRow("gsm8k", "exact", 1.0, 0.4, 0.3, 0.5, 100),), (), ())

ENTRIES = [
    Entry(RunStarted("quick", order=("base-eval", "sft", "sft-eval")), attempt=2, time=100.0),
    Entry(StageReused("x", Artifact("scores", "s", "base-eval", "x", BASE.facts())), "base-eval", time=100.0),
    Entry(StageStarted("train", resumed_from=10), "sft", time=100.0),
    Entry(Dropped({"too_long": 1200, "empty": 0}, ("a",)), "sft", time=100.0),
    Entry(events.Progress(11, 40, "steps"), "sft", 11, time=100.5),
    Entry(Metrics({"loss": 1.25, "grad_norm": 0.5}, {"tokens_per_second": 4321.0}), "sft", 11, time=101.0),
    Entry(events.Progress(30, 40, "steps"), "sft", 30, time=110.0),
    Entry(Metrics({"loss": 1.0, "learning_rate": 1e-3}), "sft", 30, time=110.5),
    Entry(Metrics({"loss": 0.75}), "sft", 40, time=115.0),
    Entry(Checkpointed("x"), "sft", 40, time=115.0),
    Entry(Warned("something odd"), "sft", 40, time=115.0),
    Entry(Other("acme/new", {"a": 1}), "sft", 40, time=115.0),
    Entry(Books({"row": Balance(1300, {"learnt": 100, "dropped: too long": 1200}, {"cut": 9})}), "sft", time=115.0),
    Entry(StageDone(Artifact("model", "runs/quick/stages/sft-1/model", "sft", "1"), Timing(75.0)), "sft", time=115.0),
    Entry(StageStarted("evaluate"), "sft-eval", time=116.0),
    Entry(Scores((SCORE, LENIENT), (DIFFERENCE,), ()), "sft-eval", time=117.0),
    Entry(StageDone(timing=Timing(1.0)), "sft-eval", time=117.0),
    Entry(RunDone(Timing(80.0)), time=117.0),
]


def test_plain_lines(capsys: pytest.CaptureFixture[str]) -> None:
    console = _console(style="auto", every_seconds=5.0)
    console.open(Path("runs/quick"))
    for entry in ENTRIES:
        console.on_event(entry)
    console.close()
    assert capsys.readouterr().out.splitlines() == [
        "quick, attempt 2 in runs/quick: base-eval, sft, sft-eval",
        "base-eval: done already, reused",
        "sft: train, goes on after step 10",
        "sft: rows left out: 1,200 too long",
        "sft: 30/40 steps  loss 1.25  grad norm 0.5  4,321 tokens/s  0:05 left",
        "sft: 40/40 steps  loss 0.75",
        "sft: warning: something odd",
        "sft: books balance: 1,300 rows: 100 learnt, 1,200 dropped: too long; 9 tokens: 9 cut",
        "sft: done in 1:15  loss 1  (mean of the last 3 steps)",
        "sft-eval: evaluate",
        "sft-eval: gsm8k exact at temperature 1: 0.500 [0.400, 0.600], n = 100",
        "sft-eval: gsm8k lenient at temperature 1: 0.700 [0.600, 0.800], n = 100",
        "sft-eval: gsm8k exact at temperature 1 against base-eval: +0.100 [+0.020, +0.180] "
        "(no difference shown, p = 0.07)",
        "sft-eval: done in 0:01",
        "all stages are done in 1:20",
        "score of base-eval: gsm8k exact at temperature 1: 0.400 [0.300, 0.500], n = 100",
        "score of sft-eval: gsm8k exact at temperature 1: 0.500 [0.400, 0.600], n = 100",
        "model of sft: runs/quick/stages/sft-1/model",
        "report: aftertrain report runs/quick",
    ]


def test_a_failed_and_a_stopped_run(capsys: pytest.CaptureFixture[str]) -> None:
    console = _console()
    console.open(Path("runs/quick"))
    console.on_event(Entry(RunFailed("x", at="sft")))
    console.on_event(Entry(RunFailed("x", at="sft", interrupted=True)))
    assert capsys.readouterr().out.splitlines() == [
        "failed in stage sft",
        "stopped in stage sft; the same command goes on from here",
    ]


@pytest.mark.parametrize("width", [80, 120])
def test_the_live_view_shows_a_bar_and_leaves_lines(width: int) -> None:
    screen = io.StringIO()
    view = LiveView(Terminal(file=screen, force_terminal=True, width=width, color_system=None))
    progress = Progress(started=0.0)
    progress.at(1, 40, "steps", 1.0)
    progress.at(11, 40, "steps", 11.0)
    view.progress("sft-of-a-long-name", progress, "loss 1.25  learning rate 0.001  grad norm 2.5  4,321 tokens/s")
    view.bars.refresh()
    view.line("a line [with brackets]")
    view.finish("sft-of-a-long-name")
    view.close()
    drawn = screen.getvalue()
    assert "11/40 steps" in drawn
    assert "1 steps/s  0:29 left" in drawn
    assert "loss 1.25  learning rate 0.001  grad norm 2.5  4,321 tokens/s" in drawn
    assert "a line [with brackets]" in drawn


def test_progress_of_a_resumed_stage_counts_only_what_was_made_since() -> None:
    progress = Progress(started=0.0)
    progress.at(11, 40, "steps", 10.0)
    assert progress.rate is None
    progress.at(21, 40, "steps", 20.0)
    assert progress.rate == 1.0
    assert progress.left == 19.0


def test_progress_of_another_unit_starts_anew() -> None:
    progress = Progress(started=0.0)
    progress.at(10, 10, "steps", 10.0)
    progress.at(0, 100, "problems", 20.0)
    progress.at(50, 100, "problems", 25.0)
    assert progress.rate == 10.0


def test_the_worked_examples_hold() -> None:
    import doctest

    assert doctest.testmod(wording).failed == 0


def test_a_warning_from_elsewhere_commands_no_terminal_and_passes_for_no_other_line(
    capsys: pytest.CaptureFixture[str],
) -> None:
    console = _console(style="plain")
    console.open(Path("runs/quick"))
    console.on_event(Entry(Warned("\x1b[2J\x9b1mhidden\r\nrun: all stages are done\u202e"), "sft", 1))
    console.close()
    assert capsys.readouterr().out.splitlines() == [
        "sft: warning: ␛[2J⟨U+009B⟩1mhidden",
        "    run: all stages are done⟨U+202E⟩",
    ]


def test_a_terminal_that_knows_no_such_letters_gets_their_escapes(monkeypatch: pytest.MonkeyPatch) -> None:
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding="ascii"))
    PlainView(5.0).line("é … \x1b")
    assert written.getvalue() == b"\\xe9 \\u2026 \\u241b\n"
