"""What `plan` refuses `run` refuses before its first stage, and what `run` takes `plan` does not refuse."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import aftertrain
from aftertrain.core.errors import AftertrainError
from aftertrain.core.text.chat import TULU_TEMPLATE

PREFILLED = (
    "{% for m in messages %}{{ '<|' + m['role'] + '|>\n' }}{% if m['role'] == 'assistant' %}"
    "{{ '<think>\n' + (m['reasoning_content'] or '') + '\n</think>\n' + m['content'] + eos_token }}"
    "{% else %}{{ m['content'] + '\n' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>\n<think>\n' }}{% endif %}"
)
OPEN = PREFILLED.replace("'<think>\n' +", "").replace(" + '\n</think>\n'", "")
SYSTEM_ONLY = (
    "{% if messages[0]['role'] != 'system' %}{{ raise_exception('no system turn') }}{% endif %}" + TULU_TEMPLATE
)
NO_DEFAULT = {"tool_use": TULU_TEMPLATE, "rag": TULU_TEMPLATE}
ENDLESS = "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}" + TULU_TEMPLATE
TWICE = "{{ bos_token }}{{ bos_token }}" + TULU_TEMPLATE

ASK, SAY = {"role": "user", "content": "2+2"}, {"role": "assistant", "content": "4"}
PLAIN = {"messages": [ASK, SAY]}
SYSTEM = {"messages": [{"role": "system", "content": "Count."}, ASK, SAY]}
THOUGHT = {"messages": [ASK, {**SAY, "reasoning_content": "two and two"}]}
TEXT = {"text": "a text"}
PROBLEM = {"question": "How many? " * 40, "answer": "#### 4"}

TRAIN = (
    "use: train, optimizer: {lr: 1.0e-3}, max_steps: 1, batch: {sequences: 1, max_tokens: 400}, engine: {device: cpu}"
)
SFT = f"sft: {{{TRAIN}, loss: sft, data: {{use: jsonl, path: rows.jsonl}}}}"
TEXTS = f"sft: {{{TRAIN}, loss: sft, data: {{use: jsonl, path: rows.jsonl, format: text}}}}"
DPO = f"dpo: {{{TRAIN}, loss: dpo, data: {{use: jsonl, path: rows.jsonl}}}}"
ONLINE = (
    "rl: {use: online, optimizer: {lr: 1.0e-3}, steps: 1, loss: ppo, engine: {device: cpu}, rewards: [{use: gsm8k}], "
    "data: {use: jsonl, path: rows.jsonl, format: gsm8k, as: problem}, sampling: {max_new_tokens: 4}, "
    "batch: {prompts: 1, micro_tokens: 90}}"
)
EVALUATED = SFT + ", score: {use: evaluate, from: sft, tasks: [{use: gsm8k, path: long.jsonl, shots: 0}]}"

CASES: dict[str, tuple[Any, Any, str, str]] = {
    "a prefilled template, rows with thoughts": (PREFILLED, THOUGHT, SFT, ""),
    "a prefilled template, rows without": (OPEN, PLAIN, SFT, "begins in its thoughts"),
    "a template that wants a system turn, and has it": (SYSTEM_ONLY, SYSTEM, SFT, ""),
    "a template that wants a system turn": (SYSTEM_ONLY, PLAIN, SFT, "no system turn"),
    "two BOS": (TWICE, PLAIN, SFT, "double BOS"),
    "two BOS, no use of the template": (TWICE, TEXT, TEXTS, ""),
    "no end": (TULU_TEMPLATE.replace(" + eos_token", ""), PLAIN, SFT, ""),
    "several templates": ({"default": TULU_TEMPLATE, "tool_use": TULU_TEMPLATE}, PLAIN, SFT, ""),
    "several templates without a default": (NO_DEFAULT, PLAIN, SFT, "must be named default"),
    "a template without end": (ENDLESS, PLAIN, SFT, "the chat template cannot be used: it goes on"),
    "a template without end, no use of it": (ENDLESS, TEXT, TEXTS, ""),
    "a broken template": ("{% for m in messages %}", PLAIN, SFT, "chat_template.jinja:1: no chat template"),
    "a broken template, no use of it": ("{% for m in messages %}", TEXT, TEXTS, ""),
    "no template": (None, PLAIN, SFT, "no chat template"),
    "no template, no use of one": (None, TEXT, TEXTS, ""),
    "a loss that does not fit": (TULU_TEMPLATE, PLAIN, DPO, "learns from PreferencePair"),
    "an evaluation's prompts too long": (TULU_TEMPLATE, PLAIN, EVALUATED, "do not fit the model's context"),
    "an online stage's replies too long": (TULU_TEMPLATE, PROBLEM, ONLINE, "micro_tokens"),
    "a template that no online prompt passes": (SYSTEM_ONLY, PROBLEM, ONLINE, "no system turn"),
}  # fmt: skip


@pytest.fixture
def recipe(tiny_model: Path, tmp_path: Path) -> Callable[[Any, Any, str], Path]:
    def make(template: Any, row: Any, stages: str) -> Path:
        from transformers import AutoTokenizer

        shutil.copytree(tiny_model, tmp_path / "model")
        tokenizer: Any = AutoTokenizer.from_pretrained(tiny_model)
        tokenizer.chat_template = template
        (tmp_path / "model" / "chat_template.jinja").unlink()
        tokenizer.save_pretrained(tmp_path / "model")
        (tmp_path / "rows.jsonl").write_text(json.dumps(row) + "\n")
        (tmp_path / "long.jsonl").write_text(json.dumps({"question": "How many? " * 400, "answer": "#### 4"}) + "\n")
        (tmp_path / "r.yaml").write_text(f"name: r\nmodel: model\nthreads: 1\nstages: {{{stages}}}\n")
        return tmp_path / "r.yaml"

    return make


def test_a_generation_config_that_is_none_is_told_by_plan_and_run(
    recipe: Callable[[Any, Any, str], Path], tmp_path: Path
) -> None:
    """A list there was an error of the model's loading, after all rows were tokenised; `plan` said nothing."""
    path = recipe(TULU_TEMPLATE, PLAIN, SFT)
    (tmp_path / "model" / "generation_config.json").write_text("[1]")
    said = re.compile(r"generation_config\.json: .*; mend it, or take it out")
    assert any(said.search(error) for error in aftertrain.plan(path, out=tmp_path / "runs").errors)
    with pytest.raises(AftertrainError, match=said):
        aftertrain.run(path, out=tmp_path / "runs", console=False)


@pytest.mark.parametrize("name", CASES)
def test_plan_and_run_say_the_same(name: str, recipe: Callable[[Any, Any, str], Path], tmp_path: Path) -> None:
    template, row, stages, refused = CASES[name]
    path = recipe(template, row, stages)
    planned = aftertrain.plan(path, out=tmp_path / "runs").errors
    said = ""
    try:
        aftertrain.run(path, out=tmp_path / "runs", console=False)
    except AftertrainError as error:
        said = str(error)
    begun = "stage_started" in (tmp_path / "runs" / "r" / "events.jsonl").read_text()
    assert (bool(planned), bool(said), begun) == (bool(refused), bool(refused), not refused)
    assert refused in said
    assert refused in "".join(planned)
