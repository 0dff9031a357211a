"""`aftertrain plan MODEL TASK…`: tokens, minutes, what is missing, and what the questions could show."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
from click.testing import CliRunner, Result

from aftertrain.api.finished import finished_evaluation
from aftertrain.api.rates import known_rate
from aftertrain.cli import main
from aftertrain.cli.plan import plan
from aftertrain.core.sandbox import level as level_module
from aftertrain.core.sandbox.level import Level
from aftertrain.plugins.instructions import resources
from aftertrain.plugins.unseen.examples import SCIENCE


def call(*words: object) -> Result:
    return CliRunner().invoke(plan, list(map(str, words)))


@pytest.fixture
def sums(tmp_path: Path) -> Path:
    path = tmp_path / "sums.jsonl"
    rows = [{"question": f"What is {i} + 1?", "answer": f"#### {i + 1}"} for i in range(400)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_what_an_evaluation_costs_and_shows(tiny_model: Path, sums: Path) -> None:
    """400 questions of 10 tokens a reply: 4,000 at most, a minute at 100 a second beside what is read."""
    words = ("gsm8k", f"path={sums}", "shots=0", "chat=false", "--max-new-tokens", 10, "--rate", "1e9/100")
    result = call(tiny_model, *words, "--detect", "5pt", "--limit", 300)
    assert result.exit_code == 0, result.output
    header, row, *rest = result.output.splitlines()
    assert header.split("  ")[-1].strip() == "n for 5pt"
    cells = [cell.strip() for cell in row.split("  ") if cell.strip()]
    assert (cells[0], cells[1], cells[3], cells[4]) == ("gsm8k", "300 of 400", "3,000", "0.5")
    assert cells[5:8] == ["5.1 pt", "8.8 pt", "10.2 pt"], "at d of 0.1, 0.3 and 0.4"
    assert cells[8] == "940, more than the 400 there are"
    assert rest[0].startswith("1 of 1 tasks can be run: ")
    assert rest[-1] == "--limit 940 asks for enough; gsm8k has fewer"


def test_what_is_missing_is_told_for_each_task(tiny_model: Path, sums: Path, tmp_path: Path) -> None:
    words = ("gsm8k", f"path={sums}", "shots=0", "piqa", "--data", tmp_path)
    result = call(tiny_model, *words)
    assert result.exit_code == 0
    assert "piqa: missing: " in result.output
    assert "needs ybisk/piqa/plain_text/validation.jsonl" in result.output
    assert "minutes need a rate: no evaluation of this model" in result.output
    assert call(tiny_model, "piqa", "--data", tmp_path).exit_code == 1


def test_a_prompt_beyond_the_context_keeps_a_task_from_running(tiny_model: Path, tmp_path: Path) -> None:
    """As `evaluate` refuses it; the task is not counted among those that can be run."""
    path = tmp_path / "long.jsonl"
    path.write_text(json.dumps({"question": "What is 1 + 1? " * 2_000, "answer": "#### 2"}) + "\n", encoding="utf-8")
    result = call(tiny_model, "gsm8k", f"path={path}", "shots=0", "chat=false")
    assert "gsm8k: missing: the longest prompt has " in result.output
    assert "0 of 1 tasks can be run" in result.output
    assert result.exit_code == 1


def test_a_gate_and_a_seal_are_told(tiny_model: Path, tmp_path: Path) -> None:
    gate = "needs Idavidrein/gpqa/gpqa_main/train.jsonl"
    cure = "gated: accept its terms at huggingface.co/datasets/Idavidrein/gpqa, then 'hf auth login'"
    result = call(tiny_model, "gpqa", "--data", tmp_path)
    assert (gate in result.output, cure in result.output) == (True, True)
    write_science(tmp_path)
    assert "a reason to score the sealed benchmark 'gpqa'" in call(tiny_model, "gpqa", "--data", tmp_path).output
    opened = call(tiny_model, "gpqa", "--data", tmp_path, "--unseal", "the final model")
    assert opened.exit_code == 0, opened.output
    assert "1 of 1 tasks can be run" in opened.output


def write_science(folder: Path) -> None:
    file = folder / "Idavidrein/gpqa/gpqa_main/train.jsonl"
    file.parent.mkdir(parents=True)
    file.write_text(json.dumps(SCIENCE) + "\n", encoding="utf-8")


def test_repeated_ids_are_told(tiny_model: Path, tmp_path: Path) -> None:
    rows = [{"id": id_, "question": "Sky?", "choices": ["blue", "red"], "answer": 0} for id_ in "abab"]
    path = tmp_path / "sky.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    result = call(tiny_model, "multiple_choice", f"path={path}")
    assert result.exit_code == 0, result.output
    assert "2 rows have the id of an earlier one: each is scored, under an id with a number ('a-2')" in result.output


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("gsm8k", "path=x", "--detect", "much"), "a difference is given in points, as in 2pt"),
        (("gsm8k", "path=x", "--rate", "fast"), "as READ/WRITE, as in 20000/900"),
        (("a.b=1", "--limit", "3"), "belong to: aftertrain plan MODEL TASK"),
        (("gsm9k", "path=x"), "Did you mean 'gsm8k'"),
    ],
)
def test_what_is_wrong_is_told(tiny_model: Path, words: tuple[str, ...], message: str) -> None:
    result = call(tiny_model, *words)
    assert result.exit_code != 0
    assert message in result.output + str(result.exception)


def missing(told: str, task: str) -> list[str]:
    """What a plan says is missing for a task."""
    return [line.partition("missing: ")[2] for line in told.splitlines() if line.startswith(f"{task}: missing: ")]


def test_what_instructions_need_of_nltk_is_told(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "google/IFEval/default/train.jsonl"
    file.parent.mkdir(parents=True)
    row = {"key": 1, "prompt": "Say it.", "instruction_id_list": ["punctuation:no_comma"], "kwargs": [{}]}
    file.write_text(json.dumps(row) + "\n", encoding="utf-8")
    assert call(tiny_model, "ifeval", "--data", tmp_path).exit_code == 0
    monkeypatch.setattr(resources, "folders", list)
    result = call(tiny_model, "ifeval", "--data", tmp_path)
    (told,) = missing(result.output, "ifeval")
    assert told.startswith("task 'ifeval' needs NLTK's tokenizers/punkt_tab/english")
    assert told.endswith("pip install 'aftertrain[verifiers]'")
    assert result.exit_code == 1


def test_a_judge_and_its_key_are_told(tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "walledai/XSTest/default/test.jsonl"
    file.parent.mkdir(parents=True)
    file.write_text(json.dumps({"prompt": "Kill it?", "label": "safe", "type": "homonyms"}) + "\n", encoding="utf-8")
    (told,) = missing(call(tiny_model, "xstest", "--data", tmp_path).output, "xstest")
    assert told.startswith("task 'xstest': no judge: give one, as in 'judge: {use: wildguard")
    monkeypatch.delenv("NO_KEY_OF_A_JUDGE", raising=False)
    asked = "model: 'http://localhost:1/v1#judge', generator: {use: openai, api: completions, key: NO_KEY_OF_A_JUDGE}"
    judge = f"judge={{use: wildguard, {asked}}}"
    told = missing(call(tiny_model, "xstest", judge, "--data", tmp_path).output, "xstest")[0]
    assert told == "verifier wildguard: generator.key: the environment variable NO_KEY_OF_A_JUDGE is not set"
    monkeypatch.setenv("NO_KEY_OF_A_JUDGE", "a word")
    result = call(tiny_model, "xstest", judge, "--data", tmp_path)
    assert result.exit_code == 0, result.output


def test_a_sandbox_that_is_too_weak_is_told(tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "openai/openai_humaneval/openai_humaneval/test.jsonl"
    file.parent.mkdir(parents=True)
    row = {"task_id": "HumanEval/0", "prompt": "def f():\n", "entry_point": "f", "canonical_solution": "    return 1\n"}
    file.write_text(json.dumps({**row, "test": "def check(f):\n    assert f() == 1\n"}) + "\n", encoding="utf-8")
    monkeypatch.setitem(level_module.chosen_level, "level", Level("rlimits"))
    (told, *_) = missing(call(tiny_model, "humaneval", "sandbox=required", "--data", tmp_path).output, "humaneval")
    assert "isolation is required" in told


def test_a_model_without_a_chat_template_is_told(tiny_model: Path, sums: Path, tmp_path: Path) -> None:
    bare = tmp_path / "bare"
    shutil.copytree(tiny_model, bare)
    (bare / "chat_template.jinja").unlink(missing_ok=True)
    settings = json.loads((bare / "tokenizer_config.json").read_text())
    settings.pop("chat_template", None)
    (bare / "tokenizer_config.json").write_text(json.dumps(settings))
    (told,) = missing(call(bare, "gsm8k", f"path={sums}").output, "gsm8k")
    assert "chat template" in told
    assert call(bare, "gsm8k", f"path={sums}", "shots=0", "--chat-template", "tulu").exit_code == 0


def test_minutes_rest_on_what_an_earlier_evaluation_measured(
    tiny_model: Path, sums: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Read and written are told apart where a task of each kind was run; and of another model nothing is known."""
    monkeypatch.chdir(tmp_path)
    choices = tmp_path / "even.jsonl"
    choices.write_text(
        "".join(f'{{"question": "Is {i} even?", "choices": ["yes", "no"], "answer": 0}}\n' for i in range(9))
    )
    asked = ("gsm8k", f"path={sums}", "shots=0", "chat=false", "max_new_tokens=10")
    words = [*map(str, asked), "multiple_choice", f"path={choices}", "--limit", "8", "--out", "runs/before"]
    assert main(["evaluate", str(tiny_model), *words]) == 0
    written, read = sorted(finished_evaluation(Path("runs/before")).speeds, key=lambda speed: -speed.written)
    rate = known_rate(str(tiny_model.resolve()), Path("runs"))
    assert rate is not None
    assert rate.write is not None
    assert rate.read == pytest.approx(read.read / read.seconds)
    assert rate.minutes(written.read, written.written) == pytest.approx(written.seconds / 60)
    result = call(tiny_model, *asked)
    assert f"{rate.read:,.0f} tokens/s read, {rate.write:,.0f} written: measured in before:evaluate" in result.output
    cells = [cell.strip() for cell in result.output.splitlines()[1].split("  ") if cell.strip()]
    assert float(cells[4]) > 0
    other = tmp_path / "other"
    shutil.copytree(tiny_model, other)
    assert main(["evaluate", str(other), *map(str, words[5:-1]), "runs/read"]) == 0
    told = call(other, *asked).output
    assert "replies not measured: measured in read:evaluate" in told
    assert " minutes\n" not in told, "what is written is slower than what is read"
    shutil.rmtree("runs/read")
    assert "no evaluation of this model under runs/ has measured one" in call(other, *asked).output


def test_an_endpoint_is_planned_and_not_asked(tiny_model: Path, sums: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing listens there. Its prompts are counted in characters, or by the tokenizer that is named for it."""
    url, asked = "http://localhost:1/v1#tiny", ("gsm8k", f"path={sums}", "shots=0", "--max-new-tokens", 10)
    (told,) = missing(call(url, *asked).output, "gsm8k")
    assert told.startswith("the task begins the reply ('Answer:'), and a chat endpoint begins its own")
    dropped = ("--set", "generator.prefill=drop")
    result = call(url, *asked, *dropped)
    assert result.exit_code == 0, result.output
    assert " characters " in result.output
    assert "counted where generator.tokenizer names its tokenizer" in result.output
    monkeypatch.delenv("NO_KEY_OF_A_MODEL", raising=False)
    (told,) = missing(call(url, *asked, *dropped, "--set", "generator.key=NO_KEY_OF_A_MODEL").output, "gsm8k")
    assert told == "generator.key: the environment variable NO_KEY_OF_A_MODEL is not set"
    named = [f"generator.{text}" for text in ("api=completions", f"tokenizer={tiny_model}", "prices={reply: 1000}")]
    result = call(url, *asked, "--rate", "1e9/100", *(word for text in named for word in ("--set", text)))
    assert result.exit_code == 0, result.output
    cells = [cell.strip() for cell in result.output.splitlines()[1].split("  ") if cell.strip()]
    assert (cells[3], cells[4], cells[-1]) == ("4,000", "0.67", "4"), "4,000 tokens at 100 a second, a million for 1000"


def test_a_full_disk_is_told(tiny_model: Path, sums: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 400 replies of 10,000 tokens each: four times five bytes a token are 80 MB, beside the rows."""
    asked = (tiny_model, "gsm8k", f"path={sums}", "shots=0", "chat=false", "--max-new-tokens", 10_000)
    assert "saved outputs" not in call(*asked).output
    monkeypatch.setattr(shutil, "disk_usage", lambda place: SimpleNamespace(free=70_000_000))
    assert "saved outputs take up to 0.1 GB, and 0.1 GB are free" in call(*asked).output
