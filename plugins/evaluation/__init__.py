"""Evaluation: the stage `evaluate` and its built-in tasks."""

from __future__ import annotations

from aftertrain.core.plugin import Registrar, hookimpl

AFTERTRAIN_API = 2

_HERE = "aftertrain.plugins.evaluation"
_SETTINGS = f"{_HERE}.settings"


@hookimpl
def aftertrain_register(registry: Registrar) -> None:
    """Add the stage and the tasks."""
    registry.add(
        "stage",
        "evaluate",
        f"{_HERE}.evaluate:Evaluate",
        f"{_SETTINGS}:EvaluateSettings",
        "scores a model on tasks, with intervals and paired differences to other stages",
    )
    registry.add(
        "eval_task",
        "problems",
        f"{_HERE}.problems:Problems",
        f"{_SETTINGS}:ProblemsSettings",
        "any data set of verifiable problems, judged by a verifier",
    )
    registry.add(
        "eval_task",
        "gsm8k",
        f"{_HERE}.gsm8k:GSM8K",
        f"{_SETTINGS}:GSM8KSettings",
        "GSM8K in Tülu 3's form: 8 worked examples as a conversation, last number, exact match",
    )
    registry.add(
        "eval_task",
        "multiple_choice",
        f"{_HERE}.multiple_choice:MultipleChoice",
        f"{_SETTINGS}:MultipleChoiceSettings",
        "questions with choices (MMLU, ARC …), by the log-likelihood of each choice",
    )
    registry.add(
        "eval_task",
        "truthfulqa",
        f"{_HERE}.truthfulqa:TruthfulQA",
        f"{_SETTINGS}:TruthfulQASettings",
        "TruthfulQA MC1 and MC2 after its six-question primer",
    )
    registry.add(
        "eval_task",
        "perplexity",
        f"{_HERE}.perplexity:Perplexity",
        f"{_SETTINGS}:PerplexitySettings",
        "bits per byte and perplexity of the texts of a file",
    )
