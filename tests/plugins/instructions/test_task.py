"""IFEval and IFEval-OOD as tasks: golden verdicts, figures by hand, V(I, R) (F46), what is missing, the commands."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from aftertrain.cli import main
from aftertrain.core.errors import DataError, Unavailable
from aftertrain.core.eval_task import Instance, InstanceScore
from aftertrain.core.records import Completion
from aftertrain.plugins.instructions import resources
from aftertrain.plugins.instructions.ifbench import truth
from aftertrain.plugins.instructions.ifbench.kinds import IFBENCH, TULU
from aftertrain.plugins.instructions.task import IFEvalOOD, IFEvalTask, InstructionTask

Make = Callable[..., InstructionTask[Any]]
IFEVAL, IFBENCH_ROWS, OWN = "google/IFEval/default/train", "allenai/IFBench_test/default/train", "tulu3-ifeval-ood"
TWO = {"instruction_id_list": ["punctuation:no_comma", "startend:quotation"], "kwargs": [{}, {"letter": None}]}
LETTER = {
    "instruction_id_list": ["keywords:letter_frequency"],
    "kwargs": [{"letter": "#", "let_frequency": 4, "let_relation": "at least"}],
}


def write(folder: Path, place: str, *rows: Mapping[str, Any]) -> None:
    file = folder / f"{place}.jsonl"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """`make(kind, place, *rows, **settings)`: a task over these rows, laid out like the hub."""

    def made(kind: type[InstructionTask[Any]], place: str, /, *rows: Mapping[str, Any], **settings: Any) -> Any:
        keyed = [{"key": number, "prompt": f"prompt {number}", **row} for number, row in enumerate(rows)]
        write(tmp_path, place, *keyed)
        config: Any = kind.Config
        return kind(config(data=str(tmp_path), **settings), None)  # type: ignore[arg-type]

    return made


def completion(text: str) -> Completion:
    return Completion("0", (), (), (), (), "stop", text)


def scored(task: InstructionTask[Any], *texts: str) -> list[InstanceScore]:
    """Of a text for each instance."""
    return task.score_all(task.instances(), [completion(text) for text in texts])


def figures(task: InstructionTask[Any], scores: list[InstanceScore]) -> dict[str, float]:
    """Each figure over all questions."""
    found = {}
    for figure in task.figures():
        weights = [figure.weight([score]) if figure.weight else 1.0 for score in scores]
        values = [figure.value([score]) for score in scores]
        if figure.corpus is not None:
            found[figure.name] = figure.corpus([[score] for score in scores])
            continue
        found[figure.name] = sum(w * v for w, v in zip(weights, values, strict=True)) / sum(weights)
    return found


def test_golden_verdicts(shared_data: Path, make: Make) -> None:
    """The reference's own verdicts, strict and loose, of every fourth golden reply, with thoughts in none of them."""
    with gzip.open(shared_data / "golden" / "ifeval.jsonl.gz", "rt", encoding="utf-8") as file:
        golden = [json.loads(line) for line in file][::4]
    rows = [{name: row[name] for name in ("instruction_id_list", "kwargs")} for row in golden]
    task = make(IFEvalTask, IFEVAL, *rows)
    scores = scored(task, *(row["response"] for row in golden))
    for row, score in zip(golden, scores, strict=True):
        strict, loose = score.metrics["followed_strict"], score.metrics["followed_loose"]
        assert (strict, loose, score.metrics["instructions"]) == (
            sum(row["strict"]),
            sum(row["loose"]),
            len(row["strict"]),
        ), row["id"]
        assert score.metrics["prompt_level_loose_acc"] == all(row["loose"]), row["id"]
        assert score.metrics["prompt_level_strict_acc"] == all(row["strict"]), row["id"]
    expected = sum(sum(row["loose"]) for row in golden) / sum(len(row["loose"]) for row in golden)
    assert figures(task, scores)["inst_level_loose_acc"] == pytest.approx(expected)


def test_golden_verdicts_out_of_domain(shared_data: Path, make: Make) -> None:
    """IFBench's own verdicts on each instruction of every sixth golden reply."""
    with gzip.open(shared_data / "golden" / "ifbench.jsonl.gz", "rt", encoding="utf-8") as file:
        golden = [json.loads(line) for line in file][::6]
    rows = [{name: row[name] for name in ("instruction_id_list", "kwargs")} for row in golden]
    task = make(IFEvalOOD, IFBENCH_ROWS, *rows, kinds="ifbench", missing="keep")
    judged = 0
    for row, score in zip(golden, scored(task, *(row["response"] for row in golden)), strict=True):
        if score.outcome == "error":
            assert "NLTK's taggers" in score.detail, row["id"]
            continue
        names, judged = row["instruction_id_list"], judged + 1
        for mode in ("strict", "loose"):
            assert score.parts[mode] == [list(pair) for pair in zip(names, row[mode], strict=True)], row["id"]
    assert judged > 280


def test_figures_by_hand(make: Make) -> None:
    """F46 on two prompts, of two instructions and of one. The first reply follows none strictly, and one loosely (its
    last line is quoted); the second follows its one.

    Prompt level 1/2; instruction level loose (1 + 1)/3, strict 1/3; of the kinds no_comma (1 of 2) and quotation (1 of
    1, strictly 0) 3/4 and 1/4. V of the first, weights 3 and 1, is 1/4 loosely: V = (1/4 + 1)/2.
    """
    comma = {"instruction_id_list": ["punctuation:no_comma"], "kwargs": [{}]}
    task = make(IFEvalTask, IFEVAL, TWO, comma, weights={"punctuation:no_comma": 3})
    scores = scored(task, 'Sure, here:\n"No, never."', "none")
    assert figures(task, scores) == {
        "prompt_level_loose_acc": 0.5,
        "prompt_level_strict_acc": 0.5,
        "inst_level_loose_acc": pytest.approx(2 / 3),
        "inst_level_strict_acc": pytest.approx(1 / 3),
        "inst_level_loose_acc (macro)": pytest.approx(3 / 4),
        "inst_level_strict_acc (macro)": pytest.approx(1 / 4),
        "weighted_checks": pytest.approx(5 / 8),
        "weighted_checks_strict": pytest.approx(1 / 2),
    }
    assert scores[0].detail == "punctuation:no_comma no; startend:quotation loosely"
    equal = make(IFEvalTask, IFEVAL, TWO, comma)
    assert figures(equal, scored(equal, 'Sure, here:\n"No, never."', "none"))["weighted_checks"] == pytest.approx(3 / 4)
    assert task.fingerprint() != equal.fingerprint()
    kinds = make(IFEvalTask, IFEVAL, TWO, comma, by_kind=True)
    by_kind = figures(kinds, scored(kinds, 'Sure, here:\n"No, never."', "none"))
    assert (by_kind["loose punctuation:no_comma"], by_kind["loose startend:quotation"]) == (0.5, 1.0)


@pytest.mark.parametrize("text", ["", "\0", "*" * 50_000, "\U0001f600\ud800", '"' * 9, "\n" * 1000])
def test_any_reply_gets_every_metric(make: Make, text: str) -> None:
    task = make(IFEvalTask, IFEVAL, TWO)
    assert set(scored(task, text)[0].metrics) == set(task.metrics)


def test_after_thoughts_the_other_rule_is_told(make: Make) -> None:
    task = make(IFEvalTask, IFEVAL, {"instruction_id_list": ["punctuation:no_comma"], "kwargs": [{}]})
    reply = "<think>well, well</think>none"
    assert (scored(task, reply)[0].metrics["prompt_level_loose_acc"], scored(task, reply)[0].other_rule) == (0.0, 1.0)
    after = make(
        IFEvalTask, IFEVAL, {"instruction_id_list": ["punctuation:no_comma"], "kwargs": [{}]}, answer="after_thoughts"
    )
    assert (scored(after, reply)[0].metrics["prompt_level_loose_acc"], scored(after, reply)[0].other_rule) == (1.0, 0.0)


def test_a_letter_that_is_none_is_counted_unless_the_fault_is_kept(make: Make) -> None:
    """Prompts 1122 and 1129 ask for # and !; the reference counts a random letter in their place."""
    assert scored(make(IFEvalTask, IFEVAL, LETTER), "# # # #")[0].metrics["prompt_level_strict_acc"] == 1.0
    task, text = make(IFEvalTask, IFEVAL, LETTER, compat=True), "# # # #"
    assert scored(task, text)[0].metrics["prompt_level_strict_acc"] == 0.0
    every = " ".join(4 * "abcdefghijklmnopqrstuvwxyz")
    assert scored(task, every)[0].metrics["prompt_level_strict_acc"] == 1.0
    assert task.fingerprint() != make(IFEvalTask, IFEVAL, LETTER).fingerprint()


def test_kinds_of_both_sets(shared_data: Path, tmp_path: Path) -> None:
    """58 and 52; the 58 are those that IFBench's own prompts name, and all of these can be read."""
    lines = (shared_data / "ifbench" / "IFBench_test.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    assert (len(IFBENCH), len(TULU)) == (58, 52)
    assert {name for row in rows for name in row["instruction_id_list"]} == set(IFBENCH)
    assert len(set(TULU) - set(IFBENCH)) == 4
    write(tmp_path, IFBENCH_ROWS, *rows)
    (tmp_path / "data.yaml").write_text(f"ifbench: {{file: {IFBENCH_ROWS}.jsonl}}\nifeval_ood: {{file: none.jsonl}}\n")
    task = IFEvalOOD(IFEvalOOD.Config(data=str(tmp_path), kinds="ifbench", missing="keep"), None)  # type: ignore[arg-type]
    assert len(task.instances()) == 300
    score = task.score(task.instances()[0], completion(rows[0]["prompt"]))
    assert set(score.metrics) == set(task.metrics)


def test_rows_of_tulus_kinds_are_given_or_missing(make: Make, tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match=r"were not published.*kinds=ifbench; give it by folder: --data DIR"):
        IFEvalOOD(IFEvalOOD.Config(), None).instances()  # type: ignore[arg-type]
    with pytest.raises(Unavailable, match=r"needs tulu3-ifeval-ood/default/test.jsonl.*were not published"):
        IFEvalOOD(IFEvalOOD.Config(data=str(tmp_path)), None).instances()  # type: ignore[arg-type]
    camel = {"instruction_id_list": ["format:camel_case", "count:numbers"], "kwargs": [{}, {"N": 0.0}]}
    task = make(IFEvalOOD, f"{OWN}/default/test", camel)
    assert scored(task, "camelCase goesHere")[0].metrics["weighted_checks"] == 1.0
    assert scored(task, "Snake_case 1")[0].metrics["weighted_checks"] == 0.0
    other = make(IFEvalOOD, f"{OWN}/default/test", {"instruction_id_list": ["format:title_case"], "kwargs": [{}]})
    with pytest.raises(DataError, match=r"test.jsonl:1: no instruction named 'format:title_case'"):
        other.instances()


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({**TWO, "kwargs": [{}]}, r"train.jsonl:1: 2 in instruction_id_list, but 1 in kwargs"),
        ({**TWO, "kwargs": [{}, 3]}, r"train.jsonl:1: kwargs of startend:quotation must be a mapping"),
        ({"instruction_id_list": "punctuation:no_comma", "kwargs": []}, r"train.jsonl:1: field 'instruction_id_list'"),
        ({"instruction_id_list": ["punctuation:no_comas"], "kwargs": [{}]}, r"Did you mean 'punctuation:no_comma'"),
        ({"instruction_id_list": ["keywords:existence"], "kwargs": [{}]}, r"question '0': keywords:existence lacks"),
    ],
)
def test_rows_that_do_not_fit(make: Make, row: Mapping[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        make(IFEvalTask, IFEVAL, row).instances()


def test_what_checks_need_is_looked_for_before_generation(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    task = make(IFEvalTask, IFEVAL, TWO)
    monkeypatch.setattr(resources, "_there", lambda name: name != "punkt")
    with pytest.raises(Unavailable, match=r"task 'ifeval' needs NLTK's tokenizers/punkt_tab"):
        task.instances()


def test_a_check_that_cannot_be_made_here_stops_or_is_not_judged(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(truth, "lacking", lambda need: "NLTK's tagger: install it" if need == "tagger" else None)
    verb = {"instruction_id_list": ["words:start_verb"], "kwargs": [{}]}
    numbers = {"instruction_id_list": ["count:numbers"], "kwargs": [{"N": 1}]}
    with pytest.raises(
        Unavailable, match=r"1 of 2 questions cannot be checked here \(0\): words:start_verb needs NLTK"
    ):
        make(IFEvalOOD, IFBENCH_ROWS, verb, numbers, kinds="ifbench").instances()
    task = make(IFEvalOOD, IFBENCH_ROWS, verb, kinds="ifbench", missing="keep")
    (score,) = scored(task, "Go.")
    assert (score.outcome, score.metrics["instructions"], score.metrics["followed_loose"]) == ("error", 1, 0)


def test_a_prompt_whose_weights_are_all_0(make: Make) -> None:
    weights = {"punctuation:no_comma": 0, "startend:quotation": 0}
    with pytest.raises(DataError, match=r"question '0': the weights of all its instructions are 0"):
        make(IFEvalTask, IFEVAL, TWO, weights=weights).instances()


def test_show_prompt(tmp_path: Path, tiny_model: Path) -> None:
    write(tmp_path, IFEVAL, {"key": 7, "prompt": "Write one word.", **TWO})
    out = tmp_path / "prompts.jsonl"
    words = ["show", "prompt", "ifeval", "--model", str(tiny_model), "--data", str(tmp_path)]
    assert main([*words, "--all", "--out", str(out)]) == 0
    assert "Write one word." in out.read_text(encoding="utf-8")


@pytest.mark.slow
def test_a_model_is_scored_and_scored_again_without_it(
    tmp_path: Path, tiny_model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import aftertrain

    write(tmp_path, IFEVAL, *({"key": key, "prompt": "Write.", **TWO} for key in range(2)))
    write(
        tmp_path,
        IFBENCH_ROWS,
        {"key": "0", "prompt": "Write.", "instruction_id_list": ["count:numbers"], "kwargs": [{"N": 0.0}]},
    )
    tasks = [{"use": "ifeval", "max_new_tokens": 8}, {"use": "ifeval_ood", "kinds": "ifbench", "max_new_tokens": 8}]
    scores = aftertrain.evaluate(tiny_model, tasks, data=str(tmp_path), out=tmp_path / "run", unseal="a test")
    first = {score["task"]: (score["metric"], score["n"]) for score in scores if score["primary"]}
    assert first == {"ifeval": ("prompt_level_loose_acc", 2), "ifeval_ood": ("prompt_level_loose_acc", 1)}
    assert main(["rescore", str(tmp_path / "run"), "ifeval.by_kind=true"]) == 0
    told = capsys.readouterr().out
    assert "loose punctuation:no_comma" in told
    assert "ifeval at temperature 0: 0 of 2 outputs changed" in told


def test_instances_are_the_rows(make: Make) -> None:
    (instance,) = make(IFEvalTask, IFEVAL, TWO).instances()
    assert isinstance(instance, Instance)
    assert instance.id == "0"
    assert instance.messages[0].content == "prompt 0"
    assert instance.target == {"instruction_id_list": TWO["instruction_id_list"], "kwargs": [{}, {}]}
