"""Operators that ask a model: against transformers' own loss and scores, and from a recipe."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from aftertrain.cli import main
from tests.plugins.quality.test_recipe import data, lines

QUICKSTART = "package:aftertrain.plugins.quickstart/model"
RECIPE = """
name: scored
model: package:aftertrain.plugins.quickstart/model
stages:
  curate:
    use: curate
    data: {data}
    operators: {operators}
    workers: 1
"""


def curated(folder: Path, source: str, operators: str) -> list[dict[str, Any]]:
    (folder / "recipe.yaml").write_text(RECIPE.format(data=source, operators=operators), encoding="utf-8")
    assert main(["run", str(folder / "recipe.yaml"), "--out", str(folder / "runs")]) == 0
    return lines(folder, "rows")


def test_perplexity_is_that_of_transformers(tmp_path: Path) -> None:
    """Of replies: the mean cross-entropy over the reply's tokens given the rendered prompt, one row at a time."""
    import torch
    from transformers import AutoModelForCausalLM

    from aftertrain.core.records import Message
    from aftertrain.core.run.base_model import find_model
    from aftertrain.core.text.chat import load_tokenizer
    from aftertrain.core.text.tokens import tokenise

    model_folder = str(find_model(QUICKSTART, Path.cwd()))
    operators = f"[{{use: perplexity, model: '{QUICKSTART}'}}, {{use: perplexity, model: '{QUICKSTART}', of: all}}]"
    rows = curated(tmp_path, "{use: quickstart, split: sft, rows: 5}", operators)
    model = AutoModelForCausalLM.from_pretrained(model_folder, dtype=torch.float32).eval()
    tokenizer = load_tokenizer(model_folder)
    assert len(rows) == 5
    for row in rows:
        facts = json.loads(row["facts"])
        talk = tokenise(tokenizer, [Message(turn["role"], turn["content"]) for turn in row["messages"]])
        ids = torch.tensor([talk.token_ids])
        labels = torch.where(torch.tensor([talk.loss_mask]), ids, -100)
        with torch.no_grad():
            loss = float(model(input_ids=ids, labels=labels).loss)
        assert facts["perplexity.nats"] == pytest.approx(loss, abs=2e-4)
        assert facts["perplexity.perplexity"] == pytest.approx(math.exp(loss), rel=1e-3)
        assert facts["perplexity.tokens"] == sum(talk.loss_mask)
        assert facts["perplexity#2.nats"] > 0


@pytest.mark.slow
def test_a_reward_model_of_an_earlier_run_scores_pairs(tmp_path: Path) -> None:
    """The margin is the chosen reply's score less the rejected one's; each is the value at the last token."""
    recipe = """
name: rm
model: package:aftertrain.plugins.quickstart/model
stages:
  rm:
    use: train
    loss: reward_model
    data: {use: quickstart, split: preference, rows: 8}
    optimizer: {lr: 1.0e-4}
    batch: {sequences: 4, max_tokens: 128}
    max_steps: 1
"""
    (tmp_path / "rm.yaml").write_text(recipe, encoding="utf-8")
    assert main(["run", str(tmp_path / "rm.yaml"), "--out", str(tmp_path / "runs")]) == 0
    (folder,) = (tmp_path / "runs" / "rm" / "stages").glob("rm-*/model")
    rows = curated(
        tmp_path, "{use: quickstart, split: preference, rows: 4}", f"[{{use: reward_model, model: {folder}}}]"
    )
    for row in rows:
        facts = json.loads(row["facts"])
        wanted = [value_at_end(folder, [*row["prompt"], *row[side]]) for side in ("chosen", "rejected")]
        assert [facts["reward_model.chosen"], facts["reward_model.rejected"]] == pytest.approx(wanted, abs=1e-4)
        assert facts["reward_model.margin"] == pytest.approx(wanted[0] - wanted[1], abs=1e-4)


def value_at_end(folder: Path, turns: list[dict[str, str]]) -> float:
    """By transformers: the last hidden state through the scalar head of the folder."""
    import torch
    from safetensors.torch import load_file
    from transformers import AutoModel

    from aftertrain.core.records import Message
    from aftertrain.core.text.chat import load_tokenizer
    from aftertrain.core.text.tokens import tokenise

    talk = tokenise(load_tokenizer(str(folder)), [Message(t["role"], t["content"]) for t in turns], learn="last")  # type: ignore[arg-type]
    weights = load_file(folder / "model.safetensors")
    (head,) = [tensor for name, tensor in weights.items() if name.startswith("score")]
    model = AutoModel.from_pretrained(folder, dtype=torch.float32).eval()
    with torch.no_grad():
        hidden = model(input_ids=torch.tensor([talk.token_ids])).last_hidden_state[0, -1]
    return float(hidden @ head.float().flatten())


def test_a_verifier_judges_replies(tmp_path: Path) -> None:
    """By a number that is the same for all: one of three replies ends with it; one ends with none."""
    rows = [{"prompt": "2+2?", "response": f"It is {n}.\n#### {n}"} for n in (4, 5)] + [
        {"prompt": "2+2?", "response": "Who knows"}
    ]
    (tmp_path / "rows.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")
    operators = "[{use: verdict, verifier: {use: gsm8k, extract: strict}, truth: '4'}]"
    found = curated(tmp_path, "{use: jsonl, path: rows.jsonl, format: prompt_response}", operators)
    facts = [json.loads(row["facts"]) for row in found]
    assert [row["verdict.value"] for row in facts] == [1.0, 0.0, None]
    assert [row["verdict.outcome"] for row in facts] == ["scored", "scored", "unparsable"]


def test_rlvr_quality_by_hand(tmp_path: Path) -> None:
    """F33 with α = ½, S_max = 3. The first truth is a number: V = 1, S = 1, C = log 2/log 4 = ½, Q = ¾. The second is
    no number, which no reply can be judged by: V = 0, Q = ¼, and the threshold leaves it out."""
    rows = [
        {"messages": [{"role": "user", "content": "2+2?"}], "ground_truth": truth, "dataset": "gsm8k"}
        for truth in ("4", "four or so")
    ]
    (tmp_path / "rows.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")
    operators = """
      - {use: rlvr_quality, verifiers: {gsm8k: gsm8k}, alpha: 0.5, most: 3}
      - {use: threshold, fact: rlvr_quality.score, at_least: 0.5}
    """
    (kept,) = curated(tmp_path, "{use: jsonl, path: rows.jsonl, format: rlvr}", operators)
    facts = json.loads(kept["facts"])
    assert (facts["rlvr_quality.verifiability"], facts["rlvr_quality.complexity"]) == (1.0, 0.5)
    assert facts["rlvr_quality.score"] == 0.75
    (dropped,) = lines(tmp_path, "dropped")
    assert json.loads(dropped["evidence"])["value"] == 0.25
    assert json.loads(dropped["facts"])["rlvr_quality.objections"]
    assert (data(tmp_path) / "data.json").exists()


def test_a_check_without_its_verifier_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    operators = "[{use: rlvr_quality, verifiers: {math: math}}]"
    (tmp_path / "recipe.yaml").write_text(
        RECIPE.format(data="{use: quickstart, split: problems, rows: 2}", operators=operators), encoding="utf-8"
    )
    assert main(["run", str(tmp_path / "recipe.yaml"), "--out", str(tmp_path / "runs")]) != 0
    assert "no verifier in its settings named 'gsm8k'" in "".join(capsys.readouterr())
