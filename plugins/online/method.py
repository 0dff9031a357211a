"""What a method's paper sets of an online stage, under what the recipe sets. No torch here."""

from __future__ import annotations

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

from pydantic import BaseModel, ValidationError, ValidationInfo
from pydantic_core import PydanticCustomError

from aftertrain.core.advantage import AdvantageSettings
from aftertrain.core.ground.usage import conditions
from aftertrain.core.settings import Use

DEFAULT = "gae"


def as_the_method_sets_it(stage: type[BaseModel], data: Any, info: ValidationInfo) -> Any:
    """The stage's settings as they stand in a recipe, with the method's defaults where they say nothing.

    What cannot be looked up is left as it is: the field's own validation says what is wrong with it.

    Args:
        stage: the settings class that `data` will become.
    """
    if not isinstance(data, Mapping):
        return data
    method = _settings(data.get("advantages", DEFAULT), info)
    return data if method is None else _under(data, type(method).method.defaults, stage)


def _settings(chosen: Any, info: ValidationInfo) -> AdvantageSettings | None:
    if isinstance(chosen, str):
        chosen = {"use": chosen}
    if isinstance(chosen, Mapping):
        resolver = (info.context or {}).get("resolver")
        try:
            chosen = resolver.resolve("advantage", chosen) if resolver is not None else None
        except (PydanticCustomError, ValidationError):
            return None
    settings = chosen.settings if isinstance(chosen, Use) else None
    return settings if isinstance(settings, AdvantageSettings) else None


def _under(data: Mapping[str, Any], defaults: Mapping[str, Any], model: type[BaseModel]) -> dict[str, Any]:
    """`data` over `defaults`, section by section, without defaults that do nothing beside what `data` sets."""
    merged = dict(data)
    for name, value in defaults.items():
        given = data.get(name)
        if isinstance(value, Mapping) and isinstance(section := _section(model, name), type):
            if isinstance(given, Mapping):
                merged[name] = _under(given, value, section)
            elif name not in data:
                merged[name] = dict(value)
        elif name not in data:
            merged[name] = value
    set_here = {name: field.default for name, field in model.model_fields.items()} | merged
    idle = {
        name
        for name in merged.keys() - data.keys()
        if not all(condition.holds(_as_settings(set_here)) for condition in conditions(model.model_fields[name]))
    }
    return {name: value for name, value in merged.items() if name not in idle}


def _section(model: type[BaseModel], name: str) -> Any:
    """The settings class of a section, None where the field is none."""
    annotation = model.model_fields[name].annotation
    return annotation if isinstance(annotation, type) and issubclass(annotation, BaseModel) else None


def _as_settings(values: Mapping[str, Any]) -> Any:
    return SimpleNamespace(**{str(name): value for name, value in values.items()})
