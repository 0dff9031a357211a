"""The reasoning tasks of Tülu 3's unseen suite (F45, F49): AGIEval English, MMLU-Pro, GPQA, DeepMind Mathematics."""

from __future__ import annotations

from aftertrain.core.plugin import Registrar, hookimpl

AFTERTRAIN_API = 2

_HERE = "aftertrain.plugins.unseen"
TASKS = {
    "agieval_english": (
        "tasks:AGIEvalEnglish",
        "LetterSettings",
        "AGIEval English: eight examinations, reasoned about; the mean of their means first",
    ),
    "mmlu_pro": (
        "tasks:MMLUPro",
        "LetterSettings",
        "MMLU-Pro: up to ten choices, reasoned about; the mean of 14 categories' means first",
    ),
    "mmlu_pro_direct": (
        "direct:MMLUProDirect",
        "DirectSettings",
        "MMLU-Pro answered at once: the likeliest letter after five examples of the category",
    ),
    "gpqa": ("tasks:GPQA", "LetterSettings", "GPQA, the main set: graduate questions of science, reasoned about"),
    "deepmind_math": (
        "deepmind:DeepMindMath",
        "DeepMindSettings",
        "DeepMind Mathematics: 56 categories of school mathematics; the mean of their means first",
    ),
}
"""Class, settings and summary by name."""


@hookimpl
def aftertrain_register(registry: Registrar) -> None:
    """Add the tasks."""
    for name, (component, settings, summary) in TASKS.items():
        registry.add("eval_task", name, f"{_HERE}.{component}", f"{_HERE}.settings:{settings}", f"{summary} (Tülu 3)")
