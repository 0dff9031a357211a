"""Held-out rows: the loss is transformers' own, nothing is learnt from them, and a resume measures the same."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from aftertrain.core.errors import DataError, Interrupted, RunError

SFT = {"use": "sft", "reduction": "token_mean"}


@pytest.fixture
def held_out(tmp_path: Path) -> Path:
    rows = [
        {"messages": [{"role": "user", "content": f"{i} + 1?"}, {"role": "assistant", "content": f"It is {i + 1}."}]}
        for i in range(20, 25)
    ]
    path = tmp_path / "held_out.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def jsonl(path: Path, **more: Any) -> dict[str, Any]:
    return {"use": "jsonl", "path": str(path), **more}


def test_the_loss_is_that_of_transformers_after_the_step(
    bench: Callable[..., Any], conversations: Path, held_out: Path
) -> None:
    from transformers import AutoModelForCausalLM

    from aftertrain.core.text.chat import load_tokenizer

    stage = bench(
        "stage", loss=SFT, data=jsonl(conversations), validation={"data": jsonl(held_out), "every": 2, "rows": 4}
    )
    (item,) = [item.value for item in stage.plan() if item.label == "validation"]
    assert item == "on 4 rows every 2 steps and after the last"
    artifact = stage.run()
    metrics = stage.of("metrics")
    assert ["validation_loss" in step for step in metrics] == [False, True, True]
    assert metrics[-1]["validation_rows"] == 4
    tokenizer = load_tokenizer(artifact.path)
    model = AutoModelForCausalLM.from_pretrained(artifact.path)
    total, count = 0.0, 0
    for line in held_out.read_text().splitlines()[:4]:
        turns = json.loads(line)["messages"]
        prompt = tokenizer.apply_chat_template(turns[:1], add_generation_prompt=True, return_dict=False)
        whole = tokenizer.apply_chat_template(turns, return_dict=False)
        end = len(whole) - whole[::-1].index(tokenizer.eos_token_id)
        with torch.no_grad():
            logprobs = model(torch.tensor([whole])).logits[0].log_softmax(-1)
        total -= sum(float(logprobs[i - 1, whole[i]]) for i in range(len(prompt), end))
        count += end - len(prompt)
    assert metrics[-1]["validation_loss"] == pytest.approx(total / count, rel=1e-4)


def test_nothing_is_learnt_from_them_and_a_resume_measures_the_same(
    bench: Callable[..., Any], pairs: Path, tmp_path: Path
) -> None:
    data = jsonl(pairs, format="preference")
    validation = {"data": {**data, "limit": 4}, "every": 1}
    without = bench("without", loss={"use": "dpo"}, data=data).run()
    whole = bench("whole", loss={"use": "dpo"}, data=data, validation=validation)
    artifact = whole.run()
    for name, tensor in load_file(Path(without.path) / "model.safetensors").items():
        assert torch.equal(tensor, load_file(Path(artifact.path) / "model.safetensors")[name]), name
    part = bench("part", stop_after=1, loss={"use": "dpo"}, data=data, validation=validation)
    with pytest.raises(Interrupted):
        part.run()
    rest = bench("part", loss={"use": "dpo"}, data=data, validation=validation)
    rest.run()
    assert part.of("metrics") + rest.of("metrics") == whole.of("metrics")
    assert {"validation_loss", "validation_accuracy"} <= set(whole.of("metrics")[0])


@pytest.mark.parametrize("loss", ["kto", "reward_model", "simpo"])
def test_other_losses_are_measured_too(bench: Callable[..., Any], pairs: Path, loss: str) -> None:
    data = jsonl(pairs, format="preference")
    stage = bench("stage", loss={"use": loss}, data=data, validation={"data": data}, max_steps=1)
    stage.run()
    assert stage.of("metrics")[0]["validation_loss"] > 0


def test_what_cannot_be_used_is_told_before_training(
    bench: Callable[..., Any], conversations: Path, pairs: Path, held_out: Path
) -> None:
    with pytest.raises(RunError, match="learns from Conversation or Document, validation yields PreferencePair"):
        bench("x", loss=SFT, data=jsonl(conversations), validation={"data": jsonl(pairs, format="preference")}).run()
    with held_out.open("a") as file:
        file.write('{"messages": [{"role": "user", "content": "?"}, {"role": "assistant", "content": ""}]}\n')
    stage = bench("x", loss=SFT, data=jsonl(conversations), validation={"data": jsonl(held_out)})
    with pytest.raises(DataError, match=r"held_out\.jsonl:6"):
        stage.stage.check_data(stage.plan_context(), lambda: False)


def test_held_out_rows_that_are_left_out_are_told(
    bench: Callable[..., Any], conversations: Path, held_out: Path
) -> None:
    """Three of eight vanished: the plan spoke of five rows, and no event of the others."""
    long = {"messages": [{"role": "user", "content": "?"}, {"role": "assistant", "content": "9" * 400}]}
    with held_out.open("a") as file:
        file.write("no JSON\n")
        file.write('{"messages": [{"role": "user", "content": "?"}, {"role": "assistant", "content": ""}]}\n')
        file.write(json.dumps(long))
    stage = bench(
        "stage",
        loss=SFT,
        data=jsonl(conversations),
        validation={"data": jsonl(held_out)},
        batch={"sequences": 4, "max_tokens": 128, "unusable": "drop"},
        max_steps=1,
    )
    left_out = [item.value for item in stage.plan() if item.label == "validation, left out"]
    assert sorted(value.split(", ")[0] for value in left_out) == [
        "1 of 8: empty_reply",
        "1 of 8: not_json",
        "1 of 8: overlong",
    ]
    stage.run()
    (dropped,) = stage.of("dropped")
    counts = {name: count for name, count in dropped.items() if name != "examples"}
    assert counts == {"validation_not_json": 1, "validation_empty_reply": 1, "validation_overlong": 1}
    assert stage.of("metrics")[0]["validation_rows"] == 5


def test_a_reference_is_computed_for_the_rows_that_are_measured(bench: Callable[..., Any], pairs: Path) -> None:
    data = jsonl(pairs, format="preference")
    sizes = []
    for rows in (2, 4):
        stage = bench(f"{rows}", loss={"use": "dpo"}, data=data, validation={"data": data, "rows": rows}, max_steps=1)
        stage.run()
        (file,) = (stage.folder / "validation").glob("*.safetensors")
        sizes.append(sum(tensor.numel() for tensor in load_file(file).values()))
    assert 0 < sizes[0] < sizes[1]


def test_the_last_step_is_measured_though_it_is_skipped(
    bench: Callable[..., Any], conversations: Path, held_out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from aftertrain.core.errors import NumericsError
    from aftertrain.plugins.training import attempt

    def refuse(*args: Any, **more: Any) -> None:
        raise NumericsError("not finite")

    monkeypatch.setattr(attempt, "train_step", refuse)
    held = {"data": jsonl(held_out)}
    stage = bench("x", loss=SFT, data=jsonl(conversations), validation=held, max_steps=2, on_nonfinite="skip")
    stage.run()
    (figures,) = stage.of("metrics")
    assert figures["validation_rows"] == 5
    assert "loss" not in figures
