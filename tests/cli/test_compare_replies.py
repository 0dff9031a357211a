"""`aftertrain compare RUN FILE --model FOLDER`: a greedy reply that another evaluator has otherwise, with its gap."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import aftertrain
from aftertrain.cli import main


@pytest.fixture
def run(tiny_model: Path, tmp_path: Path) -> Path:
    """Three questions in plain text, greedily answered by the tiny model."""
    questions = tmp_path / "test.jsonl"
    rows = [{"question": f"What is {n} + 1?", "answer": f"#### {n + 1}"} for n in range(3)]
    questions.write_text("".join(json.dumps(row) + "\n" for row in rows))
    task = {"use": "gsm8k", "path": str(questions), "shots": 0, "chat": False}
    aftertrain.evaluate(tiny_model, [task], max_new_tokens=6, out=tmp_path / "run")
    return tmp_path / "run"


def samples(run: Path, changed: int | None) -> tuple[Path, str, str]:
    """As lm-eval would have written them, one reply otherwise from its third character on; its prompt and reply."""
    (file,) = run.rglob("samples/instances.jsonl")
    ours = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    lines = []
    for place, row in enumerate(ours):
        reply = row["output"][:2] + "how" if place == changed else row["output"]
        asked = {"gen_args_0": {"arg_0": row["prompt"], "arg_1": {"until": [], "do_sample": False}}}
        lines.append({"doc_id": place, "doc": {}, "arguments": asked, "resps": [[reply]], "exact_match": 0.0})
    theirs = run.parent / "samples_gsm8k.jsonl"
    theirs.write_text("".join(json.dumps(line) + "\n" for line in lines))
    chosen = ours[changed or 0]
    return theirs, chosen["prompt"], chosen["output"]


def test_the_gap_is_that_of_a_plain_forward(run: Path, tiny_model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """By transformers: the two likeliest tokens after the prompt and what both replies begin with."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    theirs, prompt, reply = samples(run, 1)
    assert main(["compare", str(run), str(theirs)]) == 0
    assert "1 of 3 greedy replies differ from" in capsys.readouterr().out
    out = run.parent / "found.json"
    assert main(["compare", str(run), str(theirs), "--model", str(tiny_model), "--json", str(out)]) == 0
    (gap,) = json.loads(out.read_text())["reply_gaps"][str(theirs)]
    assert f"gsm8k {gap['id']}: token {gap['position']}: " in capsys.readouterr().out
    tokenizer, model = (kind.from_pretrained(tiny_model) for kind in (AutoTokenizer, AutoModelForCausalLM))
    ids, others = tokenizer(reply)["input_ids"], tokenizer(reply[:2] + "how")["input_ids"]
    position = next(n for n, pair in enumerate(zip(ids, others, strict=False)) if pair[0] != pair[1])
    with torch.no_grad():
        logits = model(torch.tensor([tokenizer(prompt)["input_ids"] + ids[:position]])).logits[0, -1]
    best = logits.double().log_softmax(-1).topk(2)
    assert gap["position"] == position
    assert gap["tokens"] == [tokenizer.decode([ids[position]]), tokenizer.decode([others[position]])]
    assert [token for token, _ in gap["likeliest"]] == [tokenizer.decode([token]) for token in best.indices]
    assert gap["gap"] == pytest.approx(float(best.values[0] - best.values[1]), abs=1e-5)


def test_equal_replies_are_not_told_and_a_model_that_is_not_used_is_refused(
    run: Path, tiny_model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    theirs, *_ = samples(run, None)
    assert main(["compare", str(run), str(theirs), "--model", str(tiny_model)]) == 0
    assert "greedy replies differ" not in capsys.readouterr().out
    assert main(["compare", str(run), str(run), "--model", str(tiny_model)]) == 1
    assert "it is for replies of another evaluator's run of it" in capsys.readouterr().err
