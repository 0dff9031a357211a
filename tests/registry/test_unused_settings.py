"""Set, and not used: one rule for the settings of all components, told with its place in the recipe."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin

import pytest
from pydantic import BaseModel, Field, ValidationError

import aftertrain
from aftertrain.core.errors import RecipeError
from aftertrain.core.ground.usage import Unused, UsedIf, conditions, used_unless
from aftertrain.core.recipe import Recipe
from aftertrain.core.run.graph import build_graph
from aftertrain.core.settings import Settings, Use
from aftertrain.registry.discovery import installed
from aftertrain.registry.load import load_settings

RECIPE = """
name: modes
model: ./model
stages:
  rl:
    use: online
    data: {use: quickstart, split: problems}
    loss: grpo
    rewards: [{use: gsm8k}]
    advantages: group
    kl: {place: loss}
    batch: {samples_per_prompt: 2}
    steps: 1
    optimizer: {lr: 1.0e-4}
  fit:
    use: train
    data: {use: quickstart}
    loss: {use: sft}
    optimizer: {lr: 1.0e-4}
  score:
    use: evaluate
    tasks: [{use: multiple_choice, path: rows.jsonl}]
"""
JUDGE = "{use: judge, model: m, "


def mistakes(tmp_path: Path, text: str = RECIPE, *overrides: str) -> list[str]:
    path = tmp_path / "r.yaml"
    path.write_text(text)
    try:
        aftertrain.load_recipe(path, overrides)
    except RecipeError as error:
        return [
            f"{issue.where.removeprefix(str(tmp_path) + '/')} {issue.path}: {issue.message}" for issue in error.issues
        ]
    return []


def test_the_recipe_itself_is_sound(tmp_path: Path) -> None:
    assert mistakes(tmp_path) == []


@pytest.mark.parametrize(
    ("old", "new", "path", "reason"),
    [
        ("kl: {place: loss}", "kl: {place: loss}\n    critic: fit", "rl.critic", "a method with a critic"),
        (
            "kl: {place: loss}",
            "kl: {place: loss}\n    critic_optimizer: {lr: 1.0}",
            "rl.critic_optimizer",
            "advantages",
        ),
        (
            "kl: {place: loss}",
            "kl: {place: reward, beta: 0.0, score_function: true}",
            "rl.kl.score_function",
            "place: loss",
        ),
        (
            "kl: {place: loss}",
            "kl: {place: loss}\n    reward: {base_weight: 0.5}",
            "rl.reward.base_weight",
            "needs base",
        ),
        (
            "kl: {place: loss}",
            "kl: {place: loss}\n    reward: {missing_eos: null, weight: 2.0}",
            "rl.reward.weight",
            "it scales all alike",
        ),
        ("optimizer: {lr: 1.0e-4}\n  fit", "optimizer: {lr: 1.0e-4, decay: 0.1}\n  fit", "rl.optimizer.decay", "wsd"),
        (
            "optimizer: {lr: 1.0e-4}\n  score",
            "optimizer: {lr: 1.0e-4, schedule: constant, floor: 0.0}\n  score",
            "fit.optimizer.floor",
            "schedule: linear or cosine or wsd, and schedule is constant",
        ),
        (
            "optimizer: {lr: 1.0e-4}\n  score",
            "optimizer: {lr: 1.0e-4, schedule: adaptive, floor: 0.5}\n  score",
            "fit.optimizer.floor",
            "and schedule is adaptive",
        ),
        ("loss: {use: sft}", "loss: {use: sft, regularizer_weight: 0.1}", "fit.loss.regularizer_weight", "regularizer"),
        ("loss: {use: sft}", "loss: {use: dpo, target_loss: 0.5}", "fit.loss.target_loss", "beta_schedule: adaptive"),
        (
            "loss: grpo",
            "loss: {use: ppo, entropy_coefficient: 0.1, show_entropy: false}",
            "rl.loss.show_entropy",
            "is 0.1",
        ),
        ("data: {use: quickstart}", "data: {use: quickstart, noise: 0.1}", "fit.data.noise", "split: preference"),
        ("data: {use: quickstart}", "data: {use: jsonl, path: x, as: problem}", "fit.data.as", "format: gsm8k"),
        ("data: {use: quickstart}", "data: {use: jsonl, path: x, verifiers: {a: b}}", "fit.data.verifiers", "rlvr"),
        (
            "data: {use: quickstart}",
            "data: {use: mixture, repeat: true, parts: [{data: quickstart, weight: 1}]}",
            "fit.data.repeat",
            "rows is null",
        ),
        (
            "loss: {use: sft}",
            "loss: {use: sft}\n    stream: {}\n    max_steps: 2\n    epochs: 3",
            "fit.epochs",
            "where stream is set",
        ),
        ("path: rows.jsonl", "path: rows.jsonl, normalization: pmi", "score.tasks.0.normalization", "formulation: cf"),
        ("path: rows.jsonl", "path: rows.jsonl, shots_path: s.jsonl", "score.tasks.0.shots_path", "shots is 0"),
        ("[{use: gsm8k}]", "[{use: math, equality: string, strict: false}]", "rl.rewards.0.strict", "math_verify"),
        (
            "[{use: gsm8k}]",
            "[{use: regex, pattern: a, equality: search, normalize: none}]",
            "rl.rewards.0.normalize",
            "string",
        ),
        ("[{use: gsm8k}]", "[{use: code, module: mine}]", "rl.rewards.0.module", "tests: pytest"),
        ("[{use: gsm8k}]", "[{use: format, tags: [], max_words: 3, after: text}]", "rl.rewards.0.after", "needs tags"),
        ("[{use: gsm8k}]", "[{use: format, tags: [], stop: [x], prefilled: false}]", "rl.rewards.0.prefilled", "tags"),
        ("[{use: gsm8k}]", "[{use: regex, pattern: a, equality: search, which: last}]", "rl.rewards.0.which", "search"),
        ("[{use: gsm8k}]", f"[{JUDGE} retry_temperature: 0.5}}]", "rl.rewards.0.retry_temperature", "retries is 0"),
        ("[{use: gsm8k}]", f"[{JUDGE} seed: 4}}]", "rl.rewards.0.seed", "all replies are greedy"),
        (
            "[{use: gsm8k}]",
            f"[{JUDGE} sampling: {{top_p: 0.9}}}}]",
            "rl.rewards.0.sampling.top_p",
            "temperature is 0.0",
        ),
        (
            "[{use: gsm8k}]",
            f"[{JUDGE} chat: false, chat_template: tulu}}]",
            "rl.rewards.0.chat_template",
            "whole prompt",
        ),
        (
            "[{use: gsm8k}]",
            "[{use: all, parts: [{verifier: {use: extract, model: m, verifier: gsm8k, chat_template: tulu}}]}]",
            "rl.rewards.0.parts.0.verifier.chat_template",
            "context: conversation",
        ),
    ],
)
def test_what_does_nothing_is_told_with_its_line(tmp_path: Path, old: str, new: str, path: str, reason: str) -> None:
    text = RECIPE.replace(old, new)
    (told,) = mistakes(tmp_path, text)
    where, _, rest = told.partition(" ")
    key = path.rpartition(".")[2]
    line = text.splitlines()[int(where.split(":")[1]) - 1]
    assert line[int(where.split(":")[2]) - 1 :].startswith(key), where
    assert rest.startswith(f"stages.{path}: set, and not used: "), rest
    assert reason in rest
    assert rest.endswith("; take it out")


def test_an_observer_is_no_exception(tmp_path: Path) -> None:
    text = RECIPE + "observers: [{use: console, style: live, every_seconds: 1}]\n"
    assert "every_seconds: set, and not used: it is for style: auto or plain" in mistakes(tmp_path, text)[0]


def test_all_are_told_together(tmp_path: Path) -> None:
    text = RECIPE.replace("kl: {place: loss}", "kl: {place: loss}\n    critic: fit\n    critic_optimizer: {lr: 1.0}")
    text = text.replace("loss: {use: sft}", "loss: {use: sft, regularizer_weight: 1.0}")
    assert [told.split()[1] for told in mistakes(tmp_path, text)] == [
        "stages.rl.critic:",
        "stages.rl.critic_optimizer:",
        "stages.fit.loss.regularizer_weight:",
    ]


def test_null_and_a_weight_of_0_are_no_modes(tmp_path: Path) -> None:
    """A sweep of β down to 0 keeps the estimator; null says that something is not set."""
    text = RECIPE.replace("kl: {place: loss}", "kl: {place: loss, estimator: k3, score_function: false, beta: 0.05}")
    text = text.replace("advantages: group", "advantages: group\n    critic_optimizer: null")
    assert mistakes(tmp_path, text, "stages.rl.kl.beta=0.0") == []


def test_an_override_of_a_mode_drops_what_the_file_sets_for_the_old_one(tmp_path: Path) -> None:
    text = RECIPE.replace("optimizer: {lr: 1.0e-4}\n  score", "optimizer: {lr: 1.0e-4, floor: 0.5}\n  score")
    assert mistakes(tmp_path, text, "stages.fit.optimizer.schedule=constant") == []
    path = tmp_path / "r.yaml"
    loaded = aftertrain.load_recipe(path, ["stages.fit.optimizer.schedule=constant"])
    assert loaded.recipe.stages["fit"].settings.optimizer.floor == 0.0
    assert aftertrain.load_recipe(path).recipe.stages["fit"].settings.optimizer.floor == 0.5


def test_an_override_that_does_nothing_is_told(tmp_path: Path) -> None:
    (told,) = mistakes(tmp_path, RECIPE, "stages.fit.optimizer.schedule=constant", "stages.fit.optimizer.floor=0.5")
    assert told.startswith("command line stages.fit.optimizer.floor: set, and not used")


def test_a_resolved_recipe_reads_as_the_same_recipe(tmp_path: Path) -> None:
    """It has all defaults written out but those that do nothing, which would be settings that somebody set."""
    path = tmp_path / "r.yaml"
    path.write_text(RECIPE)
    loaded = aftertrain.load_recipe(path)
    dumped = loaded.dump()
    assert "critic" not in dumped["stages"]["rl"]
    assert "floor" in dumped["stages"]["rl"]["optimizer"]
    assert "decay" not in dumped["stages"]["rl"]["optimizer"]
    from aftertrain.registry.resolve import SettingsResolver

    again = Recipe.model_validate(dumped, context=SettingsResolver(loaded.registry, tmp_path).context)
    assert again == loaded.recipe


@pytest.mark.parametrize(
    ("old", "new", "path", "reason"),
    [
        ("tasks: [", "temperatures: [1.0]\n    tasks: [", "score.temperatures", "no task makes replies"),
        ("tasks: [", "generator: transformers\n    tasks: [", "score.generator", "no task makes replies"),
        ("tasks: [", "max_new_tokens: 8\n    tasks: [", "score.max_new_tokens", "no task makes replies"),
        (
            "tasks: [{use: multiple_choice, path: rows.jsonl}]",
            "engine: torch\n    tasks: [{use: gsm8k, path: rows.jsonl}]",
            "score.engine",
            "every task makes replies",
        ),
        (
            "tasks: [{use: multiple_choice, path: rows.jsonl}]",
            "micro_tokens: 64\n    tasks: [{use: gsm8k, path: rows.jsonl}]",
            "score.micro_tokens",
            "every task makes replies",
        ),
        (
            "data: {use: quickstart}",
            "data: {use: jsonl, path: x, format: text}\n    batch: {learn: last}",
            "fit.batch.learn",
            "all of a plain text is learnt",
        ),
        (
            "loss: {use: sft}",
            "loss: reward_model\n    engine: {use: torch, head_kernel: liger}",
            "fit.engine.head_kernel",
            "has a scalar head",
        ),
        (
            "rewards: [{use: gsm8k}]",
            "verification: {timeout: 3.0}\n    rewards: [{use: judge, model: m}]",
            "rl.verification",
            "none of the rewards is judged in processes",
        ),
    ],
)
def test_what_does_nothing_beside_the_components_named_is_told(
    tmp_path: Path, old: str, new: str, path: str, reason: str
) -> None:
    text = RECIPE.replace(old, new)
    assert mistakes(tmp_path, text) == []
    loaded = aftertrain.load_recipe(tmp_path / "r.yaml")
    with pytest.raises(RecipeError) as caught:
        build_graph(loaded.recipe.stages, loaded.builder, loaded.locate)
    (issue,) = caught.value.issues
    assert issue.path == f"stages.{path}"
    assert reason in issue.message
    where = text.splitlines()[int(issue.where.split(":")[1]) - 1]
    assert path.rpartition(".")[2] in where


def test_components_that_use_all_of_it_are_no_mistake(tmp_path: Path) -> None:
    """One task of each kind uses generator and engine; a pooled part uses the pool."""
    text = RECIPE.replace(
        "tasks: [{use: multiple_choice, path: rows.jsonl}]",
        "engine: torch\n    temperatures: [1.0]\n"
        "    tasks: [{use: multiple_choice, path: rows.jsonl}, {use: gsm8k, path: rows.jsonl}]",
    ).replace(
        "rewards: [{use: gsm8k}]",
        "verification: {timeout: 3.0}\n    rewards: [{use: any, parts: [{verifier: gsm8k}]}]",
    )
    assert mistakes(tmp_path, text) == []
    loaded = aftertrain.load_recipe(tmp_path / "r.yaml")
    assert len(build_graph(loaded.recipe.stages, loaded.builder, loaded.locate)) == 3


def test_plan_and_run_refuse_it_alike(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    from aftertrain.cli import main

    monkeypatch.chdir(tmp_path)
    path = tmp_path / "r.yaml"
    path.write_text(RECIPE.replace("tasks: [", "temperatures: [1.0]\n    tasks: ["))
    for command in ("plan", "run"):
        assert main([command, str(path)]) == 2
        assert (
            "stages.score.temperatures: set, and not used: no task makes replies; take it out"
            in capsys.readouterr().err
        )


@pytest.mark.parametrize("name", ["quickstart", "smollm2-gsm8k", "tulu3.1-8b", "tulu3/8b", "tulu3/70b", "tulu3/405b"])
def test_shipped_recipes_set_nothing_in_vain(name: str) -> None:
    aftertrain.load_recipe(name)


def test_verify_tells_of_it_too(tmp_path: Path) -> None:
    from aftertrain.core.errors import AftertrainError

    with pytest.raises(AftertrainError, match="precision: set, and not used"):
        aftertrain.verify("math", [{"response": "1", "ground_truth": "1"}], equality="string", precision=3)


class Modes(Settings):
    way: Literal["a", "b"] = Field("a", description="")
    count: int = Field(0, description="")
    of_b: Annotated[float | None, UsedIf("way", "b")] = Field(None, description="")
    counted: Annotated[str, UsedIf("count")] = Field("", description="")
    uncounted: Annotated[str, used_unless("count")] = Field("", description="")
    not_two: Annotated[str, used_unless("count", 2, 3)] = Field("", description="", alias="not-two")


class Outer(Settings):
    inner: Modes = Field(Modes(), description="")
    items: tuple[Modes, ...] = Field((), description="")
    off: bool = Field(False, description="")

    def without_use(self) -> dict[str, Unused]:
        return {"inner.count": Unused("all is off", ("off",))} if self.off else {}


@pytest.mark.parametrize(
    ("given", "places"),
    [
        ({}, []),
        ({"way": "b", "of_b": 1.0, "count": 1, "counted": "x"}, []),
        ({"of_b": 1.0}, [("of_b",)]),
        ({"of_b": None}, []),
        ({"counted": ""}, [("counted",)]),
        ({"count": 2, "uncounted": "x", "not-two": "y"}, [("uncounted",), ("not-two",)]),
        ({"count": 2, "not_two": "y"}, [("not-two",)]),
    ],
)
def test_the_rule_by_hand(given: dict[str, Any], places: list[tuple[str, ...]]) -> None:
    """What is set counts, whatever its value; null of a setting whose default is null is not set."""
    assert [detail["loc"] for detail in refused(given)] == places


def refused(given: dict[str, Any]) -> list[Any]:
    try:
        Modes.model_validate(given)
    except ValidationError as error:
        return list(error.errors())
    return []


def test_places_within_lists_and_mappings() -> None:
    with pytest.raises(ValidationError) as caught:
        Outer.model_validate({"items": [{}, {"of_b": 1.0}], "inner": {"counted": "x"}})
    assert {detail["loc"] for detail in caught.value.errors()} == {("items", 1, "of_b"), ("inner", "counted")}
    with pytest.raises(ValidationError) as caught:
        Outer.model_validate({"off": True, "inner": {"count": 1}})
    assert [detail["loc"] for detail in caught.value.errors()] == [("inner", "count")]
    assert Outer(off=True).model_dump() == {
        "inner": {"way": "a", "uncounted": "", "not_two": ""},
        "items": (),
        "off": True,
    }


def all_settings() -> Iterator[type[BaseModel]]:
    """The settings classes of all registered components, and those nested in them."""
    waiting: list[Any] = [Recipe, *(load_settings(row) for row in installed().registrations())]
    seen: set[Any] = set()
    while waiting:
        annotation = waiting.pop()
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            if annotation not in seen:
                seen.add(annotation)
                yield annotation
                waiting += [field.annotation for field in annotation.model_fields.values()]
        elif get_origin(annotation) is not Use:
            waiting += get_args(annotation)


CLASSES = sorted(set(all_settings()), key=lambda model: (model.__module__, model.__name__))


def _words(annotation: Any) -> set[str]:
    if get_origin(annotation) is Literal:
        return {value for value in get_args(annotation) if isinstance(value, str)}
    return {word for part in get_args(annotation) for word in _words(part)}


@pytest.mark.parametrize("model", CLASSES, ids=lambda model: f"{model.__module__.split('.')[-2]}.{model.__name__}")
def test_every_condition_names_a_setting_and_values_that_it_may_have(model: type[BaseModel]) -> None:
    for name, field in model.model_fields.items():
        for condition in conditions(field):
            assert condition.setting in model.model_fields, f"{name} goes by {condition.setting}"
            words = _words(model.model_fields[condition.setting].annotation)
            if words:
                assert set(condition.values) <= words, f"{name}: {condition.values}, there are {words}"
                assert set(condition.values) < words, f"{name} is used whatever {condition.setting} is"


@pytest.mark.parametrize("model", CLASSES, ids=lambda model: f"{model.__module__.split('.')[-2]}.{model.__name__}")
def test_a_setting_that_says_it_is_of_one_mode_declares_so(model: type[BaseModel]) -> None:
    """Descriptions that begin with a mode (`gae: …`, `For wsd: …`, `In the loss only: …`) name its value."""
    choices = {name: _words(field.annotation) for name, field in model.model_fields.items()}
    for name, field in model.model_fields.items():
        head = re.match(
            r"(?:(?:for|of|in|only for|with)\b[^:,.]*|[a-z_]+)(?=[:,])", field.description or "", re.IGNORECASE
        )
        others = {word for other, words in choices.items() if other != name for word in words} - choices[name]
        if head and others & set(re.findall(r"[a-z0-9_]+", head[0])):
            told = any(conditions(field)) or model.without_use is not Settings.without_use  # type: ignore[attr-defined]
            assert told, f"{model.__name__}.{name}: {field.description}"


def test_validation_stays_light() -> None:
    """The rule needs no component: no torch, no transformers."""
    code = (
        "import sys, aftertrain; aftertrain.load_recipe('tulu3/8b'); "
        "assert not {'torch', 'transformers'} & set(sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
