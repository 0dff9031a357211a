"""No setting is NaN or infinite, and no step, save or load passes weights that are."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, get_args

import pytest
import torch
from pydantic import TypeAdapter, ValidationError

import aftertrain
from aftertrain.core.errors import BrokenWeights, ModelError, NumericsError, RecipeError
from aftertrain.core.packed.model import not_finite
from aftertrain.core.settings import Settings
from aftertrain.registry.discovery import installed
from aftertrain.registry.resolve import SettingsResolver

DECLARED: set[tuple[str, str]] = set()
"""Settings that mean infinity by themselves; there are none."""


def settings_classes() -> list[type[Settings]]:
    """Those of every registered component, and what they nest."""
    from aftertrain.core.kinds import KINDS
    from aftertrain.core.recipe import Recipe

    registry = installed()
    resolver = SettingsResolver(registry)
    todo: list[type[Settings]] = [Recipe]
    todo += [resolver._settings_class(kind, row.name)[0] for kind in KINDS for row in registry.registrations(kind)]
    found: dict[type[Settings], None] = {}
    while todo:
        model = todo.pop()
        if model not in found:
            found[model] = None
            parts = (part for field in model.model_fields.values() for part in parts_of(field.annotation))
            todo += [part for part in parts if isinstance(part, type) and issubclass(part, Settings)]
    return list(found)


def parts_of(annotation: Any) -> Iterator[Any]:
    yield annotation
    for part in get_args(annotation):
        yield from parts_of(part)


def shaped(value: float) -> list[Any]:
    """A number as it might stand in a setting: alone, in a list, in a table, as a pair, as the weight of a measure."""
    return [value, [value], {"a": value}, {"distinct_2": value}, [value, value], {"a": [value]}, [[value, value]]]


def accepts(adapter: TypeAdapter[Any], value: Any) -> bool:
    try:
        adapter.validate_python(value)
    except ValidationError:
        return False
    return True


def float_fields() -> dict[tuple[str, str], TypeAdapter[Any]]:
    found: dict[tuple[str, str], TypeAdapter[Any]] = {}
    for model in settings_classes():
        for name, field in model.model_fields.items():
            if float in parts_of(field.annotation):
                kind: Any = field.annotation
                for part in field.metadata:
                    kind = Annotated[kind, part]
                found[model.__name__, name] = TypeAdapter(kind, config=model.model_config)
    return found


def test_no_float_setting_is_nan_or_infinite() -> None:
    """A field that takes 0.5 (or 1 or 5, in whatever shape) takes neither NaN nor an infinity in that shape."""
    fields = float_fields()
    assert len(fields) > 40
    finite, strange = (0.25, 0.5, 1.0, 5.0, -1.0), (math.nan, math.inf, -math.inf)
    untried, taken = [], []
    for where, adapter in fields.items():
        if not any(accepts(adapter, value) for number in finite for value in shaped(number)):
            untried.append(where)
        if any(accepts(adapter, value) for number in strange for value in shaped(number)):
            taken.append(where)
    assert set(taken) == DECLARED
    assert untried == []


RECIPE = """
name: r
model: {model}
threads: 1
stages:
  sft:
    use: train
    loss: sft
    data: {{use: jsonl, path: rows.jsonl, format: messages}}
    optimizer: {optimizer}
    epochs: 3
    on_nonfinite: {policy}
    batch: {{sequences: 1, max_tokens: 64}}
    engine: {engine}
"""


BREAKING = """
from aftertrain.plugins.torch_engine.engine import TorchEngine

class Breaking(TorchEngine):
    "Its update divides by zero for a token that no sample has."

    def step(self, learning_rate):
        report = super().step(learning_rate)
        self._model.model.embed_tokens.weight.data[250, 0] /= 0.0
        return report
"""


def write_recipe(
    folder: Path, model: Path, optimizer: str, *, policy: str = "stop", engine: str = "{use: torch, device: cpu}"
) -> Path:
    turns = [{"role": "user", "content": "2+2"}, {"role": "assistant", "content": "It is 4."}]
    (folder / "rows.jsonl").write_text(json.dumps({"messages": turns}) + "\n")
    (folder / "r.yaml").write_text(RECIPE.format(model=model, optimizer=optimizer, policy=policy, engine=engine))
    return folder / "r.yaml"


@pytest.mark.parametrize(
    "optimizer",
    ["{lr: .nan}", "{lr: .inf}", "{lr: 1e400}", "{lr: 1e-3, eps: .nan}", "{lr: 1e-3, max_grad_norm: .inf}"],
)
def test_a_recipe_says_where_its_number_is_none(optimizer: str, tiny_model: Path, tmp_path: Path) -> None:
    with pytest.raises(
        RecipeError, match=r"r\.yaml:10:\d+ stages\.sft\.optimizer\.\w+: .*(finite number|beyond 1\.8e308)"
    ):
        aftertrain.load_recipe(write_recipe(tmp_path, tiny_model, optimizer))


@pytest.mark.parametrize(
    ("optimizer", "policy", "engine"),
    [
        ("{lr: 1.0e+39, schedule: constant}", "stop", "{use: torch, device: cpu}"),
        ("{lr: 1.0e+39, schedule: constant}", "skip", "{use: torch, device: cpu}"),
        ("{lr: 1.0e+39, schedule: constant}", "stop", "{use: torch, device: cpu, lora: {rank: 2}}"),
        ("{lr: 1.0e+39, schedule: constant}", "stop", "{use: torch, device: cpu, adamw: plain}"),
        ("{lr: 1.0e-3, schedule: constant}", "skip", "{use: './breaking.py:Breaking', device: cpu}"),
    ],
)
def test_a_step_that_breaks_the_weights_ends_the_run(
    optimizer: str, policy: str, engine: str, tiny_model: Path, tmp_path: Path
) -> None:
    """Loss and gradient are finite, the update is not: no token of the vocabulary's rest may become NaN unseen."""
    recipe = write_recipe(tmp_path, tiny_model, optimizer, policy=policy, engine=engine)
    (tmp_path / "breaking.py").write_text(BREAKING)
    with pytest.raises(BrokenWeights, match=r"^step \d: .*learning rate"):
        aftertrain.run(recipe, out=tmp_path / "runs", console=False)
    (stage,) = (tmp_path / "runs" / "r" / "stages").iterdir()
    assert not (stage / "done.json").exists()
    assert not (stage / "model").exists()


def test_huge_weights_end_the_run_at_the_next_step(tiny_model: Path, tmp_path: Path) -> None:
    """Weights of 10³⁷ are numbers, and their gradient is none."""
    recipe = write_recipe(tmp_path, tiny_model, "{lr: 1.0e+36, schedule: constant}")
    with pytest.raises(NumericsError, match="step 2"):
        aftertrain.run(recipe, out=tmp_path / "runs", console=False)


def test_a_base_model_with_a_broken_row_is_refused_at_once(tiny_model: Path, tmp_path: Path) -> None:
    """The row of a token that no probe and no sample has."""
    import shutil

    from safetensors.torch import load_file, save_file

    shutil.copytree(tiny_model, tmp_path / "base")
    weights = load_file(tmp_path / "base" / "model.safetensors")
    weights["model.embed_tokens.weight"][250, 3] = math.inf
    save_file(weights, tmp_path / "base" / "model.safetensors", metadata={"format": "pt"})
    recipe = write_recipe(tmp_path, tmp_path / "base", "{lr: 1e-3}")
    with pytest.raises(ModelError, match=r"base: .*weights are NaN or infinite: model\.embed_tokens\.weight"):
        aftertrain.run(recipe, out=tmp_path / "runs", console=False)


def test_huge_weights_are_finite() -> None:
    """Their norm is not, in float32."""
    huge, fine = torch.full((3,), 3e38), torch.ones(2)
    assert not_finite({"huge": huge, "fine": fine, "none": torch.ones(0)}.items()) == []
    for value, name in itertools.product((math.nan, math.inf, -math.inf), ("huge", "fine")):
        broken = {"huge": huge.clone(), "fine": fine.clone()}
        broken[name][1] = value
        assert not_finite(broken.items()) == [name]
    assert issubclass(BrokenWeights, NumericsError)
