"""The stage `synthesize` (F10) from a recipe, with a teacher from a file that says what the test wants."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from aftertrain.cli import main

TEACHER = '''
"""A teacher without a model: what it says is a pure function of the prompt and the seed."""

import os
import re
from pathlib import Path

from aftertrain.core.generator import GenerationRequest
from aftertrain.core.records import Completion
from aftertrain.plugins.judging.echo import Echo


class Teacher(Echo):
    """Counts what it is asked in a file."""

    def _completion(self, request: GenerationRequest) -> Completion:
        prompt = self._tokenizer.decode(list(request.prompt_ids), clean_up_tokenization_spaces=False)
        with (Path(__file__).parent / "asked").open("a") as file:
            file.write("x")
        said = answer(prompt, request.seed)
        ids = self._tokenizer(said, add_special_tokens=False)["input_ids"] or [5]
        n = len(ids)
        return Completion(request.id, request.prompt_ids, tuple(ids), (0.0,) * n, (0,) * n, "stop", said)


def answer(prompt: str, seed: int) -> str:
    if "SAY " in prompt:  # the template names the persona, and the persona what is to be written
        return prompt.partition("SAY ")[2].partition(" END")[0]
    if "three and four" in prompt:
        return "It is \\\\boxed{7}." if seed % 3 else "It is \\\\boxed{8}."
    if "nobody knows" in prompt:
        return f"\\\\boxed{{{seed}}}"
    return "hello there, friend"
'''
RECIPE = """
name: made
model: package:aftertrain.plugins.quickstart/model
stages:
  made:
    use: synthesize
    skill: {skill}
    rows: {rows}
    teacher:
      model: package:aftertrain.plugins.quickstart/model
      generator: {{use: "./teacher.py:Teacher"}}
      sampling: {{temperature: 1.0, max_new_tokens: 60}}
      max_prompt_tokens: 190
    template: ./words.md
    personas: ./personas.txt
    answers: {answers}
    license: Apache-2.0
    {more}
"""


def recipe(folder: Path, personas: list[str], skill: str = "mathematics", answers: int = 9, more: str = "") -> Path:
    (folder / "teacher.py").write_text(TEACHER, encoding="utf-8")
    (folder / "words.md").write_text("version: 7\nlicense: Apache-2.0\n---\n$persona", encoding="utf-8")
    (folder / "personas.txt").write_text("\n".join(personas), encoding="utf-8")
    path = folder / "recipe.yaml"
    path.write_text(RECIPE.format(skill=skill, rows=len(personas), answers=answers, more=more), encoding="utf-8")
    return path


def run(path: Path) -> int:
    return main(["run", str(path), "--out", str(path.parent / "runs")])


def made(folder: Path) -> list[dict[str, Any]]:
    (found,) = (folder / "runs" / "made" / "stages").glob("made-*/data/rows/part-00000.jsonl")
    return [json.loads(line) for line in found.read_text(encoding="utf-8").splitlines()]


def lost(folder: Path) -> dict[str, int]:
    (found,) = (folder / "runs" / "made" / "stages").glob("made-*/data/dropped/part-00000.jsonl")
    reasons = [json.loads(line)["reason"] for line in found.read_text(encoding="utf-8").splitlines()]
    return {reason: reasons.count(reason) for reason in reasons}


SUMS = [
    "SAY <problem>What is three and four?</problem> END",
    "SAY <problem>What nobody knows?</problem> END",
    "SAY <problem>What is  THREE and four?</problem> END",
    "SAY no tags END",
]


def test_the_majority_decides(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Of nine answers to the sum most say 7; what nobody knows has no majority; the same prompt counts once."""
    assert run(recipe(tmp_path, [*SUMS[:2], SUMS[3]])) == 0
    (row,) = made(tmp_path)
    facts = json.loads(row["facts"])
    assert row["messages"][0]["content"] == "What is three and four?\n\nState the final answer in \\boxed{}."
    assert row["messages"][1]["content"] == "It is \\boxed{7}."
    assert 0.5 < facts["synthesize.agreement"] < 1
    assert facts["synthesize.template"] == "words.md 7"
    assert (row["license"], row["source"], row["history"]) == ("Apache-2.0", "synthetic-mathematics", ["synthesize"])
    assert lost(tmp_path) == {"no_majority": 1, "no_prompt": 1}
    told = capsys.readouterr()
    (books,) = re.findall(r"books balance: (.*)", told.out + told.err)
    assert books == "3 rows: 1 kept, 1 dropped: no majority, 1 dropped: no prompt"
    assert main(["show", "rows", f"{tmp_path / 'runs' / 'made'}:made", "--dropped", "synthesize"]) == 0
    shown = capsys.readouterr().out
    assert "no_majority" in shown
    assert "What nobody knows?" in shown


def test_a_prompt_that_is_written_again_counts_once(tmp_path: Path) -> None:
    assert run(recipe(tmp_path, [SUMS[0], SUMS[2]], more="keep: all", answers=1)) == 0
    assert lost(tmp_path) == {"repeated": 1}


def test_problems_carry_the_answer_that_was_agreed_on(tmp_path: Path) -> None:
    assert run(recipe(tmp_path, SUMS[:1], more="output: problem")) == 0
    (row,) = made(tmp_path)
    assert json.loads(row["checks"]) == [["math", "7"]]


def test_what_is_left_out_was_paid_too(tmp_path: Path) -> None:
    """Three prompts of which two are left out: one reply for each prompt, and nine answers to two of them."""
    path = recipe(tmp_path, [*SUMS[:2], SUMS[3]])
    path.write_text(
        path.read_text().replace(
            "max_prompt_tokens: 190", "max_prompt_tokens: 190\n      prices: {prompt: 0, reply: 1e6}"
        ),
        encoding="utf-8",
    )
    assert run(path) == 0
    (done,) = (tmp_path / "runs" / "made" / "stages").glob("made-*/done.json")
    details = json.loads(done.read_text(encoding="utf-8"))["artifact"]["details"]
    tokens = json.loads(made(tmp_path)[0]["facts"])["synthesize.reply_tokens"]
    left = (done.parent / "data" / "dropped" / "part-00000.jsonl").read_text(encoding="utf-8").splitlines()
    lost_tokens = [json.loads(json.loads(line)["facts"])["synthesize.reply_tokens"] for line in left]
    assert min(tokens, *lost_tokens) > 0
    assert details["reply_tokens"] == details["cost"] == tokens + sum(lost_tokens)


def test_no_reply_is_paid_twice(tmp_path: Path) -> None:
    """Another rule chooses among the same answers: the stage is done again, and nothing is asked again."""
    path = recipe(tmp_path, SUMS[:2])
    assert run(path) == 0
    asked = (tmp_path / "asked").read_text()
    assert len(asked) == 2 + 2 * 9
    path.write_text(path.read_text().replace("answers: 9", "answers: 9\n    agreement: 0.9"), encoding="utf-8")
    assert run(path) != 0  # nothing agrees so far
    assert (tmp_path / "asked").read_text() == asked


def test_a_budget_leaves_prompts_out_and_says_so(tmp_path: Path) -> None:
    path = recipe(tmp_path, [f"SAY <problem>What is three and four times {n}?</problem> END" for n in range(6)])
    path.write_text(
        path.read_text().replace("max_prompt_tokens: 190", "max_prompt_tokens: 190\n      budget: {calls: 30}"),
        encoding="utf-8",
    )
    assert run(path) == 0
    assert lost(tmp_path)["budget"] >= 1
    assert len((tmp_path / "asked").read_text()) <= 30


def test_instructions_are_held_to_their_constraint(tmp_path: Path) -> None:
    """The answer has a comma and no title: of the constraints it keeps lowercase, no forbidden word, few words."""
    personas = [f"SAY <problem>Greet me {n} times.</problem> END" for n in range(24)]
    assert run(recipe(tmp_path, personas, skill="instructions", answers=1, more="output: problem")) == 0
    rows = made(tmp_path)
    kept = {json.loads(row["checks"])[0][1]["instruction_id_list"][0] for row in rows}
    assert kept <= {"change_case:english_lowercase", "keywords:forbidden_words", "length_constraints:number_words"}
    assert all(re.match(r"Greet me \d+ times\.\n\n\S", row["prompt"][0]["content"]) for row in rows)
    assert lost(tmp_path) == {"not_right": 24 - len(rows)}


def test_a_template_without_a_persona_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = recipe(tmp_path, SUMS[:1])
    (tmp_path / "words.md").write_text("Write a problem.", encoding="utf-8")
    assert main(["plan", str(path)]) != 0
    told = capsys.readouterr()
    assert "a template says where the persona stands, by $persona" in told.out + told.err
