"""Post-training of language models as one recipe: SFT, DPO, reinforcement learning with verifiable rewards, evaluation.

Everything the commands do is also a Python call, with the same errors. Importing the package imports nothing heavy:

>>> import aftertrain
>>> names = sorted(name for name in dir(aftertrain) if name.islower() and not name.startswith("_"))
>>> print(*names)  # doctest: +NORMALIZE_WHITESPACE
check_contamination check_invariants compare components evaluate lm_eval_model lm_eval_task load_recipe plan report
rescore reward_function run suites verifier_error verify
>>> issubclass(aftertrain.RecipeError, aftertrain.AftertrainError)
True
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from aftertrain.api.comparing import compare
    from aftertrain.api.contamination import check_contamination
    from aftertrain.api.evaluation import evaluate, verify
    from aftertrain.api.invariants import check_invariants
    from aftertrain.api.lm_eval import lm_eval_model, lm_eval_task
    from aftertrain.api.recipes import components, load_recipe
    from aftertrain.api.report import report
    from aftertrain.api.rescoring import rescore
    from aftertrain.api.reward_function import reward_function
    from aftertrain.api.rewards import verifier_error
    from aftertrain.api.runs import plan, run
    from aftertrain.api.suites import suites
    from aftertrain.core.errors import AftertrainError, RecipeError

    __version__: str

__all__ = [
    "AftertrainError",
    "RecipeError",
    "__version__",
    "check_contamination",
    "check_invariants",
    "compare",
    "components",
    "evaluate",
    "lm_eval_model",
    "lm_eval_task",
    "load_recipe",
    "plan",
    "report",
    "rescore",
    "reward_function",
    "run",
    "suites",
    "verifier_error",
    "verify",
]

_HOMES = {
    "AftertrainError": "aftertrain.core.errors",
    "RecipeError": "aftertrain.core.errors",
    "check_contamination": "aftertrain.api.contamination",
    "check_invariants": "aftertrain.api.invariants",
    "compare": "aftertrain.api.comparing",
    "components": "aftertrain.api.recipes",
    "evaluate": "aftertrain.api.evaluation",
    "lm_eval_model": "aftertrain.api.lm_eval",
    "lm_eval_task": "aftertrain.api.lm_eval",
    "load_recipe": "aftertrain.api.recipes",
    "plan": "aftertrain.api.runs",
    "report": "aftertrain.api.report",
    "rescore": "aftertrain.api.rescoring",
    "reward_function": "aftertrain.api.reward_function",
    "run": "aftertrain.api.runs",
    "suites": "aftertrain.api.suites",
    "verifier_error": "aftertrain.api.rewards",
    "verify": "aftertrain.api.evaluation",
}


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("aftertrain")
    if name in _HOMES:
        globals()[name] = getattr(importlib.import_module(_HOMES[name]), name)
        return globals()[name]
    raise AttributeError(f"module 'aftertrain' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*_HOMES, "__version__", "__all__", "__doc__", "__file__", "__name__", "__path__"])
