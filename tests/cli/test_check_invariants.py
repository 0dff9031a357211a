"""`aftertrain check-invariants`: the table, its file for machines, the exit status, and what is left alone."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from aftertrain.api import invariants as api_invariants
from aftertrain.api.invariants import StageInvariants, environment
from aftertrain.cli import main
from aftertrain.cli.check_invariants import show_finding, show_start
from aftertrain.invariants.finding import INVARIANTS, Finding, Measure

KEPT = Finding("packed", "scores of 9 tokens", (Measure("scores", 1.25e-7, 2e-5),), seconds=12.34)
BROKEN = Finding("resume", "a checkpoint", (Measure("tensors", 3.0, 0.0), Measure("metrics", 0.0, 0.0)), "differ: w")
LEFT = Finding("ranks", note="left out (--no-ranks)", unchecked=True)


def test_a_deviation_over_its_tolerance_or_not_a_number_is_broken() -> None:
    def state(*deviations: float) -> str:
        return Finding("packed", "", tuple(Measure("x", deviation, 1e-5) for deviation in deviations)).state

    assert (state(1e-5), state(1.1e-5), state(0.0, float("nan")), state()) == ("holds", "broken", "broken", "holds")
    assert Finding("packed", failed=True).state == "broken"
    assert LEFT.state == "not checked"


def test_the_table(capsys: pytest.CaptureFixture[str]) -> None:
    for finding in (None, KEPT, BROKEN, LEFT):
        show_finding("sft", "8 rows", finding)
    assert [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()] == [
        "",
        "sft 8 rows",
        "invariant time largest deviation tolerance compared",
        "packed holds 12.3 s scores 1.2e-07 scores 2e-05 scores of 9 tokens",
        "resume BROKEN 0.0 s tensors 3 bits a checkpoint",
        "metrics 0 bits differ: w",
        "ranks not checked 0.0 s left out (--no-ranks)",
    ]


def test_a_terminal_shows_what_is_being_measured(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    show_start("packed")
    assert not capsys.readouterr().out
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    show_start("packed")
    show_finding("sft", "8 rows", KEPT)
    running, row = capsys.readouterr().out.split("\r\033[K")
    assert running.split() == ["packed", "…"]
    assert row.startswith("packed ")


def test_status_and_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    found = [StageInvariants("sft", "8 rows", (KEPT,))]
    asked: dict[str, Any] = {}

    def check(recipe: str, overrides: tuple[str, ...], **options: Any) -> list[StageInvariants]:
        asked.update(options, recipe=recipe, overrides=overrides)
        return found

    monkeypatch.setattr(api_invariants, "check_invariants", check)
    assert main(["check-invariants", "r.yaml", "a=1", "--stage", "sft", "--rows", "3", "--no-ranks"]) == 0
    del asked["on_finding"], asked["on_start"]
    assert asked == {"recipe": "r.yaml", "overrides": ("a=1",), "stage": "sft", "rows": 3, "ranks": False}
    found.append(StageInvariants("dpo", "8 pairs", (BROKEN, LEFT)))
    assert main(["check-invariants", "r.yaml", "--json", str(tmp_path / "table.json")]) == 1
    assert capsys.readouterr().out.endswith("1 hold, 1 broken, 1 not checked in 12 s\nBROKEN: dpo: resume\n")
    table = json.loads((tmp_path / "table.json").read_text())
    assert [stage["stage"] for stage in table["stages"]] == ["sft", "dpo"]
    assert table["stages"][1]["findings"][0] == {
        "invariant": "resume",
        "meaning": INVARIANTS["resume"],
        "state": "broken",
        "compared": "a checkpoint",
        "measures": [
            {"name": "tensors", "deviation": 3.0, "tolerance": 0.0, "holds": False},
            {"name": "metrics", "deviation": 0.0, "tolerance": 0.0, "holds": True},
        ],
        "note": "differ: w",
        "seconds": 0.0,
    }


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--stage", "stf"], "no stage named 'stf'. Did you mean 'sft'?"),
        (["--rows", "0"], "0 is not in the range x>=1"),
        (["model=./nowhere"], "nowhere': there is no folder"),
    ],
)
def test_mistakes(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check-invariants", "quickstart", *arguments]) != 0
    assert message in capsys.readouterr().err


def test_a_stage_that_trains_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check-invariants", "quickstart", "--stage", "base-eval"]) == 0
    assert "base-eval  the stage 'evaluate' trains no model" in capsys.readouterr().out


@pytest.mark.slow
def test_an_update_batch_of_an_online_stage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """PPO with its critic, without a rollout; nothing is left behind."""
    monkeypatch.chdir(tmp_path)
    with environment("AFTERTRAIN_CACHE", str(tmp_path / "cache")):
        arguments = ["check-invariants", "quickstart", "--stage", "rlvr", "--rows", "3", "--json", "table.json"]
        assert main(arguments) == 0
    capsys.readouterr()
    (stage,) = json.loads((tmp_path / "table.json").read_text())["stages"]
    assert "made-up replies" in stage["about"]
    states = {finding["invariant"]: finding["state"] for finding in stage["findings"]}
    unchecked = dict.fromkeys(("ranks", "reference", "resume"), "not checked")
    assert states == {**dict.fromkeys(INVARIANTS, "holds"), **unchecked}
    assert all(finding["note"] for finding in stage["findings"] if finding["state"] == "not checked")
    assert [path.name for path in tmp_path.iterdir()] == ["table.json"]


@pytest.mark.slow
def test_groups_of_replies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """GRPO, with the KL penalty in the loss."""
    monkeypatch.chdir(tmp_path)
    overrides = {
        "stages.rlvr.loss": {"use": "grpo"},
        "stages.rlvr.advantages": "group",
        "stages.rlvr.critic": None,
        "stages.rlvr.batch.samples_per_prompt": 2,
        "stages.rlvr.kl.place": "loss",
        "stages.rlvr.kl.estimator": "k3",
    }
    (found,) = api_invariants.check_invariants("quickstart", overrides, stage="rlvr", rows=3, ranks=False)
    assert not found.broken, [finding.dump() for finding in found.broken]


def test_words_of_overrides() -> None:
    """What a mapping says, as the other processes are told it."""
    assert api_invariants.as_words({"a": "x", "b.c": {"use": "dpo", "beta": 2}}) == [
        "a=x",
        'b.c={"use": "dpo", "beta": 2}',
    ]


def test_the_environment_comes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    monkeypatch.setenv("HERE_ALREADY", "1")
    checked: Callable[[str], str | None] = os.environ.get
    with environment("HERE_ALREADY", "2"), environment("NOT_YET", "3"):
        assert (checked("HERE_ALREADY"), checked("NOT_YET")) == ("2", "3")
    assert (checked("HERE_ALREADY"), checked("NOT_YET")) == ("1", None)
