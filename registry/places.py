"""Following a path of keys from a settings class to the field or class it leads to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from aftertrain.core.settings import Use


def setting_names(model: type[BaseModel]) -> list[str]:
    """The keys of a settings class as they are written in a recipe."""
    return [field.alias or name for name, field in model.model_fields.items()]


def field_of(model: type[BaseModel], key: int | str) -> FieldInfo | None:
    """The field of that key, or None."""
    return next((field for name, field in model.model_fields.items() if key in (name, field.alias)), None)


def follows(model: type[BaseModel], path: str) -> bool:
    """Whether a dotted path can be set from `model` on; what a nested component has is its own affair.

    >>> from aftertrain.core.engine import AdamW
    >>> follows(AdamW, "beta1"), follows(AdamW, "beta3"), follows(AdamW, "beta1.x")
    (True, False, False)
    """
    here: type[BaseModel] | None = model
    for part in path.split("."):
        field = field_of(here, part) if here is not None else None
        if field is None:
            return False
        if _has_component(field.annotation):
            return True
        here = first_model(field.annotation)
    return True


def model_at(model: type[BaseModel], loc: Sequence[int | str]) -> type[BaseModel] | None:
    """The settings class found by following `loc` from `model` through fields, lists and mappings."""
    here: Any = model
    for part in loc:
        owner = first_model(here)
        if owner is None:
            return None
        field = field_of(owner, part)
        here = field.annotation if field is not None else here
    return first_model(here)


def first_model(annotation: Any) -> type[BaseModel] | None:
    """The first settings class inside an annotation: itself, a union's member, a list's item."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next(filter(None, map(first_model, get_args(annotation))), None)


def _has_component(annotation: Any) -> bool:
    return get_origin(annotation) is Use or any(map(_has_component, get_args(annotation)))
