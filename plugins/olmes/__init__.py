"""The ten tasks of OLMES (F43), rendered byte for byte as it does."""

from __future__ import annotations

from aftertrain.core.plugin import Registrar, hookimpl

AFTERTRAIN_API = 2

_HERE = "aftertrain.plugins.olmes"
TASKS = {
    "arc_easy": ("ARCEasy", "ARC-Easy: questions of school science"),
    "arc_challenge": ("ARCChallenge", "ARC-Challenge: questions of school science that co-occurrence does not answer"),
    "boolq": ("BoolQ", "BoolQ: yes or no, from a passage of Wikipedia"),
    "csqa": ("CSQA", "CommonsenseQA: five choices around one concept"),
    "hellaswag": ("HellaSwag", "HellaSwag: how a scene goes on"),
    "openbookqa": ("OpenBookQA", "OpenBookQA: elementary science, applied"),
    "piqa": ("PIQA", "PIQA: which of two ways reaches a physical goal"),
    "socialiqa": ("SocialIQA", "SocialIQA: what people feel, want and do next"),
    "winogrande": ("WinoGrande", "WinoGrande: which of two names a pronoun stands for"),
    "mmlu": ("MMLU", "MMLU: 57 subjects, the mean of their means first"),
}
"""Class and summary by name."""


@hookimpl
def aftertrain_register(registry: Registrar) -> None:
    """Add the tasks."""
    for name, (kind, summary) in TASKS.items():
        settings = "MMLUSettings" if name == "mmlu" else "OlmesSettings"
        registry.add(
            "eval_task",
            name,
            f"{_HERE}.tasks:{kind}",
            f"{_HERE}.settings:{settings}",
            f"{summary} (OLMES, multiple choice or cloze)",
        )
