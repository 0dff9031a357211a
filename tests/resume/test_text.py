"""Text that UTF-8 cannot hold, from a program or a model, in a run from a recipe: nothing ends, all resumes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import aftertrain
from aftertrain.cli import main
from aftertrain.core.errors import AftertrainError
from aftertrain.core.events.lines import read_events

SCRIPTED = '''
from collections.abc import Sequence
from dataclasses import replace
from aftertrain.plugins.generation.settings import TransformersSettings
from aftertrain.plugins.generation.transformers import Transformers

TEXT = "```python\\nraise ValueError(chr(0xd800) + chr(27) + '[2J')\\n```\\n" + chr(0xdfff)

class Scripted(Transformers):
    """The model's tokens with a text of one's own."""

    Config = TransformersSettings

    def collect(self, timeout=None):
        return [replace(completion, text=TEXT) for completion in super().collect(timeout)]
'''
RECIPE = """
name: halves
model: {model}
threads: 1
observers: [console, html]
stages:
  rlvr:
    use: online
    advantages: group
    loss: grpo
    data: {{use: jsonl, path: problems.jsonl, format: rlvr}}
    rewards: [{{use: code, sandbox: auto}}]
    checks: {{gsm8k: code}}
    reward: {{missing_eos: null}}
    kl: {{beta: 0.0}}
    generator: ./scripted.py:Scripted
    sampling: {{max_new_tokens: 4}}
    batch: {{prompts: 2, samples_per_prompt: 2, updates: 1}}
    steps: 2
    checkpoint_every: 1
    optimizer: {{lr: 1.0e-4}}
  judged:
    use: evaluate
    from: rlvr
    tasks:
      - use: problems
        data: {{use: jsonl, path: problems.jsonl, format: rlvr}}
        verifier: {{use: code, sandbox: auto}}
        check: gsm8k
    generator: ./scripted.py:Scripted
    max_new_tokens: 4
"""


@pytest.mark.slow
def test_a_program_that_raises_half_a_character_ends_no_run(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    rows = [
        {
            "id": f"p{i}",
            "messages": [{"role": "user", "content": f"Write f{i}."}],
            "ground_truth": ["assert True"],
            "dataset": "gsm8k",
        }
        for i in range(4)
    ]
    Path("problems.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    Path("scripted.py").write_text(SCRIPTED)
    Path("recipe.yaml").write_text(RECIPE.format(model=tiny_model))
    assert main(["run", "recipe.yaml"]) == 0
    run = Path("runs/halves")
    told = [event for event in read_events(run / "events.jsonl") if event.name == "sample"]
    details = {verdict["detail"] for event in told for verdict in event.data["verdicts"]}
    assert any("\\ud800" in detail for detail in details), details
    shown = capsys.readouterr().out
    assert "\x1b" not in shown
    for file in [*run.rglob("*.json"), *run.rglob("*.jsonl"), run / "report.html"]:
        file.read_text(encoding="utf-8")
    for done in run.glob("stages/*/done.json"):
        done.unlink()
    assert main(["run", "recipe.yaml"]) == 0, "a resume goes over the same texts"
    assert main(["lineage", "runs/halves"]) == 0


def test_verify_writes_what_programs_said(tmp_path: Path) -> None:
    cases = tmp_path / "cases.jsonl"
    cases.write_text(json.dumps({"response": "\ud800\\boxed{\udfff\x9b}", "ground_truth": "\ud800"}) + "\n")
    assert main(["verify", "math", str(cases), "--workers", "1", "--out", str(tmp_path / "out.jsonl")]) == 0
    written = (tmp_path / "out.jsonl").read_text(encoding="utf-8")
    assert "\x9b" not in written
    json.loads(written)["extracted"].encode()


def test_a_row_that_no_tokenizer_takes_is_named(tmp_path: Path) -> None:
    path = tmp_path / "q.jsonl"
    path.write_text('{"question": "1 + 1?", "answer": "#### 2"}\n{"question": "\\ud800?", "answer": "#### 2"}\n')
    with pytest.raises(AftertrainError, match=r"q.jsonl:2: .*half of a surrogate pair"):
        aftertrain.evaluate("package:aftertrain.plugins.quickstart/model", {"use": "gsm8k", "path": str(path)})
