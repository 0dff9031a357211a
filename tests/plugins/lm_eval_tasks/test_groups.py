"""A group of lm-eval whose tasks ask requests of several types, by the command, beside lm-eval's own run of it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import aftertrain
from aftertrain.api.comparing import compare
from aftertrain.cli import main
from aftertrain.plugins.lm_eval_tasks.catalogue import find
from aftertrain.plugins.lm_eval_tasks.data import data_sets


def groups_of_lm_eval(model: Path, hub: Path, own: Path) -> dict[str, dict[str, float]]:
    """What lm-eval's `simple_evaluate` makes of the group, and of those within it."""
    import lm_eval
    from lm_eval import evaluator
    from lm_eval.models.huggingface import HFLM
    from lm_eval.tasks import TaskManager

    lm = HFLM(pretrained=str(model), dtype="float32", device="cpu", batch_size=4)
    found = find("all_types", str(own))
    with data_sets(str(hub), found.leaves), pytest.MonkeyPatch.context() as patch:
        manager = TaskManager(include_path=[str(own)], include_defaults=False)
        patch.setattr(evaluator, "add_env_info", lambda results: None)  # asks pip for seconds, and changes no number
        results = lm_eval.simple_evaluate(lm, tasks=["all_types"], task_manager=manager, bootstrap_iters=0)
    assert results is not None
    return {
        group: {key: value for key, value in numbers.items() if "," in key and "stderr" not in key}
        for group, numbers in results["groups"].items()
    }


def test_a_group_of_several_types_has_lm_evals_numbers(
    wide_model: Path, hub: Path, own_files: Path, tmp_path: Path
) -> None:
    """Seven numbers of three groups: by size and not, over tasks that have the figure, of two filters and of one."""
    out = tmp_path / "run"
    words = ["lm_eval/all_types", f"include_path={own_files}", "--data", str(hub), "--out", str(out)]
    assert main(["evaluate", str(wide_model), *words]) == 0
    lines = {line.name: line for line in aftertrain.suites(out)["lm_eval/all_types"]}
    theirs = groups_of_lm_eval(wide_model, hub, own_files)
    expected = {
        f"{group} {key.removesuffix(',none')}": value
        for group, numbers in theirs.items()
        for key, value in numbers.items()
    }
    assert sorted(theirs) == ["all_types", "all_types::texts", "inner"]
    assert len(expected) == 8
    ours = {name: line.value for name, line in lines.items() if not name.startswith("lm_eval/")}
    assert ours == pytest.approx(expected, rel=1e-5)
    assert lines["all_types acc"].of == (3, 3)
    # The figures tell apart what is weighed by questions, what is not, and what a task lacks.
    assert len({expected["all_types acc"], expected["inner acc"], expected["all_types acc_norm"]}) == 3


def test_its_numbers_are_told_before_and_one_is_chosen(
    wide_model: Path, hub: Path, own_files: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [f"include_path={own_files}", "--data", str(hub), "--out", str(tmp_path / "run")]
    assert main(["evaluate", str(wide_model), "lm_eval/all_types", "headline=exact", *words]) != 0
    assert "headline: no metric named 'exact'" in capsys.readouterr().err
    # A group that makes no number: its rows alone.
    assert main(["evaluate", str(wide_model), "lm_eval/mixed", *words]) == 0
    lines = aftertrain.suites(tmp_path / "run")["lm_eval/mixed"]
    assert [(line.name, line.value is None) for line in lines] == [
        ("mixed", True),
        ("lm_eval/arc_easy_own", False),
        ("lm_eval/drawn", False),
    ]
    assert lines[0].missing == "no number is made of these rows together"


def test_one_task_of_a_group_is_asked_alone(wide_model: Path, hub: Path, own_files: Path, tmp_path: Path) -> None:
    """As the group has set it up: with its worked example."""
    task = {"use": "lm_eval/all_types", "tasks": ["short_answers"], "include_path": str(own_files)}
    aftertrain.evaluate(wide_model, [task], data=str(hub), out=tmp_path / "run")
    (file,) = (tmp_path / "run").rglob("samples/instances.jsonl")
    rows = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    first = json.loads((hub / "openai/gsm8k/main/train.jsonl").read_text().splitlines()[0])
    assert len(rows) == 4
    assert all(row["prompt"].count("\n\n") >= 1 for row in rows)
    assert first["question"]


def test_a_figure_of_a_corpus_is_compared_with_lm_evals(
    wide_model: Path, hub: Path, own_files: Path, tmp_path: Path
) -> None:
    """F1 of a file in which all are called yes: 2 hits / (2 hits + misses), from the pairs that lm-eval keeps."""
    task = {"use": "lm_eval/corpus_boolq", "include_path": str(own_files)}
    run = tmp_path / "run"
    aftertrain.evaluate(wide_model, [task], data=str(hub), out=run)
    (file,) = run.rglob("samples/instances.jsonl")
    rows = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    lines = []
    for place, row in enumerate(rows):
        asked = {f"gen_args_{n}": {"arg_0": row["prompt"], "arg_1": f" {word}"} for n, word in enumerate(("no", "yes"))}
        # Those of mutual information have nothing before them.
        asked |= {f"gen_args_{n + 2}": {"arg_0": "", "arg_1": f" {word}"} for n, word in enumerate(("no", "yes"))}
        gold = row["parts"]["f1"][0]
        resps = [[["-2.0", "False"]], [["-1.0", "True"]]] * 2
        lines.append({"doc_id": place, "doc": {}, "arguments": asked, "resps": resps, "acc": gold, "f1": [gold, 1]})
    theirs = tmp_path / "samples_corpus.jsonl"
    theirs.write_text("".join(json.dumps(line) + "\n" for line in lines))
    found = compare(run, theirs)
    hits = sum(line["acc"] for line in lines)
    ours, other = found.scores["lm_eval/corpus_boolq", "f1", None]
    assert ours is not None
    assert other is not None
    assert other.mean == pytest.approx(2 * hits / (2 * hits + len(lines) - hits))
    assert not [row for row in found.differences[str(theirs)] if row.metric == "f1"]
