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


STEP = {
    "reward": 4.27, "reward/verification": 4.5, "reward/length": -0.23, "accuracy": 0.45, "accuracy/gsm8k": 0.71,
    "accuracy/math\n\x1b[2J": 0.19, "kl": 0.256, "sampled_entropy": 0.41, "clip_fraction": 0.031,
    "logprob_difference": 1.2e-6, "effective_samples": 0.9999, "grad_norm": 0.52, "learning_rate": 3e-7,
    "response_length": 1812.4, "finished_rate": 0.98, "constant_groups": 0.25, "paid_alike": 0.0,
}  # fmt: skip
TIMES = {"seconds": 30.0, "generate": 19.5, "verify": 0.25, "update": 8.0, "tokens_per_second": 4321.0}
ONLINE = [
    Entry(StageStarted("online"), "rlvr", time=100.0),
    Entry(events.Progress(1, 40, "steps"), "rlvr", 1, time=100.0),
    Entry(
        Metrics({**STEP, "validation_accuracy": 0.61, "validation_accuracy_low": 0.51}, TIMES), "rlvr", 1, time=101.0
    ),
    Entry(events.Alarm("kl_blow_up", "KL 0.2 → 30 nats a reply", "lower the rate " * 12), "rlvr", 2, time=110.0),
    Entry(Metrics(STEP, TIMES), "rlvr", 2, time=131.0),
    Entry(events.Alarm("kl_blow_up", "its reason has been gone for 5 steps", cleared=True), "rlvr", 3, time=140.0),
    Entry(Metrics(STEP, TIMES), "rlvr", 3, time=161.0),
]


def test_a_step_of_online_learning_in_plain_lines(capsys: pytest.CaptureFixture[str]) -> None:
    console = _console(style="plain", every_seconds=25.0)
    console.open(Path("runs/rl"))
    for entry in ONLINE:
        console.on_event(entry)
    console.close()
    out = capsys.readouterr().out.splitlines()
    assert max(map(len, out)) <= 100
    figures = [
        "    reward 4.27 (verification 4.5, length -0.23)  accuracy 45 %  held-out 61 %",
        "    accuracy by source: gsm8k 71 %, math ␛[2J 19 %",
        "    KL 0.256  sampled entropy 0.41  clipped 3.1 %  parity 1.2e-06  effective samples 100 %",
        "    grad norm 0.52  learning rate 3e-07",
        "    1,812 tokens a reply  2 % cut  groups of one reward 25 %  paid for one text 0 %",
        "    30 s a step: generate 19.5, verify 0.25, update 8, other 2.25  4,321 tokens/s",
    ]
    assert out == [
        "rlvr: online",
        "rlvr: alarm kl_blow_up: KL 0.2 → 30 nats a reply",
        "    lower the rate lower the rate lower the rate lower the rate lower the rate lower the rate",
        "    lower the rate lower the rate lower the rate lower the rate lower the rate lower the rate",
        "rlvr: 2/40 steps  19:38 left",
        *figures,
        "    alarms: kl_blow_up",
        "rlvr: alarm kl_blow_up is over: its reason has been gone for 5 steps",
        "rlvr: 3/40 steps  18:48 left",
        *figures,
    ]


def test_a_step_of_online_learning_on_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    """Six lines below the bar, each whole in 100 columns, and the time left in the bar."""
    screen = io.StringIO()
    console = _console(style="plain")
    console.open(Path("runs/rl"))
    console.view = LiveView(Terminal(file=screen, force_terminal=True, width=100, color_system=None))
    for entry in ONLINE:
        console.on_event(entry)
    console.view.bars.refresh()
    console.close()
    drawn = screen.getvalue()
    assert "3/40 steps" in drawn
    assert "18:48 left" in drawn
    assert "  30 s a step: generate 19.5, verify 0.25, update 8, other 2.25  4,321 tokens/s" in drawn
    assert "  reward 4.27 (verification 4.5, length -0.23)  accuracy 45 %  held-out 61 %" in drawn
    assert "…" not in drawn
    assert "\x1b[2J" not in drawn


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
