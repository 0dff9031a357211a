"""`aftertrain verify`, `aftertrain evaluate` and their Python calls, with the installed components."""

from __future__ import annotations

import gzip
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

import aftertrain
from aftertrain.api.finished import finished_evaluation
from aftertrain.cli import main
from aftertrain.core.errors import RecipeError
from aftertrain.core.records import VerificationCase
from aftertrain.core.run.base_model import find_model
from aftertrain.plugins.evaluation.evaluate import INSTANCES
from aftertrain.plugins.evaluation.rows import read_instances

CASES = (
    '{"response": "so #### 42", "ground_truth": "42", "id": "a"}\n'
    '{"respon\n'
    "\n"
    '{"response": "so #### 41", "ground_truth": "42"}\n'
    '{"response": "none \\ud800", "ground_truth": "42", "id": 7}\n'
)


@pytest.fixture
def cases(tmp_path: Path) -> Path:
    path = tmp_path / "cases.jsonl"
    path.write_text(CASES)
    return path


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_verify_judges_what_it_can(cases: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "verdicts.jsonl"
    assert main(["verify", "gsm8k", str(cases), "--out", str(out)]) == 1
    assert [(line["id"], line["outcome"], line["score"], line["extracted"]) for line in lines(out)] == [
        ("a", "scored", 1.0, "42"),
        ("4", "scored", 0.0, "41"),
        ("7", "unparsable", None, None),
    ]
    assert set(lines(out)[0]) == {"id", "outcome", "score", "extracted", "detail"}
    told = capsys.readouterr()
    assert told.out == ""
    first, last = told.err.splitlines()
    assert first.startswith(f"{cases}:2: not JSON: ")
    assert last.startswith("3 verdicts: 2 scored (mean 0.500), 1 unparsable; 1 bad line left out; ")
    assert last.endswith(" verdicts/s")


def test_verify_takes_settings_gzip_and_streams(
    cases: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    good = '{"response": "I say 42.", "ground_truth": "42"}\n'
    packed = tmp_path / "cases.jsonl.gz"
    packed.write_bytes(gzip.compress(good.encode()))
    assert main(["verify", "gsm8k", str(packed), "extract=flexible"]) == 0
    assert json.loads(capsys.readouterr().out)["score"] == 1.0
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(good.encode())))
    assert main(["verify", "gsm8k", "-"]) == 0
    assert json.loads(capsys.readouterr().out)["outcome"] == "unparsable"


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["gsm8", "CASES"], 2, "no verifier named 'gsm8'. Did you mean 'gsm8k'?"),
        (["gsm8k", "CASES", "extrct=flexible"], 2, "extrct: not a setting of verifier 'gsm8k'"),
        (["gsm8k", "CASES", "extract"], 2, "a setting is written name=value"),
        (["gsm8k", "."], 1, ".: is a folder; name a file of JSON lines"),
        (["gsm8k", "nowhere.jsonl"], 1, "nowhere.jsonl: there is no such file"),
        (["gsm8k", "CASES", "--out", "CASES"], 1, "the verdicts would overwrite the cases"),
        (["gsm8k", "CASES", "--out", "/nowhere/x"], 1, "/nowhere/x: cannot be written"),
    ],
)
def test_verify_refuses(
    cases: Path, arguments: list[str], status: int, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [word.replace("CASES", str(cases)) for word in arguments]
    assert main(["verify", *words]) == status
    assert message in capsys.readouterr().err
    assert cases.read_text() == CASES


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b"\xff{}", "not JSON"),
        (b"[1]", "a JSON object is needed, found list"),
        (b'{"response": "a"}', "has no ground_truth; it has response"),
        (b"{}", "has no response and no ground_truth; it has no fields"),
        (b'{"response": 1, "ground_truth": 1}', "response must be a string, found int"),
        (b"[" * 100_000, "nested too deep"),
    ],
)
def test_bad_lines_say_why(line: bytes, message: str) -> None:
    from aftertrain.api.cases import case_of
    from aftertrain.cli.lines import read_row

    with pytest.raises((ValueError, TypeError), match=message):
        case_of(read_row(line, 1), 1)


def test_a_byte_order_mark_begins_the_first_line_only() -> None:
    from aftertrain.cli.lines import read_row

    line = b'\xef\xbb\xbf{"response": "a", "ground_truth": 1}'
    assert read_row(line, 1)["response"] == "a"
    with pytest.raises(ValueError, match="not JSON"):
        read_row(line, 2)


def test_the_commonest_error_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [{"response": "#### 1", "ground_truth": truth} for truth in ([], [], None)]
    (tmp_path / "c.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert main(["verify", "gsm8k", str(tmp_path / "c.jsonl")]) == 0
    told = capsys.readouterr()
    detail = json.loads(told.out.splitlines()[0])["detail"]
    assert f"3 verdicts: 3 error; commonest error (2 times): {detail}; " in told.err


def test_chunks_are_bounded_by_count_and_size() -> None:
    from aftertrain.cli import lines

    assert [len(chunk) for chunk in lines.chunks_of([b"{}"] * 70, 32)] == [32, 32, 6]
    long = b"x" * (lines.CHARACTERS // 2)
    chunks = list(lines.chunks_of([long, long, b"a"], 32))
    assert [[number for number, _ in chunk] for chunk in chunks] == [[1, 2], [3]]
    assert not list(lines.chunks_of([], 32))
    assert [len(chunk) for chunk in lines.chunks_of([b"a", b"b", None, None, b"c"], 32)] == [2, 1]


HOLDS_A_MODEL = """
import time
from aftertrain.core.records import Verdict
from aftertrain.core.settings import Settings
from aftertrain.core.verifier import Verifier

class Slow(Verifier[Settings]):
    isolated = ISOLATED

    def verify(self, cases):
        for case in cases:
            time.sleep(float(case.ground_truth))
        return [Verdict.scored(1.0) for case in cases]
"""


@pytest.mark.parametrize("isolated", [True, False])
def test_a_deadline_that_has_no_effect_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], isolated: bool
) -> None:
    (tmp_path / "mine.py").write_text(HOLDS_A_MODEL.replace("ISOLATED", str(isolated)))
    (tmp_path / "c.jsonl").write_text('{"response": "", "ground_truth": 0}\n')
    words = ["verify", f"{tmp_path}/mine.py:Slow", str(tmp_path / "c.jsonl"), "--deadline", "5", "--workers", "1"]
    assert main(words) == 0
    note = "note: --timeout does not bound Slow (it bounds itself)"
    assert (note in capsys.readouterr().err) == (not isolated)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_keeps_what_is_judged_and_ends_the_children(tmp_path: Path, number: signal.Signals) -> None:
    """The first verdict is out at once; the second case would take a minute."""
    (tmp_path / "mine.py").write_text(HOLDS_A_MODEL.replace("ISOLATED", "True"))
    rows = [{"response": "", "ground_truth": seconds} for seconds in (0, 60, 60)]
    (tmp_path / "c.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    words = ["verify", f"{tmp_path}/mine.py:Slow", "c.jsonl", "--timeout", "90", "--workers", "1"]
    program = [sys.executable, "-c", "import sys; from aftertrain.cli import main; sys.exit(main())", *words]
    with subprocess.Popen(program, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as running:
        assert running.stdout is not None
        assert json.loads(running.stdout.readline())["outcome"] == "scored"
        children = [int(pid) for pid in Path(f"/proc/{running.pid}/task/{running.pid}/children").read_text().split()]
        assert children
        running.send_signal(number)
        _, told = running.communicate(timeout=30)
    assert running.returncode == 130
    assert told.decode().strip() == "interrupted"
    assert not [pid for pid in children if Path(f"/proc/{pid}").exists()]


def test_a_case_on_a_pipe_is_judged_before_the_next_one_comes(tmp_path: Path) -> None:
    program = [sys.executable, "-m", "aftertrain.cli", "verify", "gsm8k", "-", "--workers=1"]
    with subprocess.Popen(program, cwd=tmp_path, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as running:
        assert running.stdin is not None
        assert running.stdout is not None
        for number in ("7", "8"):
            running.stdin.write(b'{"response": "#### %s", "ground_truth": "7"}\n' % number.encode())
            running.stdin.flush()
            assert json.loads(running.stdout.readline())["extracted"] == number
        running.stdin.write(b'{"response": "#### 9", "ground_truth": "7"}')
        running.stdin.close()
        assert json.loads(running.stdout.read())["id"] == "3"


@pytest.mark.parametrize("size", [1, 7, 2**16])
def test_lines_of_a_pipe_are_the_lines_that_were_written(size: int) -> None:
    from aftertrain.cli import lines

    written = b"one\n\n" + b"x" * 200_000 + b"\r\nlast"
    reader, writer = os.pipe()

    def write() -> None:
        with open(writer, "wb", buffering=0) as pipe:
            for start in range(0, 20 if size < 10 else len(written), size):
                pipe.write(written[start : start + size])
            if size < 10:
                pipe.write(written[-(-20 // size) * size :])

    thread = threading.Thread(target=write)
    thread.start()
    found = [line for line in lines.as_they_come(reader) if line is not None]
    thread.join()
    os.close(reader)
    assert found == [b"one", b"", b"x" * 200_000 + b"\r", b"last"]


def test_many_cases_keep_their_order(tmp_path: Path) -> None:
    """More than one batch, with a bad line in between."""
    rows = [{"response": f"#### {i}", "ground_truth": str(i - i % 2), "id": str(i)} for i in range(1000)]
    text = "".join(json.dumps(row) + "\n" + ("oops\n" if i == 600 else "") for i, row in enumerate(rows))
    (tmp_path / "c.jsonl").write_text(text)
    assert main(["verify", "gsm8k", str(tmp_path / "c.jsonl"), "--out", str(tmp_path / "v.jsonl")]) == 1
    assert [(line["id"], line["score"]) for line in lines(tmp_path / "v.jsonl")] == [
        (str(i), float(i % 2 == 0)) for i in range(1000)
    ]


def test_verify_from_python() -> None:
    verdicts = aftertrain.verify(
        "gsm8k",
        [VerificationCase("x", "", "#### 1", "1"), {"response": "#### 1", "ground_truth": "2"}],
        equality="string",
    )
    assert [verdict.value for verdict in verdicts] == [1.0, 0.0]
    with pytest.raises(RecipeError, match="not a setting of verifier 'gsm8k'"):
        aftertrain.verify("gsm8k", [], equal="string")


@pytest.mark.parametrize(
    ("case", "error", "message"),
    [
        (
            {"reply": "a"},
            ValueError,
            r"case 2: has no response and no ground_truth; it has reply.* a case has ",
        ),
        (
            {"respnse": "a", "ground_truth": 1},
            ValueError,
            r"case 2: has no response; it has respnse, ground_truth \(is it 'respnse' for 'response'\?\)",
        ),
        (
            {"response": "a", "ground_truth": 1, "sorce": "x"},
            ValueError,
            r"case 2: a case has no 'sorce' \(is it 'source' for 'sorce'\?\)",
        ),
        ({"response": 42, "ground_truth": "42"}, TypeError, "case 2: response must be a string, found int"),
        ({"response": "", "ground_truth": "", "prompt": []}, TypeError, "case 2: prompt must be a string, found list"),
        (VerificationCase("x", "", None, "1"), TypeError, "case 2: response must be a string, found NoneType"),  # type: ignore[arg-type]
        ("#### 42", TypeError, "case 2: a mapping or VerificationCase is needed, found str"),
    ],
)
def test_verify_from_python_names_a_bad_case(case: Any, error: type[Exception], message: str) -> None:
    good = {"response": "#### 1", "ground_truth": "1"}
    with pytest.raises(error, match=message):
        aftertrain.verify("gsm8k", [good, case])


def test_pool_settings_may_be_a_mapping() -> None:
    case = {"response": "#### 1", "ground_truth": "1", "prompt": None, "id": None, "source": None}
    assert aftertrain.verify("gsm8k", [case], pool={"workers": 1})[0].value == 1.0
    with pytest.raises(RecipeError, match=r"no setting named 'worker'\. Did you mean 'workers'"):
        aftertrain.verify("gsm8k", [case], pool={"worker": 1})
    with pytest.raises(RecipeError, match="pool workers: "):
        aftertrain.verify("gsm8k", [case], pool={"workers": "many"})


@pytest.fixture
def questions(tmp_path: Path) -> Path:
    path = tmp_path / "q.jsonl"
    rows = [{"question": f"{i} + 1?", "answer": f"#### {i + 1}", "id": i} for i in range(6)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_evaluate_from_the_shell(
    tiny_model: Path, questions: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With the installed generator; the second call shows what is done."""
    out = tmp_path / "here"
    words = ["gsm8k", f"path={questions}", "shots=0", "--max-new-tokens", "4", "--limit", "5", "--out", str(out)]
    for _ in range(2):
        assert main(["evaluate", str(tiny_model), *words]) == 0
        told = capsys.readouterr().out
        table = told.splitlines()[-5:]
        assert table[0].split() == [
            "task",
            "metric",
            "temperature",
            "score",
            "95",
            "%",
            "n",
            "contamination",
            "tokens/s",
            "identity",
        ]
        assert table[1].split()[:3] == ["gsm8k", "exact_match", "0"]
        done = finished_evaluation(out)
        assert table[1].split()[-4] == "5"
        assert table[1].split()[-2:] == [f"{done.speeds[0].rate:,.0f}", done.scores[0].fingerprint[:12]]
        assert (done.speeds[0].outputs, done.speeds[0].recalled) == (5, 0)
        assert done.speeds[0].written == sum(row.n_tokens for row in read_instances(done.folder / INSTANCES))
        assert table[-1] == str(out)
    assert len(list(out.glob("stages/evaluate-*/samples/instances.jsonl"))) == 1


def test_evaluate_takes_a_run_or_its_stage(
    tiny_model: Path, questions: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: Any
) -> None:
    """The run has been moved since: its events name folders that are gone."""
    monkeypatch.chdir(tmp_path)
    run = tmp_path / "runs" / "r"
    lines = []
    for stage in ("sft", "dpo"):
        shutil.copytree(tiny_model, run / "stages" / f"{stage}-0123" / "model")
        place = f"/gone/runs/r/stages/{stage}-0123/model"
        artifact = {"type": "model", "path": place, "stage": stage, "digest": "0123"}
        lines.append({"name": "stage_done", "stage": stage, "data": {"artifact": artifact}, "attempt": 1, "time": 1.0})
    (run / "events.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (run / "manifest.json").write_text("{}")
    assert find_model("r:sft", run.parent).parts[-2:] == ("sft-0123", "model")
    assert find_model(str(run), tmp_path).parts[-2:] == ("dpo-0123", "model")
    words = ["gsm8k", f"path={questions}", "shots=0", "--max-new-tokens", "2", "--limit", "1"]
    assert main(["evaluate", "r:sft", *words]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "r:sft: loading torch and the components of 1 task"
    assert lines[-1] == str(run.parent / "evaluate-r-sft")
    assert main(["evaluate", "r:stf", *words]) == 2
    assert "no stage with a model named 'stf'. Did you mean 'sft'?" in capsys.readouterr().err


def test_evaluate_refuses_all_mistakes_at_once(tiny_model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", str(tiny_model), "gsm8k", "pth=x", "gsm9k"]) == 2
    told = capsys.readouterr().err
    assert "stages.evaluate.tasks.0.pth: not a setting of eval_task 'gsm8k'" in told
    assert "\nevaluate stages.evaluate.tasks.1" in told, "no line and column of a text that nobody wrote"
    assert "no eval_task named 'gsm9k'. Did you mean 'gsm8k'?" in told
    assert main(["evaluate", str(tiny_model), "path=x"]) == 2
    assert "'path=x' stands before any task" in capsys.readouterr().err


def test_evaluate_from_python_is_repeatable(tiny_model: Path, questions: Path) -> None:
    task = {"use": "gsm8k", "path": questions, "shots": 0}
    first, again = (
        aftertrain.evaluate(tiny_model, task, temperatures=[1.0], max_new_tokens=4, seed=3) for _ in range(2)
    )
    assert [score["metric"] for score in first] == ["exact_match", "flexible", "strict"]
    assert first == again
    assert {score["n"] for score in first} == {6}


def test_the_same_model_twice_differs_by_nothing(tiny_model: Path, questions: Path, tmp_path: Path) -> None:
    """In a recipe, with the installed generator at temperature 1: common random numbers, so not one reply differs."""
    task = f"{{use: gsm8k, path: {questions}, shots: 0}}"
    stage = f"use: evaluate, tasks: [{task}], temperatures: [1.0], max_new_tokens: 8"
    recipe = tmp_path / "twice.yaml"
    recipe.write_text(
        f"name: twice\nmodel: {tiny_model}\nstages:\n  one: {{{stage}}}\n  two: {{{stage}, compare: one}}\n"
    )
    plan = aftertrain.plan(recipe, out=tmp_path / "runs")
    assert [(stage.name, dict(stage.inputs)) for stage in plan.stages] == [
        ("one", {"model": "base"}),
        ("two", {"model": "base", "compare:one": "one"}),
    ]
    result = aftertrain.run(recipe, out=tmp_path / "runs", console=False)
    one, two = (Path(result.artifacts[name].path) / "samples/instances.jsonl" for name in ("one", "two"))
    assert one.read_bytes() == two.read_bytes()
    for difference in result.artifacts["two"].details["differences"]:
        assert difference["low"] < difference["mean"] == 0.0 < difference["high"]
        assert (difference["better"], difference["worse"], difference["p_holm"]) == (0, 0, 1.0)


@pytest.mark.parametrize("pattern", ["[0-9]+", "4", "a: b", "true", "a{0,1}", "# x", " ", "é\\d"])
def test_a_text_given_in_python_is_that_text(pattern: str) -> None:
    """Settings on the command line are YAML; a Python string is none, so that '[0-9]+' is no list and '4' no number."""
    from aftertrain.api.evaluation import build_verifier

    assert build_verifier("regex", {"pattern": pattern}).settings.pattern == pattern
