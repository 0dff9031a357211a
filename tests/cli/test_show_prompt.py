"""`aftertrain show prompt`: what a task asks, to read and to hold against OLMES's own requests."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from aftertrain.cli.show import show

ROW = {"id": "a", "question": "Cold?", "choices": {"text": ["ice", "fire"], "label": ["1", "2"]}, "answerKey": "1"}


def call(*words: object) -> Result:
    return CliRunner().invoke(show, ["prompt", *map(str, words)])


@pytest.fixture
def data(tmp_path: Path) -> Path:
    place = tmp_path / "hub" / "allenai" / "ai2_arc" / "ARC-Easy"
    place.mkdir(parents=True)
    rows = [{**ROW, "id": str(number)} for number in range(1600)]
    (place / "test.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (place / "validation.jsonl").write_text(json.dumps({**ROW, "id": "v"}) + "\n")
    return tmp_path / "hub"


def test_the_first_questions_are_shown(data: Path) -> None:
    result = call("arc_easy", "shots=0", "split=validation", "--data", data)
    assert result.exit_code == 0, result.output
    heading, *lines = result.output.splitlines()
    assert heading.startswith("── v · arc_easy · rc ─")
    expected = ["Question: Cold?", "Answer:", "continuation:  ice", "continuation:  fire"]
    assert lines == [*expected, *expected[1:]], "the last without the question (PMI)"
    assert call("arc_easy", "shots=0", "--data", data, "-n", 2).output.count("──  ") == 0


def test_every_request_of_the_whole_split_is_written(data: Path, tmp_path: Path) -> None:
    """1,000 of 1,600 would be scored; `--all` takes all unless the subset is asked for by name."""
    out = tmp_path / "made" / "requests.jsonl"
    result = call("arc_easy", "shots=0", "formulation=mc", "--data", data, "--all", "--out", out)
    assert result.output == f"{out}: 3,200 requests of 1,600 questions of arc_easy\n"
    first, second, *rest = map(json.loads, out.read_text().splitlines())
    context = "Question: Cold?\n A. ice\n B. fire\nAnswer:"
    assert first == {"task": "arc_easy", "formulation": "mc", "id": "0", "context": context, "continuation": " A"}
    assert list(first) == ["task", "formulation", "id", "context", "continuation"]
    assert (second["continuation"], len(rest)) == (" B", 3198)
    call("arc_easy", "shots=0", "subset=true", "name=mine", "--data", data, "--all", "--out", out)
    lines = out.read_text().splitlines()
    assert len(lines) == 4000, "two requests with the question and two without, of a thousand"
    assert json.loads(lines[0])["task"] == "mine"


def test_a_models_tokens_are_shown_as_it_reads_them(data: Path, tmp_path: Path) -> None:
    """Each character is a token of the tiny model; what is scored is underlined."""
    from aftertrain.testing.model import tiny_model

    model = tiny_model(tmp_path / "model")
    words = ["prompt", "arc_easy", "shots=0", "split=validation", "--data", str(data), "--model", model]
    plain = CliRunner().invoke(show, words).output.splitlines()
    assert plain[0].startswith("── v · arc_easy · rc · 27 tokens, 4 of them scored ─")
    assert plain[1:3] == ["Question: Cold?", "Answer: ice"]
    coloured = CliRunner().invoke(show, words, color=True).output
    assert "\x1b[33m\x1b[4mi" in coloured or "\x1b[32m\x1b[4mi" in coloured
    chat = CliRunner().invoke(show, ["prompt", "gsm8k", f"path={sums(tmp_path)}", "shots=0", "--model", model])
    assert "<|user|>\n" in chat.output
    assert chat.output.rstrip("\n").endswith("<|assistant|>\nAnswer:")


def sums(folder: Path) -> Path:
    path = folder / "sums.jsonl"
    path.write_text(json.dumps({"question": "1 + 1?", "answer": "#### 2"}) + "\n")
    return path


def test_the_text_of_tokens_is_whole() -> None:
    """Characters of several tokens (bytes of é and of an emoji) come with their last one."""
    from aftertrain.api.prompts import token_texts

    class Bytes:
        def decode(self, ids: list[int], **_: object) -> str:
            return bytes(ids).decode("utf-8", "replace")

    text = "caf\u00e9 \U0001f600! " * 9
    texts = list(token_texts(Bytes(), list(text.encode())))  # type: ignore[arg-type]
    assert "".join(texts) == text
    assert texts[3:5] == ["", "\u00e9"]
    assert texts[6:10] == ["", "", "", "\U0001f600"]


SUMS = ("data.use=jsonl", "data.path=a.jsonl", "data.format=gsm8k", "data.as=problem", "verifier=gsm8k")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "one TASK is shown"),
        (("arc_easy", "--all"), "--all and --out FILE go together"),
        (("arc_easy", "shots=-1"), "shots"),
        (("arc_eazy",), "arc_easy"),
        (("problems", *SUMS, "--data", "."), "task 'problems' reads no folder of benchmarks"),
    ],
)
def test_what_is_wrong_is_told(words: tuple[str, ...], message: str) -> None:
    result = call(*words)
    assert result.exit_code != 0
    assert message in result.output + str(result.exception)


def test_options_of_a_task_are_refused_elsewhere() -> None:
    result = CliRunner().invoke(show, ["dpo", "--all"])
    assert "belong to: aftertrain show prompt TASK" in result.output


def test_a_chat_task_needs_a_models_template(tmp_path: Path, tiny_model: Path) -> None:
    file = tmp_path / "sums.jsonl"
    file.write_text(json.dumps({"question": "1 + 1?", "answer": "#### 2"}) + "\n")
    words = ("gsm8k", f"path={file}", "shots=0")
    assert "name the model that has it with --model" in str(call(*words).exception)
    out = tmp_path / "out.jsonl"
    assert call(*words, "--model", tiny_model, "--all", "--out", out).exit_code == 0
    (request,) = map(json.loads, out.read_text().splitlines())
    assert request["continuation"] is None
    assert request["context"].endswith("Answer:")
    assert "<|assistant|>" in request["context"]


@pytest.mark.parametrize(("task", "variant"), [("piqa", "val_rc_5shot"), ("openbookqa", "test_mc_5shot")])
def test_whole_splits_equal_the_requests_of_olmes(shared_data: Path, tmp_path: Path, task: str, variant: str) -> None:
    out = tmp_path / "requests.jsonl"
    formulation = variant.split("_")[1]
    words = (task, f"formulation={formulation}", "--data", shared_data / "hub", "--all", "--out", out)
    assert call(*words).exit_code == 0
    written = {(row["context"], row["continuation"]) for row in map(json.loads, out.read_text().splitlines())}
    lines = gzip.decompress((shared_data / "golden" / "olmes_requests.jsonl.gz").read_bytes()).decode().splitlines()
    cases = [case for case in map(json.loads, lines) if (case["task"], case["variant"]) == (task, variant)]
    assert len(cases) >= 60
    assert all((case["context"], asked["continuation"]) in written for case in cases for asked in case["requests"])
