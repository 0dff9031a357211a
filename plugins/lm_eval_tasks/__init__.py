"""The tasks, groups and tags of lm-eval (the package `lm_eval`), each by its own rules, on our runner."""

from __future__ import annotations

from aftertrain.core.plugin import Registrar, hookimpl

AFTERTRAIN_API = 2

_HERE = "aftertrain.plugins.lm_eval_tasks"


@hookimpl
def aftertrain_register(registry: Registrar) -> None:
    """Add the family."""
    registry.add(
        "eval_task",
        "lm_eval/",
        f"{_HERE}.task:LmEvalTask",
        f"{_HERE}.settings:LmEvalSettings",
        "lm_eval/NAME is any task, group or tag of lm-eval, by its own prompts, filters, metrics and aggregation",
    )
