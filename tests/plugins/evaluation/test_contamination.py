"""The gate from a recipe: an evaluation knows what trained its model, tells what it finds, or refuses (F4, F6)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from aftertrain.cli import main
from aftertrain.core.events import Contamination
from aftertrain.plugins.evaluation.contamination import Checked, scored
from aftertrain.plugins.evaluation.rows import ScoredInstance

ASKED = [
    "Ann has seven red apples and buys four more on Monday. How many apples does Ann have?",
    "A train leaves at noon and travels ninety miles in two hours. What is its speed?",
    "Bob reads twelve pages each day for five days. How many pages does Bob read in all?",
    "Six?",
]
RECIPE = """
name: gated
model: {model}
threads: 1
stages:
  sft:
    use: train
    loss: {{use: sft}}
    data: {data}
    optimizer: {{lr: 1e-3}}
    batch: {{sequences: 2, max_tokens: 256}}
    {more}
  before: {{use: evaluate, tasks: {tasks}, max_new_tokens: 2}}
  after: {{use: evaluate, from: sft, tasks: {tasks}, max_new_tokens: 2, contamination: {gate}}}
  {stages}
"""
CLEAN = "{use: jsonl, path: clean.jsonl, format: prompt_response}"
DIRTY = "{use: jsonl, path: dirty.jsonl, format: prompt_response}"
TASKS = "[{use: gsm8k, path: asked.jsonl, shots: 0}]"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    def write(name: str, rows: list[dict[str, Any]]) -> None:
        (tmp_path / name).write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")

    write("asked.jsonl", [{"question": text, "answer": f"#### {n}"} for n, text in enumerate(ASKED)])
    clean = [{"prompt": f"Say {word}", "response": word} for word in ("one", "two", "three", "four")]
    write("clean.jsonl", clean)
    write("dirty.jsonl", [*clean, {"prompt": f"1. {ASKED[1].upper()}", "response": "45"}])
    return tmp_path


def run(folder: Path, model: Path | str, data: str = DIRTY, gate: str = "{gate: warn}", **words: str) -> int:
    given = {"more": "", "stages": "", "tasks": TASKS} | words
    (folder / "recipe.yaml").write_text(RECIPE.format(model=model, data=data, gate=gate, **given), encoding="utf-8")
    return main(["run", str(folder / "recipe.yaml"), "--out", str(folder / "runs")])


def told(folder: Path, stage: str, name: str = "gated") -> dict[str, Any]:
    lines = (folder / "runs" / name / "events.jsonl").read_text(encoding="utf-8").splitlines()
    events = [json.loads(line) for line in lines]
    *_, scores = (event for event in events if event["name"] == "scores" and event["stage"] == stage)
    [row] = scores["data"]["contamination"]
    warnings = [event["data"]["message"] for event in events if event["name"] == "warning" and event["stage"] == stage]
    return {**row, "warnings": [message for message in warnings if "training data" in message], "said": warnings}


def test_what_trained_the_model_is_known_and_the_base_model_is_not(
    folder: Path, tiny_model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    again = f"again: {{use: evaluate, tasks: {TASKS}, max_new_tokens: 2, compare: after}}"
    assert run(folder, tiny_model, stages=again) == 0
    before, after = told(folder, "before"), told(folder, "after")
    assert told(folder, "again")["stages"] == []  # what it is compared with trained nothing of it
    assert (before["stages"], before["warnings"], before["items"]) == ([], [], 4)
    counts = {key: after[key] for key in ("items", "testable", "found", "whole", "stages", "sources")}
    assert counts == {
        "items": 4,
        "testable": 3,
        "found": 1,
        "whole": 0,
        "stages": ["sft"],
        "sources": ["sft/dirty"],
    }
    assert after["warnings"] == [
        "gsm8k: 1 of 3 testable questions stand in the training data (sft/dirty), by the rule robust"
    ]
    assert (after["clean"][3], after["contaminated"][3]) == (2, 1)  # of four: of the short one nothing is known
    capsys.readouterr()
    words = [str(folder / "dirty.jsonl"), "--scores", f"{folder / 'runs' / 'gated'}:after", "--sizes", "5"]
    assert main(["contamination", *words, "--rule", "robust", "--planted", "0"]) == 1
    said = capsys.readouterr().out
    assert "gsm8k: score without the questions whose C(s) is above a threshold (F4)" in said
    [line] = [line for line in said.splitlines() if line.startswith("8  50%")]
    assert line.split()[2:7] == ["1", "of", "3", "0.0000", "0.0000"]


def test_clean_data_are_told_as_such(folder: Path, tiny_model: Path) -> None:
    assert run(folder, tiny_model, CLEAN, gate="{gate: error}") == 0
    after = told(folder, "after")
    assert (after["found"], after["sources"], after["stages"], after["clean"]) == (0, [], ["sft"], [])


def test_the_gate_refuses_before_anything_is_scored(
    folder: Path, tiny_model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(folder, tiny_model, gate="{gate: error}") == 1
    assert "1 of 3 testable questions stand in the training data (sft/dirty)" in capsys.readouterr().err
    events = (folder / "runs" / "gated" / "events.jsonl").read_text(encoding="utf-8")
    assert '"sample"' not in "".join(line for line in events.splitlines() if '"after"' in line)


def test_the_gate_sees_short_questions_that_stand_there_as_a_whole(
    folder: Path, tiny_model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two questions of fewer tokens than an 8-gram, both prompts of training rows: none is testable, both are found."""
    short = ["Six?", "Who wrote Dune first?"]
    for name, column in (("asked.jsonl", "question"), ("dirty.jsonl", "prompt")):
        rows = [{column: text, "answer": "#### 1", "response": "yes"} for text in short]
        (folder / name).write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    said = "gsm8k: 2 of 2 too short for n-grams, as a whole, stand in the training data (sft/dirty), by the rule robust"
    assert run(folder, tiny_model, gate="{gate: error}") == 1
    assert said in " ".join(capsys.readouterr().err.split())
    assert run(folder, tiny_model) == 0
    after = told(folder, "after")
    counts = {key: after[key] for key in ("testable", "found", "whole", "sources")}
    assert counts == {"testable": 0, "found": 0, "whole": 2, "sources": ["sft/dirty"]}
    assert after["warnings"] == [said]
    assert (after["clean"], after["contaminated"][3]) == ([], 2)


def test_error_refuses_where_what_trained_the_model_cannot_be_looked_at(
    folder: Path, tiny_model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Clean data of an earlier run pass the gate as long as they are there; with a warning they need not be."""
    (folder / "first.jsonl").write_bytes((folder / "clean.jsonl").read_bytes())
    assert run(folder, tiny_model, CLEAN.replace("clean.jsonl", "first.jsonl")) == 0
    model = f"{folder / 'runs' / 'gated'}:sft"

    def go_on(name: str, gate: str) -> int:
        words = {"more": "", "stages": "", "tasks": TASKS}
        recipe = RECIPE.replace("name: gated", f"name: {name}").format(model=model, data=CLEAN, gate=gate, **words)
        (folder / "next.yaml").write_text(recipe, encoding="utf-8")
        return main(["run", str(folder / "next.yaml"), "--out", str(folder / "runs")])

    assert go_on("there", "{gate: error}") == 0
    (folder / "first.jsonl").unlink()
    capsys.readouterr()
    assert go_on("gone", "{gate: error}") == 1
    said = capsys.readouterr().err
    assert "gated:sft: its data cannot be read any more: " in said
    assert str(folder / "first.jsonl") in said
    assert "contamination: {gate: warn}" in said
    assert "contamination: {gate: off, reason: ...}" in said
    events = (folder / "runs" / "gone" / "events.jsonl").read_text(encoding="utf-8")
    assert '"sample"' not in "".join(line for line in events.splitlines() if '"after"' in line)
    assert go_on("warned", "{gate: warn}") == 0
    assert told(folder, "after", "warned")["unknown"] != []


def test_off_needs_a_reason_that_stands_in_the_table(
    folder: Path, tiny_model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(folder, tiny_model, gate="{gate: off}") == 2
    assert "gate off needs a reason" in capsys.readouterr().err
    assert run(folder, tiny_model, gate="{gate: off, reason: the rows are these}") == 0
    assert (told(folder, "after")["off"], told(folder, "after")["warnings"]) == ("the rows are these", [])


def test_rows_that_a_stage_made_pass_the_gate_too(folder: Path, tiny_model: Path) -> None:
    """A curating stage copies the dirty rows, and cleans them in the second run."""
    for operators, found in (("[]", 1), ("[{use: decontaminate, files: [asked.jsonl]}]", 0)):
        curate = f"curate: {{use: curate, data: {DIRTY}, operators: {operators}, workers: 1}}"
        name = f"{folder.name}{found}"
        place = folder / name
        place.mkdir()
        for file in folder.glob("*.jsonl"):
            (place / file.name).write_bytes(file.read_bytes())
        assert run(place, tiny_model, "{use: stage, from: curate}", stages=curate) == 0
        after = told(place, "after")
        assert (after["found"], after["stages"]) == (found, ["sft"])


OPERATOR = """
from aftertrain.core.operator import Operator
from aftertrain.core.settings import Settings

class Written(Operator):
    Config = Settings
    def apply(self, rows, seed):
        for row in rows:
            yield row.with_facts({"model": "a-model"})
"""


def test_replies_that_a_stage_had_a_model_write_are_looked_at(folder: Path, tiny_model: Path) -> None:
    """The question stands in the reply of a row that names the model which wrote it, and of one that names none."""
    (folder / "written.py").write_text(OPERATOR, encoding="utf-8")
    rows = [{"prompt": f"Say {n}", "response": ASKED[1] if n == 2 else "yes"} for n in range(4)]
    (folder / "dirty.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    for operators, found in (("[]", 0), ("[{use: './written.py:Written'}]", 1)):
        curate = f"curate: {{use: curate, data: {DIRTY}, operators: {operators}, workers: 1}}"
        assert run(folder, tiny_model, "{use: stage, from: curate}", stages=curate) == 0
        after = told(folder, "after")
        assert (after["found"], after["stages"]) == (found, ["sft"])


def evaluated(folder: Path, model: str, name: str) -> dict[str, Any]:
    """What `aftertrain evaluate` finds of a model."""
    words = ["gsm8k", f"path={folder / 'asked.jsonl'}", "shots=0", "--max-new-tokens", "2", "--out"]
    assert main(["evaluate", model, *words, str(folder / "runs" / name)]) == 0
    return told(folder, "evaluate", name)


def test_what_other_runs_trained_the_model_on_is_looked_at_too(folder: Path, tiny_model: Path) -> None:
    """`gated` learns the question; `next` goes on from it with clean rows, and `last` only scores that model."""
    assert run(folder, tiny_model) == 0
    runs = folder / "runs"
    assert evaluated(folder, f"{runs / 'gated'}:sft", "direct")["stages"] == ["gated:sft"]
    recipe = RECIPE.replace("name: gated", "name: next").format(
        model=f"{runs / 'gated'}:sft", data=CLEAN, gate="{gate: warn}", more="", stages="", tasks=TASKS
    )
    (folder / "next.yaml").write_text(recipe, encoding="utf-8")
    assert main(["run", str(folder / "next.yaml"), "--out", str(runs)]) == 0
    before, after = told(folder, "before", "next"), told(folder, "after", "next")
    assert (before["stages"], before["sources"]) == (["gated:sft"], ["gated:sft/dirty"])
    assert (after["stages"], after["found"], after["unknown"]) == (["sft", "gated:sft"], 1, [])
    assert after["sources"] == ["gated:sft/dirty"]
    last = evaluated(folder, f"{runs / 'next'}:sft", "last")
    assert (last["stages"], last["sources"]) == (["next:sft", "gated:sft"], ["gated:sft/dirty"])


def test_what_is_gone_or_another_by_now_is_told(folder: Path, tiny_model: Path) -> None:
    assert run(folder, tiny_model) == 0
    model, rows = f"{folder / 'runs' / 'gated'}:sft", (folder / "dirty.jsonl").read_bytes()
    (folder / "dirty.jsonl").write_bytes(rows.splitlines(keepends=True)[0])
    [why] = evaluated(folder, model, "changed")["unknown"]
    assert why == "gated:sft: other now than when it learnt from them: data"
    (folder / "dirty.jsonl").unlink()
    gone = evaluated(folder, model, "gone")
    assert (gone["stages"], gone["found"]) == ([], 0)
    [why] = gone["unknown"]
    assert why.startswith("gated:sft: its data cannot be read any more: ")
    assert str(folder / "dirty.jsonl") in why
    assert f"not all that trained the model could be looked at for these questions: {why}" in gone["said"]
    (folder / "dirty.jsonl").write_bytes(rows)
    (made,) = (folder / "runs" / "gated" / "stages").glob("sft-*")
    assert run(folder, tiny_model, CLEAN) == 0  # the run has another recipe now, and the old model stays
    [why] = evaluated(folder, str(made / "model"), "older")["unknown"]
    assert why.startswith("gated:sft: the recipe that ")


ONLINE = """
name: rl
model: package:aftertrain.plugins.quickstart/model
threads: 1
stages:
  rlvr:
    use: online
    advantages: group
    data: {use: quickstart, split: problems, rows: 2}
    rewards: [{use: gsm8k, extract: strict}]
    sampling: {max_new_tokens: 8}
    batch: {prompts: 2, samples_per_prompt: 2}
    steps: 2
    optimizer: {lr: 3.0e-4}
"""


def test_replies_that_a_policy_learnt_from_are_looked_at(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "rl.yaml").write_text(ONLINE, encoding="utf-8")
    assert main(["run", str(folder / "rl.yaml"), "--out", str(folder / "runs")]) == 0
    model = f"{folder / 'runs' / 'rl'}:rlvr"
    assert evaluated(folder, model, "first")["found"] == 0
    (samples,) = folder.glob("runs/rl/stages/rlvr-*/samples/step-00002.jsonl")
    first, *others = samples.read_text(encoding="utf-8").splitlines(keepends=True)
    replied = json.loads(first) | {"response": f"As I know: {ASKED[2]}"}
    samples.write_text(json.dumps(replied) + "\n" + "".join(others), encoding="utf-8")
    second = evaluated(folder, model, "second")
    assert (second["found"], second["sources"], second["unknown"]) == (1, ["rl:rlvr/replies"], [])
    samples.unlink()
    (tokens,) = folder.glob("runs/rl/stages/rlvr-*/rollouts/step-00001.safetensors")
    tokens.unlink()
    third = evaluated(folder, model, "third")
    [why] = third["unknown"]
    assert "the replies of 1 step are gone; " in why
    assert str(samples) in why
    capsys.readouterr()
    assert run(folder, model, CLEAN, gate="{gate: error}") == 1
    assert f"rl:rlvr: {why.partition(': ')[2]}" in capsys.readouterr().err


def test_a_suite_has_a_column_and_the_report_too(
    folder: Path, tiny_model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    suite = "summary: one row\nrows:\n  apples:\n    task: {use: gsm8k, path: asked.jsonl, shots: 0}\n"
    (folder / "suite.yaml").write_text(suite, encoding="utf-8")
    assert run(folder, tiny_model, tasks="[{suite: ./suite.yaml}]") == 0
    from aftertrain.api.suites import suites

    run_folder = folder / "runs" / "gated"
    tables = {stage: next(iter(suites(f"{run_folder}:{stage}").values())) for stage in ("before", "after")}
    columns = {stage: [line.contamination for line in lines] for stage, lines in tables.items()}
    assert columns["before"] == ["unknown", "unknown"]  # the suite's number and its row
    assert columns["after"] == ["contaminated", "1 of 3 contaminated, 25.0% not testable, over the limit"]
    assert [(line.clean, line.contaminated) for line in tables["after"]] == [(None, None), (0.0, 0.0)]
    assert main(["report", str(run_folder)]) == 0
    page = (run_folder / "report.html").read_text(encoding="utf-8")
    said = "before: unknown; after: 1 of 3 contaminated, 25.0% not testable, over the limit"
    assert f"<td>{said}</td><td>" in page
    assert "0.0% on clean questions, 0.0% on contaminated questions" in page.replace("\u202f", "")
    assert "<td>1 of 3 contaminated, 25.0% not testable, over the limit<small>sft/dirty</small></td>" in page
    capsys.readouterr()
    sides = [f"{run_folder}:before", f"{run_folder}:after"]
    html, facts = folder / "compared.html", folder / "compared.json"
    assert main(["compare", *sides, "--html", str(html), "--json", str(facts)]) == 0
    header, row = (line for line in capsys.readouterr().out.splitlines() if line.startswith(("task ", "apples  exact")))
    said = "A: unknown; B: 1 of 3 contaminated, 25.0% not testable, over the limit"
    assert header.endswith("contamination")
    assert row.endswith(said)
    assert "gated:after: 1 of 3 contaminated, 25.0% not testable, over the limit</td>" in html.read_text("utf-8")
    [fact] = json.loads(facts.read_text("utf-8"))["contamination"]["gated:after"]
    assert (fact["found"], fact["sources"]) == (1, ["sft/dirty"])


def test_evaluate_prints_the_column_of_single_tasks_and_of_suites(
    folder: Path, tiny_model: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    assert run(folder, tiny_model) == 0
    (folder / "dirty.jsonl").write_bytes((folder / "dirty.jsonl").read_bytes() + b"\n")
    suite = "summary: one row\nrows:\n  apples:\n    task: {use: gsm8k, path: asked.jsonl, shots: 0}\n"
    (folder / "suite.yaml").write_text(suite, encoding="utf-8")
    capsys.readouterr()
    words = [f"{folder / 'runs' / 'gated'}:sft", "./suite.yaml", "--max-new-tokens", "2"]
    card = folder / "card.md"
    assert main(["evaluate", *words, "--out", str(folder / "runs" / "both"), "--results", str(card)]) == 0
    said = [line.split("  ") for line in capsys.readouterr().out.splitlines()]
    told = "1 of 3 contaminated, 25.0% not testable, over the limit, unknown: gated:sft"
    rows = [[cell.strip() for cell in line if cell.strip()] for line in said]
    scores = [row[:-2] for row in rows]  # without tokens a second and identity
    assert ["task", "metric", "temperature", "score", "95 %", "n", "contamination", "clean", "contaminated"] in scores
    assert ["apples", "exact_match", "0", "0.0", "0.0 to 49.0", "4", told, "0.0, n = 2", "0.0, n = 1"] in scores
    assert ["score", "95 %", "of", "contamination", "clean", "contaminated"] in rows
    assert ["apples", "0.0", "0.0 to 49.0", "4", told, "0.0", "0.0", "exact_match"] in rows
    assert f" | 4 | {told} | `" in card.read_text("utf-8")


def test_the_column_in_each_case() -> None:
    sft = ("sft",)
    rows = {
        "unknown": Contamination("t", 4),
        "off: my rows": Contamination("t", 4, off="my rows"),
        "clean": Contamination("t", 4, testable=4, stages=sft),
        "clean, 25.0% not testable": Contamination("t", 4, testable=3, stages=sft),
        "not testable": Contamination("t", 4, stages=sft),
        "not testable, 2 as a whole, over the limit": Contamination("t", 4, whole=2, stages=sft, sources=("sft/a",)),
        "1,000 of 2,000 contaminated, over the limit": Contamination(
            "t", 2000, testable=2000, found=1000, stages=sft, sources=("sft/a",)
        ),
        "none found, unknown: r:sft": Contamination("t", 4, testable=4, stages=sft, unknown=("r:sft: gone",)),
        "unknown: r:sft": Contamination("t", 4, unknown=("r:sft: gone",)),
    }
    assert [*rows] == [str(row) for row in rows.values()]
    assert [row.verdict for row in rows.values()] == [
        "unknown",
        "off",
        "clean",
        "clean",
        "not testable",
        "contaminated",
        "contaminated",
        "unknown",
        "unknown",
    ]


def test_the_main_metric_on_each_part_by_hand() -> None:
    """Questions a and b were found. Two samples of a have 1 and 0: its value is 0.5. (0.5 + 1)/2 and (0 + 1)/2."""

    class Task:
        metrics = ("exact",)

    class Ready:
        name, task = "t", Task()

    def instance(id_: str, value: float, sample: int = 0) -> ScoredInstance:
        return ScoredInstance(id_, "t", 1.0, "", "", "", None, "scored", {"exact": value}, sample=sample)

    rows = [instance("a", 1), instance("a", 0, 1), instance("b", 1), instance("c", 0), instance("d", 1)]
    checked = [Checked(Contamination("t", 4, testable=4, found=2, stages=("sft",)), frozenset({"a", "b"}))]
    [row] = scored(checked, [Ready()], rows)  # type: ignore[list-item]
    assert (row.contaminated[0], row.contaminated[3]) == (0.75, 2)
    assert (row.clean[0], row.clean[3]) == (0.5, 2)
    assert str(row) == "2 of 4 contaminated"
