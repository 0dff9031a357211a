"""The stage `preferences` with models in this process: the shipped recipes, a reward model, a kill inside a block."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from aftertrain.cli import main

MODEL = "package:aftertrain.plugins.quickstart/model"
SMALL = [
    "stages.sft.data.rows=256",
    "stages.sft.epochs=1",
    "stages.sft-eval.tasks.0.data.rows=16",
    "stages.sft-eval.limit=16",
]


def rows(run: Path, stage: str, kind: str = "rows") -> list[dict[str, Any]]:
    (folder,) = (run / "stages").glob(f"{stage}-*/data/{kind}")
    return [json.loads(line) for path in sorted(folder.iterdir()) for line in path.read_text().splitlines()]


def figures(run: Path, stage: str) -> dict[str, Any]:
    (path,) = (run / "stages").glob(f"{stage}-*/data/preferences.json")
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found


def answer(text: str) -> str:
    return text.rpartition("#### ")[2].strip()


@pytest.mark.slow
def test_the_shipped_recipe_goes_from_sft_over_pairs_to_dpo(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Chosen replies are right and rejected ones wrong, as the verifier has it; DPO learns from all of the mixture."""
    sizes = [
        "stages.verified.data.rows=48",
        "stages.judged.data.rows=48",
        "stages.dpo.epochs=1",
        "stages.dpo-eval.tasks.0.data.rows=16",
        "stages.dpo-eval.limit=16",
    ]
    assert main(["run", "quickstart-preferences", "--out", str(tmp_path), *SMALL, *sizes]) == 0
    run = tmp_path / "quickstart-preferences"
    pairs = rows(run, "verified")
    assert pairs
    replies = {reply["id"]: reply for reply in rows(run, "verified", "replies")}
    assert len(replies) == 48 * 8
    for pair in pairs:
        facts = json.loads(pair["facts"])
        assert (facts["chosen_rating"], facts["rejected_rating"], pair["margin"]) == (1.0, 0.0, 1.0)
        for side in ("chosen", "rejected"):
            reply = replies[facts[f"{side}_reply"]]
            assert (reply["prompt"], reply["text"]) == (pair["origin"][0], pair[side][0]["content"])
            assert reply["state"] == side
    assert {reply["model"] for reply in replies.values()} == {"sft", "base"}
    judged = rows(run, "judged")
    assert all(len(json.loads(pair["facts"])["chosen_rated"]) == 4 for pair in judged)
    assert figures(run, "judged")["verdicts"]["honesty"]["abstained"] > 0
    told = "".join(capsys.readouterr())
    assert "dpo-eval: done" in told
    assert "rows: " in told


@pytest.mark.slow
def test_the_shipped_expert_iteration_learns_from_right_replies_alone(tmp_path: Path) -> None:
    sizes = [f"stages.{name}.data.rows=48" for name in ("best-1", "best-2")]
    sizes += [f"stages.{name}.epochs=1" for name in ("expert-1", "expert-2")]
    sizes += ["stages.expert-eval.tasks.0.data.rows=16", "stages.expert-eval.limit=16"]
    assert main(["run", "expert-iteration", "--out", str(tmp_path), *SMALL, *sizes]) == 0
    run = tmp_path / "expert-iteration"
    for stage in ("best-1", "best-2"):
        kept, replies = rows(run, stage), rows(run, stage, "replies")
        assert 0 < len(kept) < 48
        assert len({row["origin"][0] for row in kept}) == len(kept)
        rated = {reply["id"]: reply["rating"] for reply in replies}
        assert all(rated[row["id"]] == 1.0 for row in kept)
        right = {reply["prompt"] for reply in replies if reply["rating"] == 1.0}
        assert {row["origin"][0] for row in kept} == right


RATED = """
name: rated
model: {model}
threads: 1
stages:
  rm:
    use: train
    loss: reward_model
    data: {{use: quickstart, split: preference, rows: 64}}
    optimizer: {{lr: 1.0e-3}}
    batch: {{sequences: 16, max_tokens: 128}}
  prefs:
    use: preferences
    data: {{use: quickstart, split: preference, rows: 12, seed: 1}}
    models: [{{from: base, samples: 3}}]
    sampling: {{max_new_tokens: 32}}
    rating: {{reward_model: rm}}
    rejected: lowest
"""


def test_a_reward_model_rates_what_it_would_score_f20(tmp_path: Path) -> None:
    """The chosen reply's rating is the highest of its prompt, and that of plain transformers on the same text; F20 is
    undefined where it is not above 0.
    """
    path = tmp_path / "recipe.yaml"
    path.write_text(RATED.format(model=MODEL), encoding="utf-8")
    assert main(["run", str(path), "--out", str(tmp_path / "runs")]) == 0
    run = tmp_path / "runs" / "rated"
    pairs, replies = rows(run, "prefs"), rows(run, "prefs", "replies")
    assert len(pairs) > 6
    undefined = 0
    for pair in pairs:
        facts = json.loads(pair["facts"])
        ratings = [r["rating"] for r in replies if r["prompt"] == pair["origin"][0] and r["rating"] is not None]
        assert (facts["chosen_rating"], facts["rejected_rating"]) == (max(ratings), min(ratings))
        assert ("strength" in facts) == (facts["chosen_rating"] > 0)
        undefined += "strength" not in facts
    assert figures(run, "prefs")["pairs"]["strength_undefined"] == undefined
    (model,) = (run / "stages").glob("rm-*/model")
    pair = pairs[0]
    expected = score(model, [*pair["prompt"], *pair["chosen"]])
    assert json.loads(pair["facts"])["chosen_rating"] == pytest.approx(expected, abs=1e-4)


def score(model: Path, messages: list[dict[str, str]]) -> float:
    """By transformers alone: the value at the end token."""
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(model)
    network: Any = AutoModelForSequenceClassification.from_pretrained(model, num_labels=1)
    ids = tokenizer.apply_chat_template(messages, tokenize=True, return_dict=False)
    with torch.no_grad():
        return float(network(torch.tensor([ids])).logits[0, 0])


DYING = '''
import os
from pathlib import Path

from aftertrain.plugins.generation.settings import TransformersSettings
from aftertrain.plugins.generation.transformers import Transformers


class Dying(Transformers):
    """Ends its process at the third time that it hands replies on, where a file says so."""

    Config = TransformersSettings
    times = 0

    def collect(self, timeout=None):
        Dying.times += 1
        if Dying.times == 3 and (Path(__file__).parent / "dies").exists():
            os._exit(9)
        return super().collect(timeout)
'''
LOCAL = """
name: local
model: {model}
threads: 1
stages:
  prefs:
    use: preferences
    data: {{use: quickstart, split: problems, rows: 12}}
    models: [{{from: base, samples: 3}}]
    sampling: {{max_new_tokens: 32}}
    generator: {{use: "./dying.py:Dying", batch: 8}}
    rating: {{verifiers: [{{use: gsm8k, extract: strict}}]}}
    output: rows
    block: 6
"""


def test_a_model_in_this_process_goes_on_to_the_same_bytes(tmp_path: Path) -> None:
    """Killed in the middle of a block, some of whose replies are in the store: the block is replied to anew, whole."""
    found = []
    for name in ("killed", "whole"):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "dying.py").write_text(DYING, encoding="utf-8")
        path = folder / "recipe.yaml"
        path.write_text(LOCAL.format(model=MODEL), encoding="utf-8")
        command = [sys.executable, "-m", "aftertrain.cli", "run", str(path), "--out", str(folder / "runs")]
        if name == "killed":
            (folder / "dies").touch()
            assert subprocess.run(command, capture_output=True, check=False).returncode == 9
            (folder / "dies").unlink()
        done = subprocess.run(command, capture_output=True, check=False, text=True)
        assert done.returncode == 0, done.stderr
        run = folder / "runs" / "local"
        found.append((rows(run, "prefs"), rows(run, "prefs", "replies")))
    assert len(found[0][1]) == 36
    assert found[0] == found[1]
