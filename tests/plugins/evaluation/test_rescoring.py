"""`aftertrain rescore` and `compare`: the saved outputs of a real run, scored again and compared without its model."""

from __future__ import annotations

import json
import re
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from aftertrain.cli import main
from aftertrain.testing.model import tiny_model

RECIPE = """
name: sums
model: ./model
threads: 1
stages:
  eval:
    use: evaluate
    max_new_tokens: 6
    temperatures: [1.0]
    tasks:
      - use: problems
        name: sums
        data: {use: jsonl, path: sums.jsonl, format: gsm8k, as: problem}
        verifier: {use: gsm8k, extract: strict}
        samples: 3
      - {use: multiple_choice, path: choices.jsonl, formulation: cf, normalization: none}
"""


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a finished run, whose model is gone."""
    folder = tmp_path_factory.mktemp("rescore")
    tiny_model(folder / "model")
    rows = [{"question": f"What is {i} + 1?", "answer": f"#### {i + 1}"} for i in range(4)]
    (folder / "sums.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    choices = [{"question": f"{i}?", "choices": ["yes", "surely not so"], "answer": i % 2} for i in range(6)]
    (folder / "choices.jsonl").write_text("".join(json.dumps(row) + "\n" for row in choices))
    (folder / "recipe.yaml").write_text(RECIPE)
    assert main(["run", str(folder / "recipe.yaml"), "--out", str(folder / "runs")]) == 0
    shutil.rmtree(folder / "model")
    # What the tiny model replies has no sense: the replies to one question are given some, in no strict form.
    (path,) = folder.glob("runs/sums/stages/eval-*/samples/instances.jsonl")
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    for line in lines:
        if line["task"] == "sums":
            first = line["id"] == lines[0]["id"]
            line["output"] = f"that makes {[1, 7, 2][line['sample']]}" if first else "no idea"
            line["with_special"] = None
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


@pytest.fixture
def run(finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(finished)
    return finished / "runs" / "sums"


def test_another_reading_changes_scores_and_makes_nothing(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Strictly "that makes 1" is no answer; flexibly the first of three replies is right: 1/3 of one of four sums."""
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    out = tmp_path / "again"
    assert main(["rescore", f"{run}:eval", "sums.verifier.extract=flexible", "--out", str(out)]) == 0
    told = capsys.readouterr().out
    assert "sums at temperature 1: 3 of 12 outputs changed" in told
    assert "multiple_choice: 0 of 6 outputs changed" in told
    assert "None unparsable exact_match 0, format 0 -> '1' scored exact_match 1, format 1" in told
    (line,) = [line for line in told.splitlines() if line.startswith("sums") and " exact_match " in line]
    assert line.split()[:5] == ["sums", "exact_match", "1", "0.0", "8.3"]
    (line,) = [line for line in told.splitlines() if " pass@3 " in line]
    assert line.split()[:5] == ["sums", "pass@3", "1", "0.0", "25.0"]
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before
    rows = [json.loads(line) for line in (out / "eval" / "instances.jsonl").read_text().splitlines()]
    assert [row["metrics"]["exact_match"] for row in rows[:3]] == [1.0, 0.0, 0.0]
    scores = json.loads((out / "eval" / "scores.json").read_text())
    assert scores[0]["mean"] == pytest.approx(1 / 12)


def test_choices_are_normalised_anew(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["rescore", str(run), "multiple_choice.normalization=char", "sums.verifier.extract=strict"]) == 0
    told = capsys.readouterr().out
    rows = [json.loads(line) for line in next(run.glob("stages/*/samples/instances.jsonl")).read_text().splitlines()]
    lengths = [len(" yes"), len(" surely not so")]
    right = [
        max((0, 1), key=lambda i: row["logprobs"][i] / lengths[i]) == row["target"]
        for row in rows
        if row["task"] == "multiple_choice"
    ]
    (line,) = [line for line in told.splitlines() if " acc_norm " in line]
    assert line.split()[3] == f"{100 * sum(right) / 6:.1f}"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["sums.prefill=So"],
            "task 'sums': instance '[^']+' is asked in other words, or its replies are drawn otherwise, now; the saved",
        ),
        (['sums.stop=["that"]'], "task 'sums': instance '[^']+' .* its replies are drawn otherwise, now"),
        (["sums.samples=4"], "4 of 16 outputs that these settings ask for were not made"),
        (["multiple_choice.formulation=mcf"], "task 'multiple_choice': instance '[^']+' is asked in other words"),
        (["sums.verifier.extrct=flexible"], "extrct: not a setting of verifier 'gsm8k'"),
        (["sum.verifier.extract=flexible"], "stage 'eval' has the tasks sums, multiple_choice"),
    ],
)
def test_what_was_not_asked_is_not_scored(
    run: Path, words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["rescore", str(run), *words]) in (1, 2)
    assert re.search(message, " ".join(capsys.readouterr().err.split()))


@pytest.fixture
def other(run: Path, tmp_path: Path) -> Path:
    """The same run, in which one more reply to the first sum is right, and one choice is another."""
    copy = tmp_path / "other"
    shutil.copytree(run, copy)
    (path,) = copy.glob("stages/eval-*/samples/instances.jsonl")
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    lines[1]["metrics"]["exact_match"] = 1.0
    changed = next(line for line in lines if line["task"] == "multiple_choice")
    changed["metrics"]["acc"] = 1 - changed["metrics"]["acc"]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return copy


def rows_of(run: Path) -> list[dict[str, Any]]:
    (path,) = run.glob("stages/eval-*/samples/instances.jsonl")
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_two_runs_side_by_side(run: Path, other: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One of three replies to one of four sums: +8.3 points; one of six choices: 16.7 points, McNemar's p is 1.

    Gaps of 1/3, 0, 0, 0 have a standard error of 1/12: (1.96 + 0.84) / 12 is what four questions find, 23.3 points.
    """
    assert main(["compare", str(run), f"{other}:eval"]) == 0
    told = capsys.readouterr().out
    assert told.startswith("A  sums:eval\nB  other:eval\n")
    (line,) = [line for line in told.splitlines() if line.startswith("sums  ") and " exact_match " in line]
    assert "+8.3" in line
    assert line.split()[-5:] == ["1,", "0", "23.3", "4", "unknown"]
    (line,) = [line for line in told.splitlines() if line.startswith("multiple_choice") and " acc " in line]
    assert "16.7" in line
    assert " 1.000 " in line
    assert "B against A: 2 questions changed" in told
    assert f"  sums {rows_of(run)[0]['id']} at temperature 1: 0 no answer -> 0.333 no answer" in told


def test_what_cannot_be_compared_is_said(run: Path, other: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", str(run)]) == 2
    assert "at least two" in capsys.readouterr().err
    assert main(["compare", str(run), f"{run}:eval"]) == 1
    assert "sums:eval, sums:eval: an evaluation is named twice" in capsys.readouterr().err
    (done,) = other.glob("stages/eval-*/done.json")
    content = json.loads(done.read_text())
    for score in content["artifact"]["details"]["scores"]:
        score["fingerprint"] = "0" * 64
    done.write_text(json.dumps(content))
    assert main(["compare", str(run), str(other)]) == 1
    assert "multiple_choice, sums differ in data, prompts, rules, limit or length" in capsys.readouterr().err


@pytest.mark.slow
def test_the_version_of_the_last_recipe_is_meant(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Two settings tried, and the first again: what lies there newest is the second's, and is not what is scored."""
    tiny_model(tmp_path / "model")
    (tmp_path / "texts.jsonl").write_text('{"text": "One."}\n{"text": "Two."}\n')
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(
        "name: tried\nmodel: ./model\nthreads: 1\nstages:\n  eval:\n    use: evaluate\n"
        "    tasks: [{use: perplexity, path: texts.jsonl}]\n"
    )
    out = ("--out", str(tmp_path / "runs"))
    assert main(["run", str(recipe), *out]) == 0
    assert main(["run", str(recipe), *out, "stages.eval.limit=1"]) == 0
    assert main(["run", str(recipe), *out]) == 0
    capsys.readouterr()
    assert main(["rescore", str(tmp_path / "runs" / "tried")]) == 0
    assert "perplexity: 0 of 2 outputs changed" in capsys.readouterr().out


def test_only_finished_evaluations_are_scored(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["rescore", f"{run}:evl"]) == 1
    assert "no finished evaluation named 'evl'. Did you mean 'eval'?" in capsys.readouterr().err
    assert main(["rescore", "nowhere"]) == 1
    assert "no run 'nowhere'" in capsys.readouterr().err


def test_an_earlier_pair_says_what_more_questions_would_find(
    run: Path, other: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One of four sums changed, by one of three replies: its square is 1/9 of a flip, and d at least one flip of four.

    The speed is measured; (1.96·√0.25 + 0.84·√(0.25 - 0.04))² / 0.04 = 46.6 questions.
    """
    model = tiny_model(tmp_path / "model")
    words = [
        "problems",
        "name=sums",
        "data={use: jsonl, path: sums.jsonl, format: gsm8k, as: problem}",
        "verifier=gsm8k",
    ]
    assert main(["plan", str(model), *words, "--from", f"{run}:eval", f"{other}:eval", "--detect", "20pt"]) == 0
    header, row, *rest = capsys.readouterr().out.splitlines()
    assert [cell.strip() for cell in header.split("  ") if cell.strip()][-2:] == ["measured d", "n for 20pt"]
    assert "none at d = 0.25" in row
    assert row.endswith("47, more than the 4 there are")
    assert any("tokens/s read" in line and "measured in other:eval" in line for line in rest)


def test_a_comparison_as_a_page_and_for_machines(run: Path, other: Path, tmp_path: Path, capsys: Any) -> None:
    """Only the main figures are adjusted for each other; replies stand side by side, escaped, in a page of its own."""
    (path,) = other.glob("stages/eval-*/samples/instances.jsonl")
    path.write_text(path.read_text().replace('"that makes 1"', '"<script>that makes 1</script>"'))
    page, out = tmp_path / "made" / "page.html", tmp_path / "made" / "found.json"
    words = ["compare", str(run), f"{other}:eval", "--html", str(page), "--json", str(out), "--replies"]
    assert main(words) == 0
    told = capsys.readouterr().out
    assert "    A: that makes 1\n    B: <script>that makes 1</script>\n" in told
    found = json.loads(out.read_text())
    rows = found["differences"]["other:eval"]
    adjusted = {(row["task"], row["metric"]) for row in rows if row["p_holm"] is not None}
    assert adjusted == {(row["task"], row["metric"]) for row in rows if row["headline"]}
    assert len(adjusted) == 2 < len(rows)
    html = page.read_text()
    assert "&lt;script&gt;that makes 1" in html
    assert "<script" not in html
    assert "other:eval − sums:eval" in html
    assert not re.search(r"https?://|src=", html)


def test_only_what_is_alike_is_compared(run: Path, other: Path, capsys: Any) -> None:
    (done,) = other.glob("stages/eval-*/done.json")
    content = json.loads(done.read_text())
    for score in content["artifact"]["details"]["scores"]:
        if score["task"] == "sums":
            score["fingerprint"] = "0" * 64
    done.write_text(json.dumps(content))
    assert main(["compare", str(run), str(other)]) == 0
    told = capsys.readouterr().out
    assert "note: sums of A and B differ in data, prompts or rules, and are left out" in told
    assert not [line for line in told.splitlines() if line.startswith("sums  ")]


def lm_eval_samples(run: Path, path: Path, changed: str = "", name: str = "acc") -> list[dict[str, Any]]:
    """What lm-eval would log of the run's choices, all of them right but the first."""
    rows = [row for row in rows_of(run) if row["task"] == "multiple_choice"]
    samples = []
    for number, row in enumerate(rows):
        prompt = f"{row['prompt']}{changed}"
        arguments = {
            f"gen_args_{i}": {"arg_0": prompt, "arg_1": text} for i, text in enumerate((" yes", " surely not so"))
        }
        doc = {"question": f"{number}?", "whole": f"Question: {number}?"}
        likelihoods = [[["-1.5", "True"]], [["-2.5", "False"]]]
        samples.append(
            {"doc_id": number, "doc": doc, "arguments": arguments, "resps": likelihoods, name: float(number > 0)}
        )
    path.write_text("".join(json.dumps(sample) + "\n" for sample in samples))
    return rows


def test_samples_of_lm_eval_are_a_side(run: Path, tmp_path: Path, capsys: Any) -> None:
    """Paired by the text of the prompt; a folder of results has them as well."""
    folder = tmp_path / "lm-eval" / "model"
    folder.mkdir(parents=True)
    rows = lm_eval_samples(run, folder / "samples_mine_2026-01-01T00-00-00.0.jsonl")
    (folder / "results_2026-01-01T00-00-00.0.json").write_text("{}")
    replied = [
        {**json.loads(line), "resps": [["yes"]]} for line in next(folder.glob("samples_*")).read_text().splitlines()
    ]
    for sample in replied:
        sample["arguments"] = {"gen_args_0": {**sample["arguments"]["gen_args_0"], "arg_1": {"until": ["\n"]}}}
    text = "".join(json.dumps(sample) + "\n" for sample in replied)
    (folder / "samples_replied_2026-01-01T00-00-00.0.jsonl").write_text(text)
    for side in (folder, folder / "results_2026-01-01T00-00-00.0.json"):
        assert main(["compare", str(run), str(side)]) == 0
        told = capsys.readouterr().out
        assert ": 6 of 6 questions are those of multiple_choice\n" in told
        assert "note: left out: samples_replied_2026-01-01T00-00-00.0.jsonl asks none of its questions" in told
        (line,) = [line for line in told.splitlines() if line.startswith("multiple_choice  acc ")]
        ours = [row["metrics"]["acc"] for row in rows]
        better = sum(mine < theirs for mine, theirs in zip(ours, [0, 1, 1, 1, 1, 1], strict=True))
        assert f"{100 * sum(ours) / 6:.1f}" in line
        assert "83.3" in line
        assert f" {better}, {int(ours[0])} " in line


@pytest.mark.parametrize(
    ("changed", "name", "words", "message"),
    [
        (" ", "acc", (), "asks none of its questions in the same words: multiple_choice .* differ at character"),
        ("", "exact", (), "has no metric of multiple_choice, which has acc.*--metric acc=exact"),
        ("", "exact", ("--metric", "acc=exact"), ""),
    ],
)
def test_what_another_asked_otherwise_is_not_compared(
    run: Path, tmp_path: Path, capsys: Any, changed: str, name: str, words: tuple[str, ...], message: str
) -> None:
    lm_eval_samples(run, tmp_path / "samples.jsonl", changed, name)
    status = main(["compare", str(run), str(tmp_path / "samples.jsonl"), *words])
    assert status == (1 if message else 0)
    assert re.search(message, " ".join(capsys.readouterr().err.split()))


def test_a_file_alone_or_without_samples_is_refused(run: Path, tmp_path: Path, capsys: Any) -> None:
    file = tmp_path / "results_1.json"
    file.write_text("{}")
    assert main(["compare", str(run), str(file)]) == 1
    assert "run lm-eval with --log_samples" in capsys.readouterr().err
    assert main(["compare", str(file), str(file)]) == 1
    assert "one side must be a run of ours" in capsys.readouterr().err
    log = tmp_path / "log.eval"
    log.write_bytes(b"PK")
    assert main(["compare", str(run), str(log)]) == 1
    assert "inspect" in capsys.readouterr().err


def test_predictions_of_olmes_need_what_was_asked(run: Path, tmp_path: Path, capsys: Any) -> None:
    file, beside = tmp_path / "task-000-predictions.jsonl", tmp_path / "task-000-requests.jsonl"
    rows = lm_eval_samples(run, tmp_path / "samples.jsonl")
    output = [{"sum_logits": -1.0, "num_tokens": 1}, {"sum_logits": -2.0, "num_tokens": 3}]
    predictions = [{"doc_id": n, "native_id": n, "model_output": output, "metrics": {"acc_raw": 1}} for n in range(6)]
    file.write_text("".join(json.dumps(row) + "\n" for row in predictions))
    words = ["compare", str(run), str(file), "--metric", "acc=acc_raw"]
    assert main(words) == 1
    assert "task-000-predictions.jsonl does not say what was asked" in capsys.readouterr().err

    def requests(second: str) -> str:
        lines = [
            {
                "request_type": "loglikelihood",
                "doc": {},
                "doc_id": n,
                "request": {"context": row["prompt"], "continuation": text},
            }
            for n, row in enumerate(rows)
            for text in (" yes", second)
        ]
        return "".join(json.dumps(line) + "\n" for line in lines)

    beside.write_text(requests(" surely not so"))
    assert main(words) == 0
    assert ": 6 of 6 questions are those of multiple_choice\n" in capsys.readouterr().out
    beside.write_text(requests(" no"))
    assert main(words) == 1
    assert "or scores other continuations" in capsys.readouterr().err


def test_a_log_of_inspect_is_a_side(run: Path, tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stand-in for inspect's reader, which gives the attributes of its `EvalSample`; one sample failed."""
    asked = list(dict.fromkeys((row["id"], row["prompt"]) for row in rows_of(run) if row["task"] == "sums"))
    score, output = SimpleNamespace(value="C"), SimpleNamespace(completion="5")
    samples = [
        SimpleNamespace(
            id=id_,
            epoch=1,
            input=re.findall(r"What is \d \+ 1\?", prompt)[0],
            scores={"exact_match": score} if number else None,
            output=output,
        )
        for number, (id_, prompt) in enumerate(asked)
    ]
    reader = SimpleNamespace(read_eval_log=lambda path: SimpleNamespace(samples=samples))
    monkeypatch.setitem(sys.modules, "inspect_ai", SimpleNamespace(log=reader))
    monkeypatch.setitem(sys.modules, "inspect_ai.log", reader)
    log = tmp_path / "sums.eval"
    log.write_bytes(b"PK")
    assert main(["compare", str(run), str(log)]) == 0
    told = capsys.readouterr().out
    assert "sums.eval: 4 of 4 questions are those of sums; ours have around each '" in told
    assert "sums.eval: 1 question without exact_match left out" in told
    (line,) = [line for line in told.splitlines() if line.startswith("sums  ")]
    assert line.split()[3:5] == ["0.0", "100.0"]
    assert line.endswith("  3  unknown")
