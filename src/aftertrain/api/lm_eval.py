"""Ours in lm-eval: every evaluation task as a task of `lm_eval.simple_evaluate`, every model as one of its models."""

from __future__ import annotations

import os
from collections.abc import Mapping
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from aftertrain.core.errors import MissingExtra

if TYPE_CHECKING:
    from aftertrain.api.lm_eval_model import AftertrainModel
    from aftertrain.api.lm_eval_task import AftertrainTask

Use = str | Mapping[str, Any]


def lm_eval_task(name: str, *, tokenizer: str | os.PathLike[str] | None = None, **settings: Any) -> AftertrainTask:
    """An evaluation task of ours, or of any installed plugin, as a task of lm-eval.

        lm_eval.simple_evaluate("hf", "pretrained=gpt2", tasks=[aftertrain.lm_eval_task("gsm8k", path="test.jsonl")])

    Its results are the task's figures, by its own rules of aggregation. A task that asks by a chat template needs
    `apply_chat_template=True`.

    Args:
        tokenizer: the model, as in a recipe, for a task that divides by tokens, which lm-eval does not count for it;
            and to tell thoughts in replies from answers.
        **settings: of the task, as in a recipe.

    Raises:
        MissingExtra: lm-eval is not installed. RecipeError: unknown task or settings.
    """
    _needs_lm_eval("lm_eval_task")
    from pathlib import Path

    from aftertrain.api.evaluation import STAGE, load_one_stage, named_model
    from aftertrain.api.lm_eval_task import AftertrainTask
    from aftertrain.core.eval_task import task_name
    from aftertrain.core.run.base_model import find_model
    from aftertrain.core.text.chat import load_tokenizer

    task = {"use": name, **settings}
    recipe = {"name": STAGE, "model": ".", "stages": {STAGE: {"use": "evaluate", "tasks": [task]}}}
    loaded = load_one_stage(recipe, ())
    (use,) = loaded.recipe.stages[STAGE].settings.tasks  # type: ignore[attr-defined]  # the stage's settings
    read = None
    if tokenizer is not None:
        folder = find_model(named_model(os.fspath(tokenizer)), Path.cwd(), weights=False)
        read = load_tokenizer(str(folder), None, needs_template=False)
    return AftertrainTask(task_name(use), loaded.builder.build(use), read)


def lm_eval_model(
    model: str | os.PathLike[str],
    *,
    generator: Use = "transformers",
    engine: Use = "torch",
    chat_template: str | None = None,
    micro_tokens: int = 8192,
    seed: int = 0,
) -> AftertrainModel:
    """A model as one of lm-eval's (`LM`), run by our engine and generator.

        lm_eval.simple_evaluate(aftertrain.lm_eval_model("runs/quickstart:dpo"), tasks=["arc_easy"])

    Args:
        model: a Hugging Face folder or hub name, a run (its folder, or its name under `runs/`), or `RUN:STAGE`.
        generator: makes replies; a name, or a mapping with settings.
        engine: scores log-likelihoods.
        chat_template: named template in place of the tokenizer's own.
        micro_tokens: packing budget of one forward of the engine.
        seed: of sampled replies.

    Raises:
        MissingExtra: lm-eval is not installed. RecipeError: unknown components or settings. ModelError: no such model.
    """
    _needs_lm_eval("lm_eval_model")
    from pathlib import Path

    from aftertrain.api.evaluation import named_model
    from aftertrain.api.lm_eval_model import AftertrainModel
    from aftertrain.core.run.base_model import find_model

    folder = find_model(named_model(os.fspath(model)), Path.cwd())
    parts = {"generator": _built("generator", generator), "engine": _built("engine", engine)}
    return AftertrainModel(folder, **parts, chat_template=chat_template, micro_tokens=micro_tokens, seed=seed)


def _needs_lm_eval(used_by: str) -> None:
    if find_spec("lm_eval") is None:
        raise MissingExtra("lm_eval", "eval", f"aftertrain.{used_by}")


def _built(kind: str, use: Use) -> Any:
    from pathlib import Path

    from pydantic import ValidationError
    from pydantic_core import PydanticCustomError

    from aftertrain.core.errors import Issue, RecipeError
    from aftertrain.registry.builder import ComponentBuilder
    from aftertrain.registry.discovery import installed
    from aftertrain.registry.resolve import SettingsResolver

    registry = installed()
    value = {"use": use} if isinstance(use, str) else use
    try:
        chosen: Any = SettingsResolver(registry, Path.cwd()).resolve(kind, value)
    except PydanticCustomError as error:
        raise RecipeError([Issue(kind, "", error.message())]) from error
    except ValidationError as error:
        entries = error.errors(include_url=False)
        raise RecipeError(Issue(kind, ".".join(map(str, entry["loc"])), entry["msg"]) for entry in entries) from error
    return ComponentBuilder(registry, Path.cwd()).build(chosen)
