"""Ours in lm-eval: a task of ours, and a stranger's, scores the same by `simple_evaluate` as by our stage."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import aftertrain
from aftertrain.core.errors import RecipeError, RunError
from tests.plugins.lm_eval_tasks.conftest import write

STRANGER = """
from aftertrain.core.eval_task import EvalTaskSettings, Instance, InstanceScore, ReplyTask
from aftertrain.core.generator import Sampling
from aftertrain.core.records import Message


class Settings(EvalTaskSettings):
    pass


class Echo(ReplyTask[Settings]):
    Config = Settings
    samples = 3
    metrics = ("letters",)

    def instances(self):
        return [Instance(str(i), (Message("user", f"Say {i}."),), str(i)) for i in range(3)]

    def fingerprint(self):
        return "0" * 64

    def sampling(self):
        return Sampling(max_new_tokens=4, temperature=0.0 if self.samples == 1 else 1.0)

    def score(self, instance, reply):
        return InstanceScore({"letters": float(len(reply.text))})


class EchoOnce(Echo):
    samples = 1
"""


@pytest.fixture
def simple_evaluate(monkeypatch: pytest.MonkeyPatch) -> Callable[..., dict[str, Any]]:
    import lm_eval
    from lm_eval import evaluator
    from lm_eval.tasks import TaskManager

    monkeypatch.setattr(evaluator, "add_env_info", lambda results: None)  # asks pip for seconds
    manager = TaskManager(include_defaults=False)
    return lambda *args, **options: lm_eval.simple_evaluate(*args, task_manager=manager, bootstrap_iters=0, **options)


@pytest.fixture
def tasks(tmp_path: Path) -> dict[str, dict[str, Any]]:
    """Of each type of request one, with settings."""
    sums = [
        {"question": f"{i} + 1 =", "choices": ["two", str(i + 1), "eleven"], "answer": 1, "subject": "ab"[i % 2]}
        for i in range(6)
    ]
    write(tmp_path / "sums.jsonl", sums)
    write(tmp_path / "texts.jsonl", [{"text": text} for text in ("A question, an answer.", "Ann has 3 apples.")])
    write(tmp_path / "gsm8k.jsonl", [{"question": f"{i} + 1?", "answer": f"#### {i + 1}"} for i in range(3)])
    (tmp_path / "stranger.py").write_text(STRANGER)
    return {
        "multiple_choice": {"path": str(tmp_path / "sums.jsonl"), "formulation": "cf", "normalization": "pmi"},
        "perplexity": {"path": str(tmp_path / "texts.jsonl")},
        "gsm8k": {"path": str(tmp_path / "gsm8k.jsonl"), "shots": 1, "max_new_tokens": 8},
        f"{tmp_path}/stranger.py:EchoOnce": {},
    }


def test_scores_by_both_routes_are_equal(
    wide_model: Path, tasks: dict[str, dict[str, Any]], simple_evaluate: Callable[..., dict[str, Any]]
) -> None:
    scores = aftertrain.evaluate(wide_model, [{"use": name, **settings} for name, settings in tasks.items()])
    handed = [aftertrain.lm_eval_task(name, tokenizer=wide_model, **settings) for name, settings in tasks.items()]
    results = simple_evaluate(aftertrain.lm_eval_model(wide_model), tasks=handed, apply_chat_template=True)
    ours = {(row["task"], row["metric"]): row["mean"] for row in scores}
    assert len(ours) >= 7
    for (task, metric), mean in ours.items():
        theirs = results["results"][task][f"{metric.replace(',', ':')},none"]
        assert theirs == pytest.approx(mean, rel=1e-6), (task, metric)
    assert results["n-samples"]["multiple_choice"] == {"original": 6, "effective": 6}
    assert json.loads(json.dumps(results["samples"]["gsm8k"]))[0]["target"] == "1"


def test_lm_eval_s_own_model_gives_our_numbers(
    wide_model: Path, tasks: dict[str, dict[str, Any]], simple_evaluate: Callable[..., dict[str, Any]]
) -> None:
    from lm_eval.models.huggingface import HFLM

    settings = tasks["multiple_choice"]
    (row, *_) = aftertrain.evaluate(wide_model, {"use": "multiple_choice", **settings})
    task = aftertrain.lm_eval_task("multiple_choice", tokenizer=wide_model, **settings)
    lm = HFLM(pretrained=str(wide_model), dtype="float32", device="cpu", batch_size=2)
    results = simple_evaluate(lm, tasks=[task])
    assert results["results"]["multiple_choice"][f"{row['metric']},none"] == row["mean"]


def test_what_lm_eval_does_not_tell_is_asked_for(
    wide_model: Path, tasks: dict[str, dict[str, Any]], simple_evaluate: Callable[..., dict[str, Any]]
) -> None:
    model = aftertrain.lm_eval_model(wide_model)
    with pytest.raises(RunError, match=r"counts the tokens of what is scored.*tokenizer=MODEL"):
        simple_evaluate(model, tasks=[aftertrain.lm_eval_task("perplexity", **tasks["perplexity"])])
    with pytest.raises(RunError, match="asks by a chat template: pass apply_chat_template=True"):
        simple_evaluate(model, tasks=[aftertrain.lm_eval_task("gsm8k", **tasks["gsm8k"])])
    with pytest.raises(RecipeError, match="no eval_task named 'gsm8kk'"):
        aftertrain.lm_eval_task("gsm8kk")
    with pytest.raises(RecipeError, match="no generator named 'transfomers'"):
        aftertrain.lm_eval_model(wide_model, generator="transfomers")


def test_replies_to_one_question_are_aggregated_together(
    wide_model: Path, tasks: dict[str, dict[str, Any]], simple_evaluate: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    task = aftertrain.lm_eval_task(f"{tmp_path}/stranger.py:Echo")
    results = simple_evaluate(aftertrain.lm_eval_model(wide_model, seed=1), tasks=[task], apply_chat_template=True)
    (sample, *_) = results["samples"][task.config.task]
    assert len(sample["letters"]["scores"]) == 3  # the letters of three replies, drawn apart
    assert len(set(sample["resps"][0])) > 1
    lengths = [len(text) for sample in results["samples"][task.config.task] for text in sample["resps"][0]]
    assert results["results"][task.config.task]["letters,none"] == pytest.approx(sum(lengths) / 9)


def test_lm_eval_s_task_by_our_model_is_that_by_its_own(
    wide_model: Path, hub: Path, simple_evaluate: Callable[..., dict[str, Any]]
) -> None:
    """All three kinds of request in our `LM`, against the Hugging Face back end."""
    from lm_eval.api.instance import Instance
    from lm_eval.models.huggingface import HFLM

    ours = aftertrain.lm_eval_model(wide_model)
    theirs = HFLM(pretrained=str(wide_model), dtype="float32", device="cpu", batch_size=2)

    def ask(method: str, *arguments: tuple[Any, ...]) -> list[tuple[Any, Any]]:
        requests = [Instance(method, {}, each, place, ("t", place, 1)) for place, each in enumerate(arguments)]
        return list(zip(getattr(ours, method)(requests), getattr(theirs, method)(requests), strict=True))

    for (mine, greedy), (other, likeliest) in ask(
        "loglikelihood", ("Ann has", " 3 apples"), ("", " no"), ("A ", "reason")
    ):
        assert mine == pytest.approx(other, abs=1e-4)
        assert greedy == likeliest
    for mine, other in ask("loglikelihood_rolling", ("A question, an answer, and a reason." * 40,), ("3 + 4 = 7",)):
        assert mine == pytest.approx(other, rel=1e-6)
    options = {"until": ["\n"], "max_gen_toks": 12}
    for mine, other in ask("generate_until", ("Ann has", options), ("3 + 4 = 7\nWhat", options)):
        assert mine == other
