"""Scoring models and judging responses from Python, with the same errors as the commands."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from aftertrain.api.report import RUNS
from aftertrain.core.errors import Issue, RecipeError

if TYPE_CHECKING:
    from pydantic import ValidationError

    from aftertrain.core.records import Verdict, VerificationCase
    from aftertrain.core.run.job import RunResult
    from aftertrain.core.verification import PoolSettings
    from aftertrain.core.verifier import Verifier
    from aftertrain.registry.recipe import LoadedRecipe

Task = str | Mapping[str, Any]
STAGE = "evaluate"


def evaluate(
    model: str | os.PathLike[str],
    tasks: Task | Sequence[Task],
    *,
    out: str | os.PathLike[str] | None = None,
    seed: int = 0,
    chat_template: str | None = None,
    console: bool = False,
    **settings: Any,
) -> list[dict[str, Any]]:
    """Score a model on tasks; what a recipe with one stage `evaluate` does.

    Args:
        model: a Hugging Face folder or hub name, a run (its folder, or its name under `runs/`), `RUN:STAGE`, or an
            endpoint, `http://HOST/v1#NAME`, which is asked by the generator `openai`.
        tasks: a task's name, a mapping `{"use": name, setting: value}`, or several of these.
        out: keep replies, events and scores in this folder, and go on there when called again; None keeps nothing.
        seed: of sampled replies.
        chat_template: named template in place of the tokenizer's own.
        console: show progress on standard output.
        **settings: of the stage, as in a recipe: `temperatures`, `limit`, `max_new_tokens`, `generator` …

    Returns:
        One entry per task, temperature and metric: task, metric, temperature, mean, low, high (95 %), n, of,
        primary, fingerprint, unjudged, lowest, highest, withheld (see the guide). `mean` is None where it is withheld.

    Raises:
        RecipeError: unknown tasks or settings, all at once.
        AftertrainError: anything else a user can mend.
    """
    listed = [tasks] if isinstance(tasks, str | Mapping) else list(tasks)
    with ExitStack() as stack:
        folder = stack.enter_context(TemporaryDirectory(prefix="aftertrain-")) if out is None else out
        result = evaluation_run(
            model, listed, settings, out=Path(folder), seed=seed, chat_template=chat_template, console=console
        )
    return result.scores[STAGE]


def evaluation_run(
    model: str | os.PathLike[str],
    tasks: Sequence[Task],
    settings: Mapping[str, Any],
    overrides: Iterable[str] = (),
    *,
    out: Path,
    seed: int,
    chat_template: str | None,
    console: bool,
) -> RunResult:
    """Run a recipe of one stage in the folder `out`; `settings` are the stage's, `overrides` paths into the recipe."""
    from aftertrain.api.runs import run

    named = os.fspath(model)
    recipe = {
        "name": out.name,
        "model": named_model(named),
        "seed": seed,
        "chat_template": chat_template,
        "stages": {STAGE: {"use": "evaluate", "tasks": list(tasks), **with_generator(named, settings)}},
    }
    return run(load_one_stage(recipe, overrides), out=out.parent, console=console)


def with_generator(model: str, settings: Mapping[str, Any]) -> Mapping[str, Any]:
    """Settings of a stage by which an endpoint is asked by the generator that asks endpoints, unless they name one."""
    from aftertrain.core.ground.endpoint import is_endpoint

    return {"generator": {"use": "openai"}, **settings} if is_endpoint(model) else settings


def load_one_stage(recipe: Mapping[str, Any], overrides: Iterable[str]) -> LoadedRecipe:
    """A recipe that a command or a call stands for.

    Raises:
        RecipeError: it does not hold; places are paths of settings.
    """
    from aftertrain.registry.recipe import loads

    try:
        return loads(json.dumps(recipe, default=os.fspath), overrides, source=STAGE)
    except RecipeError as error:
        # The text is ours: a column of it says nothing to whoever wrote a command or a call.
        raise RecipeError(replace(issue, where=issue.where.partition(":")[0]) for issue in error.issues) from None


def named_model(model: str) -> str:
    """A run's name under `runs/`, with or without a stage, as the folder it stands for; anything else as it is."""
    from aftertrain.core.run.base_model import is_run

    named = Path(RUNS) / model.partition(":")[0]
    return str(Path(RUNS) / model) if not Path(model).exists() and is_run(named) else model


def verify(
    name: str,
    cases: Iterable[VerificationCase | Mapping[str, Any]],
    *,
    pool: PoolSettings | Mapping[str, Any] | None = None,
    **settings: Any,
) -> list[Verdict]:
    """Judge responses with a verifier, in processes that can be killed (the same ones from call to call).

    Args:
        name: of a verifier, or `./file.py:Class`.
        cases: `VerificationCase`s, or mappings with `response`, `ground_truth` (unless the verifier needs
            none) and optional `prompt`, `id`, `source`.
        pool: how many processes there are, and what one case may take; settings or a mapping of them.
        **settings: of the verifier.

    Returns:
        One verdict per case, in order.

    Raises:
        RecipeError: unknown verifier or settings.
        ValueError, TypeError: a case lacks a field, has one too many, or its response is no text.

    >>> [verdict] = verify("gsm8k", [{"response": "6 * 7 = 42 #### 42", "ground_truth": "42"}])
    >>> verdict.outcome, verdict.value
    ('scored', 1.0)
    """
    from aftertrain.api.cases import strict_case

    verifier = isolated_verifier(name, settings, pool)
    needs_truth = verifier.needs_truth
    return verifier.verify([strict_case(case, number, needs_truth=needs_truth) for number, case in enumerate(cases, 1)])


def isolated_verifier(
    name: str,
    settings: Mapping[str, Any] | Iterable[str] = (),
    pool: PoolSettings | Mapping[str, Any] | None = None,
) -> Verifier[Any]:
    """A verifier by name that has all it needs, its cases judged by this process's pool.

    Raises:
        RecipeError: unknown verifier or settings, all at once. AftertrainError: a package or resource is missing.
    """
    from aftertrain.core.verification import isolate, shared_pool

    verifier = build_verifier(name, settings)
    verifier.preflight()
    return isolate(verifier, shared_pool(_pool_settings(pool)))


def build_verifier(name: str, settings: Mapping[str, Any] | Iterable[str] = ()) -> Verifier[Any]:
    """A verifier by name.

    Args:
        settings: a mapping, or `setting=value` texts as on the command line.

    Raises:
        RecipeError: unknown verifier or settings, all at once.
    """
    from pydantic import ValidationError
    from pydantic_core import PydanticCustomError

    from aftertrain.registry.builder import ComponentBuilder
    from aftertrain.registry.discovery import installed
    from aftertrain.registry.document import override, read
    from aftertrain.registry.resolve import SettingsResolver

    tree = read(json.dumps({"use": name}), "verifier")
    for key, value in _texts(settings).items() if isinstance(settings, Mapping) else map(_pair, settings):
        tree = override(tree, key, value)
    registry = installed()
    where = f"verifier {name!r}"
    try:
        use = SettingsResolver(registry, Path.cwd()).resolve("verifier", tree.plain())
    except PydanticCustomError as error:
        raise RecipeError([Issue(where, "", error.message())]) from error
    except ValidationError as error:
        raise _refused(where, error) from error
    verifier: Verifier[Any] = ComponentBuilder(registry, Path.cwd()).build(use)
    return verifier


def _pool_settings(pool: PoolSettings | Mapping[str, Any] | None) -> PoolSettings | None:
    from pydantic import ValidationError

    from aftertrain.core.errors import unknown
    from aftertrain.core.verification import PoolSettings

    if pool is None or isinstance(pool, PoolSettings):
        return pool
    odd = [str(key) for key in pool if key not in PoolSettings.model_fields]
    if odd:
        raise RecipeError(Issue("pool", key, unknown("setting", key, PoolSettings.model_fields)) for key in odd)
    try:
        return PoolSettings(**pool)
    except ValidationError as error:
        raise _refused("pool", error) from error


def _refused(where: str, error: ValidationError) -> RecipeError:
    entries = error.errors(include_url=False)
    return RecipeError([Issue(where, ".".join(map(str, entry["loc"])), entry["msg"]) for entry in entries])


def _texts(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings given in Python, as `override` takes them: it reads texts as YAML, and these are no YAML but texts."""
    return {key: json.dumps(value) if isinstance(value, str) else value for key, value in settings.items()}


def _pair(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise RecipeError([Issue("command line", text, "a setting is written name=value, as in extract=flexible")])
    return key, value
