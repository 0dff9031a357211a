"""Evaluation: the stage `evaluate` and its built-in tasks."""

from __future__ import annotations

from aftertrain.core.plugin import Registrar, hookimpl

AFTERTRAIN_API = 2

HERE = "aftertrain.plugins.evaluation"
STAGE = "scores a model on tasks, with intervals and paired differences to other stages"
TASKS = {
    "problems": ("Problems", "any data set of verifiable problems, judged by a verifier"),
    "gsm8k": ("GSM8K", "GSM8K in Tülu 3's form: 8 worked examples as a conversation, last number, exact match"),
    "multiple_choice": ("MultipleChoice", "questions with choices (MMLU, ARC …), by the log-likelihood of each choice"),
    "truthfulqa": ("TruthfulQA", "TruthfulQA MC1 and MC2 after its six-question primer"),
    "perplexity": ("Perplexity", "bits per byte and perplexity of the texts of a file"),
}
"""Class and summary by name, which is also the module's; its settings are named after the class."""

SUITES = {
    "olmes": "OLMES: ten multiple-choice tasks for base models, each in two formulations of which the better counts",
    "tulu3-dev": "Tülu 3's development suite: twelve numbers of one weight, safety being the mean of six",
    "tulu3-unseen": "Tülu 3's unseen suite, sealed: seven benchmarks that no choice may be made by",
    "smoke": "a few minutes of choices and replies, to tell a broken model from a sound one",
}
"""Summary by name, which is also the file's."""


@hookimpl
def aftertrain_register(registry: Registrar) -> None:
    """Add the stage and the tasks."""
    registry.add("stage", "evaluate", f"{HERE}.evaluate:Evaluate", f"{HERE}.settings:EvaluateSettings", STAGE)
    for name, (component, summary) in TASKS.items():
        registry.add("eval_task", name, f"{HERE}.{name}:{component}", f"{HERE}.settings:{component}Settings", summary)
    for name, summary in SUITES.items():
        registry.add_suite(name, "aftertrain", f"configs/suites/{name}.yaml", summary)
