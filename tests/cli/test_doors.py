"""What a stranger's file, model or thread does to a command: it fails with a word, never as if all were well."""

from __future__ import annotations

import ast
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from aftertrain.cli import main

ROOT = Path(__file__).resolve().parents[2]
LOADING = {"from_pretrained", "from_config"}
"""Functions of transformers that run a model's own code where they are told to, and ask where they are not told."""
RECIPE = """name: r
model: {model}
stages:
  a:
    use: train
    data: {{use: jsonl, path: x.jsonl, format: messages}}
    loss: {{use: {loss}}}
    batch: {{sequences: 1, max_tokens: 64}}
    optimizer: {{lr: 1.0e-3}}
    epochs: 1
"""
ROW = {"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}


def _recipe(folder: Path, model: object, loss: str = "sft") -> Path:
    (folder / "x.jsonl").write_text(json.dumps(ROW) + "\n")
    (folder / "r.yaml").write_text(RECIPE.format(model=model, loss=loss))
    return folder / "r.yaml"


@pytest.mark.parametrize("command", ["run", "plan", "show-batch", "check-invariants"])
@pytest.mark.parametrize("source", ["import sys; sys.exit(0)", "raise KeyboardInterrupt", "raise GeneratorExit"])
def test_a_component_file_that_ends_the_program_fails_the_command(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], command: str, source: str
) -> None:
    (tmp_path / "mine.py").write_text(source)
    assert main([command, str(_recipe(tmp_path, tmp_path, "'./mine.py:Mine'"))]) == 2
    said = capsys.readouterr().err
    assert f"r.yaml:7:12 stages.a.loss.use: {tmp_path / 'mine.py'} raised " in said
    assert "which would have ended the program" in said


def test_whatever_else_would_end_a_command_is_an_error(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from aftertrain.cli import components

    def ends() -> None:
        sys.exit(0)

    monkeypatch.setattr(components, "installed", ends)
    assert main(["list"]) == 1
    assert "error: SystemExit: 0 (" in capsys.readouterr().err


def test_no_command_reads_standard_input_unasked(monkeypatch: pytest.MonkeyPatch) -> None:
    from aftertrain.cli import components

    read: list[object] = []
    reader, writer = os.pipe()
    os.write(writer, b"y\n")
    os.close(writer)
    kept = os.dup(0)
    os.dup2(reader, 0)

    def asks() -> None:
        read.append((sys.stdin.read(), os.read(0, 10)))
        raise SystemExit

    monkeypatch.setattr(components, "installed", asks)
    before = sys.stdin
    try:
        main(["list"])
        assert read == [("", b"")]
        assert sys.stdin is before
        assert os.read(0, 10) == b"y\n"
    finally:
        os.dup2(kept, 0)
        os.close(kept)
        os.close(reader)


@pytest.mark.parametrize("part", ["config", "tokenizer"])
@pytest.mark.parametrize("command", ["plan", "run"])
def test_a_model_s_own_code_is_neither_run_nor_asked_about(
    tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], part: str, command: str
) -> None:
    model = tmp_path / "model"
    shutil.copytree(tiny_model, model)
    file = model / {"config": "config.json", "tokenizer": "tokenizer_config.json"}[part]
    facts = json.loads(file.read_text())
    if part == "config":
        facts |= {"model_type": "own", "auto_map": {"AutoConfig": "own.C", "AutoModelForCausalLM": "own.M"}}
    else:
        facts |= {"tokenizer_class": "Own", "auto_map": {"AutoTokenizer": ["own.T", "own.T"]}}
    file.write_text(json.dumps(facts))
    mark = tmp_path / "ran"
    (model / "own.py").write_text(f"open({str(mark)!r}, 'w')\nclass C: ...\nclass M: ...\nclass T: ...\n")
    assert main([command, str(_recipe(tmp_path, model)), "--out", str(tmp_path / "runs")]) == 1
    said = capsys.readouterr()
    assert "needs Python code that comes with the model" in said.out + said.err
    assert "[y/N]" not in said.out + said.err
    assert not mark.exists()


def test_every_call_that_loads_says_no_to_a_model_s_own_code() -> None:
    silent = []
    for folder in ("core", "plugins", "registry", "src/aftertrain"):
        for file in sorted((ROOT / folder).rglob("*.py")):
            for node in ast.walk(ast.parse(file.read_text())):
                if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
                    continue
                given = {key.arg: ast.unparse(key.value) for key in node.keywords}
                if node.func.attr in LOADING and given.get("trust_remote_code") != "False":
                    silent.append(f"{file.relative_to(ROOT)}:{node.lineno}")
    assert not silent, f"say trust_remote_code=False: {silent}"


@pytest.mark.slow
def test_a_thread_that_a_component_left_running_does_not_hold_the_program(tmp_path: Path) -> None:
    program = (
        "import threading, sys, aftertrain.cli.terminal as terminal\n"
        "terminal.TOLD_AFTER = terminal.ENDED_AFTER = 0.1\n"
        "threading.Thread(target=threading.Event().wait, name='mine').start()\n"
        "terminal.leave(3)\n"
        "sys.exit(3)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 3
    assert "a component left running: 'mine'" in done.stderr
