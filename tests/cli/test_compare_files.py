"""`aftertrain compare --prompts` and `--verdicts`: a task held against files of others, question by question."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from aftertrain.cli.compare import compare
from aftertrain.cli.show import show
from aftertrain.core.errors import DataError

ROW = {"question": "Cold?", "choices": {"text": ["ice", "fire"], "label": ["1", "2"]}, "answerKey": "1"}
MC = ("arc_easy", "shots=0", "formulation=mc")


def call(*words: object) -> Result:
    return CliRunner().invoke(compare, list(map(str, words)))


def write(path: Path, rows: list[Any]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Five questions of ARC-Easy."""
    place = tmp_path / "hub" / "allenai" / "ai2_arc" / "ARC-Easy"
    place.mkdir(parents=True)
    rows = [{**ROW, "id": f"q{number}", "question": f"How cold is number {number}?"} for number in range(5)]
    write(place / "test.jsonl", rows)
    return tmp_path / "hub"


@pytest.fixture
def requests(data: Path, tmp_path: Path) -> list[dict[str, Any]]:
    """What `show prompt` writes of them."""
    out = tmp_path / "ours.jsonl"
    assert CliRunner().invoke(show, ["prompt", *MC, "--data", str(data), "--all", "--out", str(out)]).exit_code == 0
    return [json.loads(line) for line in out.read_text().splitlines()]


def test_what_equals_differs_and_is_missing(data: Path, requests: list[dict[str, Any]], tmp_path: Path) -> None:
    """Of four questions in the file one has another name, one another letter, one another word, one is unknown."""
    rows = [dict(row) for row in requests[:8]]
    rows[0]["id"] = rows[1]["id"] = "called-otherwise"
    rows[3]["continuation"] = "B"
    rows[4]["context"] = rows[5]["context"] = rows[4]["context"].replace("ice", "Ice")
    rows[6] |= {"id": "x", "context": "Warm?"}
    rows[7] |= {"id": "x", "context": "Warm?"}
    file, out = write(tmp_path / "theirs.jsonl", rows), tmp_path / "made" / "certificate.json"
    result = call("--prompts", file, *MC, "--data", data, "--json", out)
    assert result.exit_code == 1
    lines = result.output.splitlines()
    assert lines[1:3] == [
        "1 equal, 2 differing, 1 missing",
        "paired 1 by requests, 2 by id; 2 questions of the task not in the file",
    ]
    assert lines[3:] == [
        f"  differing q1 ({file}:3): request 2 of 2: continuation: character 1: ' B' here, 'B' there",
        f"  differing q2 ({file}:5): request 1 of 2: context: character 37: "
        "…'w cold is number 2?\\n A. ice\\n B. fire\\nAnswer:' here, "
        "…'w cold is number 2?\\n A. Ice\\n B. fire\\nAnswer:' there",
        f"  missing x ({file}:7): the task has no such question",
    ]
    made = json.loads(out.read_text())
    assert (made["holds"], made["sha256"]) == (False, hashlib.sha256(file.read_bytes()).hexdigest())
    assert made["counts"] == {"equal": 1, "differing": 2, "missing": 1, "unjudged": 0, "rest": 2}
    assert len(made["fingerprint"]) == 64
    assert call("--prompts", write(file, requests), *MC, "--data", data).exit_code == 0


def test_other_evaluators_lines_are_read(data: Path, requests: list[dict[str, Any]], tmp_path: Path) -> None:
    """OLMES's requests, one a line, and the samples of lm-eval; an id of another question is not believed."""
    olmes = [
        {
            "request_type": "loglikelihood",
            "doc": {"query": row["context"]},
            "request": {"context": row["context"], "continuation": row["continuation"]},
            "task_name": "arc_easy:mc",
            "doc_id": number // 2,
            "native_id": row["id"],
        }
        for number, row in enumerate(requests)
    ]
    assert "5 equal, 0 differing" in call("--prompts", write(tmp_path / "o.jsonl", olmes), *MC, "--data", data).output
    pair = {f"gen_args_{i}": {"arg_0": requests[i]["context"], "arg_1": requests[i]["continuation"]} for i in (0, 1)}
    sample = {
        "doc_id": 0,
        "doc": {},
        "target": "0",
        "arguments": pair,
        "resps": [[["-1.5", "True"]], [["-2.5", "False"]]],
    }
    file = write(tmp_path / "s.jsonl", [{**sample, "acc": 1.0, "acc_raw": 0.0}])
    assert "1 equal, 0 differing, 0 missing" in call("--prompts", file, *MC, "--data", data).output
    odd = {**olmes[0], "native_id": "q1", "doc_id": 1, "request": {"context": "Why?", "continuation": " A"}}
    odd["doc"] = {"query": "Something else altogether?"}
    assert "0 equal, 0 differing, 1 missing" in call("--prompts", write(file, [odd]), *MC, "--data", data).output


def test_likelihoods_of_others_are_scored_here(data: Path, requests: list[dict[str, Any]], tmp_path: Path) -> None:
    """The first choice is right and likelier: 1 here; the file says 1, then 0."""
    scores = [{"sum_logits": -1.0, "num_tokens": 1}, {"sum_logits": -2.0, "num_tokens": 1}]
    rows = [
        {
            "doc_id": n,
            "native_id": f"q{n}",
            "task_name": "arc_easy:mc",
            "model_output": scores,
            "metrics": {"acc_raw": right},
        }
        for n, right in enumerate((1, 0))
    ]
    file = write(tmp_path / "p.jsonl", rows)
    result = call("--verdicts", file, *MC, "--data", data)
    assert result.exit_code == 1
    assert "1 equal, 1 differing, 0 missing" in result.output
    assert f"differing q1 ({file}:2): 1 here (scored" in result.output
    assert result.output.rstrip().endswith("0 there")


def test_replies_of_lm_eval_are_judged_here(tmp_path: Path) -> None:
    """Its two filters have a line each: one must be chosen. 5.0 is 5 here, and no digits that equal 5 there."""
    path = write(tmp_path / "test.jsonl", [{"question": "How much is 2 + 3, then?", "answer": "#### 5", "id": "a"}])
    asked = {
        "arg_0": "Question: How much is 2 + 3, then?\nAnswer:",
        "arg_1": {"until": ["Question:"], "do_sample": False},
    }
    row = {
        "doc_id": 0,
        "doc": {"question": "How much is 2 + 3, then?"},
        "arguments": {"gen_args_0": asked},
        "resps": [["So 5.0"]],
    }
    rows = [{**row, "filter": name, "exact_match": 0.0} for name in ("strict-match", "flexible-extract")]
    file = write(tmp_path / "samples.jsonl", rows)
    task = ("gsm8k", f"path={path}", "shots=0", "chat=false")
    assert "choose one by --where filter=…: strict-match, flexible-extract" in str(
        call("--verdicts", file, *task).exception
    )
    chosen = ("--where", "filter=flexible-extract", "--column", "verdict=exact_match")
    assert "1 here (scored, '5.0'" in call("--verdicts", file, *task, *chosen, "--metric", "flexible").output
    assert "1 equal" in call("--verdicts", file, *task, *chosen, "--metric", "strict").output
    told = call("--prompts", file, *task).output
    assert "1 equal, 0 differing" in told
    assert "note: stop of replies is ['\\n\\n', " in told


def test_verdicts_equal_the_references(shared_data: Path) -> None:
    verifier = ("verifier", "gsm8k", "extract=flexible", "equality=string")
    columns = ("--column", "ground_truth=label", "--column", "verdict=gsm8k_flexible_extract")
    result = call("--verdicts", shared_data / "golden" / "gsm8k.jsonl.gz", *verifier, *columns)
    assert ("1,475 equal, 0 differing, 0 missing" in result.output, result.exit_code) == (True, 0)


def test_prompts_equal_olmes_by_one_command(shared_data: Path) -> None:
    words = ("openbookqa", "formulation=mc", "--data", shared_data / "hub")
    file = shared_data / "golden" / "olmes_requests.jsonl.gz"
    chosen = ("--where", "task=openbookqa", "--where", "variant=test_mc_5shot")
    assert call("--prompts", file, *words, *chosen).output.splitlines()[1] == "60 equal, 0 differing, 0 missing"
    assert "choose one by --where task=…: arc_challenge" in str(call("--prompts", file, *words).exception)
    assert "no value of task named 'openbookq'. Did you mean 'openbookqa'?" in str(
        call("--prompts", file, *words, "--where", "task=openbookq").exception
    )


@pytest.mark.parametrize(
    ("row", "words", "message"),
    [
        (
            {"model_output": [], "metrics": {}},
            ("--prompts", "arc_easy"),
            "say what was replied, and not what was asked",
        ),
        ({"response": "1"}, ("--verdicts", "verifier", "gsm8k"), "which column says what a reply is worth"),
        (
            {"response": "1", "v": "x", "ground_truth": "1"},
            ("--verdicts", "verifier", "gsm8k", "--column", "verdict=v"),
            "a verdict must be",
        ),
        (
            {"response": "1", "v": 1},
            ("--verdicts", "verifier", "gsm8k", "--column", "verdict=v"),
            "no column named 'ground_truth'",
        ),
        ({"arguments": 1, "resps": []}, ("--prompts", "arc_easy"), "is no line of samples of lm-eval"),
    ],
)
def test_what_does_not_fit_is_told(data: Path, tmp_path: Path, row: Any, words: tuple[str, ...], message: str) -> None:
    option, *rest = words
    result = call(option, write(tmp_path / "f.jsonl", [row]), *rest, "--data", data)
    assert result.exit_code == 1
    assert message in str(result.exception)


def test_a_file_without_a_conversation_template_can_hold_messages(tmp_path: Path) -> None:
    """OLMES's chat requests are messages and the reply's beginning: no model is needed to compare these."""
    path = write(tmp_path / "test.jsonl", [{"question": "How much is 2 + 3?", "answer": "#### 5", "id": "a"}])
    out = tmp_path / "shown.jsonl"
    talk = {"messages": [{"role": "user", "content": "Question: How much is 2 + 3?"}], "assistant_prefix": "Answer:"}
    row = {"request_type": "generate_until", "doc": {}, "request": {"context": talk}, "task_name": "t", "doc_id": 0}
    result = call("--prompts", write(out, [row]), "gsm8k", f"path={path}", "shots=0")
    assert "1 equal" in result.output, result.output
    with pytest.raises(DataError, match="a context must be a text, or the messages"):
        raise call("--prompts", write(out, [{**row, "request": {"context": 3}}]), "gsm8k", f"path={path}").exception  # type: ignore[misc]
