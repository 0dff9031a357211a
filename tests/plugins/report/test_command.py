"""The three ways to a report: the command, the Python call, and the observer of a run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

import aftertrain
from aftertrain.cli import main
from aftertrain.core.errors import RunError
from aftertrain.core.events import Entry, RunFailed


def test_the_command_writes_beside_the_run(make_run: Callable[..., Path], capsys: pytest.CaptureFixture[str]) -> None:
    folder = make_run()
    assert main(["report", str(folder)]) == 0
    assert capsys.readouterr().out == f"{folder / 'report.html'}\n"
    assert (folder / "report.html").read_text(encoding="utf-8").startswith("<!DOCTYPE html>")


def test_a_name_is_found_under_runs_and_out_is_a_file(
    make_run: Callable[..., Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    make_run("runs/quickstart")
    monkeypatch.chdir(tmp_path)
    assert main(["report", "quickstart", "--out", "mine.html"]) == 0
    assert (tmp_path / "mine.html").exists()
    assert not (tmp_path / "runs/quickstart/report.html").exists()


def test_an_unknown_run_names_those_there_are(
    make_run: Callable[..., Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    make_run("runs/quickstart")
    monkeypatch.chdir(tmp_path)
    assert main(["report", "quickstat"]) == 1
    assert capsys.readouterr().err == (
        "error: no run 'quickstat': it is neither a folder nor a name under runs/. Did you mean 'quickstart'? "
        "There are: quickstart.\n"
    )


def test_a_file_that_cannot_be_written_is_named(make_run: Callable[..., Path], tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"nowhere.*cannot write the report"):
        aftertrain.report(make_run(), tmp_path / "nowhere" / "report.html")


def test_the_observer_writes_when_the_run_ends(make_run: Callable[..., Path]) -> None:
    from aftertrain.registry.builder import ComponentBuilder
    from aftertrain.registry.discovery import installed
    from aftertrain.registry.resolve import SettingsResolver

    folder, registry = make_run(until="sft", end="run_failed", error="no"), installed()
    use = SettingsResolver(registry).resolve("observer", {"use": "html", "file": "page.html"})
    observer = ComponentBuilder(registry).build(use)
    observer.open(folder)
    observer.on_event(Entry(RunFailed("no")))
    assert not (folder / "page.html").exists()
    observer.close()
    assert (folder / "page.html").exists()
    assert not list(folder.glob(".writing-*"))
