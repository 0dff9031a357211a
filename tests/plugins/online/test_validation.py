"""Held-out accuracy inside an online stage, and the best weights, which survive kills to the last bit."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from aftertrain.core.errors import CheckpointError
from aftertrain.core.statistics import wilson

Make = Callable[..., Any]
HELD_OUT = {"data": {"use": "sums", "rows": 9, "long": 0, "start": 50}, "every": 2}
CONSTANT = {"optimizer": {"lr": 3e-3, "schedule": "constant"}}


def _measured(run: Any) -> dict[int, dict[str, float]]:
    """Figures by step."""
    return {
        step: {name: value for name, value in data.items() if name.startswith("validation_")}
        for event, step, data in run.events
        if event == "metrics" and "validation_accuracy" in data
    }


def _lines(run: Any, step: int) -> list[dict[str, Any]]:
    path = run.folder / "validation" / f"step-{step:05d}.jsonl"
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_accuracy_is_that_of_plain_transformers_greedy_replies(bench: Make) -> None:
    """The stage's last measurement, against the model that it leaves, asked by transformers' own `generate`."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    run = bench(changes={"validation": {**HELD_OUT, "keep": "last"}, "steps": 3})
    artifact = run.run()
    measured = _measured(run)
    assert list(measured) == [2, 3], "every second step and the last"
    model, tokenizer = AutoModelForCausalLM.from_pretrained(artifact.path), AutoTokenizer.from_pretrained(artifact.path)
    lines, right = _lines(run, 3), 0
    assert len(lines) == 9
    for line, i in zip(lines, range(50, 59), strict=True):
        question = [{"role": "user", "content": f"What is {i} + {i * i}?"}]
        prompt = tokenizer.apply_chat_template(
            question, add_generation_prompt=True, return_tensors="pt", return_dict=True
        )
        made = model.generate(**prompt, max_new_tokens=8, do_sample=False)[0, prompt["input_ids"].shape[1] :]
        text = tokenizer.decode(made, skip_special_tokens=True)
        assert line["response"] == text
        right += "3" in text
    expected = wilson(right, 9)
    assert measured[3]["validation_accuracy"] == expected.mean
    assert measured[3]["validation_accuracy_low"] == expected.low
    assert measured[3]["validation_accuracy_high"] == expected.high
    assert measured[3]["validation_problems"] == 9


def test_it_changes_nothing_of_the_training(bench: Make) -> None:
    with_, without = bench("with", {"validation": {**HELD_OUT, "keep": "last"}}), bench("without")
    with_.run(), without.run()
    assert with_.outcome() == without.outcome()


def _scripted(monkeypatch: pytest.MonkeyPatch, accuracies: dict[int, float]) -> None:
    """In place of what is measured."""
    from aftertrain.plugins.online.validation import Validation

    monkeypatch.setattr(
        Validation, "measure", lambda self, generator, verifiers, step: {"validation_accuracy": accuracies[step]}
    )


def test_the_best_weights_are_left(bench: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """Best at step 4 of 6: the model is that of a stage of 4 steps, whose schedule is the same. Of equals the first."""
    four = bench("four", {**CONSTANT, "steps": 4})
    four.run()
    _scripted(monkeypatch, {2: 0.5, 4: 0.9, 5: 0.9, 6: 0.9})
    run = bench("six", {**CONSTANT, "steps": 6, "validation": HELD_OUT})
    artifact = run.run()
    assert run.outcome()["model.safetensors"] == four.outcome()["model.safetensors"]
    assert artifact.details["validation"] == {"best_step": 4, "accuracy": 0.9, "kept": "best"}
    assert [figures["validation_best_step"] for figures in _measured(run).values()] == [2, 4, 4]
    assert not (run.folder / "best").exists(), "what is left of it is the model"
    last = bench("last", {**CONSTANT, "steps": 6, "validation": {**HELD_OUT, "keep": "last"}})
    assert last.run().details["validation"]["kept"] == "last"
    assert last.outcome()["model.safetensors"] != run.outcome()["model.safetensors"]


@pytest.mark.parametrize("killed_at", [("metrics", 2), ("metrics", 4), ("progress", 5), ("saved", 6)])
def test_a_killed_stage_leaves_the_same_best_weights(
    bench: Make, monkeypatch: pytest.MonkeyPatch, killed_at: tuple[str, int]
) -> None:
    """Measured each step, best at 2 and 5, checkpoints at 3 and 6: kills before, between and after them."""
    _scripted(monkeypatch, {1: 0.1, 2: 0.7, 3: 0.2, 4: 0.3, 5: 0.8, 6: 0.4})
    changes = {**CONSTANT, "steps": 6, "checkpoint_every": 3, "validation": {**HELD_OUT, "every": 1}}
    whole = bench("whole", changes)
    whole.run()
    killed = bench("killed", changes, kill_at=killed_at)
    with pytest.raises(BaseException, match="^" + " ".join(map(str, killed_at))):
        killed.run()
    again = bench("killed", changes)
    assert again.run().details["validation"] == {"best_step": 5, "accuracy": 0.8, "kept": "best"}
    assert again.outcome() == whole.outcome()
    later = {step: figures for step, figures in _measured(whole).items() if step in _measured(again)}
    assert _measured(again) == later


def test_real_measurements_are_repeated_by_a_resumed_stage(bench: Make) -> None:
    changes = {"validation": {**HELD_OUT, "temperature": 1.0, "samples": 3}, "steps": 4}
    whole = bench("whole", changes)
    whole.run()
    killed = bench("killed", changes, kill_at=("metrics", 4))
    with pytest.raises(BaseException, match="metrics 4"):
        killed.run()
    again = bench("killed", changes)
    again.run()
    assert again.outcome() == whole.outcome()
    assert _measured(again)[4] == _measured(whole)[4]
    assert _lines(again, 4) == _lines(whole, 4)
    assert len(_lines(whole, 4)) == 27
    means = [sum(line["verdicts"][0]["value"] for line in _lines(whole, 4)[i : i + 3]) / 3 for i in range(0, 27, 3)]
    assert _measured(whole)[4]["validation_accuracy"] == pytest.approx(sum(means) / 9)


def test_best_weights_that_are_gone_are_told(bench: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    _scripted(monkeypatch, {2: 0.9, 4: 0.1})
    changes = {"validation": HELD_OUT}
    killed = bench("run", changes, kill_at=("progress", 4))
    with pytest.raises(BaseException, match="progress 4"):
        killed.run()
    shutil.rmtree(killed.folder / "best")
    with pytest.raises(CheckpointError, match=r"best/step-00002: the weights of the best step are gone"):
        bench("run", changes).run()


def test_the_plan_tells_how_it_measures_and_what_is_not_held_out(bench: Make, tmp_path: Path) -> None:
    run = bench(changes={"validation": {"data": {"use": "sums", "rows": 20}, "rows": 15}})
    items = {item.label: item for item in run.plan()}
    assert items["validation"].value == (
        "on 15 problems every 10 steps and after the last, greedy; the best weights are left"
    )
    assert items["validation.data"].value == "12 of its 15 prompts are trained on, too"
    assert items["validation.data"].status == "warning"
    assert "validation" in run.stage.fingerprints()


def test_a_failed_verdict_is_no_wrong_reply(bench: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of nine held-out problems one cannot be judged, then three: accuracy over eight of nine, and none."""
    from aftertrain.core.records import Verdict
    from aftertrain.plugins.online import validation

    failing = 1

    def verdicts_on(rollouts: Any, verifiers: Any) -> list[Any]:
        worth = [Verdict.error("?")] * failing + [Verdict.scored(1.0)] * 5 + [Verdict.scored(0.0)] * (4 - failing)
        return [(("contains", verdict),) for verdict in worth]

    monkeypatch.setattr(validation, "verdicts_on", verdicts_on)
    monkeypatch.setattr(validation, "WITHHOLD", 0.2)
    run = bench("one", {"validation": HELD_OUT, "steps": 2})
    run.run()
    figures = _measured(run)[2]
    assert figures["validation_accuracy"] == 5 / 8
    assert figures["validation_accuracy_low"] == wilson(5, 8).low
    assert (figures["validation_accuracy_lowest"], figures["validation_accuracy_highest"]) == (5 / 9, 6 / 9)
    assert figures["validation_unjudged_rate"] == 1 / 9
    failing = 3
    run = bench("three", {"validation": HELD_OUT, "steps": 2})
    artifact = run.run()
    assert _measured(run) == {}, "a third without a verdict is no accuracy"
    (measured,) = [data for event, step, data in run.events if event == "metrics" and step == 2]
    assert (measured["validation_accuracy_lowest"], measured["validation_accuracy_highest"]) == (5 / 9, 8 / 9)
    assert artifact.details.get("validation", {}).get("best_step") is None, "and no weights are best by it"
