"""Tülu 3's development suite (F44): the rows of knowledge and reasoning that replies are read for."""

from __future__ import annotations

from aftertrain.core.plugin import Registrar, hookimpl

AFTERTRAIN_API = 2

_HERE = "aftertrain.plugins.tulu"
TASKS = {
    "mmlu_cot": ("MMLUCoT", "MMLU with reasoning in words, no examples (OLMES mmlu:cot::summarize)"),
    "popqa": ("PopQA", "PopQA: facts of the long tail, 15 examples (OLMES popqa::tulu)"),
    "bbh": ("BBH", "BIG-Bench Hard: 27 tasks with reasoning, 3 examples each (OLMES bbh:cot-v1::tulu)"),
    "drop": ("DROP", "DROP: reading with arithmetic, 3 examples, F-measure (OLMES drop::llama3)"),
    "minerva_math": ("MinervaMath", "MATH, or MATH-500, after Minerva's examples (OLMES minerva_math::tulu)"),
}
"""Class and summary by name, which is also the module's; its settings are named after the class."""


@hookimpl
def aftertrain_register(registry: Registrar) -> None:
    """Add the tasks."""
    for name, (component, summary) in TASKS.items():
        registry.add("eval_task", name, f"{_HERE}.{name}:{component}", f"{_HERE}.settings:{component}Settings", summary)
